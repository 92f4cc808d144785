//! Events of the registry: written with the change, only where they are switched on.

use std::collections::BTreeMap;

use picket_model::{Account, EventType, Timestamp};
use picket_store::registry_events::RegistryEvent;
use picket_store::{
    RegistryError, Store, StoreError, event_configurations, registry_events, things,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::scene::{NOW, Scene, received, run, thing};

/// Switches kinds of events on or off.
fn switch(scene: &Scene, event_types: &[EventType], enabled: bool) {
    let map: BTreeMap<_, _> = event_types.iter().map(|it| (*it, enabled)).collect();
    scene.write(move |tx| event_configurations::update(tx, &map, NOW)).unwrap();
}

fn all_on() -> Scene {
    let scene = Scene::new();
    switch(&scene, &EventType::ALL, true);
    scene
}

fn waiting(scene: &Scene) -> Vec<RegistryEvent> {
    scene.read(|tx| Ok(registry_events::waiting(tx, 1_000)?))
}

/// Takes the events that wait: their topics behind `$aws/events/`.
fn topics(scene: &Scene) -> Vec<String> {
    take(scene).into_iter().map(|(topic, _)| topic).collect()
}

/// Takes the events that wait: the topic behind `$aws/events/` of each, and its message without id
/// and moment.
fn take(scene: &Scene) -> Vec<(String, Value)> {
    let events = waiting(scene);
    if let Some(last) = events.last() {
        let row = last.row;
        scene.write(move |tx| registry_events::forget(tx, row)).unwrap();
    }
    events
        .iter()
        .map(|event| {
            let mut members: Value = serde_json::from_str(&event.payload()).unwrap();
            let object = members.as_object_mut().unwrap();
            assert_eq!(object.remove("eventId"), Some(json!(event.id)));
            let at = object.remove("timestamp").unwrap().as_i64().unwrap();
            assert!(at > 1_700_000_000_000, "{at} in milliseconds");
            (event.topic.strip_prefix("$aws/events/").unwrap().to_owned(), members)
        })
        .collect()
}

#[test]
fn every_change_of_the_registry_has_its_events_in_their_order() {
    let scene = all_on();
    let check = |command: &str, expected: &[&str]| {
        scene.run(command);
        assert_eq!(topics(&scene), expected, "{command}");
    };
    check("type P", &["thingType/P/created"]);
    check("type Q", &["thingType/Q/created"]);
    check("deprecate Q", &["thingType/Q/updated"]);
    check("undeprecate Q", &["thingType/Q/updated"]);
    check("thing a", &["thing/a/created"]);
    check("thing a", &[]);
    check("thing b of P", &["thing/b/created", "thingTypeAssociation/thing/b/thingType/P/added"]);
    check("update-thing a", &["thing/a/updated"]);
    check(
        "update-thing b of Q",
        &[
            "thing/b/updated",
            "thingTypeAssociation/thing/b/thingType/P/removed",
            "thingTypeAssociation/thing/b/thingType/Q/added",
        ],
    );
    check(
        "update-thing b untyped",
        &["thing/b/updated", "thingTypeAssociation/thing/b/thingType/Q/removed"],
    );
    check("group G", &["thingGroup/G/created"]);
    check(
        "group H in G",
        &["thingGroup/H/created", "thingGroupHierarchy/thingGroup/G/childThingGroup/H/added"],
    );
    check("group K", &["thingGroup/K/created"]);
    check("update-group H", &["thingGroup/H/updated"]);
    check("add a H", &["thingGroupMembership/thingGroup/H/thing/a/added"]);
    check("add a H", &[]);
    check("add a K", &["thingGroupMembership/thingGroup/K/thing/a/added"]);
    check("add b K", &["thingGroupMembership/thingGroup/K/thing/b/added"]);
    check("remove a H", &["thingGroupMembership/thingGroup/H/thing/a/removed"]);
    check("remove a H", &[]);
    check(
        "delete-group H",
        &["thingGroupHierarchy/thingGroup/G/childThingGroup/H/removed", "thingGroup/H/deleted"],
    );
    check(
        "delete-thing b",
        &["thingGroupMembership/thingGroup/K/thing/b/removed", "thing/b/deleted"],
    );
    check(
        "delete-group K",
        &["thingGroupMembership/thingGroup/K/thing/a/removed", "thingGroup/K/deleted"],
    );
    check("delete-group K", &[]);
    scene.run("deprecate Q");
    topics(&scene);
    check("delete-type Q after 300000", &["thingType/Q/deleted"]);
    check("thing c of P", &["thing/c/created", "thingTypeAssociation/thing/c/thingType/P/added"]);
    check(
        "delete-thing c",
        &["thingTypeAssociation/thing/c/thingType/P/removed", "thing/c/deleted"],
    );
}

#[test]
fn events_have_the_members_that_aws_documents() {
    let scene = all_on();
    scene.run("type P; thing a of P x=1; group G; group H in G; group I in H; add a I");
    let events: BTreeMap<String, Value> = take(&scene).into_iter().collect();
    let arn = |resource: &str| Account::default().iot_arn(resource);
    assert_eq!(
        events["thing/a/created"],
        json!({
            "eventType": "THING_EVENT", "operation": "CREATED", "accountId": "123456789012",
            "thingId": "id-a", "thingName": "a", "versionNumber": 1, "thingTypeName": "P",
            "attributes": {"x": "1"},
        })
    );
    assert_eq!(
        events["thingType/P/created"],
        json!({
            "eventType": "THING_TYPE_EVENT", "operation": "CREATED", "accountId": "123456789012",
            "thingTypeId": "id", "thingTypeName": "P", "isDeprecated": false,
            "deprecationDate": null, "searchableAttributes": [], "propagatingAttributes": [],
            "description": null,
        })
    );
    assert_eq!(
        events["thingTypeAssociation/thing/a/thingType/P/added"],
        json!({
            "eventType": "THING_TYPE_ASSOCIATION_EVENT", "operation": "ADDED", "thingId": "id-a",
            "thingName": "a", "thingTypeName": "P",
        })
    );
    assert_eq!(
        events["thingGroup/I/created"],
        json!({
            "eventType": "THING_GROUP_EVENT", "operation": "CREATED", "accountId": "123456789012",
            "thingGroupId": "id-I", "thingGroupName": "I", "versionNumber": 1,
            "parentGroupName": "H", "parentGroupId": "id-H", "description": null,
            "rootToParentThingGroups": [
                {"groupArn": arn("thinggroup/G"), "groupId": "id-G"},
                {"groupArn": arn("thinggroup/H"), "groupId": "id-H"},
            ],
            "attributes": {}, "dynamicGroupMappingId": null,
        })
    );
    assert_eq!(
        events["thingGroupHierarchy/thingGroup/H/childThingGroup/I/added"],
        json!({
            "eventType": "THING_GROUP_HIERARCHY_EVENT", "operation": "ADDED",
            "accountId": "123456789012", "thingGroupId": "id-H", "thingGroupName": "H",
            "childGroupId": "id-I", "childGroupName": "I",
        })
    );
    assert_eq!(
        events["thingGroupMembership/thingGroup/I/thing/a/added"],
        json!({
            "eventType": "THING_GROUP_MEMBERSHIP_EVENT", "operation": "ADDED",
            "accountId": "123456789012", "groupArn": arn("thinggroup/I"), "groupId": "id-I",
            "thingArn": arn("thing/a"), "thingId": "id-a", "membershipId": "id-I:id-a",
        })
    );
}

#[test]
fn what_is_not_switched_on_is_not_told() {
    let scene = Scene::new();
    assert_eq!(scene.changes("thing a"), "thing a");
    assert_eq!(topics(&scene), Vec::<String>::new());
    switch(&scene, &[EventType::ThingGroupMembership], true);
    assert_eq!(scene.changes("group G; add a G"), "group G, thing a, registry event");
    assert_eq!(topics(&scene), ["thingGroupMembership/thingGroup/G/thing/a/added"]);
    switch(&scene, &[EventType::ThingGroupMembership], false);
    scene.run("remove a G");
    assert_eq!(topics(&scene), Vec::<String>::new());
}

#[test]
fn a_change_that_fails_is_not_told() {
    let scene = all_on();
    let mut changes = scene.store.changes();
    let failed = scene.write(|tx| {
        run(tx, "thing a")?;
        things::get(tx, &thing("nothing"))
    });
    assert!(matches!(failed, Err(RegistryError::NotFound { .. })));
    assert_eq!((topics(&scene).len(), received(&mut changes).len()), (0, 0));
}

#[test]
fn an_event_keeps_its_id_until_it_is_forgotten() {
    let scene = all_on();
    scene.run("thing a; thing b; thing c");
    let before = waiting(&scene);
    assert_eq!(before.len(), 3);
    assert_ne!(before[0].id, before[1].id);
    let scene = scene.reopen();
    assert_eq!(waiting(&scene), before);
    let row = before[1].row;
    scene.write(move |tx| registry_events::forget(tx, row)).unwrap();
    assert_eq!(waiting(&scene), before[2..]);
}

#[test]
fn events_without_room_are_counted_and_the_change_happens() {
    let dir = TempDir::new().unwrap();
    let open = || Store::open(dir.path(), Account::default()).unwrap();
    drop(open());
    let database = rusqlite::Connection::open(dir.path().join("picket.db")).unwrap();
    // From the first to the last as many as there may be.
    for row in [1, 100_000] {
        let sql = "INSERT INTO registry_events (row, topic, body) VALUES (?1, 't', '{}')";
        database.execute(sql, [row]).unwrap();
    }
    drop(database);
    let store = open();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scene = Scene { store, runtime, dir };
    switch(&scene, &[EventType::Thing], true);
    let lost = || scene.read(|tx| Ok(registry_events::lost(tx)?));
    assert_eq!(lost(), 0);
    scene.run("thing a; thing b");
    assert_eq!((lost(), waiting(&scene).len()), (2, 2));
    scene.write(|tx| registry_events::forget(tx, 1)).unwrap();
    scene.run("thing c");
    assert_eq!((lost(), waiting(&scene).len()), (2, 2));
}

#[test]
fn the_configuration_says_what_was_said_and_when() {
    let scene = Scene::new();
    let get = || scene.read(|tx| Ok(event_configurations::get(tx)?));
    assert_eq!(get(), event_configurations::EventConfigurations::default());
    switch(&scene, &[EventType::Job, EventType::Thing], true);
    let later = |at: Timestamp| {
        let map = BTreeMap::from([(EventType::Thing, false)]);
        scene.write::<_, StoreError>(move |tx| event_configurations::update(tx, &map, at)).unwrap();
    };
    later(NOW + 5);
    let expected = BTreeMap::from([(EventType::Thing, false), (EventType::Job, true)]);
    assert_eq!((get().enabled, get().times), (expected, Some((NOW, NOW + 5))));
}
