//! Percentiles: the devices of a profile, compared with each other.

use std::collections::{BTreeMap, BTreeSet};

use picket_model::{Percentile, ProfileName};

use crate::Verdict;
use crate::tests::scene::{Scene, check, check_points, device, texts};

#[test]
fn a_device_is_compared_with_all_that_had_a_value() {
    let three = "0:01 rep out=10; b:rep out=20; c:rep out=90; 0:31 now";
    check("out <= p50 @30", three, "0:30 in-alarm c:out 90");
    check("out < p50 @30", three, "0:30 in-alarm b:out 20; 0:30 in-alarm c:out 90");
    check("out >= p50 @30", three, "0:30 in-alarm out 10");
    check("out > p50 @30", three, "0:30 in-alarm out 10; 0:30 in-alarm b:out 20");
    // One that said nothing is not among them: of two values the smaller is the median.
    let two = "0:01 rep out=10; b:rep in=20; c:rep out=90; 0:31 now";
    check("out <= p50 @30", two, "0:30 in-alarm c:out 90");
    check("out >= p50 @30", two, "");
}

#[test]
fn a_device_alone_is_its_own_fleet() {
    check("out <= p50 @30", "0:01 rep out=7; 0:31 now", "");
    check("out < p100 @30", "0:01 rep out=7; 0:31 now", "0:30 in-alarm out 7");
}

#[test]
fn each_percentile_is_the_nearest_rank() {
    let profile: Vec<_> = Percentile::ALL.map(|it| format!("out <= {} @300", it.as_str())).into();
    let behaviors =
        ["out", "out2", "out3", "out4", "out5", "out6", "out7", "out8", "out9", "out10", "out11"];
    // Devices that had 1, 2, 3 and so on: how many lie above each percentile.
    let violators = |n: usize| {
        let mut scene = Scene::new(&profile.join("; "));
        let reports: Vec<_> = (1..=n).map(|n| format!("1:00 d{n}:rep out={n}")).collect();
        scene.play(&reports.join("; "));
        let mut alarms = BTreeMap::new();
        for verdict in scene.play("5:01 now") {
            let Verdict::Event(event) = verdict else { panic!("{verdict:?}") };
            *alarms.entry(event.behavior.name.as_str().to_owned()).or_default() += 1;
        }
        behaviors.map(|name| alarms.get(name).copied().unwrap_or(0))
    };
    assert_eq!(violators(1), [0; 11]);
    assert_eq!(violators(2), [1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0]);
    assert_eq!(violators(10), [9, 9, 9, 9, 9, 5, 1, 0, 0, 0, 0]);
    assert_eq!(
        violators(10_001),
        [10_000, 9_999, 9_990, 9_900, 9_000, 5_000, 1_000, 100, 10, 1, 0]
    );
}

#[test]
fn nobody_is_compared_before_the_window_is_over() {
    let timeline = "0:01 rep out=10; b:rep out=90; 0:02 pub 3000; 0:30.9 now";
    check("out <= p50 @30; size <= p50 @30; sent < p0 @30", timeline, "");
    let mut scene = Scene::new("size <= p50 @30; sent <= p50 @30");
    scene.play("0:01 on; 0:02 pub 3000");
    assert_eq!(scene.engine.tripwires(&device("a")), picket_model::Tripwires::default());
}

#[test]
fn reports_lie_in_windows_of_the_clock_where_a_fleet_is_compared() {
    // Increments are summed from the window's start up to, not at, its end.
    let normal = "out <= p50 @30";
    let sums = "0:00 rep out=6; 0:01 b:rep out=11; 0:29.999 rep out=6; 0:31 now";
    check(normal, sums, "0:30 in-alarm out 12");
    let next = "0:00 rep out=6; 0:01 b:rep out=11; 0:30 rep out=6; 0:31 now";
    check(normal, next, "0:30 in-alarm b:out 11");
    // Of gauges the last counts, as long as it says anything.
    let last = "0:01 rep tcp#=90; b:rep tcp#=10; 0:02 rep tcp#=5; 0:03 rep out=1; 0:31 now";
    check("tcp# <= p50 @30", last, "0:30 in-alarm b:tcp-n 10");
    check(
        "load <= p50 @30",
        "0:01 rep load=1.5; b:rep load=1.25; 0:31 now",
        "0:30 in-alarm load 1.5",
    );
    // What comes after the window was judged is in none.
    let late = "0:01 rep out=6; b:rep out=11; 0:31 now; 0:29 rep out=50; 1:01 now";
    check(normal, late, "0:30 in-alarm b:out 11");
}

#[test]
fn message_sizes_are_compared_by_their_total() {
    let normal = "size <= p50 @30";
    let timeline = "0:01 pub 10 x5; b:pub 40; 0:31 now";
    check(normal, timeline, "0:30 in-alarm size 50");
    check_points(normal, timeline, "0:30 size=10; 0:30 b:size=40");
    // Nobody sent nothing: without messages there is no value.
    check(normal, "0:01 on; b:on; c:pub 1; 0:31 now", "");
}

#[test]
fn connected_devices_that_do_nothing_are_compared_with_their_zero() {
    let three = "0:01 on; b:on; c:pub 1; 0:31 now";
    check("sent <= p50 @30", three, "0:30 in-alarm c:sent 1");
    check("sent > p10 @30", three, "0:30 in-alarm sent 0; 0:30 in-alarm b:sent 0");
    check("attempts <= p90 @30", "0:01 on; b:try; c:try; try; try; 0:31 now", "");
}

#[test]
fn a_negative_value_leaves_everybody_unjudged_and_runs_freeze() {
    let normal = "load < p100 @30 2/1";
    let window = |minute: &str, b: &str| format!("{minute} rep load=5; b:rep load={b}; ");
    let timeline =
        format!("{}{}{}1:31 now", window("0:01", "1"), window("0:31", "-0.5"), window("1:01", "1"));
    check(normal, &timeline, "1:30 in-alarm load 5");
    // Zero is not negative.
    check("load < p100 @30", "0:01 rep load=5; b:rep load=-0; 0:31 now", "0:30 in-alarm load 5");
}

#[test]
fn a_device_that_began_inside_the_window_is_neither_judged_nor_counted() {
    let normal = "out >= p50 @30";
    let mut scene = Scene::new("q: keep out");
    // All are known, and the profile comes to them after the window began.
    scene.play("0:00 on; b:on; c:on");
    scene.become_profiles("0:10", normal);
    for name in ["a", "b"] {
        let names = BTreeSet::from([ProfileName::parse("p").unwrap()]);
        let at = picket_model::Timestamp::from_millis(crate::tests::scene::TEN + 10_000);
        assert_eq!(scene.engine.assign(at, &device(name), &names), []);
    }
    let verdicts = scene.play("0:11 rep out=1; b:rep out=9; 0:31 now");
    assert_eq!(texts(&verdicts, false), "");
    assert_eq!(texts(&verdicts, true), "0:11 out=1; 0:11 b:out=9");
    // In the next window c is the one that begins, and would be the median.
    let verdicts = scene.play("0:40 c:watch p; 0:41 rep out=1; b:rep out=9; c:rep out=5; 1:01 now");
    assert_eq!(texts(&verdicts, false), "");
    let verdicts = scene.play("1:10 rep out=1; b:rep out=9; c:rep out=5; 1:31 now");
    assert_eq!(texts(&verdicts, false), "1:30 in-alarm out 1");
}

#[test]
fn fleets_are_those_of_one_profile_each() {
    let two = "p: out <= p50 @30 | q: out <= p50 @30";
    let mut scene = Scene::new(two);
    let verdicts = scene.play(
        "0:00 on; b:on; c:on; watch p; b:watch p q; c:watch q; \
         0:30 rep out=10; b:rep out=20; c:rep out=30; 1:01 now",
    );
    assert_eq!(texts(&verdicts, false), "1:00 in-alarm b:out 20; 1:00 in-alarm c:q.out 30");
}

#[test]
fn an_alarm_of_a_percentile_takes_its_run_of_windows() {
    let window = |at: &str, a: u64| format!("{at} rep out={a}; b:rep out=10; ");
    let timeline = [("0:01", 90), ("0:31", 90), ("1:01", 5), ("1:31", 5), ("2:01", 5)]
        .map(|(at, a)| window(at, a))
        .concat();
    check(
        "out <= p50 @30 2/2",
        &format!("{timeline} 3:00 now"),
        "1:00 in-alarm out 90; 2:00 cleared out 5; 2:00 in-alarm b:out 10; 2:30 again b:out 10",
    );
}

#[test]
fn fleets_are_compared_over_restarts() {
    let timeline =
        "0:01 rep out=10; b:rep out=90; 0:02 b:rep load=1; restart; 0:29 c:rep out=20; 0:31 now";
    check("out <= p50 @30", timeline, "0:30 in-alarm b:out 90");
}

#[test]
fn another_percentile_is_another_behavior() {
    let mut scene = Scene::new("out <= p50 @30");
    scene.play("0:01 rep out=10; b:rep out=90; 0:31 now");
    assert_eq!(scene.become_profiles("0:32", "out <= p50 @30 mute"), []);
    let verdicts = scene.become_profiles("0:33", "out <= p90 @30");
    assert_eq!(texts(&verdicts, false), "0:33 invalidated b:out");
}

#[test]
fn an_alarm_that_is_raised_as_time_leaps_ends_when_the_reports_have_ended() {
    // The window and the silence after it are over in one call.
    let mut scene = Scene::new("out < p0 @5; sent <= 9 @300");
    let timeline = "0:01 on; rep out=0; 2880:00 recv 1; 2890:01 now";
    assert_eq!(texts(&scene.play(timeline), false), "0:05 in-alarm out 0; 2885:00 invalidated out");
}
