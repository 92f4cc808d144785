//! Dimensions: parts of what happens, told and judged apart.

use picket_model::{MetricDimension, Tripwires};

use crate::tests::scene::{Scene, check, check_points, device, dimension, texts};

#[test]
fn a_narrowed_behavior_looks_at_its_part_alone() {
    for (normal, name) in [("size <= 100", "size"), ("size/t <= 100", "size-t")] {
        let whole = "1:00 pub 3000";
        let part = "1:00 pub/t 3000";
        let rest = "1:00 pub/!t 3000; pub/u 3000";
        let alarm = format!("1:00 in-alarm! {name} 3000");
        check(normal, whole, if name == "size" { &alarm } else { "" });
        check(normal, part, if name == "size" { "" } else { &alarm });
        check(normal, rest, "");
    }
    check("size/!t <= 100", "1:00 pub/t 3000; 1:01 pub/!t 200", "1:01 in-alarm! size-not-t 200");
    check(
        "sent/t <= 2 @30; received/t <= 2 @30; denied/t <= 2 @30",
        "0:01 pub/t 1 x3; recv/t 3; deny/t 3; pub 1 x9; recv 9; deny 9",
        "0:01 in-alarm! sent-t 3; 0:01 in-alarm! received-t 3; 0:01 in-alarm! denied-t 3",
    );
}

#[test]
fn a_narrowed_address_is_one_that_published_there() {
    check(
        "ip/t in 10.0.0.0/8 @30",
        "0:01 on 192.0.2.1; pub 1 from=192.0.2.1; 0:02 pub/t 1 from=192.0.2.2",
        "0:02 in-alarm! ip-t 192.0.2.2",
    );
}

#[test]
fn a_connected_device_that_does_nothing_counts_zero_in_every_part() {
    check(
        "sent/t >= 1 @30; sent/!t >= 1 @30",
        "0:01 on; pub 1; pub/t 1; 0:31 now",
        "0:30 in-alarm sent-not-t 0",
    );
    check_points(
        "keep sent/t; keep received/!t; keep size/t; keep ip/t",
        "0:01 on; 5:01 now",
        "5:00 sent/t=0; 5:00 received/!t=0",
    );
}

#[test]
fn a_series_is_a_metric_with_its_dimension() {
    check_points(
        "sent <= 9 @30; sent/t <= 9 @60; sent/!t <= 9 @60; sent/t <= 9 @30",
        "0:01 on; pub 1 x3; pub/t 1 x2; pub/!t 1; 1:01 now",
        "0:30 sent=3; 0:30 sent/t=2; 1:00 sent=0; 1:00 sent/!t=1; 1:00 sent/t=0",
    );
}

#[test]
fn another_dimension_is_another_behavior() {
    let mut scene = Scene::new("q: size/t <= 9 mute");
    scene.play("0:01 pub/t 10");
    let other = scene.become_profiles("0:02", "q: size/t <= 9");
    assert_eq!(other, []);
    let mut profile = (*crate::tests::scene::profiles("q: size/t <= 9")[0]).clone();
    profile.behaviors[0].dimension = Some(dimension("!t"));
    let at = picket_model::Timestamp::from_millis(crate::tests::scene::TEN + 3_000);
    let verdicts = scene.engine.set_profiles(at, vec![profile.into()]);
    assert_eq!(texts(&verdicts, false), "0:03 invalidated q.size-t");
}

#[test]
fn every_part_has_its_own_tripwires() {
    let mut scene = Scene::new(
        "size <= 1000; size/t < 100; sent/t <= 10 @30; sent/t <= 7 @60; received/!t < 5 @60; \
         denied/t >= 3 @30; size/u <= p50 @30 | q: keep sent/w",
    );
    scene.play("0:01 on");
    let whole = Tripwires { message_bytes: Some(1000), ..Tripwires::default() };
    assert_eq!(scene.engine.tripwires(&device("a")), whole);
    let wires = scene.engine.slice_tripwires(&device("a"));
    let find = |name: &str| {
        let found = wires.iter().find(|(slice, _)| **slice == dimension(name));
        found.map(|(_, tripwires)| *tripwires).unwrap_or_default()
    };
    let t = Tripwires { message_bytes: Some(99), messages_sent: Some(7), ..Tripwires::default() };
    assert_eq!(find("t"), t);
    assert_eq!(find("!t"), Tripwires { messages_received: Some(4), ..Tripwires::default() });
    // A percentile is known at the end only.
    assert_eq!(find("u"), Tripwires::default());
    assert_eq!(scene.engine.slice_tripwires(&device("stranger")), []);
    let slices: Vec<_> = scene.engine.slices().iter().map(MetricDimension::to_string).collect();
    assert_eq!(slices, ["IN t", "NOT_IN t", "IN u", "IN w"]);
}
