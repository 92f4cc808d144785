//! What is told again, slice by slice.

use std::collections::BTreeMap;

use picket_model::{ClientId, DimensionName, DimensionOperator, Fact, MetricDimension, Tripwires};
use picket_mqtt::TopicLimits;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::slices::{Slice, SliceBook};
use crate::tripwires::TripwireBook;

/// A slice from `IN NAME FILTER..` or `NOT_IN NAME FILTER..`.
fn slice(text: &str) -> Slice {
    let mut words = text.split_whitespace();
    let operator = DimensionOperator::parse(words.next().unwrap()).unwrap();
    let name = DimensionName::parse(words.next().unwrap()).unwrap();
    let dimension = Arc::new(MetricDimension { name, operator });
    Slice { dimension, filters: words.map(str::to_owned).collect() }
}

/// Slices parted by `;`.
fn slices(text: &str) -> Vec<Slice> {
    text.split(';').filter(|text| !text.trim().is_empty()).map(slice).collect()
}

fn topic(text: &str) -> TopicName {
    TopicName::parse(text, &TopicLimits { bytes_max: 99, levels_max: 9 }).unwrap()
}

fn device() -> DeviceName {
    DeviceName::parse("pump-7").unwrap()
}

fn client() -> ClientId {
    ClientId::parse("pump-7").unwrap()
}

/// A tally with what it is told by.
struct Bench {
    tripwires: TripwireBook,
    slices: SliceBook,
    tally: Tally,
}

impl Bench {
    fn new(text: &str) -> Self {
        let (tripwires, book) = (TripwireBook::default(), SliceBook::default());
        tripwires.set(&device(), Tripwires::default(), &[]);
        book.set(slices(text));
        let set = Arc::clone(&book.current());
        let wires = tripwires.wires(&device());
        let tally = Tally::new(device(), "192.0.2.7".parse().unwrap(), wires, set);
        Self { tripwires, slices: book, tally }
    }

    /// `p MS BYTES TOPIC` publishes, `r MS COUNT TOPIC` receives, `d MS TOPIC` is denied.
    fn step(&mut self, step: &str) -> Flush {
        let words: Vec<&str> = step.split_whitespace().collect();
        let number = |i: usize| words[i].parse::<u64>().unwrap();
        let at = Timestamp::from_millis(number(1) as i64);
        let topic = topic(words[words.len() - 1]);
        let mask = self.tally.slices().of_name(&topic, &client());
        match words[0] {
            "p" => self.tally.published(at, number(2), &topic, mask),
            "r" => self.tally.received(at, number(2), mask),
            "d" => self.tally.denied(at, Action::Publish, topic.as_str(), mask),
            word => panic!("no step `{word}`"),
        }
    }
}

fn line(observation: &Observation) -> String {
    let at = observation.at.as_millis();
    let slice = observation.slice.as_ref();
    let slice = slice.map_or("whole".to_owned(), |dimension| dimension.to_string());
    let fact = match &observation.fact {
        Fact::Published(p) => format!(
            "published {} ({} bytes, {} to {}, from {}, largest on {})",
            p.count,
            p.bytes_total,
            p.bytes_min,
            p.bytes_max,
            p.first_at.as_millis(),
            p.largest_topic
        ),
        Fact::Received { count } => format!("received {count}"),
        Fact::Denied(d) => {
            format!(
                "denied {} (from {}, last {})",
                d.count,
                d.first_at.as_millis(),
                d.last_resource
            )
        }
        fact => panic!("a tally makes no {fact:?}"),
    };
    format!("{at} {slice}: {fact}")
}

/// Runs steps parted by commas, and `f` to flush, `s SLICES` to slice otherwise. Lines that the
/// tally asked to be flushed begin with `!`.
fn run(bench: &mut Bench, script: &str) -> String {
    let mut lines = Vec::new();
    for step in script.split(',').map(str::trim) {
        if step == "f" {
            lines.extend(bench.tally.flush().map(|observation| line(&observation)));
        } else if let Some(text) = step.strip_prefix('s') {
            bench.slices.set(slices(text));
            bench.tally.slice_by(Arc::clone(&bench.slices.current()));
        } else if bench.step(step) == Flush::Now {
            lines.extend(bench.tally.flush().map(|it| format!("! {}", line(&it))));
        }
    }
    lines.join("\n")
}

#[test]
fn each_slice_is_told_after_the_whole_of_its_kind() {
    let mut bench = Bench::new("IN keys keys/#; NOT_IN keys keys/#; IN own dev/${iot:ClientId}");
    insta::assert_snapshot!(
        run(&mut bench, "d 10000 keys/x, p 10001 7 keys/a, r 10002 3 dev/pump-7, p 10003 9 x, \
                         p 10004 2 keys/b, d 10005 y, r 10006 1 keys/c, f, f"),
        @r"
    10004 whole: published 3 (18 bytes, 2 to 9, from 10001, largest on x)
    10004 IN keys: published 2 (9 bytes, 2 to 7, from 10001, largest on keys/a)
    10003 NOT_IN keys: published 1 (9 bytes, 9 to 9, from 10003, largest on x)
    10005 whole: denied 2 (from 10000, last y)
    10000 IN keys: denied 1 (from 10000, last keys/x)
    10005 NOT_IN keys: denied 1 (from 10005, last y)
    10006 whole: received 4
    10006 IN keys: received 1
    10002 NOT_IN keys: received 3
    10002 IN own: received 3
    "
    );
}

#[test]
fn a_slice_that_nothing_lies_in_is_not_told() {
    let mut bench = Bench::new("IN a a; NOT_IN b #");
    insta::assert_snapshot!(run(&mut bench, "p 10000 1 x, r 10001 1 x, d 10002 x, f"), @r"
    10000 whole: published 1 (1 bytes, 1 to 1, from 10000, largest on x)
    10001 whole: received 1
    10002 whole: denied 1 (from 10002, last x)
    ");
}

#[test]
fn slices_keep_to_their_second_as_the_whole_does() {
    let mut bench = Bench::new("IN a a");
    insta::assert_snapshot!(run(&mut bench, "p 10999 1 a, p 11000 2 b, p 11500 4 a, f"), @r"
    ! 10999 whole: published 1 (1 bytes, 1 to 1, from 10999, largest on a)
    ! 10999 IN a: published 1 (1 bytes, 1 to 1, from 10999, largest on a)
    ! 11000 whole: published 1 (2 bytes, 2 to 2, from 11000, largest on b)
    11500 whole: published 1 (4 bytes, 4 to 4, from 11500, largest on a)
    11500 IN a: published 1 (4 bytes, 4 to 4, from 11500, largest on a)
    ");
}

#[test]
fn what_was_counted_is_told_by_the_slices_that_it_was_counted_under() {
    let mut bench = Bench::new("IN a a");
    insta::assert_snapshot!(run(&mut bench, "p 10000 1 a, s IN b b; IN a a, p 10001 2 a, f"), @r"
    ! 10000 whole: published 1 (1 bytes, 1 to 1, from 10000, largest on a)
    ! 10000 IN a: published 1 (1 bytes, 1 to 1, from 10000, largest on a)
    ! 10001 whole: published 1 (2 bytes, 2 to 2, from 10001, largest on a)
    ! 10001 IN a: published 1 (2 bytes, 2 to 2, from 10001, largest on a)
    ");
    insta::assert_snapshot!(run(&mut bench, "r 11000 1 b, s , r 11001 1 b, f"), @r"
    ! 11000 whole: received 1
    ! 11000 IN b: received 1
    ! 11001 whole: received 1
    ");
}

#[test]
fn a_slice_has_tripwires_of_its_own() {
    let mut bench = Bench::new("IN a a/#; IN b b/#; IN free #");
    let limited = |text: &str, wires| (slice(text).dimension, wires);
    let sliced = [
        limited("IN b", Tripwires { message_bytes: Some(10), ..Tripwires::default() }),
        limited(
            "IN a",
            Tripwires {
                messages_sent: Some(1),
                messages_received: Some(4),
                authorization_failures: Some(0),
                ..Tripwires::default()
            },
        ),
        limited("IN unused", Tripwires { messages_sent: Some(0), ..Tripwires::default() }),
    ];
    bench.tripwires.set(&device(), Tripwires::default(), &sliced);
    let flush = |bench: &mut Bench, step: &str| {
        let flush = bench.step(step);
        let _ = bench.tally.flush().count();
        flush
    };
    for (step, wanted) in [
        ("p 10000 99 a/x", Flush::Later),
        ("p 10001 10 b/x", Flush::Later),
        ("p 10002 11 b/x", Flush::Now),
        // Once a second is enough.
        ("p 10003 11 b/x", Flush::Later),
        ("p 10004 99 a/x", Flush::Now),
        ("r 10005 4 a/x", Flush::Later),
        ("r 10006 9 b/x", Flush::Later),
        ("r 10007 1 a/x", Flush::Now),
        ("d 10008 b/x", Flush::Later),
        ("d 10009 a/x", Flush::Now),
        ("p 11000 11 b/x", Flush::Now),
    ] {
        assert_eq!(flush(&mut bench, step), wanted, "{step}");
    }
    // Others are seen at once, and forgotten with the device that they were set for.
    let sliced = [limited("IN b", Tripwires { message_bytes: Some(50), ..Tripwires::default() })];
    bench.tripwires.set(&device(), Tripwires::default(), &sliced);
    assert_eq!(flush(&mut bench, "p 12000 11 b/x"), Flush::Later);
    assert_eq!(flush(&mut bench, "p 12001 51 b/x"), Flush::Now);
    let thing = DeviceName::parse("thing").unwrap();
    bench.tripwires.set(&thing, Tripwires::default(), &[]);
    bench.tally.recount_for(thing.clone(), bench.tripwires.wires(&thing));
    assert_eq!(flush(&mut bench, "p 13000 51 b/x"), Flush::Later);
}

/// What one slice, or the whole, was told or counted: published, bytes, received, denied.
type Sum = [u64; 4];

fn add(sums: &mut BTreeMap<String, Sum>, slice: &str, what: Sum) {
    let sum = sums.entry(slice.to_owned()).or_default();
    sum.iter_mut().zip(what).for_each(|(sum, n)| *sum += n);
}

proptest! {
    #[test]
    fn slices_add_up_to_what_counting_each_message_gives(
        steps in vec((0..5_u8, 0..400_i64, 0..2000_u64, 0..4_usize), 1..120),
        limits in vec(prop::option::of(0..5_u64), 4),
    ) {
        const SETS: [&str; 4] =
            ["", "IN a a/#", "IN a a/#; NOT_IN a a/#; IN b b a/b", "NOT_IN b b; IN a a/#"];
        const TOPICS: [&str; 4] = ["a/x", "a/b", "b", "c"];
        let mut bench = Bench::new(SETS[2]);
        let limits = Tripwires {
            message_bytes: limits[0].map(|n| n * 400),
            messages_sent: limits[1],
            messages_received: limits[2],
            authorization_failures: limits[3],
        };
        bench.tripwires.set(&device(), Tripwires::default(), &[(slice("IN a").dimension, limits)]);
        let (mut counted, mut told) = (BTreeMap::new(), Vec::new());
        let mut now = 10_000;
        for (what, later, n, pick) in steps {
            now += later;
            let topic = TOPICS[pick];
            let (step, sum) = match what {
                0 | 1 => (format!("p {now} {n} {topic}"), [1, n, 0, 0]),
                2 => (format!("r {now} {} {topic}", n / 400), [0, 0, n / 400, 0]),
                3 => (format!("d {now} {topic}"), [0, 0, 0, 1]),
                _ => {
                    bench.slices.set(slices(SETS[pick]));
                    bench.tally.slice_by(Arc::clone(&bench.slices.current()));
                    continue;
                }
            };
            if sum != Sum::default() {
                add(&mut counted, "whole", sum);
                let set = bench.tally.slices();
                let mask = set.of_name(&self::topic(topic), &client());
                set.named(mask).for_each(|it| add(&mut counted, &it.to_string(), sum));
            }
            if bench.step(&step) == Flush::Now {
                told.extend(bench.tally.flush());
            }
        }
        told.extend(bench.tally.flush());
        let mut sums = BTreeMap::new();
        let mut whole_at = None;
        for observation in &told {
            // Right after the whole of its kind and second, and never on its own.
            let kind = (observation.at.floor(FOLD_MS), std::mem::discriminant(&observation.fact));
            match &observation.slice {
                None => whole_at = Some(kind),
                Some(_) => prop_assert_eq!(whole_at, Some(kind)),
            }
            let slice = observation.slice.as_ref().map_or("whole".to_owned(), |it| it.to_string());
            add(&mut sums, &slice, match &observation.fact {
                Fact::Published(p) => [p.count, p.bytes_total, 0, 0],
                Fact::Received { count } => [0, 0, *count, 0],
                Fact::Denied(d) => [0, 0, 0, d.count],
                fact => panic!("a tally makes no {fact:?}"),
            });
        }
        prop_assert_eq!(sums, counted);
    }
}
