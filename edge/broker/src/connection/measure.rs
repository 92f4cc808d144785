//! What deciding and counting a message cost by themselves. Nobody can run the broker without them,
//! so their share of a message's cost has to be measured this way: `cargo xtask bench broker shares`
//! does, and never asserts. By hand:
//!
//! ```sh
//! cargo test --release -p picket-broker --lib measure -- --ignored --nocapture
//! ```

use std::hint::black_box;
use std::time::Instant;

use picket_model::limits::MqttLimits;
use picket_model::{Account, ClientId, PolicyName, Tripwires};
use picket_mqtt::TopicName;
use picket_policy::ConnectionFacts;

use super::tests::Open;
use super::*;
use crate::access::{AccessBook, Errand, Opening};
use crate::authorize::TopicText;
use crate::ports::Principal;
use crate::slices::SliceSet;
use crate::tripwires::TripwireBook;

const MESSAGES: usize = 10_000_000;

/// Publishers whose messages meet at one subscriber.
const TOPICS: [&str; 8] =
    ["bench/0", "bench/1", "bench/2", "bench/3", "bench/4", "bench/5", "bench/6", "bench/7"];

/// Nanoseconds that one call takes; the best of a few rounds, as nothing makes code faster than
/// it is.
fn cost_ns(mut of_message: impl FnMut(usize)) -> f64 {
    let mut round = || {
        let begun = Instant::now();
        for n in 0..MESSAGES {
            of_message(n);
        }
        begun.elapsed().as_secs_f64() * 1e9 / MESSAGES as f64
    };
    (0..5).map(|_| round()).fold(f64::INFINITY, f64::min)
}

/// Does what a connection does with each message that it takes in and each that it hands out: where
/// all that a subscriber gets are of one topic, and where the topic changes with every message, which
/// is the worst for what it remembers.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, reason = "figures are what this is for")]
fn deciding_and_counting_a_message() {
    let limits = TopicLimits::from(&MqttLimits::default());
    let client = ClientId::parse("bench").unwrap();
    let policy = PolicyName::parse("open").unwrap();
    let principal = Principal::Anonymous { policy };
    let facts = ConnectionFacts::default();
    let book = AccessBook::new(Account::default(), Arc::new(Open));
    let opening = Opening {
        principal,
        client: client.clone(),
        errand: Errand::Connect,
        issued_as: None,
        facts,
    };
    let access = book.open(opening).get();
    let no_slices = Arc::new(SliceSet::default());
    let names = TOPICS.map(|topic| TopicName::parse(topic, &limits).unwrap());

    let [alike_ns, changing_ns] = [1, TOPICS.len()].map(|n_topics| {
        let mut publishing = PublishTopics::new(limits);
        let mut receiving = ReceiveTopics::default();
        cost_ns(|n| {
            let text = TOPICS[0];
            let to_text = || Ok::<_, picket_mqtt::TopicError>(TopicText::Text(text));
            let topic = publishing.of(black_box(text.as_bytes()), to_text).unwrap();
            let permit = black_box(topic.decide(&access, false)).0;
            assert!(permit.is_ok());
            let name = black_box(&names[n % n_topics]);
            assert!(receiving.of(name, &access, &no_slices, &client).is_allowed);
        })
    });

    let tripwires = TripwireBook::default();
    let far = Tripwires {
        message_bytes: Some(u64::MAX - 1),
        messages_sent: Some(u64::MAX - 1),
        messages_received: Some(u64::MAX - 1),
        authorization_failures: Some(u64::MAX - 1),
    };
    tripwires.set(&access.device, far, &[]);
    let wires = tripwires.wires(&access.device);
    let source = IpAddr::from([127, 0, 0, 1]);
    let mut sender = Tally::new(access.device.clone(), source, wires, Arc::clone(&no_slices));
    let wires = tripwires.wires(&access.device);
    let mut receiver = Tally::new(access.device.clone(), source, wires, Arc::clone(&no_slices));
    let mut at = Timestamp::EPOCH;
    let counting_ns = cost_ns(|n| {
        // A flush of observations for every thousand messages: one second of a busy device.
        if n % 1_000 == 0 {
            at = at + 1_000;
            black_box(sender.flush().count() + receiver.flush().count());
        }
        let slices = black_box(no_slices.of_name(&names[0], &client));
        assert!(sender.published(at, black_box(128), &names[0], slices) == Flush::Later);
        assert!(receiver.received(at, black_box(1), slices) == Flush::Later);
    });
    println!("apart {alike_ns:.1},{changing_ns:.1},{counting_ns:.1}");
}
