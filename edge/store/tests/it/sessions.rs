//! The database of sessions: what is written is read again, and goes with what it belongs to.

use std::os::unix::fs::PermissionsExt;

use picket_model::{Account, Timestamp};
use picket_store::sessions::{
    DeliveryRow, MessageId, SessionRow, SessionTx, StoredSession, SubscriptionRow,
};
use picket_store::{SessionStore, Store, StoreError};
use tempfile::TempDir;

use crate::scene::NOW;

pub(crate) fn session_row(key: u64) -> SessionRow {
    SessionRow {
        key,
        client: format!("client {key}"),
        principal: "policy/P".to_owned(),
        expiry_s: 100,
        until: None,
    }
}

pub(crate) fn delivery_row(number: u64, message: Option<MessageId>) -> DeliveryRow {
    DeliveryRow {
        number,
        message,
        qos: 2,
        retain: false,
        subscription_ids: None,
        shared: None,
        packet_id: None,
    }
}

fn subscription_row(filter: &str, options: u8) -> SubscriptionRow {
    SubscriptionRow { filter: filter.to_owned(), options, subscription_id: Some(7) }
}

struct Scene {
    sessions: SessionStore,
    store: Store,
    dir: TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let store = Store::open(dir.path(), Account::default()).unwrap();
        let sessions = SessionStore::open(&store).unwrap();
        Self { sessions, store, dir }
    }

    fn write(&self, f: impl FnOnce(&mut SessionTx<'_>) -> Result<(), StoreError>) {
        self.sessions.write(f).unwrap();
    }

    fn messages(&self) -> Vec<(String, Option<Timestamp>)> {
        let mut messages = Vec::new();
        let mut note = |publish: &[u8], at| {
            messages.push((String::from_utf8(publish.to_vec()).unwrap(), at));
        };
        self.sessions.messages(|_, publish, at| note(publish, at)).unwrap();
        messages
    }

    fn read(&self) -> Vec<StoredSession> {
        let sessions = self.sessions.sessions().unwrap();
        sessions.into_iter().map(|(_, session)| session.unwrap()).collect()
    }

    /// A connection of somebody else's to the file.
    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("sessions.db")).unwrap()
    }
}

#[test]
fn what_is_written_is_read_again_by_the_next_that_opens_it() {
    let scene = Scene::new();
    let mut waiting = delivery_row(5, None);
    scene.write(|tx| {
        tx.put(&session_row(1))?;
        tx.put(&SessionRow { until: Some(NOW), ..session_row(1) })?;
        tx.subscribe(1, &subscription_row("a/#", 1))?;
        tx.subscribe(1, &subscription_row("a/#", 2))?;
        tx.subscribe(1, &subscription_row("b", 0))?;
        tx.unsubscribe(1, "b")?;
        waiting.message = Some(tx.message(b"m", Some(NOW))?);
        waiting.subscription_ids = Some(vec![1, 268_435_455]);
        waiting.shared = Some(("$share/g/a".to_owned(), true));
        waiting.retain = true;
        tx.queue(1, &waiting)?;
        let released = tx.message(b"released", None)?;
        tx.queue(1, &delivery_row(4, Some(released)))?;
        tx.sent(1, 4, 65_535)?;
        tx.released(1, 4)?;
        [9, 8, 9].iter().try_for_each(|id| tx.take(1, *id))?;
        tx.free(1, 8)
    });
    let expected = StoredSession {
        row: SessionRow { until: Some(NOW), ..session_row(1) },
        subscriptions: vec![subscription_row("a/#", 2)],
        deliveries: vec![
            DeliveryRow { packet_id: Some(65_535), ..delivery_row(4, None) },
            waiting.clone(),
        ],
        taken: vec![9],
    };
    let Scene { sessions, store, dir } = scene;
    drop(sessions);
    let sessions = SessionStore::open(&store).unwrap();
    let scene = Scene { sessions, store, dir };
    assert_eq!(scene.read(), [expected]);
    assert_eq!(scene.messages(), [("m".to_owned(), Some(NOW))]);
}

#[test]
fn a_message_goes_with_the_last_delivery_that_needs_it() {
    let scene = Scene::new();
    scene.write(|tx| {
        let message = tx.message(b"m", None)?;
        (1..=3).try_for_each(|key| {
            tx.put(&session_row(key))?;
            tx.queue(key, &delivery_row(key, Some(message)))
        })
    });
    let n_after = |f: fn(&mut SessionTx<'_>) -> Result<(), StoreError>| {
        scene.write(f);
        scene.messages().len()
    };
    assert_eq!(n_after(|tx| tx.over(1, 1)), 1);
    assert_eq!(n_after(|tx| tx.released(2, 2)), 1);
    assert_eq!(n_after(|tx| tx.end(3)), 0);
    let left: Vec<_> = scene.read().iter().map(|it| (it.row.key, it.deliveries.len())).collect();
    assert_eq!(left, [(1, 0), (2, 1)]);
}

#[test]
fn a_batch_that_fails_leaves_nothing_and_can_be_written_again() {
    let scene = Scene::new();
    let batch = |tx: &mut SessionTx<'_>| {
        tx.put(&session_row(1))?;
        let message = tx.message(b"m", None)?;
        tx.queue(1, &delivery_row(1, Some(message)))
    };
    let failed = scene.sessions.write(|tx| {
        batch(tx)?;
        Err(StoreError::Closed)
    });
    assert!(failed.is_err());
    assert_eq!((scene.read().len(), scene.messages().len()), (0, 0));
    scene.write(batch);
    // The disk may have had it although it did not say so.
    scene.write(batch);
    let read = scene.read();
    assert_eq!((read.len(), read[0].deliveries.len()), (1, 1));
}

#[test]
fn a_row_that_cannot_be_read_costs_its_own_session_only() {
    let scene = Scene::new();
    scene.write(|tx| (1..=3).try_for_each(|key| tx.put(&session_row(key))));
    let broken = "UPDATE sessions SET expiry_s = -1 WHERE key = 1;
        INSERT INTO deliveries VALUES (2, 1, NULL, 2, 0, 'no list', NULL, 0, 1);";
    scene.database().execute_batch(broken).unwrap();
    let read = scene.sessions.sessions().unwrap();
    let read: Vec<_> = read.iter().map(|(key, it)| (*key, it.is_ok())).collect();
    assert_eq!(read, [(1, false), (2, false), (3, true)]);
}

#[test]
fn the_file_is_its_owners_alone_and_of_one_account() {
    let scene = Scene::new();
    for entry in std::fs::read_dir(scene.dir.path()).unwrap() {
        let mode = entry.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    let other = "UPDATE meta SET value = X'39' WHERE key = 'store.account'";
    assert_eq!(scene.database().execute(other, []).unwrap(), 1);
    let Scene { sessions, store, dir } = scene;
    drop(sessions);
    let refused = SessionStore::open(&store).err().unwrap();
    assert!(matches!(refused, StoreError::OtherAccount { .. }), "{refused}");
    SessionStore::remove(&store).unwrap();
    SessionStore::remove(&store).unwrap();
    let sessions = SessionStore::open(&store).unwrap();
    assert_eq!(Scene { sessions, store, dir }.read(), []);
}
