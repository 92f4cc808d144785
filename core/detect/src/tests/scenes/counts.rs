//! What the broker counts: windows, zeros, early verdicts, and the life of an alarm.

use crate::tests::scene::{Scene, check, check_points, device, texts};

#[test]
fn a_message_that_is_too_large_raises_the_alarm_at_once() {
    let normal = "size <= 1000";
    check(normal, "5:00 on; 5:01 pub 120; 5:07.12 pub 3000", "5:07.120 in-alarm! size 3000");
    check(normal, "5:00 on; 5:01 pub 1000; 10:01 now", "");
    check("size < 1000", "5:01 pub 1000", "5:01 in-alarm! size 1000");
}

#[test]
fn a_message_that_is_too_small_raises_the_alarm_at_once() {
    check("size >= 100", "1:00 pub 100; 1:01 pub 99", "1:01 in-alarm! size 99");
    check("size > 100", "1:00 pub 101; 1:01 pub 100", "1:01 in-alarm! size 100");
}

#[test]
fn a_window_that_was_judged_early_counts_once() {
    // Neither further large messages nor the window's end are datapoints of their own.
    let twice = "size <= 1000 @30 2/1";
    check(twice, "0:01 pub 3000; 0:02 pub 3000; 0:03 pub 3000; 0:31 now", "");
    check(
        twice,
        "0:01 pub 3000; 0:02 pub 3000; 0:31 now; 0:40 pub 3000",
        "0:40 in-alarm! size 3000",
    );
}

#[test]
fn a_window_that_went_further_after_its_early_verdict_says_so_at_its_end() {
    let normal = "sent <= 2 @30";
    let flood = "0:01 on; 0:02 pub 9 x3; 0:04.5 pub 9 x4; 0:31 now";
    check(normal, flood, "0:02 in-alarm! sent 3; 0:04.500 again sent 7");
    check(normal, "0:01 on; 0:02 pub 9 x3; 0:31 now", "0:02 in-alarm! sent 3");
    check("size <= 9 @30", "0:02 pub 10; 0:03 pub 5; 0:31 now", "0:02 in-alarm! size 10");
}

#[test]
fn a_count_that_is_too_high_raises_the_alarm_at_once_and_one_that_is_too_low_at_the_end() {
    check("sent < 3 @30", "0:01 on; 0:02 pub 1 x2; 0:03 pub 1", "0:03 in-alarm! sent 3");
    check("sent > 2 @30", "0:01 on; 0:02 pub 1 x2; 0:30.9 now; 0:31 now", "0:30 in-alarm sent 2");
    check("received <= 5 @30", "0:01 on; 0:02 recv 6", "0:02 in-alarm! received 6");
    check("denied <= 1 @30", "0:02 deny 1; 0:03 deny 1", "0:03 in-alarm! denied 2");
    check("attempts < 2 @30", "0:02 try; 0:03 try", "0:03 in-alarm! attempts 2");
    check("disconnects < 1 @30", "0:02 on; 0:03 off", "0:03 in-alarm! disconnects 1");
}

#[test]
fn windows_lie_on_the_clock() {
    let normal = "sent <= 2 @30";
    check(normal, "0:01 on; 0:29 pub 1 x2; 0:31 pub 1 x2; 1:01 now", "");
    check(normal, "0:01 on; 0:29 pub 1 x2; 0:29.999 pub 1", "0:29.999 in-alarm! sent 3");
    check("sent <= 2 @30", "0:01 on; 0:29.999 pub 1 x2; 0:30 pub 1", "");
}

#[test]
fn an_alarm_takes_its_run_of_windows_and_clears_after_its_run() {
    let normal = "sent <= 2 @30 2/2";
    let bad_then_good = "0:01 on; 0:02 pub 1 x3; 0:32 pub 1 x3; 2:01 now";
    check(normal, bad_then_good, "0:32 in-alarm! sent 3; 2:00 cleared sent 0");
    let broken_run = "0:01 on; 0:02 pub 1 x3; 1:02 pub 1 x3; 1:31 now";
    check(normal, broken_run, "");
    check(
        "sent <= 2 @30 3/1",
        "0:01 on; 0:02 pub 1 x3; 0:32 pub 1 x3; 1:02 pub 1 x3",
        "1:02 in-alarm! sent 3",
    );
}

#[test]
fn a_connected_device_that_does_nothing_counts_zero() {
    check("sent >= 1 @30", "0:10 on; 1:01 now", "0:30 in-alarm sent 0; 1:00 again sent 0");
    check_points("sent >= 1 @30", "0:10 on; 1:01 now", "0:30 sent=0; 1:00 sent=0");
    // Part of a window is enough, and a stay that began in an earlier window counts too.
    check_points(
        "sent <= 1 @30",
        "0:10 on; 1:05 off; 2:01 now",
        "0:30 sent=0; 1:00 sent=0; 1:30 sent=0",
    );
    // Two connections are one stay.
    check_points(
        "sent <= 1 @30",
        "0:10 on; 0:11 on; 0:12 off; 1:01 now",
        "0:30 sent=0; 1:00 sent=0",
    );
    let all = "received <= 9 @30; denied <= 9 @30; attempts <= 9 @30; disconnects <= 9 @30";
    check_points(
        all,
        "0:10 on; 0:31 now",
        "0:30 received=0; 0:30 denied=0; 0:30 attempts=0; 0:30 disconnects=0",
    );
}

#[test]
fn a_device_that_is_away_has_no_datapoints_and_its_runs_freeze() {
    check_points("sent <= 1 @30", "0:10 on; 0:11 off; 0:31 now; 5:01 now", "0:30 sent=0");
    check_points("denied <= 1 @30", "0:10 deny 1; 5:01 now", "0:30 denied=1");
    // Two violating windows in a row, with minutes of absence between them.
    let away = "0:01 on; 0:02 pub 1 x3; 0:03 off; 3:00 now; 3:01 on; 3:02 pub 1 x3";
    check("sent <= 2 @30 2/1", away, "3:02 in-alarm! sent 3");
}

#[test]
fn a_message_size_alarm_waits_for_messages_to_clear() {
    let normal = "size <= 1000 @30 1/2";
    let quiet = "0:01 on; 0:02 pub 3000; 10:01 now";
    check(normal, quiet, "0:02 in-alarm! size 3000");
    let better = "0:01 on; 0:02 pub 3000; 0:35 pub 120; 5:05 pub 120; 10:01 now";
    check(normal, better, "0:02 in-alarm! size 3000; 5:30 cleared size 120");
}

#[test]
fn an_address_outside_the_normal_raises_the_alarm_as_it_connects() {
    let home = "ip in 10.0.0.0/8,192.168.0.0/16 @30";
    check(home, "0:01 on 192.168.7.7; 0:31 now", "");
    check(home, "0:01 on; 0:02 on 203.0.113.9", "0:02 in-alarm! ip 203.0.113.9");
    let banned = "ip not-in 203.0.113.0/24 @30";
    check(banned, "0:01 on 203.0.113.9", "0:01 in-alarm! ip 203.0.113.9");
    check(banned, "0:01 on; 0:31 now", "");
    // The last value names what came in addition; clearing names what was normal.
    let two = "0:01 on 203.0.113.9; 0:02 on 203.0.113.10; 0:31 now; 0:32 pub 1; 1:01 now";
    check(
        banned,
        two,
        "0:01 in-alarm! ip 203.0.113.9; 0:30 again ip 203.0.113.9+203.0.113.10; 1:00 cleared ip 10.0.0.7",
    );
    check_points(
        banned,
        "0:01 on 203.0.113.9; 0:02 pub 1; 0:31 now; 1:01 now",
        "0:30 ip=10.0.0.7+203.0.113.9",
    );
}

#[test]
fn time_away_is_judged_on_the_tick_and_clears_on_the_tick_after_the_return() {
    let normal = "away <= 5";
    let gone = "0:30 on; 1:00 off; 10:01 now; 11:00 on; 15:01 now";
    check(normal, gone, "10:00 in-alarm away 9; 15:00 cleared away 0");
    check_points(normal, gone, "5:00 away=4; 10:00 away=9; 15:00 away=0");
    check("away < 4", gone, "5:00 in-alarm away 4; 10:00 again away 9; 15:00 cleared away 0");
    check("away <= 0 @60", "0:01 on; 0:59 off; 2:01 now", "2:00 in-alarm away 1");
    // Another connection is still open.
    check(normal, "0:30 on; 0:40 on; 1:00 off; 30:01 now", "");
    // A device that was never seen connected is not away.
    check_points(normal, "0:30 try; 30:01 now", "");
    // Back before the tick is judged: too late to be of use.
    check_points("away <= 1", "0:30 on; 1:00 off; 5:00.5 on; 5:01 now", "");
}

#[test]
fn what_comes_after_its_window_was_judged_counts_for_nothing_but_late() {
    let mut scene = Scene::new("sent <= 2 @30; sent <= 9 @60");
    let verdicts = scene.play("0:01 on; 0:31 now; 0:29 pub 1 x3; 1:01 now");
    assert_eq!(texts(&verdicts, false), "");
    assert_eq!(texts(&verdicts, true), "0:30 sent=0; 1:00 sent=0");
    assert_eq!(scene.engine.late(), 1);
    // Within the grace it counts.
    check("sent <= 2 @30", "0:01 on; 0:30.9 now; 0:29 pub 1 x3", "0:29 in-alarm! sent 3");
}

#[test]
fn windows_are_judged_in_order_even_where_a_later_one_breaks_first() {
    // The window up to 0:30 still waits for stragglers when the one after it breaks. Judged at its
    // own end, its conforming datapoint would clear the alarm that is younger than it.
    let timeline = "0:01 on; 0:02 pub 1; 0:30.2 pub 3000; 0:31 now; 0:32 now";
    check("size <= 1000 @30", timeline, "0:30.200 in-alarm! size 3000");
    check(
        "sent <= 2 @30 2/1",
        "0:01 on; 0:02 pub 1 x3; 0:30.2 pub 1 x3",
        "0:30.200 in-alarm! sent 3",
    );
    let gap = "0:01 on; 0:02 pub 1 x3; 0:32 now; 1:00.2 pub 1 x3; 1:02 now";
    check("sent <= 2 @30 2/1", gap, "");
    check_points("sent <= 2 @30", "0:01 on; 0:30.2 pub 1 x3; 1:02 now", "0:30 sent=0; 1:00 sent=3");
}

#[test]
fn retained_metrics_have_datapoints_and_no_alarms() {
    check_points(
        "keep size; keep received",
        "1:00 on; 1:01 pub 7; 1:02 pub 3; 5:01 now",
        "5:00 size=7; 5:00 received=0",
    );
    // A metric that is judged besides has the datapoints of its shortest window alone.
    let both = "sent <= 9 @60; sent <= 9 @30 | q: keep sent";
    check_points(both, "0:01 on; 0:02 pub 1; 1:01 now", "0:30 sent=1; 1:00 sent=0");
}

#[test]
fn each_profile_and_each_device_has_its_own_alarm() {
    let two = "size <= 1000 | q: size <= 2000; size <= 2500";
    check(
        two,
        "1:00 pub 2600",
        "1:00 in-alarm! size 2600; 1:00 in-alarm! q.size 2600; 1:00 in-alarm! q.size2 2600",
    );
    check(
        two,
        "1:00 pub 1500; b:pub 2300",
        "1:00 in-alarm! size 1500; 1:00 in-alarm! b:size 2300; 1:00 in-alarm! b:q.size 2300",
    );
}

#[test]
fn verdicts_come_by_time_then_device_then_behavior() {
    let normal = "sent >= 1 @30; received >= 1 @60";
    check_points(
        normal,
        "0:01 b:on; 0:02 on; 1:01 now",
        "0:30 sent=0; 0:30 b:sent=0; 1:00 sent=0; 1:00 received=0; 1:00 b:sent=0; 1:00 b:received=0",
    );
}

#[test]
fn a_profile_that_no_longer_watches_invalidates_its_alarms() {
    let two = "size <= 1000 | q: size <= 1000";
    let timeline = "1:00 pub 3000; 2:00 watch q; 3:00 watch";
    check(
        two,
        timeline,
        "1:00 in-alarm! size 3000; 1:00 in-alarm! q.size 3000; 2:00 invalidated size; 3:00 invalidated q.size",
    );
    check(
        "size <= 1000",
        "1:00 pub 3000; 2:00 watch; 3:00 watch p; 4:00 pub 3000",
        "1:00 in-alarm! size 3000; 2:00 invalidated size; 4:00 in-alarm! size 3000",
    );
}

#[test]
fn a_changed_behavior_invalidates_its_alarm_and_the_others_keep_theirs() {
    let mut scene = Scene::new("size <= 1000 @30; sent <= 0 @30");
    scene.play("0:01 on; 0:02 pub 3000");
    let verdicts = scene.become_profiles("0:03", "size <= 2000 @30; sent <= 0 @30");
    assert_eq!(texts(&verdicts, false), "0:03 invalidated size");
    let verdicts = scene.play("0:04 pub 2500; 0:31 now; 1:01 now");
    assert_eq!(
        texts(&verdicts, false),
        "0:04 in-alarm! size 2500; 0:04 again sent 2; 1:00 cleared sent 0"
    );
    let verdicts = scene.become_profiles("1:02", "sent <= 0 @30");
    assert_eq!(texts(&verdicts, false), "1:02 invalidated size");
    assert_eq!(texts(&scene.become_profiles("1:03", ""), false), "");
}

#[test]
fn a_behavior_that_begins_in_the_middle_of_a_window_judges_only_what_cannot_be_healed() {
    let mut scene = Scene::new("keep size");
    scene.play("0:01 on; 0:02 pub 3000");
    scene.become_profiles("0:10", "size <= 1000 @30; sent >= 2 @30");
    // What came before does not count, what comes after does.
    assert_eq!(texts(&scene.play("0:11 pub 120; 0:31 now"), false), "");
    let mut scene = Scene::new("keep size");
    scene.play("0:01 on; 0:02 pub 120");
    scene.become_profiles("0:10", "size <= 1000 @30; sent >= 2 @30");
    let verdicts = scene.play("0:11 pub 3000; 0:31 now; 1:01 now");
    assert_eq!(texts(&verdicts, false), "0:11 in-alarm! size 3000; 1:00 in-alarm sent 0");
}

#[test]
fn suppressing_alerts_keeps_the_alarm() {
    let mut scene = Scene::new("size <= 1000 @30");
    scene.play("0:01 on; 0:02 pub 3000");
    let mut profile = (*crate::tests::scene::profiles("size <= 1000 @30")[0]).clone();
    profile.behaviors[0].suppress_alerts = true;
    let at = picket_model::Timestamp::from_millis(crate::tests::scene::TEN + 3_000);
    assert_eq!(scene.engine.set_profiles(at, vec![profile.into()]), []);
    assert_eq!(texts(&scene.play("0:35 pub 1; 1:01 now"), false), "1:00 cleared size 1");
}

#[test]
fn a_device_silent_for_two_days_loses_its_alarms_and_is_forgotten() {
    let mut scene = Scene::new("size <= 1000");
    scene.play("1:00 on; 1:01 pub 3000; 1:02 off; 5:01 now");
    assert_eq!(texts(&scene.play("2880:01 now"), false), "");
    assert!(scene.engine.knows(&device("a")));
    // 1:02 plus two days, at the end of that five-minute window.
    assert_eq!(texts(&scene.play("2885:01 now"), false), "2885:00 invalidated size");
    assert!(!scene.engine.knows(&device("a")));
    // Silence is silence only while no connection is open.
    check("size <= 1000", "1:00 on; 1:01 pub 3000; 9000:01 now", "1:01 in-alarm! size 3000");
    // A quarantined device that keeps knocking is not silent.
    check("size <= 1000", "1:01 pub 3000; 2000:00 try; 2885:01 now", "1:01 in-alarm! size 3000");
}

#[test]
fn a_device_is_not_forgotten_before_its_time_away_is_judged() {
    // 4,320 minutes are three days: normal up to then, in alarm after, forgotten two days later.
    let timeline = "1:00 on; 2:00 off; 4320:01 now; 4325:01 now; 7200:01 now; 7205:01 now";
    let verdicts = Scene::new("away <= 4320").play(timeline);
    let events = texts(&verdicts, false);
    assert!(events.starts_with("4325:00 in-alarm away 4323; "), "{events}");
    assert!(events.ends_with("; 7205:00 invalidated away"), "{events}");
}

#[test]
fn after_a_restart_the_engine_goes_on_where_it_stopped() {
    let normal = "sent <= 2 @30 2/1";
    let timeline = "0:01 on; 0:02 pub 1 x3; 0:31 pub 1 x2; 0:31 now; restart; 0:32 pub 1";
    check(normal, timeline, "0:32 in-alarm! sent 3");
}

#[test]
fn a_run_that_grew_without_a_datapoint_is_stored_too() {
    // The datapoints are those of the shorter windows; at 0:12 only a longer one ends.
    let normal = "sent <= 9 @8; sent >= 1 @12 2/1";
    let timeline = "0:01 on; b:on; 0:09 now; 0:13 now; b:pub 1; restart; 0:25 now";
    check(normal, timeline, "0:24 in-alarm sent2 0");
}

#[test]
fn after_a_restart_no_connection_is_open_and_the_downtime_has_no_datapoints() {
    let timeline =
        "0:01 on; 0:31 now; 0:40 pub 1; restart; 9:50 lost; 10:01 now; 10:02 on; 10:31 now";
    check_points("sent <= 2 @30", timeline, "0:30 sent=0; 1:00 sent=1; 10:30 sent=0");
    // Away since the restart, not since before it.
    let away = "0:01 on; 0:31 now; 0:40 pub 1; restart; 9:50 lost; 10:01 now; 20:01 now";
    check_points(
        "away <= 2; keep sent",
        away,
        "5:00 sent=1; 10:00 away=0; 15:00 away=5; 20:00 away=10",
    );
    check("away <= 5", away, "20:00 in-alarm away 10");
}

#[test]
fn a_behavior_that_went_away_while_the_engine_was_down_invalidates_its_alarm() {
    let mut scene = Scene::new("size <= 1000; sent <= 9 @30");
    scene.play("0:01 on; 0:02 pub 3000");
    scene.swap_profiles_unseen("sent <= 9 @30");
    assert_eq!(
        texts(&scene.play("1:00 restart; 1:01 lost; 1:02 now"), false),
        "1:02 invalidated size"
    );
    assert_eq!(texts(&scene.play("1:03 restart; 1:04 now"), false), "");
}

#[test]
fn tripwires_are_the_smallest_limits() {
    let mut scene = Scene::new(
        "size <= 1000; size < 900; sent <= 10 @30; received < 5 @60; denied >= 3 @30 | q: sent <= 8 @60",
    );
    scene.play("0:01 on");
    let tripwires = scene.engine.tripwires(&device("a"));
    assert_eq!(tripwires.message_bytes, Some(899));
    assert_eq!(tripwires.messages_sent, Some(8));
    assert_eq!(tripwires.messages_received, Some(4));
    assert_eq!(tripwires.authorization_failures, None);
    assert_eq!(scene.engine.tripwires(&device("stranger")), picket_model::Tripwires::default());
}

#[test]
fn the_next_deadline_is_the_end_of_the_next_window_and_the_grace() {
    let mut scene = Scene::with_grace("sent <= 1 @30; size <= 1", 2_000);
    assert_eq!(scene.engine.next_deadline(), None);
    scene.play("0:01 on; now");
    let ten = |seconds: i64| {
        Some(picket_model::Timestamp::from_millis(crate::tests::scene::TEN + seconds * 1000))
    };
    assert_eq!(scene.engine.next_deadline(), ten(2));
    scene.play("0:02 now");
    assert_eq!(scene.engine.next_deadline(), ten(32));
    scene.play("0:32 now");
    assert_eq!(scene.engine.next_deadline(), ten(62));
}

#[test]
fn a_device_that_nobody_watches_is_not_stored() {
    let mut scene = Scene::new("size <= 1000");
    assert_eq!(
        scene.engine.assign(
            picket_model::Timestamp::from_millis(crate::tests::scene::TEN),
            &device("b"),
            &[].into()
        ),
        []
    );
    scene.play("0:01 on; b:on");
    scene.engine.observe(&picket_model::Observation {
        at: picket_model::Timestamp::from_millis(crate::tests::scene::TEN + 2_000),
        device: device("a"),
        slice: None,
        fact: picket_model::Fact::Received { count: 1 },
    });
    let changes = scene.engine.take_changes();
    let names: Vec<_> =
        changes.iter().map(|(name, state)| (name.as_str(), state.is_some())).collect();
    assert_eq!(names, [("a", true)]);
    assert_eq!(scene.engine.take_changes(), []);
    // Forgotten by the store as soon as nobody watches it any more.
    scene.engine.assign(
        picket_model::Timestamp::from_millis(crate::tests::scene::TEN + 3_000),
        &device("a"),
        &[].into(),
    );
    assert_eq!(scene.engine.take_changes(), [(device("a"), None)]);
}
