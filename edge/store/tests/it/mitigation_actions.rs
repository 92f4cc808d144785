//! Mitigation actions.

use picket_model::{MitigationAction, MitigationActionName, MitigationActionParams};
use picket_store::{Page, mitigation_actions};

use crate::scene::{NOW, Scene, group, kind};

pub(crate) fn action(name: &str, params: MitigationActionParams) -> MitigationAction {
    MitigationAction {
        name: MitigationActionName::parse(name).unwrap(),
        id: format!("id of {name}"),
        role_arn: "arn:aws:iam::123456789012:role/R".to_owned(),
        params,
        created_at: NOW,
        modified_at: NOW,
    }
}

pub(crate) fn isolate() -> MitigationActionParams {
    MitigationActionParams::AddThingsToThingGroup {
        groups: vec![group("Isolated"), group("Seen")],
        override_dynamic_groups: true,
    }
}

fn publish() -> MitigationActionParams {
    MitigationActionParams::PublishFindingToSns {
        topic_arn: "arn:aws:sns:us-east-1:123456789012:T".to_owned(),
    }
}

fn create(scene: &Scene, action: &MitigationAction) {
    let action = action.clone();
    scene.write(move |tx| mitigation_actions::create(tx, &action)).unwrap();
}

#[test]
fn an_action_is_kept_as_it_was_made_and_changed() {
    let scene = Scene::new();
    let made = action("isolate", isolate());
    create(&scene, &made);
    let scene = scene.reopen();
    assert_eq!(scene.read(|tx| mitigation_actions::get(tx, &made.name)), made);

    let given = MitigationAction {
        id: "another".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/S".to_owned(),
        params: publish(),
        created_at: NOW + 1,
        modified_at: NOW + 1,
        ..made.clone()
    };
    let changed = MitigationAction { id: made.id.clone(), created_at: NOW, ..given.clone() };
    scene.write(move |tx| mitigation_actions::update(tx, &given)).unwrap();
    assert_eq!(scene.read(|tx| mitigation_actions::get(tx, &made.name)), changed);
}

#[test]
fn an_action_is_made_once_and_deleted_twice() {
    let scene = Scene::new();
    let isolate = action("isolate", isolate());
    let write = |given: &MitigationAction, f: fn(&mut _, &_) -> _| {
        let given = given.clone();
        scene.write(move |tx| f(tx, &given))
    };
    let absent = write(&isolate, mitigation_actions::update).unwrap_err();
    assert_eq!(absent.to_string(), "mitigation action `isolate` does not exist");
    create(&scene, &isolate);
    let error = write(&isolate, mitigation_actions::create).unwrap_err();
    assert_eq!(
        (kind(&error), error.to_string().as_str()),
        ("already exists", "mitigation action `isolate` already exists")
    );
    for _ in 0..2 {
        let name = isolate.name.clone();
        scene.write(move |tx| mitigation_actions::delete(tx, &name)).unwrap();
    }
    assert_eq!(scene.read(|tx| Ok(mitigation_actions::find(tx, &isolate.name)?)), None);
}

#[test]
fn actions_are_listed_by_name_and_kind() {
    let scene = Scene::new();
    for (name, params) in [("c", isolate()), ("a", publish()), ("b", isolate())] {
        create(&scene, &action(name, params));
    }
    let names = |action_type, page: Page| {
        let found = scene.read(|tx| mitigation_actions::list(tx, action_type, &page));
        let names: Vec<_> = found.items.iter().map(|action| action.name.to_string()).collect();
        (names.join(" "), found.next)
    };
    let (first, next) = names(None, Page::first(2));
    assert_eq!(
        (first.as_str(), names(None, Page::after(2, next.unwrap())).0.as_str()),
        ("a b", "c")
    );
    assert_eq!(names(Some("ADD_THINGS_TO_THING_GROUP"), Page::first(9)).0, "b c");
    assert_eq!(names(Some("UPDATE_CA_CERTIFICATE"), Page::first(9)).0, "");
}
