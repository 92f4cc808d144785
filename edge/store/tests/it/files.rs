//! What lies on the disk, and who may open it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use picket_model::Account;
use picket_store::{SessionStore, Store, StoreError};
use tempfile::TempDir;

use crate::scene::Scene;

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_directory_is_made_and_only_its_owner_reads_it() {
    let parent = TempDir::new().unwrap();
    let dir = parent.path().join("a/b");
    let store = Store::open(&dir, Account::default()).unwrap();
    assert_eq!(mode(&dir), 0o700);
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    drop(store);
}

#[test]
fn a_directory_is_open_once_at_a_time() {
    let scene = Scene::new();
    let error = Store::open(scene.dir.path(), Account::default()).err().unwrap();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.to_string().contains("is in use by another process"), "{error}");
    let Scene { store, runtime, dir } = scene;
    let other = store.clone();
    drop(store);
    assert!(Store::open(dir.path(), Account::default()).is_err(), "a clone holds it too");
    drop(other);
    let again = Store::open(dir.path(), Account::default()).unwrap();
    runtime.block_on(again.close());
    Store::open(dir.path(), Account::default()).unwrap();
}

/// SQLite's own locks, by which other programs see that a database is in use: one that sees none, such
/// as `sqlite3` up to 3.50, takes the log away when it closes, and what is written after that is lost.
#[test]
fn a_database_in_use_is_locked_for_other_programs() {
    let scene = Scene::with("thing a");
    let sessions = SessionStore::open(&scene.store).unwrap();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    for name in ["picket.db", "sessions.db"] {
        let inode = std::fs::metadata(scene.dir.path().join(name)).unwrap().ino();
        let is_locked = locks.lines().any(|lock| lock.contains(&format!(":{inode} ")));
        assert!(is_locked, "{name}: {locks}");
    }
    drop(sessions);
}

#[test]
fn a_database_of_a_later_version_is_left_alone() {
    let scene = Scene::with("thing T");
    let Scene { store, dir, .. } = scene;
    drop(store);
    let path = dir.path().join("picket.db");
    let database = rusqlite::Connection::open(&path).unwrap();
    database.pragma_update(None, "user_version", 999).unwrap();
    drop(database);
    let error = Store::open(dir.path(), Account::default()).err().unwrap();
    assert!(matches!(error, StoreError::NewerSchema { found: 999, .. }), "{error}");
    assert!(error.to_string().contains("the database has schema 999"), "{error}");
}

#[test]
fn the_data_belongs_to_one_account_in_any_region() {
    let scene = Scene::new();
    let Scene { store, dir, .. } = scene;
    drop(store);
    let moved = Account { region: "eu-west-1".to_owned(), ..Account::default() };
    drop(Store::open(dir.path(), moved).unwrap());
    let other = Account { id: "999999999999".to_owned(), ..Account::default() };
    let error = Store::open(dir.path(), other).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the data directory belongs to account `123456789012`, not to account `999999999999`"
    );
}

#[test]
fn a_file_in_the_way_is_named() {
    let parent = TempDir::new().unwrap();
    let path = parent.path().join("file");
    std::fs::write(&path, "x").unwrap();
    let error = Store::open(&path, Account::default()).err().unwrap();
    assert_eq!(error.to_string(), format!("cannot open `{}`", path.display()));
}

#[test]
fn what_is_no_database_is_refused() {
    let dir = TempDir::new().unwrap();
    std::fs::write(dir.path().join("picket.db"), "this is no database".repeat(100)).unwrap();
    let error = Store::open(dir.path(), Account::default()).err().unwrap();
    assert!(matches!(error, StoreError::Database(_)), "{error}");
}
