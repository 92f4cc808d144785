//! What the disk does to a group of writes, brought about from inside.

use picket_model::{Account, ThingName, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::sync::{broadcast, oneshot};

use super::{Group, Task};
use crate::migrations::{STORE, migrate};
use crate::store::Store;
use crate::things::{self, NewThing};
use crate::{ReadTx, RegistryError, StoreError, WriteTx};

fn open(dir: &TempDir) -> Store {
    Store::open(dir.path(), Account::default()).unwrap()
}

fn make(tx: &mut WriteTx, name: &str) -> Result<(), RegistryError> {
    let new = NewThing {
        name: ThingName::parse(name).unwrap(),
        thing_type: None,
        attributes: [("filler".to_owned(), "x".repeat(800))].into(),
    };
    things::create(tx, &new, "id", Timestamp::EPOCH).map(drop)
}

fn exists(tx: &ReadTx, name: &str) -> Result<bool, StoreError> {
    tx.exists("SELECT 1 FROM things WHERE name = ?1", [name])
}

/// A transaction that the database cannot commit.
fn spoil(tx: &mut WriteTx) -> Result<(), StoreError> {
    tx.execute(
        "CREATE TABLE spoilt (thing TEXT REFERENCES things (name) DEFERRABLE INITIALLY DEFERRED)",
        [],
    )?;
    tx.execute("INSERT INTO spoilt VALUES ('no such thing')", []).map(drop)
}

/// Adds a closure to a group; its result comes through the receiver.
fn add<T: Send + 'static>(
    group: &mut Group,
    tx: &mut WriteTx,
    f: impl FnOnce(&mut WriteTx) -> Result<T, RegistryError> + Send + 'static,
) -> oneshot::Receiver<Result<T, RegistryError>> {
    let (caller, result) = oneshot::channel();
    group.add(tx, Box::new(Task::new(f, caller)));
    result
}

#[test]
fn a_commit_that_fails_fails_every_write_of_its_group_and_tells_nobody() {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    migrate(&mut connection, STORE).unwrap();
    let mut tx = WriteTx::new(ReadTx::new(connection, Account::default()));
    let (changes, mut watcher) = broadcast::channel(8);

    let mut group = Group::default();
    let mut results = vec![
        add(&mut group, &mut tx, |tx| make(tx, "A")),
        add(&mut group, &mut tx, |tx| Ok(spoil(tx)?)),
        add(&mut group, &mut tx, |tx| make(tx, "B")),
    ];
    group.commit(&mut tx, &changes);
    for result in &mut results {
        let error = result.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::Store(StoreError::Commit(_))), "{error}");
    }
    assert!(watcher.try_recv().is_err());
    assert!(!exists(&tx, "A").unwrap() && !exists(&tx, "B").unwrap());

    let mut group = Group::default();
    let mut result = add(&mut group, &mut tx, |tx| make(tx, "C"));
    group.commit(&mut tx, &changes);
    result.try_recv().unwrap().unwrap();
    assert_eq!(watcher.try_recv().unwrap().len(), 1, "nothing of the failed group is left");
    assert!(exists(&tx, "C").unwrap());
}

#[test]
fn a_transaction_that_the_database_gives_up_fails_the_group_it_was_in() {
    let mut connection = Connection::open_in_memory().unwrap();
    migrate(&mut connection, STORE).unwrap();
    let mut tx = WriteTx::new(ReadTx::new(connection, Account::default()));
    let (changes, _) = broadcast::channel(8);
    let mut group = Group::default();
    let mut results = vec![
        add(&mut group, &mut tx, |tx| make(tx, "A")),
        add(&mut group, &mut tx, |tx| {
            // What SQLite does by itself when the disk is full in the middle of a statement.
            tx.execute("ROLLBACK", [])?;
            // A closure that overlooks the error does not write outside any transaction.
            assert!(make(tx, "later").is_err());
            Ok(())
        }),
        add(&mut group, &mut tx, |tx| make(tx, "B")),
    ];
    group.commit(&mut tx, &changes);
    for result in &mut results {
        let error = result.try_recv().unwrap().unwrap_err();
        assert!(matches!(error, RegistryError::Store(StoreError::Commit(_))), "{error}");
    }
    for name in ["A", "later", "B"] {
        assert!(!exists(&tx, name).unwrap(), "{name}");
    }
}

#[tokio::test]
async fn a_full_database_fails_writes_until_there_is_room_again() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    store.write(|tx| make(tx, "before")).await.unwrap();
    let set_pages = |pages: i64| {
        let store = store.clone();
        async move {
            let sql = format!("PRAGMA max_page_count = {pages}");
            let set = store.write(move |tx| tx.number(&sql, []));
            set.await.unwrap()
        }
    };
    set_pages(1).await;
    let mut failed = None;
    for i in 0..1000 {
        if let Err(error) = store.write(move |tx| make(tx, &format!("t{i}"))).await {
            failed = Some((i, error));
            break;
        }
    }
    let (number, error) = failed.expect("a thousand things need more room");
    assert!(matches!(error, RegistryError::Store(_)), "{error}");
    let found = store.read(|tx| exists(tx, "before")).unwrap();
    assert!(found, "what was stored stays");
    let name = format!("t{number}");
    assert!(!store.read(|tx| exists(tx, &name)).unwrap());

    set_pages(1_000_000).await;
    store.write(|tx| make(tx, "after")).await.unwrap();
    assert!(store.read(|tx| exists(tx, "after")).unwrap());
}

#[tokio::test]
async fn a_commit_is_on_the_disk_before_it_is_acknowledged() {
    let dir = TempDir::new().unwrap();
    let store = open(&dir);
    let (mode, synchronous) = store
        .write(|tx| {
            let mode =
                tx.row("PRAGMA journal_mode", [], |row| Ok::<String, StoreError>(row.get(0)?))?;
            // 2 is FULL: the log is synchronised at each commit.
            Ok::<_, StoreError>((mode, tx.number("PRAGMA synchronous", [])?))
        })
        .await
        .unwrap();
    assert_eq!((mode.as_deref(), synchronous), (Some("wal"), 2));
}
