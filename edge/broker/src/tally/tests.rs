//! Messages in, observations out, on a clock that the test holds.

use super::*;
use crate::tripwires::TripwireBook;
use picket_model::{Fact, Tripwires};
use picket_mqtt::TopicLimits;

fn tally(tripwires: Tripwires) -> Tally {
    let book = TripwireBook::default();
    let device = DeviceName::parse("pump-7").unwrap();
    book.set(&device, tripwires, &[]);
    let wires = book.wires(&device);
    let set = Arc::new(SliceSet::default());
    Tally::new(device, "192.0.2.7".parse().unwrap(), wires, set)
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text, &TopicLimits { bytes_max: 99, levels_max: 9 }).unwrap()
}

const NO_SLICE: SliceMask = SliceMask::NONE;

/// One observation as a line: device, time, fact.
fn line(observation: &Observation) -> String {
    let at = observation.at.as_millis();
    let fact = match &observation.fact {
        Fact::Published(p) => format!(
            "published {} ({} bytes, {} to {}, {} ms to {} ms, largest on {})",
            p.count,
            p.bytes_total,
            p.bytes_min,
            p.bytes_max,
            p.first_at.as_millis(),
            p.last_at.as_millis(),
            p.largest_topic
        ),
        Fact::Received { count } => format!("received {count}"),
        Fact::Denied(d) => format!(
            "denied {} ({} ms to {} ms, last {} on {})",
            d.count,
            d.first_at.as_millis(),
            d.last_at.as_millis(),
            d.last_action,
            d.last_resource
        ),
        fact => panic!("a tally makes no {fact:?}"),
    };
    format!("{} {at}: {fact}", observation.device)
}

/// Runs a script and gives what came out, line by line.
///
/// `p MS BYTES TOPIC` publishes, `r MS COUNT` receives, `d MS TOPIC` is denied, `f` flushes. Words
/// are parted by spaces, steps by commas. Where the tally asks for it, it is flushed; those lines
/// begin with `!`.
fn run(tripwires: Tripwires, script: &str) -> String {
    let mut tally = tally(tripwires);
    let mut lines = Vec::new();
    for step in script.split(',') {
        let words: Vec<&str> = step.split_whitespace().collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        let at = |i: usize| Timestamp::from_millis(number(i) as i64);
        let flush = match words[0] {
            "p" => tally.published(at(1), number(2), &topic(words[3]), NO_SLICE),
            "r" => tally.received(at(1), number(2), NO_SLICE),
            "d" => tally.denied(at(1), Action::Publish, words[2], NO_SLICE),
            "f" => {
                lines.extend(tally.flush().map(|observation| line(&observation)));
                assert_eq!(tally.due(), None);
                continue;
            }
            word => panic!("no step `{word}`"),
        };
        if flush == Flush::Now {
            lines.extend(tally.flush().map(|observation| format!("! {}", line(&observation))));
        }
    }
    lines.join("\n")
}

#[test]
fn messages_of_one_second_are_one_observation() {
    insta::assert_snapshot!(
        run(Tripwires::default(), "p 10000 120 a, p 10500 300 b, p 10999 80 a, f"),
        @"pump-7 10999: published 3 (500 bytes, 80 to 300, 10000 ms to 10999 ms, largest on b)"
    );
}

#[test]
fn a_new_second_flushes_the_one_before() {
    insta::assert_snapshot!(
        run(Tripwires::default(), "p 10999 1 a, p 11000 2 b, p 11001 3 b, f"),
        @r"
    ! pump-7 10999: published 1 (1 bytes, 1 to 1, 10999 ms to 10999 ms, largest on a)
    ! pump-7 11000: published 1 (2 bytes, 2 to 2, 11000 ms to 11000 ms, largest on b)
    pump-7 11001: published 1 (3 bytes, 3 to 3, 11001 ms to 11001 ms, largest on b)
    "
    );
}

#[test]
fn a_clock_that_steps_back_begins_another_second() {
    insta::assert_snapshot!(
        run(Tripwires::default(), "p 11000 1 a, p 10999 2 a, f"),
        @r"
    ! pump-7 11000: published 1 (1 bytes, 1 to 1, 11000 ms to 11000 ms, largest on a)
    ! pump-7 10999: published 1 (2 bytes, 2 to 2, 10999 ms to 10999 ms, largest on a)
    "
    );
}

#[test]
fn all_kinds_of_facts_come_out_in_order_of_time() {
    insta::assert_snapshot!(
        run(Tripwires::default(), "d 10000 x, r 10002 3, p 10001 7 a, d 10003 y, r 10001 0, f, f"),
        @r"
    pump-7 10001: published 1 (7 bytes, 7 to 7, 10001 ms to 10001 ms, largest on a)
    pump-7 10002: received 3
    pump-7 10003: denied 2 (10000 ms to 10003 ms, last iot:Publish on y)
    "
    );
}

#[test]
fn a_message_over_the_limit_is_told_at_once_and_once_a_second() {
    let tripwires = Tripwires { message_bytes: Some(1000), ..Tripwires::default() };
    insta::assert_snapshot!(
        run(tripwires, "p 10000 1000 a, p 10001 3000 b, p 10002 3000 b, p 10003 4000 b, p 11000 3000 b"),
        @r"
    ! pump-7 10001: published 2 (4000 bytes, 1000 to 3000, 10000 ms to 10001 ms, largest on b)
    ! pump-7 10003: published 2 (7000 bytes, 3000 to 4000, 10002 ms to 10003 ms, largest on b)
    ! pump-7 11000: published 1 (3000 bytes, 3000 to 3000, 11000 ms to 11000 ms, largest on b)
    "
    );
}

#[test]
fn a_count_over_the_limit_is_told_at_once_also_when_it_took_seconds() {
    let tripwires = Tripwires { messages_sent: Some(2), ..Tripwires::default() };
    insta::assert_snapshot!(
        run(tripwires, "p 10000 1 a, f, p 10001 1 a, f, p 10002 1 a, p 10003 1 a, f"),
        @r"
    pump-7 10000: published 1 (1 bytes, 1 to 1, 10000 ms to 10000 ms, largest on a)
    pump-7 10001: published 1 (1 bytes, 1 to 1, 10001 ms to 10001 ms, largest on a)
    ! pump-7 10002: published 1 (1 bytes, 1 to 1, 10002 ms to 10002 ms, largest on a)
    pump-7 10003: published 1 (1 bytes, 1 to 1, 10003 ms to 10003 ms, largest on a)
    "
    );
    let tripwires = Tripwires {
        messages_received: Some(5),
        authorization_failures: Some(0),
        ..Tripwires::default()
    };
    insta::assert_snapshot!(
        run(tripwires, "r 10000 5, r 10001 1, d 10002 x, d 10003 x, f"),
        @r"
    ! pump-7 10001: received 6
    ! pump-7 10002: denied 1 (10002 ms to 10002 ms, last iot:Publish on x)
    pump-7 10003: denied 1 (10003 ms to 10003 ms, last iot:Publish on x)
    "
    );
}

#[test]
fn a_flood_reaches_the_engine_as_a_trickle() {
    let tripwires =
        Tripwires { message_bytes: Some(10), messages_sent: Some(10), ..Tripwires::default() };
    let mut tally = tally(tripwires);
    let mut handed_on = 0;
    for i in 0..10_000 {
        let now = Timestamp::from_millis(10_000 + i / 10);
        if tally.published(now, 3000, &topic("a"), NO_SLICE) == Flush::Now {
            handed_on += tally.flush().count();
        }
    }
    assert_eq!(handed_on, 2, "one for each tripwire, in the one second that there was");
}

#[test]
fn until_the_tripwires_are_known_everything_is_handed_on_at_once() {
    let book = TripwireBook::default();
    let device = DeviceName::parse("pump-7").unwrap();
    let mut tally = Tally::new(
        device.clone(),
        "192.0.2.7".parse().unwrap(),
        book.wires(&device),
        Arc::new(SliceSet::default()),
    );
    let at = Timestamp::from_millis;
    for i in 0..3 {
        assert_eq!(tally.published(at(10_000 + i), 1, &topic("a"), NO_SLICE), Flush::Now);
        assert_eq!(tally.flush().count(), 1);
    }
    book.set(&device, Tripwires::default(), &[]);
    assert_eq!(tally.published(at(10_003), 1, &topic("a"), NO_SLICE), Flush::Later);
}

#[test]
fn what_was_counted_is_due_at_the_end_of_its_second() {
    let mut tally = tally(Tripwires::default());
    assert_eq!(tally.due(), None);
    let _ = tally.received(Timestamp::from_millis(10_300), 1, NO_SLICE);
    assert_eq!(tally.due(), Some(Timestamp::from_millis(11_000)));
    assert_eq!(tally.received(Timestamp::from_millis(12_300), 1, NO_SLICE), Flush::Now);
    assert_eq!(tally.due(), Some(Timestamp::from_millis(12_000)), "overdue");
    assert_eq!(tally.flush().count(), 2);
    assert_eq!(tally.due(), None);
}

#[test]
fn what_was_counted_stays_with_the_device_that_did_it() {
    let mut tally = tally(Tripwires::default());
    let book = TripwireBook::default();
    let thing = DeviceName::parse("thing").unwrap();
    let at = Timestamp::from_millis;
    let _ = tally.published(at(10_000), 5, &topic("a"), NO_SLICE);
    tally.recount_for(thing.clone(), book.wires(&thing));
    let _ = tally.published(at(10_001), 6, &topic("a"), NO_SLICE);
    let lines: Vec<String> = tally.flush().map(|observation| line(&observation)).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    pump-7 10000: published 1 (5 bytes, 5 to 5, 10000 ms to 10000 ms, largest on a)
    thing 10001: published 1 (6 bytes, 6 to 6, 10001 ms to 10001 ms, largest on a)
    ");
}

#[test]
fn nothing_is_lost_and_nothing_straddles_a_second() {
    let mut seed = 7_u64;
    let mut random = |bound: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (seed >> 33) % bound
    };
    let tripwires = Tripwires {
        message_bytes: Some(900),
        messages_sent: Some(7),
        messages_received: Some(30),
        authorization_failures: Some(3),
    };
    let mut tally = tally(tripwires);
    let mut now = Timestamp::from_secs(100);
    let (mut sent, mut bytes, mut received, mut denied) = (0, 0, 0, 0);
    let mut observations = Vec::new();
    for _ in 0..20_000 {
        now = now.plus_millis(random(120) as i64);
        let flush = match random(3) {
            0 => {
                let size = random(1000);
                (sent, bytes) = (sent + 1, bytes + size);
                tally.published(now, size, &topic("a"), NO_SLICE)
            }
            1 => {
                let count = random(5);
                received += count;
                tally.received(now, count, NO_SLICE)
            }
            _ => {
                denied += 1;
                tally.denied(now, Action::Subscribe, "b", NO_SLICE)
            }
        };
        if flush == Flush::Now || random(10) == 0 {
            observations.extend(tally.flush());
        }
    }
    observations.extend(tally.flush());
    let mut last_second = Timestamp::EPOCH;
    for observation in &observations {
        let second = observation.at.floor(FOLD_MS);
        assert!(last_second <= second, "in order");
        last_second = second;
        match &observation.fact {
            Fact::Published(p) => {
                assert_eq!((p.first_at.floor(FOLD_MS), p.last_at), (second, observation.at));
                assert!(p.bytes_min <= p.bytes_max && p.bytes_max <= p.bytes_total);
                (sent, bytes) = (sent - p.count, bytes - p.bytes_total);
            }
            Fact::Received { count } => received -= count,
            Fact::Denied(d) => {
                assert_eq!((d.first_at.floor(FOLD_MS), d.last_at), (second, observation.at));
                denied -= d.count;
            }
            fact => panic!("a tally makes no {fact:?}"),
        }
    }
    assert_eq!((sent, bytes, received, denied), (0, 0, 0, 0));
}
