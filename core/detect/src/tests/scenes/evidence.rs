//! What the broker saw, held against what the device says; and what is noted beside an alarm.

use crate::tests::scene::{Scene, check, check_points, texts};

#[test]
fn bytes_that_a_report_does_not_own_up_to_are_its_value() {
    let normal = "disagree <= 100";
    check(
        normal,
        "0:00 rep out=0; 0:15 pub 500; 1:00 rep out=350; 1:15 pub 500; 2:00 rep out=400; 2:15 pub 9; 3:00 rep out=9000",
        "1:00 in-alarm disagree 150 [bytes-out-disagrees]; 2:00 cleared disagree 100 [bytes-out-disagrees]",
    );
    check_points(
        "keep disagree",
        "0:00 rep out=0; 0:15 pub 500 x2; pub 1; 1:00 rep out=350; 2:00 rep out=3",
        "1:00 disagree=651; 2:00 disagree=0",
    );
    // A report that says nothing of it is passed over: what it leaves is counted with the next.
    check_points(
        "keep disagree",
        "0:00 rep out=0; 0:15 pub 500; 1:00 rep in=3; 1:15 pub 70; 2:00 rep out=0",
        "2:00 disagree=570",
    );
    // Parts are told again and count once.
    check_points(
        "keep disagree; keep size/t",
        "0:00 rep out=0; 0:15 pub 500; pub/t 500; 1:00 rep out=0",
        "1:00 disagree=500",
    );
}

#[test]
fn a_device_measures_some_time_before_it_sends() {
    let seen = |timeline: &str, expected: &str| check_points("keep disagree", timeline, expected);
    // Of buckets of five seconds the last two before the report count with the next one.
    seen(
        "0:00 rep out=0; 0:24.999 pub 500; 0:30 rep out=0; 1:00 rep out=0",
        "0:30 disagree=500; 1:00 disagree=0",
    );
    seen(
        "0:00 rep out=0; 0:25 pub 500; 0:30 rep out=0; 1:00 rep out=0",
        "0:30 disagree=0; 1:00 disagree=500",
    );
    seen("0:00 rep out=0; 0:24.999 pub 500; 0:34.999 rep out=0", "0:34.999 disagree=500");
    seen("0:00 rep out=0; 0:24.999 pub 500; 0:29.999 rep out=0", "0:29.999 disagree=0");
    // What came before the first report is nobody's, but for what it could not know of.
    seen("0:20 pub 500; 0:30 rep out=0; 1:00 rep out=0", "1:00 disagree=0");
    seen("0:26 pub 500; 0:30 rep out=0; 1:00 rep out=0", "1:00 disagree=500");
}

#[test]
fn a_device_that_reported_and_is_connected_is_missed() {
    let normal = "missing <= 5";
    check(
        normal,
        "0:00 on; 1:00 rep; 5:01 now; 10:01 now; 12:00 rep; 15:01 now",
        "10:00 in-alarm missing 9; 15:00 cleared missing 3",
    );
    check_points(
        normal,
        "0:00 on; 1:00 rep; 5:01 now; 10:01 now",
        "5:00 missing=4; 10:00 missing=9",
    );
    check("missing < 2 @60", "0:00 on; 0:01 rep; 2:01 now; 3:01 now", "3:00 in-alarm missing 2");
    // Whole minutes.
    check_points(
        "missing < 9 @60",
        "0:00 on; 0:01 rep; 2:01 now",
        "1:00 missing=0; 2:00 missing=1",
    );
    // One that never reported owes none.
    check_points(normal, "0:00 on; 60:01 now", "");
    check_points(normal, "0:00 on; 1:00 refuse; 60:01 now", "");
}

#[test]
fn a_device_that_is_not_connected_is_not_missed() {
    let normal = "missing <= 5";
    check_points(normal, "0:00 on; 1:00 rep; 2:00 off; 30:01 now", "");
    // Back again, it has its time from then on.
    check_points(
        normal,
        "0:00 on; 1:00 rep; 2:00 off; 29:00 on; 30:01 now; 35:01 now",
        "30:00 missing=1; 35:00 missing=6",
    );
    // A gateway's device reports without a connection of its own.
    check_points(normal, "1:00 rep; 30:01 now", "");
    // Disconnected after the tick, before it was judged.
    check_points(normal, "0:00 on; 1:00 rep; 5:00.5 off; 5:01 now", "5:00 missing=4");
    // Nor is it after a restart of the server, before it is back.
    check_points(
        normal,
        "0:00 on; 1:00 rep; restart; 8:00 lost; 10:01 now; 12:00 on; 15:01 now",
        "15:00 missing=3",
    );
}

#[test]
fn an_id_that_comes_again_or_falls_is_noted() {
    let after = |reports: &str, expected: &str| {
        let alarm = format!("0:50 in-alarm! size 10{expected}");
        check("size <= 9", &format!("{reports}; 0:50 pub 10"), &alarm);
    };
    after("0:01 rep id=1; 0:02 rep id=2; 0:03 rep id=9", "");
    after("0:01 rep id=5; 0:02 rep id=5", " [report-id-repeated]");
    after("0:01 rep id=5; 0:02 rep id=4", " [report-id-fell]");
    // Of the last four it repeats; before them it fell.
    let four = "0:01 rep id=1; 0:02 rep id=2; 0:03 rep id=3; 0:04 rep id=4";
    after(&format!("{four}; 0:05 rep id=1"), " [report-id-repeated]");
    after(&format!("{four}; 0:05 rep id=5; 0:06 rep id=1"), " [report-id-fell]");
    // Both, at different times.
    after("0:01 rep id=5; 0:02 rep id=4; 0:03 rep id=5", " [report-id-fell, report-id-repeated]");
    // The first has none to be compared with.
    after("0:01 rep id=0", "");
}

#[test]
fn a_counter_that_ran_backward_is_noted() {
    check(
        "size <= 9",
        "0:01 refuse backward; 0:02 pub 10",
        "0:02 in-alarm! size 10 [counter-ran-backward]",
    );
    check("size <= 9", "0:01 refuse; 0:02 pub 10", "0:02 in-alarm! size 10");
}

#[test]
fn a_list_that_is_empty_after_it_violated_is_noted() {
    let noted = "0:09 in-alarm! size 10 [empty-after-violation]";
    // While its alarm is on, and while it is on its way.
    let normal = "tcp in 22 3/3; size <= 9";
    check(normal, "0:01 rep tcp=80; 0:02 rep tcp=; 0:09 pub 10", noted);
    check(normal, "0:01 rep tcp=80; 0:02 rep tcp#=0; 0:09 pub 10", noted);
    // Not where it was normal, nor where it says nothing.
    let plain = "0:09 in-alarm! size 10";
    check(normal, "0:01 rep tcp=22; 0:02 rep tcp=; 0:09 pub 10", plain);
    check(normal, "0:01 rep tcp=80; 0:02 rep tcp=22; 0:03 rep tcp=; 0:09 pub 10", plain);
    check(normal, "0:01 rep tcp=80; 0:02 rep; 0:03 rep tcp#=4; 0:09 pub 10", plain);
    check(normal, "0:01 rep tcp=80; 0:02 rep udp=; 0:09 pub 10", plain);
    // A run that clears has still been one that violated.
    check(
        "tcp in 22 1/2",
        "0:01 rep tcp=80; 0:02 rep tcp=22; 0:03 rep tcp=",
        "0:01 in-alarm tcp 80; 0:03 cleared tcp none [empty-after-violation]",
    );
    // A list that is only retained has no alarm.
    check("keep tcp; size <= 9", "0:01 rep tcp=80; 0:02 rep tcp=; 0:09 pub 10", plain);
}

#[test]
fn a_connected_device_without_a_report_for_a_quarter_of_an_hour_is_noted() {
    let alarm = |at: &str, note: &str| format!("{at} in-alarm! size 10{note}");
    let missing = alarm("15:01", " [report-missing]");
    check("size <= 9", "0:00 on; 0:01 rep; 15:01 pub 10", &missing);
    check("size <= 9", "0:00 on; 0:01 rep; 15:00.999 pub 10", &alarm("15:00.999", ""));
    check("size <= 9", "0:00 on; 0:01 rep; 9:00 off; 15:01 pub 10", &alarm("15:01", ""));
    check("size <= 9", "0:00 on; 15:01 pub 10", &alarm("15:01", ""));
}

#[test]
fn a_note_is_told_for_an_hour_beside_every_change_of_any_alarm() {
    let fell = "0:01 rep id=5; 0:02 rep id=4";
    let normal = "sent <= 0 @30";
    check(
        normal,
        &format!("0:00 on; {fell}; 0:03 pub 1; 0:32 pub 1; 0:59 off; 1:31 now"),
        "0:03 in-alarm! sent 1 [report-id-fell]; 0:32 again! sent 1 [report-id-fell]",
    );
    let cleared = "0:30 on; 0:31 now; 1:01 now";
    check(
        normal,
        &format!("0:00 on; {fell}; 0:03 pub 1; {cleared}"),
        "0:03 in-alarm! sent 1 [report-id-fell]; 1:00 cleared sent 0 [report-id-fell]",
    );
    check(
        "size <= 9",
        &format!("{fell}; 60:02 pub 10"),
        "60:02 in-alarm! size 10 [report-id-fell]",
    );
    check("size <= 9", &format!("{fell}; 60:02.001 pub 10"), "60:02.001 in-alarm! size 10");
    // The latest of its kind.
    check(
        "size <= 9",
        &format!("{fell}; 30:00 rep id=3; 80:00 pub 10"),
        "80:00 in-alarm! size 10 [report-id-fell]",
    );
    // All of them, in one order.
    check(
        "size <= 9; disagree <= 0; tcp in 22",
        "0:00 on; 0:01 rep id=5 out=0 tcp=80; 0:02 rep id=5; 0:03 rep id=4; 0:04 refuse backward; \
         0:15 pub 1; 0:40 rep id=6 out=0 tcp=; 20:00 pub 10",
        "0:01 in-alarm tcp 80; \
         0:40 in-alarm disagree 1 [bytes-out-disagrees, empty-after-violation, counter-ran-backward, report-id-fell, report-id-repeated]; \
         0:40 cleared tcp none [bytes-out-disagrees, empty-after-violation, counter-ran-backward, report-id-fell, report-id-repeated]; \
         20:00 in-alarm! size 10 [bytes-out-disagrees, empty-after-violation, counter-ran-backward, report-id-fell, report-id-repeated, report-missing]",
    );
}

#[test]
fn an_alarm_that_is_invalidated_has_no_notes() {
    let mut scene = Scene::new("size <= 9");
    scene.play("0:01 rep id=5; 0:02 rep id=4; 0:03 pub 10");
    assert_eq!(texts(&scene.become_profiles("0:04", "size <= 8"), false), "0:04 invalidated size");
}
