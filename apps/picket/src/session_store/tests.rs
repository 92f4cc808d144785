//! What is committed is what is loaded; what cannot be read costs its session and no other.

use picket_broker::ports::SessionStore as _;
use picket_model::Account;
use picket_mqtt::packet::{RetainHandling, SubscribeOptions};
use picket_mqtt::{Delivery, Shared, TopicName};
use picket_store::Store;
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

fn opened(dir: &TempDir) -> StoredInDatabase {
    let store = Store::open(dir.path(), Account::default()).unwrap();
    StoredInDatabase::new(SessionStore::open(&store).unwrap())
}

fn topic_filter(text: &str) -> TopicFilter {
    TopicFilter::parse(text, &FILTERS).unwrap()
}

fn facts(client: &str, principal: Principal) -> SessionFacts {
    let client = ClientId::parse(client).unwrap();
    SessionFacts { client, principal, expiry_s: 100, until: Some(Timestamp::from_secs(9)) }
}

fn anonymous() -> Principal {
    Principal::Anonymous { policy: PolicyName::parse("p").unwrap() }
}

fn delivery(message: &Arc<Message>) -> Delivery {
    let group = topic_filter("$share/g/t");
    Delivery {
        message: Arc::clone(message),
        qos: QoS::AtLeastOnce,
        retain: true,
        subscription_ids: Some(Arc::from([3, 4])),
        shared: Some(Arc::new(Shared { filter: group, retain: true, denied_to: vec![1] })),
        number: None,
    }
}

/// Two sessions for which one message waits; it was sent to the second.
fn filled(dir: &TempDir) -> Arc<Message> {
    let topic = TopicName::parse("t", &FILTERS).unwrap();
    let message = Message::received(topic, "x".into(), QoS::ExactlyOnce, None, Timestamp::EPOCH);
    let message = Arc::new(message);
    let certificate = Principal::Certificate(CertificateId::parse("a".repeat(64)).unwrap());
    let mut batch = Batch::default();
    for (key, principal, sent) in [(1, anonymous(), None), (2, certificate, Some(PacketId::MIN))] {
        let mut changes = SessionChanges {
            session: Some(SessionChange::Put(facts("c", principal))),
            ..SessionChanges::default()
        };
        let options = SubscribeOptions {
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            retain_handling: RetainHandling::Never,
        };
        let stored = StoredOptions { options, id: Some(5) };
        changes.subscriptions.insert(topic_filter("t/+"), Some(stored));
        changes.subscriptions.insert(topic_filter("gone"), None);
        let number = DeliveryNumber::new(key).unwrap();
        let change = DeliveryChange::New {
            delivery: delivery(&message),
            expires_at: Some(Timestamp::from_secs(7)),
            progress: Progress { sent, is_released: false },
        };
        changes.deliveries.insert(number, change);
        changes.taken.insert(PacketId::MAX, true);
        batch.sessions.insert(key, changes);
    }
    opened(dir).commit(&batch).unwrap();
    message
}

#[test]
fn what_is_committed_is_loaded() {
    let dir = TempDir::new().unwrap();
    let message = filled(&dir);
    let stored = opened(&dir).load().unwrap();
    assert_eq!(stored.unreadable, []);
    let expires_at = Some(Timestamp::from_secs(7));
    let kept: Vec<_> = stored.messages.values().collect();
    assert_eq!(kept, [&Message { expires_at, ..Message::clone(&message) }]);
    insta::assert_debug_snapshot!(stored.sessions);
}

#[test]
fn what_was_sent_released_and_over_is_so_for_who_loads() {
    let dir = TempDir::new().unwrap();
    filled(&dir);
    let mut store = opened(&dir);
    let mut commit = |key: u64, change: DeliveryChange| {
        let mut batch = Batch::default();
        let mut changes = SessionChanges::default();
        changes.deliveries.insert(DeliveryNumber::new(key).unwrap(), change);
        batch.sessions.insert(key, changes);
        store.commit(&batch).unwrap();
        let stored = store.load().unwrap();
        let deliveries = stored.sessions.iter().flat_map(|session| &session.deliveries);
        let told = deliveries.map(|it| {
            let has_message = it.message.is_some();
            format!("{} {has_message} {:?}", it.number, it.packet_id.map(PacketId::get))
        });
        (told.collect::<Vec<_>>().join(", "), stored.messages.len())
    };
    let sent = Progress { sent: PacketId::new(9), is_released: false };
    let released = Progress { sent: None, is_released: true };
    let steps = [
        (1, DeliveryChange::Moved(sent), "1 true Some(9), 2 true Some(1)", 1),
        (2, DeliveryChange::Moved(released), "1 true Some(9), 2 false Some(1)", 1),
        (1, DeliveryChange::Over, "2 false Some(1)", 0),
        (2, DeliveryChange::Over, "", 0),
    ];
    for (key, change, told, n_messages) in steps {
        assert_eq!(commit(key, change), (told.to_owned(), n_messages));
    }
}

/// Loads after somebody changed the rows of the first session; why it cannot be read.
fn spoilt(sql: &str) -> String {
    let dir = TempDir::new().unwrap();
    filled(&dir);
    let database = Connection::open(dir.path().join("sessions.db")).unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    let stored = opened(&dir).load().unwrap();
    let keys: Vec<_> = stored.sessions.iter().map(|session| session.key).collect();
    assert_eq!(keys, [2], "{sql}");
    let [(1, why)] = &stored.unreadable[..] else { panic!("{:?}", stored.unreadable) };
    why.clone()
}

#[test]
fn what_cannot_be_read_says_why() {
    for (sql, why) in [
        ("UPDATE sessions SET client = '' WHERE key = 1", "client id: client id is empty"),
        ("UPDATE sessions SET principal = 'x' WHERE key = 1", "`x` is no principal"),
        ("UPDATE sessions SET principal = 'policy/?' WHERE key = 1", "`policy/?` is no principal"),
        (
            "UPDATE sessions SET principal = 'certificate/a' WHERE key = 1",
            "`certificate/a` is no principal",
        ),
        (
            "UPDATE subscriptions SET filter = 'a#' WHERE session = 1",
            "topic filter: `a#` has a wildcard where none can be",
        ),
        (
            "UPDATE subscriptions SET options = 255 WHERE session = 1",
            "malformed packet: reserved bits of subscription options are set",
        ),
        ("UPDATE deliveries SET qos = 0 WHERE session = 1", "a delivery at QoS 0"),
        ("UPDATE deliveries SET number = 0 WHERE session = 1", "delivery 0"),
        ("UPDATE deliveries SET packet_id = 0 WHERE session = 1", "packet id 0"),
        (
            "UPDATE deliveries SET message = 77 WHERE session = 1",
            "message 77 is not there or cannot be read",
        ),
        (
            "UPDATE deliveries SET packet_id = 65536 WHERE session = 1",
            "column `packet_id` holds what cannot be read: 65536 is out of range",
        ),
        ("UPDATE taken SET packet_id = 0 WHERE session = 1", "packet id 0"),
    ] {
        assert_eq!(spoilt(sql), why);
    }
}
