//! What a device says of itself: judged as the report arrives.

use crate::tests::scene::{Scene, check, check_points, device, texts};

#[test]
fn increments_are_summed_over_a_trailing_window() {
    let normal = "out <= 1000 @300";
    check(normal, "0:10 rep out=600; 3:00.123 rep out=600", "3:00.123 in-alarm out 1200");
    check(normal, "0:10 rep out=600; 3:00 rep out=400", "");
    check("out < 1000 @300", "0:10 rep out=600; 3:00 rep out=400", "3:00 in-alarm out 1000");
    // The window lies behind the report, not on the clock.
    check(normal, "4:00 rep out=600; 6:00 rep out=600", "6:00 in-alarm out 1200");
    // Each metric has its own sum.
    let all = "out <= 9 @300; in <= 9 @300; pout <= 9 @300; pin <= 9 @300";
    check(
        all,
        "0:10 rep out=1 in=2 pout=3 pin=4; 1:00 rep out=7 in=8 pout=7 pin=5; 2:00 rep pin=1",
        "1:00 in-alarm in 10; 1:00 in-alarm pout 10; 2:00 in-alarm pin 10",
    );
}

#[test]
fn a_trailing_window_has_a_tenth_of_slack_at_its_old_end() {
    // So that a device that reports every 300 s has one report in a window of 300 s, even where
    // one of them comes a little early.
    let normal = "out <= 1000 @300";
    check(normal, "0:00 rep out=600; 4:30 rep out=600; 9:15 rep out=600", "");
    check(normal, "0:00 rep out=600; 4:29.999 rep out=600", "4:29.999 in-alarm out 1200");
    let five = "out <= 1000 @5";
    check(five, "0:00 rep out=600; 0:04.5 rep out=600", "");
    check(five, "0:00 rep out=600; 0:04.499 rep out=600", "0:04.499 in-alarm out 1200");
    let hour = "out <= 1000 @3600";
    check(hour, "0:00 rep out=600; 54:00 rep out=600", "");
    check(hour, "0:00 rep out=600; 53:59.999 rep out=600", "53:59.999 in-alarm out 1200");
}

#[test]
fn a_sum_stops_at_the_largest_number() {
    check(
        "out <= 1000 @300",
        "0:01 rep out=18446744073709551615; 0:02 rep out=18446744073709551615",
        "0:01 in-alarm out 18446744073709551615; 0:02 again out 18446744073709551615",
    );
}

#[test]
fn an_alarm_of_a_report_takes_its_run_of_reports_and_clears_after_its_run() {
    let normal = "out <= 1000 @5 2/2";
    let bad_then_good =
        "0:00 rep out=2000; 0:05 rep out=2000; 0:10 rep out=0; 0:15 rep out=0; 0:20 rep out=0";
    check(normal, bad_then_good, "0:05 in-alarm out 2000; 0:15 cleared out 0");
    check(normal, "0:00 rep out=2000; 0:05 rep out=0; 0:10 rep out=2000", "");
    // A lower limit is judged with each report too.
    check(
        "out >= 1000 @300",
        "1:00 rep out=600; 2:00 rep out=600",
        "1:00 in-alarm out 600; 2:00 cleared out 1200",
    );
}

#[test]
fn what_a_report_leaves_out_was_not_measured() {
    let normal = "out <= 100 @300 1/2; tcp# <= 1 @300; tcp in 22; dest in 10.0.0.0/8; load <= 1";
    let bad = "0:01 rep out=600 tcp=22,80 conns=192.0.2.1:443 load=2";
    let alarms = "0:01 in-alarm out 600; 0:01 in-alarm tcp-n 2; 0:01 in-alarm tcp 80; \
                  0:01 in-alarm dest 192.0.2.1; 0:01 in-alarm load 2";
    check(normal, &format!("{bad}; 6:00 rep; 7:00 rep in=7 udp=22"), alarms);
    // It neither counts towards a run nor interrupts one.
    check(
        normal,
        &format!("{bad}; 6:00 rep out=1; 7:00 rep; 8:00 rep out=1"),
        &format!("{alarms}; 8:00 cleared out 2"),
    );
    check_points("out <= 100 @300; keep tcp", "0:01 rep; 0:02 rep in=1", "");
}

#[test]
fn a_gauge_is_what_the_report_itself_says() {
    // However long the window is.
    let normal = "tcp# <= 2 @3600; udp# <= 2 @300; conns# <= 2";
    check(
        normal,
        "0:00 rep tcp#=3 udp#=3 conns#=3; 0:10 rep tcp#=2 udp#=2 conns#=2",
        "0:00 in-alarm tcp-n 3; 0:00 in-alarm udp-n 3; 0:00 in-alarm conns-n 3; \
         0:10 cleared tcp-n 2; 0:10 cleared udp-n 2; 0:10 cleared conns-n 2",
    );
    // The report's total counts, not how many it names.
    check(normal, "0:00 rep conns=10.0.0.1:443 conns#=70", "0:00 in-alarm conns-n 70");
    check(normal, "0:00 rep tcp=1,2,3,4 tcp#=2", "");
    check(normal, "0:00 rep tcp=1,2,3", "0:00 in-alarm tcp-n 3");
}

#[test]
fn a_custom_number_may_be_negative_and_have_a_fraction() {
    check("load < 1.5", "0:00 rep load=1.25; 0:01 rep load=1.5", "0:01 in-alarm load 1.5");
    check("load >= 0", "0:00 rep load=0; 0:01 rep load=-0.5", "0:01 in-alarm load -0.5");
    // With a window too it is the report's own.
    check("load <= 1 @300", "0:00 rep load=1; 0:01 rep load=1", "");
}

#[test]
fn every_element_of_a_list_counts_and_a_violation_names_the_offending_ones() {
    check(
        "tcp in 22,443",
        "0:00 rep tcp=22,443; 0:01 rep tcp=8080,22,80; 0:02 rep tcp=22",
        "0:01 in-alarm tcp 80+8080; 0:02 cleared tcp 22",
    );
    check("tcp not-in 23", "0:00 rep tcp=22; 0:01 rep tcp=22,23", "0:01 in-alarm tcp 23");
    check("udp in 53", "0:00 rep tcp=80 udp=53; 0:01 rep udp=54", "0:01 in-alarm udp 54");
    // An empty set allows nothing, and forbids nothing.
    check("tcp in -", "0:00 rep tcp=; 0:01 rep tcp=22", "0:01 in-alarm tcp 22");
    check("tcp not-in -", "0:00 rep tcp=22", "");
    check(
        "codes in 1,2.5",
        "0:00 rep codes=1,2.5,1; 0:01 rep codes=3,1,-1",
        "0:01 in-alarm codes -1+3",
    );
    check(
        "users not-in root,admin",
        "0:00 rep users=pump; 0:01 rep users=root,pump",
        "0:01 in-alarm users root",
    );
    check(
        "peers in 10.0.0.0/8",
        "0:00 rep peers=10.1.2.3; 0:01 rep peers=10.1.2.3,192.0.2.1",
        "0:01 in-alarm peers 192.0.2.1",
    );
}

#[test]
fn a_destination_is_the_address_of_the_other_end() {
    let normal = "dest in 10.0.0.0/8,2001:db8::/32";
    check(normal, "0:00 rep conns=10.0.0.1:443,10.0.0.1:80,[2001:db8::1]:443", "");
    check(
        normal,
        "0:00 rep conns=192.0.2.1:443,10.0.0.1:443,192.0.2.1:80",
        "0:00 in-alarm dest 192.0.2.1",
    );
    // The same address, however it is written.
    check(normal, "0:00 rep conns=[::ffff:10.0.0.1]:443", "");
    check(
        "dest not-in 192.0.2.0/24",
        "0:00 rep conns=[::ffff:192.0.2.1]:443",
        "0:00 in-alarm dest 192.0.2.1",
    );
}

#[test]
fn an_empty_list_is_normal_and_an_absent_one_is_nothing() {
    let alarm = "0:00 in-alarm tcp 80";
    let cleared = format!("{alarm}; 0:10 cleared tcp none [empty-after-violation]");
    check("tcp in 22", "0:00 rep tcp=80; 0:10 rep tcp=", &cleared);
    check("tcp in 22", "0:00 rep tcp=80; 0:10 rep", alarm);
    // Some ports that are not named are unknown; none is none.
    check("tcp in 22", "0:00 rep tcp=80; 0:10 rep tcp#=3", alarm);
    check("tcp in 22", "0:00 rep tcp=80; 0:10 rep tcp#=0", &cleared);
    // The list counts where it contradicts the total.
    check(
        "tcp in 22",
        "0:00 rep tcp=80; 0:10 rep tcp=80 tcp#=0",
        &format!("{alarm}; 0:10 again tcp 80"),
    );
    check(
        "dest in 10.0.0.0/8",
        "0:00 rep conns=192.0.2.1:443; 0:10 rep conns#=2; 0:20 rep conns#=0",
        "0:00 in-alarm dest 192.0.2.1; 0:20 cleared dest none [empty-after-violation]",
    );
    check(
        "users in pump",
        "0:00 rep users=root; 0:10 rep users=",
        "0:00 in-alarm users root; 0:10 cleared users none [empty-after-violation]",
    );
}

#[test]
fn a_custom_value_of_another_kind_than_its_metric_is_nothing() {
    check("load <= 1", "0:00 rep load=~5", "");
    check("codes in 1", "0:00 rep codes=~5", "");
    check("peers in 10.0.0.0/8", "0:00 rep peers=~192.0.2.1", "");
    check_points("keep load; keep users", "0:00 rep load=~5 users=~root", "0:00 users=root");
}

#[test]
fn a_behavior_that_begins_among_reports_judges_only_what_cannot_be_healed() {
    let begin_at_one_minute = |timeline: &str| {
        let mut scene = Scene::new("keep out");
        scene.play("0:30 rep out=500 tcp=80 load=7");
        let changed = "out <= 100 @300; out >= 100 @300; tcp in 22; load <= 1";
        assert_eq!(scene.become_profiles("1:00", changed), []);
        texts(&scene.play(timeline), false)
    };
    // What came before does not count.
    assert_eq!(begin_at_one_minute("1:30 rep out=60"), "");
    // Too much stays too much whatever is missing; what is too little may be no more than that.
    assert_eq!(begin_at_one_minute("1:30 rep out=60; 2:00 rep out=60"), "2:00 in-alarm out 120");
    // The window is whole as soon as the slack reaches back to the beginning.
    assert_eq!(begin_at_one_minute("5:30 rep out=1"), "");
    assert_eq!(begin_at_one_minute("5:30.001 rep out=1"), "5:30.001 in-alarm out2 1");
    // What is judged by the report itself needs no window.
    assert_eq!(
        begin_at_one_minute("1:00.001 rep tcp=80 load=7"),
        "1:00.001 in-alarm tcp 80; 1:00.001 in-alarm load 7"
    );
    // Nor does what another behavior had summed.
    let mut scene = Scene::new("out <= 1000 @300");
    scene.play("0:30 rep out=500");
    scene.become_profiles("1:00", "out <= 100 @300");
    assert_eq!(texts(&scene.play("1:30 rep out=60; 5:30.001 rep out=40"), false), "");
    // A report that was made before the change.
    assert_eq!(begin_at_one_minute("1:00 rep tcp=80 load=7 out=900"), "");
}

#[test]
fn a_device_that_is_seen_for_the_first_time_has_its_whole_life_in_view() {
    check("out >= 100 @300", "0:01 rep out=1", "0:01 in-alarm out 1");
}

#[test]
fn a_report_older_than_the_last_counts_for_nothing_but_late() {
    let mut scene = Scene::new("out <= 100 @300; tcp in 22; size <= 9");
    let verdicts = scene.play(
        "1:00 rep out=60 id=5; 0:59.999 rep out=60 tcp=80 id=5; 1:00 rep out=40 id=6; 1:01 pub 10",
    );
    // Not even its id is noted.
    assert_eq!(texts(&verdicts, false), "1:01 in-alarm! size 10");
    assert_eq!(texts(&verdicts, true), "1:00 out=60; 1:00 out=40");
    assert_eq!(scene.engine.late(), 1);
    // At the same moment is not older.
    check("out <= 100 @300", "1:00 rep out=60 id=1; rep out=60 id=2", "1:00 in-alarm out 120");
}

#[test]
fn a_restart_forgets_no_report() {
    let normal = "out <= 1000 @300; tcp in 22 2/1; disagree <= 0";
    check(
        normal,
        "0:10 on; 0:10 rep out=600 tcp=80; 0:11 pub 700; restart; 2:00 lost; 3:00 rep out=600 tcp=80",
        "3:00 in-alarm out 1200 [bytes-out-disagrees]; 3:00 in-alarm tcp 80 [bytes-out-disagrees]; \
         3:00 in-alarm disagree 100 [bytes-out-disagrees]",
    );
    // Nor which ones came.
    check(
        "size <= 9",
        "0:10 rep id=7; restart; 0:20 rep id=7; restart; 0:30 pub 10",
        "0:30 in-alarm! size 10 [report-id-repeated]",
    );
    let mut scene = Scene::new("tcp in 22");
    scene.play("1:00 rep tcp=22; restart");
    scene.play("0:59 rep tcp=80");
    assert_eq!(scene.engine.late(), 1);
}

#[test]
fn a_changed_set_or_limit_invalidates_and_a_moved_behavior_keeps_its_alarm() {
    let mut scene = Scene::new("tcp in 22,80; load <= 1; users in pump");
    scene.play("0:01 rep tcp=23 load=2 users=root");
    let verdicts = scene.become_profiles("0:02", "load <= 1; users in pump,x; tcp in 22,81");
    assert_eq!(texts(&verdicts, false), "0:02 invalidated tcp; 0:02 invalidated users");
    let verdicts = scene.play("0:03 rep load=0");
    assert_eq!(texts(&verdicts, false), "0:03 cleared load 0");
}

#[test]
fn alarms_end_where_a_device_that_is_still_seen_reports_no_more() {
    let normal = "tcp in 22; size <= 9; load <= 1 2/1";
    let mut scene = Scene::new(normal);
    scene.play("0:30 on; 1:00 rep tcp=80 load=2; 1:01 pub 10");
    assert_eq!(texts(&scene.play("1440:00 recv 1; 2880:01 now"), false), "");
    // Two days after 1:00, on the next mark of five minutes; the broker's own alarm stays.
    assert_eq!(texts(&scene.play("2884:59 recv 1; 2885:00.9 now"), false), "");
    assert_eq!(texts(&scene.play("2885:01 now"), false), "2885:00 invalidated tcp");
    assert!(scene.engine.knows(&device("a")));
    assert_eq!(texts(&scene.play("5000:00 recv 1; 5000:02 now"), false), "");
    // It begins anew with the next report.
    let again = "5001:00 rep tcp=80";
    assert_eq!(texts(&scene.play(again), false), "5001:00 in-alarm tcp 80");
    // A refused report is none.
    let refused = "0:30 on; 1:00 rep tcp=80; 2880:00 refuse; 2885:01 now";
    check("tcp in 22", refused, "1:00 in-alarm tcp 80; 2885:00 invalidated tcp");
    let accepted = "0:30 on; 1:00 rep tcp=80; 2880:00 rep; 2885:01 now";
    check("tcp in 22", accepted, "1:00 in-alarm tcp 80");
}
