//! A clock that was wrong.

use picket_model::Timestamp;

use crate::tests::scene::{Scene, TEN, texts};

/// Where agents number their reports by the clock, it falls with it: hence the notes.
const PROFILE: &str = "size <= 1000; tcp in 22; out <= 9 @300; sent <= 9 @300";

/// Plays what a clock that is ahead saw, sets it right, and checks what is judged afterwards.
#[track_caller]
fn check(ahead: &str, minute: i64, later: &str, expected: &str) {
    let mut scene = Scene::new(PROFILE);
    scene.play(ahead);
    let now = Timestamp::from_millis(TEN + minute * 60_000);
    scene.engine.turn_back(now);
    let verdicts = scene.play(later);
    assert_eq!(texts(&verdicts, false), expected, "{ahead} | {later}");
}

#[test]
fn what_comes_after_the_clock_was_put_right_is_judged() {
    let ahead = "5000:00 on; 5000:01 rep tcp=22 out=1; 5000:02 pub 10 x3; 5009:00 now";
    check(ahead, 5, "6:00 pub 3000 t", "6:00 in-alarm! size 3000");
    check(ahead, 5, "6:00 rep tcp=23", "6:00 in-alarm tcp 23 [report-id-fell]");
    check(ahead, 5, "6:00 pub 10 x9; 10:01 now", "");
    check(ahead, 5, "6:00 pub 10 x10", "6:00 in-alarm! sent 10");
    check(
        ahead,
        5,
        "6:00 rep out=10",
        "6:00 in-alarm out 11 [bytes-out-disagrees, report-id-fell]",
    );
}

#[test]
fn alarms_outlive_it() {
    let ahead = "5000:00 on; 5000:01 rep tcp=23; 5009:00 now";
    check(ahead, 5, "6:00 rep tcp=22", "6:00 cleared tcp 22 [report-id-fell]");
}

#[test]
fn a_small_step_back_is_waited_for() {
    let ahead = "40:00 on; 40:02 pub 10; 46:00 now";
    check(ahead, 5, "6:00 pub 3000 t; 46:01 pub 3000 t", "46:01 in-alarm! size 3000");
}

#[test]
fn moments_at_the_ends_of_time_do_no_harm() {
    for millis in [0, -1, 1, i64::MAX, i64::MAX - 1, i64::MIN / 2, i64::MIN + 86_400_000 * 4] {
        let mut scene = Scene::new(PROFILE);
        scene.play("1:00 on; 1:01 rep tcp=22 out=1; 1:02 pub 10");
        let at = Timestamp::from_millis(millis);
        scene.engine.advance(at);
        scene.engine.sessions_lost(at);
        scene.engine.turn_back(at);
        scene.engine.advance(at);
        let _ = scene.engine.take_changes();
    }
}
