//! One report in an interval, with a tenth of allowance.

use picket_model::Timestamp;
use picket_report::{ReportRate, TokenBucket, Turn};

/// Plays reports at seconds: `+` is its turn, `-` too soon and told, `.` too soon and not told. A
/// time with an `x` behind it is a report that turns out to be refused.
#[track_caller]
fn check(interval_s: u32, timeline: &str, expected: &str) {
    let rate = ReportRate::of_interval_s(interval_s);
    let mut bucket = TokenBucket::new();
    let mut turns = String::new();
    for time in timeline.split(' ') {
        let is_refused = time.ends_with('x');
        let at: f64 = time.trim_end_matches('x').parse().unwrap();
        let now = Timestamp::from_millis(1_700_000_000_000 + (at * 1000.0).round() as i64);
        let turn = bucket.take(now, rate);
        turns.push(match turn {
            Turn::Now => '+',
            Turn::TooSoon { tell: true, .. } => '-',
            Turn::TooSoon { tell: false, .. } => '.',
        });
        if is_refused && turn == Turn::Now {
            bucket.put_back(now, rate);
        }
    }
    assert_eq!(turns, expected, "{timeline}");
}

#[test]
fn a_report_may_come_a_tenth_early() {
    check(300, "0 270 540", "+++");
    check(300, "0 269.999 270", "+-+");
    check(300, "0 300 600", "+++");
    check(1, "0 0.9 1.8", "+++");
    check(1, "0 0.899", "+-");
}

#[test]
fn time_does_not_save_up_turns() {
    check(300, "0 10000 10001", "++-");
}

#[test]
fn a_report_that_comes_too_soon_does_not_put_off_the_next() {
    check(300, "0 100 200 269 270", "+---+");
}

#[test]
fn a_device_that_floods_is_told_once_a_second() {
    check(300, "0 0.1 0.2 1.0 1.1 2.0 2.1 3.2", "+-..-.--");
}

#[test]
fn a_refused_report_may_be_put_right_after_a_second() {
    check(300, "0x 1 2", "++-");
    check(300, "0x 0.5 0.9 1.0", "+..+");
    // And it opens no way to be read more often than that.
    check(300, "0x 0.5x 1x 1.5x 2x", "+.+.+");
}

#[test]
fn without_an_interval_every_report_has_its_turn() {
    check(0, "0 0 0x 0 0.001", "+++++");
}

#[test]
fn a_clock_that_is_set_back_silences_nobody() {
    check(300, "1000 0 1", "++-");
    check(300, "1000 1000.5 800 800.5", "+-+-");
}

#[test]
fn the_turn_says_when_the_next_one_comes() {
    let rate = ReportRate::of_interval_s(300);
    assert_eq!(rate.spacing_ms(), 270_000);
    let mut bucket = TokenBucket::new();
    assert!(bucket.is_full(Timestamp::from_secs(1)));
    assert_eq!(bucket.take(Timestamp::from_secs(1), rate), Turn::Now);
    let next_at = Timestamp::from_secs(271);
    assert_eq!(bucket.take(Timestamp::from_secs(2), rate), Turn::TooSoon { next_at, tell: true });
    assert!(!bucket.is_full(Timestamp::from_secs(270)));
    assert!(bucket.is_full(next_at));
}

#[test]
fn a_bucket_is_small() {
    assert_eq!(size_of::<TokenBucket>(), 16);
}
