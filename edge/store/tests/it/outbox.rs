//! The outbox: from a message to deliveries that are done or dead.

use picket_model::Timestamp;
use picket_store::{Delivery, DeliveryState, MessageAttribute, Page, StoreError, WriteTx, outbox};

use crate::scene::{NOW, Scene, entry, subscription};

/// A topic with subscribers f and g, and a message for it that has been expanded.
const EXPANDED: &str = "topic A; subscribe A f; subscribe A g; push E A; expand E";

/// The id of the delivery to a subscriber of topic A.
fn id(endpoint: &str) -> String {
    format!("E {}", subscription("A", endpoint).arn)
}

fn act(scene: &Scene, f: impl FnOnce(&mut WriteTx) -> Result<(), StoreError> + Send + 'static) {
    scene.write(f).unwrap();
}

/// Endpoints of the deliveries that are due, the longest due first.
fn due(scene: &Scene, now: Timestamp) -> String {
    let due = scene.read(|tx| Ok(outbox::due(tx, now, 10)?));
    due.iter().map(|(delivery, _)| delivery.endpoint.clone()).collect::<Vec<_>>().join(" ")
}

fn delivery(scene: &Scene, endpoint: &str) -> Delivery {
    let all = scene.read(|tx| Ok(outbox::deliveries_of(tx, "E")?));
    all.into_iter().find(|delivery| delivery.endpoint == endpoint).unwrap()
}

fn is_done(scene: &Scene) -> bool {
    scene.read(|tx| Ok(outbox::is_done(tx, "E")?))
}

#[test]
fn a_message_waits_as_it_was_pushed_until_it_is_expanded() {
    let scene = Scene::with("push D A");
    let mut full = entry("E", "A");
    full.subject = Some("subject".to_owned());
    full.attributes.insert(
        "level".to_owned(),
        MessageAttribute { data_type: "Number".to_owned(), value: "7".to_owned() },
    );
    let given = full.clone();
    assert!(scene.write(move |tx| outbox::push(tx, &given)).unwrap());
    let mut other = full.clone();
    other.message = "another".to_owned();
    assert!(!scene.write(move |tx| outbox::push(tx, &other)).unwrap(), "the first one counts");
    let scene = scene.reopen();
    assert_eq!(scene.read(|tx| Ok(outbox::pending(tx, 9)?)), [entry("D", "A"), full]);
    scene.run("expand D");
    assert_eq!(scene.read(|tx| Ok(outbox::pending(tx, 9)?)).len(), 1);
    assert_eq!(scene.read(|tx| Ok(outbox::entry(tx, "D")?)), Some(entry("D", "A")));
}

#[test]
fn a_message_is_expanded_once_to_the_subscribers_of_that_moment() {
    let scene = Scene::with("topic A; topic B; subscribe A f; subscribe B h; push E A");
    scene.run("subscribe A g; expand E; subscribe A late; expand E");
    assert_eq!(due(&scene, NOW), "f g");
    assert_eq!(
        delivery(&scene, "f"),
        Delivery {
            id: id("f"),
            entry: "E".to_owned(),
            subscription_arn: subscription("A", "f").arn,
            protocol: picket_model::Protocol::Lambda,
            endpoint: "f".to_owned(),
            attempts: 0,
            next_at: NOW,
            state: DeliveryState::Pending,
            last_error: None,
            changed_at: NOW,
        }
    );
}

#[test]
fn a_message_that_nobody_wants_is_done_at_once() {
    for script in ["push E A; expand E", "topic A; push E A; expand E"] {
        assert!(is_done(&Scene::with(script)), "{script}");
    }
    let scene = Scene::new();
    let mut lost = entry("E", "A");
    lost.topic_arn = "no topic".to_owned();
    act(&scene, move |tx| outbox::push(tx, &lost).map(drop));
    scene.run("expand E");
    assert!(is_done(&scene));
}

#[test]
fn a_failed_attempt_is_due_again_when_it_was_said() {
    let scene = Scene::with(EXPANDED);
    act(&scene, |tx| outbox::failed(tx, &id("f"), "no answer", NOW + 50, NOW + 10));
    assert_eq!(due(&scene, NOW + 49), "g");
    assert_eq!(due(&scene, NOW + 50), "g f");
    let found = delivery(&scene, "f");
    assert_eq!((found.attempts, found.next_at, found.changed_at), (1, NOW + 50, NOW + 10));
    assert_eq!(found.last_error.as_deref(), Some("no answer"));
    let next = || scene.read(|tx| Ok(outbox::next_due(tx)?));
    assert_eq!(next(), Some(NOW));
    act(&scene, |tx| outbox::succeeded(tx, &id("g"), NOW));
    assert_eq!(next(), Some(NOW + 50));
}

#[test]
fn deliveries_to_some_endpoints_can_be_left_out() {
    let scene = Scene::with(EXPANDED);
    let elsewhere = |without: &[&str], limit| {
        let without = without.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        let due = scene.read(|tx| Ok(outbox::due_elsewhere(tx, NOW, &without, limit)?));
        due.iter().map(|(delivery, _)| delivery.endpoint.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(elsewhere(&[], 9), "f g");
    assert_eq!(elsewhere(&[], 1), "f");
    assert_eq!(elsewhere(&["f"], 1), "g");
    assert_eq!(elsewhere(&["f", "g"], 9), "");
    assert_eq!(elsewhere(&["f\"", "%", "g, f"], 9), "f g", "endpoints are text, nothing more");
}

#[test]
fn the_next_attempt_that_is_not_due_yet_can_be_waited_for() {
    let scene = Scene::with(EXPANDED);
    let after = |now| scene.read(|tx| Ok(outbox::next_due_after(tx, now)?));
    assert_eq!(after(NOW), None, "both are due already");
    assert_eq!(after(NOW - 1), Some(NOW));
    act(&scene, |tx| outbox::failed(tx, &id("f"), "no answer", NOW + 50, NOW));
    assert_eq!(after(NOW), Some(NOW + 50));
    assert_eq!(after(NOW + 50), None);
}

#[test]
fn an_entry_is_done_when_no_delivery_is_pending() {
    let scene = Scene::with(EXPANDED);
    act(&scene, |tx| outbox::succeeded(tx, &id("f"), NOW));
    assert!(!is_done(&scene));
    act(&scene, |tx| outbox::gave_up(tx, &id("g"), "gone", NOW + 1));
    assert!(is_done(&scene));
    assert_eq!(due(&scene, NOW + 99), "");
    assert_eq!(delivery(&scene, "f").state, DeliveryState::Done);
    assert_eq!(delivery(&scene, "g").state, DeliveryState::Dead);
}

#[test]
fn what_is_decided_stays_decided() {
    let scene = Scene::with(EXPANDED);
    act(&scene, |tx| outbox::succeeded(tx, &id("f"), NOW));
    act(&scene, |tx| outbox::failed(tx, &id("f"), "late", NOW + 5, NOW + 5));
    act(&scene, |tx| outbox::gave_up(tx, &id("f"), "late", NOW + 5));
    let found = delivery(&scene, "f");
    assert_eq!((found.state, found.attempts), (DeliveryState::Done, 1));
}

#[test]
fn a_dead_letter_is_listed_and_can_be_revived() {
    let scene = Scene::with(EXPANDED);
    act(&scene, |tx| outbox::gave_up(tx, &id("f"), "gone", NOW + 1));
    act(&scene, |tx| outbox::gave_up(tx, &id("g"), "gone too", NOW + 2));
    let dead = || {
        let found = scene.read(|tx| outbox::dead_letters(tx, &Page::first(9)));
        found.items.iter().map(|(d, _)| d.endpoint.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(dead(), "g f", "the latest first");
    let mut changes = scene.store.changes();
    scene.write(|tx| outbox::revive(tx, &id("f"), NOW + 9)).unwrap();
    assert_eq!(crate::scene::in_words(&crate::scene::received(&mut changes)), "outbox");
    assert_eq!(dead(), "g");
    assert_eq!(due(&scene, NOW + 9), "f");
    assert!(!is_done(&scene));
    assert_eq!(delivery(&scene, "f").attempts, 0);
    let error = scene.write(|tx| outbox::revive(tx, &id("f"), NOW)).unwrap_err();
    assert!(error.to_string().starts_with("dead letter `E arn:"), "{error}");
}

#[test]
fn deliveries_survive_a_restart_and_the_end_of_the_subscription() {
    let scene = Scene::with(EXPANDED).reopen();
    scene.run("unsubscribe A f; delete-topic A");
    assert_eq!(due(&scene, NOW), "f g");
    let due = scene.read(|tx| Ok(outbox::due(tx, NOW, 1)?));
    assert_eq!(due.len(), 1, "the limit holds");
    assert_eq!(due[0].1, entry("E", "A"));
}

#[test]
fn old_entries_go_when_they_are_done() {
    let scene = Scene::with(EXPANDED);
    scene.run("push D A; push C B; expand C");
    let sweep =
        |limit| scene.write(move |tx| outbox::delete_older_than(tx, NOW + 1, limit)).unwrap();
    assert_eq!(sweep(9), 1, "one is pending, one has deliveries that are");
    act(&scene, |tx| outbox::succeeded(tx, &id("f"), NOW));
    act(&scene, |tx| outbox::gave_up(tx, &id("g"), "gone", NOW));
    assert_eq!(sweep(9), 1);
    assert_eq!(scene.read(|tx| Ok(outbox::deliveries_of(tx, "E")?)), []);
    assert_eq!(scene.read(|tx| outbox::dead_letters(tx, &Page::first(9))).items, []);
    assert_eq!(scene.read(|tx| Ok(outbox::pending(tx, 9)?)), [entry("D", "A")]);
}
