//! Notification topics and subscriptions.

use picket_store::{Page, subscriptions, topics};

use crate::scene::{NOW, Scene, subscription, topic};

#[test]
fn a_topic_is_kept_and_making_it_again_is_fine() {
    let scene = Scene::with("topic A DisplayName=alarms; topic A; topic A DisplayName=alarms");
    let found = scene.reopen().read(|tx| topics::get(tx, &topic("A")));
    assert_eq!(found.attributes, [("DisplayName".to_owned(), "alarms".to_owned())].into());
    assert_eq!(found.created_at, NOW);
    let scene = Scene::with("topic A DisplayName=alarms");
    assert_eq!(
        scene.fails("topic A DisplayName=other"),
        "invalid: topic `A` already exists with another `DisplayName`"
    );
}

#[test]
fn attributes_of_topics_and_subscriptions_are_set_and_taken_away() {
    let scene = Scene::with("topic A; subscribe A f");
    let arn = subscription("A", "f").arn;
    for (value, expected) in [("x", Some("x")), ("y", Some("y")), ("", None)] {
        let key = arn.clone();
        scene.write(move |tx| topics::set_attribute(tx, &topic("A"), "k", value)).unwrap();
        scene.write(move |tx| subscriptions::set_attribute(tx, &key, "k", value)).unwrap();
        let found = scene.read(|tx| topics::get(tx, &topic("A")));
        assert_eq!(found.attributes.get("k").map(String::as_str), expected);
        let found = scene.read(|tx| subscriptions::get(tx, &arn));
        assert_eq!(found.attributes.get("k").map(String::as_str), expected);
    }
    let error = scene.write(|tx| topics::set_attribute(tx, &topic("B"), "k", "v")).unwrap_err();
    assert_eq!(error.to_string(), "topic `B` does not exist");
    let error = scene.write(|tx| subscriptions::set_attribute(tx, "arn", "k", "v")).unwrap_err();
    assert_eq!(error.to_string(), "subscription `arn` does not exist");
}

#[test]
fn subscribing_again_gives_the_subscription_that_is_there() {
    let scene = Scene::with("topic A; subscribe A f");
    let mut again = subscription("A", "f");
    again.arn.push_str("-other");
    let given = again.clone();
    let found = scene.write(move |tx| subscriptions::subscribe(tx, &given)).unwrap();
    assert_eq!(found, subscription("A", "f"));
    let error = scene.fails("subscribe A f RawMessageDelivery=true");
    assert!(error.ends_with("already exists with another `RawMessageDelivery`"), "{error}");
    assert_eq!(scene.fails("subscribe B f"), "not found: topic `B` does not exist");
}

#[test]
fn subscriptions_end_by_themselves_or_with_their_topic() {
    let scene = Scene::with("topic A; topic B; subscribe A f; subscribe A g; subscribe B f");
    let of = |name: &str| {
        let found = scene.read(|tx| subscriptions::of_topic(tx, &topic(name), &Page::first(9)));
        found.items.iter().map(|s| s.endpoint.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!((of("A").as_str(), of("B").as_str()), ("f g", "f"));
    scene.run("unsubscribe A f; unsubscribe A f");
    assert_eq!(of("A"), "g");
    scene.run("delete-topic A; delete-topic A");
    let error = scene.refused(|tx| subscriptions::of_topic(tx, &topic("A"), &Page::first(9)));
    assert_eq!(error, "topic `A` does not exist");
    let all = scene.read(|tx| subscriptions::list(tx, &Page::first(9))).items;
    assert_eq!(all, [subscription("B", "f")]);
}
