//! What MQTT sessions were promised, in a database of its own: `sessions.db`, beside the other.
//!
//! The two have nothing to say to each other, so neither waits for the other's commits. This one is
//! written by one caller, a batch at a time, and read once, when the server starts. It knows nothing
//! of MQTT but the names of things: what a message is, is its caller's to say.

use std::fs::File;
use std::sync::{Mutex, MutexGuard, PoisonError};

use picket_model::Timestamp;
use rusqlite::{Connection, OpenFlags, Row};

use crate::codec::column;
use crate::error::StoreError;
use crate::migrations::{SESSIONS, migrate};
use crate::store::{
    Store, claim_account, opening, prepare_statements, prepare_writer, private_file,
};
use crate::tx::{ReadTx, WriteTx};

const FILE: &str = "sessions.db";

/// The database of sessions.
pub struct SessionStore {
    tx: Mutex<WriteTx>,
    /// Holds the data directory for this process, as long as there is this.
    _store: Store,
}

/// A session, without what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Tells it from all others.
    pub key: u64,
    /// Whose it is.
    pub client: String,
    /// Who the client was found to be.
    pub principal: String,
    /// Seconds that it outlives its connection.
    pub expiry_s: u32,
    /// When it is over; `None` while it has a connection.
    pub until: Option<Timestamp>,
}

/// One subscription of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// What to, with its group where it is shared.
    pub filter: String,
    /// How, in one byte.
    pub options: u8,
    /// MQTT 5's subscription identifier.
    pub subscription_id: Option<u32>,
}

/// Names a message within the database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(i64);

impl MessageId {
    /// As a number.
    pub const fn number(self) -> u64 {
        self.0.unsigned_abs()
    }
}

/// One delivery of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryRow {
    /// Its place in the order.
    pub number: u64,
    /// `None` once the client has it.
    pub message: Option<MessageId>,
    /// How surely: 1 or 2.
    pub qos: u8,
    /// The retain flag that the client sees.
    pub retain: bool,
    /// Subscriptions that it is for.
    pub subscription_ids: Option<Vec<u32>>,
    /// The group's filter, and the retain flag as published, where it came by a group.
    pub shared: Option<(String, bool)>,
    /// Set once it was sent.
    pub packet_id: Option<u16>,
}

/// A session with all that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSession {
    /// Itself.
    pub row: SessionRow,
    /// By their filters.
    pub subscriptions: Vec<SubscriptionRow>,
    /// In their order.
    pub deliveries: Vec<DeliveryRow>,
    /// Packet ids taken and not released.
    pub taken: Vec<u16>,
}

/// The key of a session, and the session or why it cannot be read.
pub type ReadSession = (u64, Result<StoredSession, StoreError>);

impl SessionStore {
    /// Opens the database in the data directory of a store, which is made if it is missing, and brings
    /// its schema up to date. Blocking.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open(store: &Store) -> Result<Self, StoreError> {
        let path = store.dir().join(FILE);
        let failed = opening(&path);
        private_file(&path).map_err(&failed)?;
        File::open(store.dir()).and_then(|dir| dir.sync_all()).map_err(&failed)?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags)?;
        prepare_writer(&connection)?;
        migrate(&mut connection, SESSIONS)?;
        prepare_statements(&connection);
        let account = store.account().clone();
        let mut tx = WriteTx::new(ReadTx::new(connection, account.clone()));
        claim_account(&mut tx, &account)?;
        tx.connection.execute_batch(
            "DELETE FROM messages WHERE id NOT IN \
             (SELECT message FROM deliveries WHERE message IS NOT NULL)",
        )?;
        Ok(Self { tx: Mutex::new(tx), _store: store.clone() })
    }

    /// Forgets everything, for a server that keeps no promises of before. Blocking.
    ///
    /// # Errors
    /// [`StoreError::Open`] if a file that is there cannot be removed.
    pub fn remove(store: &Store) -> Result<(), StoreError> {
        // The database goes last: without its log it would be another one.
        for suffix in ["-wal", "-shm", ""] {
            let path = store.dir().join(format!("{FILE}{suffix}"));
            match std::fs::remove_file(&path) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(opening(&path)(source));
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, WriteTx> {
        // What a panic leaves half done is rolled back by the next one that writes.
        self.tx.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a batch: all of it is on the disk when this returns, or nothing of it is there.
    /// Blocking.
    ///
    /// # Errors
    /// What `f` says, or that the commit failed.
    pub fn write<E: From<StoreError>>(
        &self,
        f: impl FnOnce(&mut SessionTx<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut tx = self.lock();
        roll_back(&tx)?;
        let execute = |tx: &WriteTx, sql: &str| -> Result<(), StoreError> {
            tx.connection.prepare_cached(sql)?.execute([])?;
            Ok(())
        };
        execute(&tx, "BEGIN IMMEDIATE")?;
        let written = f(&mut SessionTx { tx: &mut tx })
            .and_then(|()| execute(&tx, "COMMIT").map_err(E::from));
        if written.is_err() {
            roll_back(&tx)?;
        }
        written
    }

    /// Reads every message, in no order. Blocking.
    ///
    /// # Errors
    /// That the database cannot be read.
    pub fn messages(
        &self,
        mut each: impl FnMut(MessageId, &[u8], Option<Timestamp>),
    ) -> Result<(), StoreError> {
        let tx = self.lock();
        let mut statement =
            tx.connection.prepare("SELECT id, publish, expires_at FROM messages")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let publish = row.get_ref("publish")?.as_blob().map_err(rusqlite::Error::from)?;
            let expires_at: Option<i64> = row.get("expires_at")?;
            each(MessageId(row.get("id")?), publish, expires_at.map(Timestamp::from_millis));
        }
        Ok(())
    }

    /// Reads every session with what belongs to it, oldest first, or why a row of it cannot be read.
    /// Blocking.
    ///
    /// # Errors
    /// That the database cannot be read.
    pub fn sessions(&self) -> Result<Vec<ReadSession>, StoreError> {
        let tx = self.lock();
        let keys: Vec<i64> =
            tx.rows::<_, StoreError>("SELECT key FROM sessions ORDER BY key", [], |row| {
                Ok(row.get(0)?)
            })?;
        let mut sessions = Vec::with_capacity(keys.len());
        for key in keys {
            match session(&tx, key) {
                Err(error @ StoreError::Database(_)) => return Err(error),
                read => sessions.push((key.unsigned_abs(), read)),
            }
        }
        Ok(sessions)
    }
}

/// Ends a transaction that somebody left open.
fn roll_back(tx: &WriteTx) -> Result<(), StoreError> {
    if !tx.connection.is_autocommit() {
        tx.connection.execute_batch("ROLLBACK")?;
    }
    Ok(())
}

fn session(tx: &ReadTx, key: i64) -> Result<StoredSession, StoreError> {
    let row = tx.row(
        "SELECT key, client, principal, expiry_s, until FROM sessions WHERE key = ?1",
        [key],
        read_session,
    )?;
    let gone = || StoreError::Unreadable { column: "key", problem: format!("{key} is gone") };
    Ok(StoredSession {
        row: row.ok_or_else(gone)?,
        subscriptions: tx.rows(
            "SELECT filter, options, subscription_id FROM subscriptions WHERE session = ?1",
            [key],
            read_subscription,
        )?,
        deliveries: tx.rows(
            "SELECT number, message, qos, retain, subscription_ids, shared_filter, shared_retain, \
             packet_id FROM deliveries WHERE session = ?1 ORDER BY number",
            [key],
            read_delivery,
        )?,
        taken: tx.rows("SELECT packet_id FROM taken WHERE session = ?1", [key], |row| {
            column::count(row, "packet_id")
        })?,
    })
}

fn read_session(row: &Row<'_>) -> Result<SessionRow, StoreError> {
    let until: Option<i64> = row.get("until")?;
    Ok(SessionRow {
        key: column::count(row, "key")?,
        client: row.get("client")?,
        principal: row.get("principal")?,
        expiry_s: column::count(row, "expiry_s")?,
        until: until.map(Timestamp::from_millis),
    })
}

fn read_subscription(row: &Row<'_>) -> Result<SubscriptionRow, StoreError> {
    Ok(SubscriptionRow {
        filter: row.get("filter")?,
        options: column::count(row, "options")?,
        subscription_id: column::count_opt(row, "subscription_id")?,
    })
}

fn read_delivery(row: &Row<'_>) -> Result<DeliveryRow, StoreError> {
    let ids: Option<String> = row.get("subscription_ids")?;
    let unreadable = |error: serde_json::Error| StoreError::Unreadable {
        column: "subscription_ids",
        problem: error.to_string(),
    };
    let shared_filter: Option<String> = row.get("shared_filter")?;
    let shared_retain: bool = row.get("shared_retain")?;
    Ok(DeliveryRow {
        number: column::count(row, "number")?,
        message: row.get::<_, Option<i64>>("message")?.map(MessageId),
        qos: column::count(row, "qos")?,
        retain: row.get("retain")?,
        subscription_ids: ids
            .map(|ids| serde_json::from_str(&ids))
            .transpose()
            .map_err(unreadable)?,
        shared: shared_filter.map(|filter| (filter, shared_retain)),
        packet_id: column::count_opt(row, "packet_id")?,
    })
}

/// A batch that is being written. Everything in it may be written again: what is there already is
/// replaced, what is gone already is gone.
pub struct SessionTx<'a> {
    tx: &'a mut WriteTx,
}

/// A number as SQLite has it; none that is counted up gets beyond.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl SessionTx<'_> {
    /// Writes a session down, or what is new of it.
    pub fn put(&mut self, session: &SessionRow) -> Result<(), StoreError> {
        let SessionRow { key, client, principal, expiry_s, until } = session;
        self.tx.execute(
            "INSERT INTO sessions (key, client, principal, expiry_s, until) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (key) DO UPDATE SET client = excluded.client, \
             principal = excluded.principal, expiry_s = excluded.expiry_s, until = excluded.until",
            (integer(*key), client, principal, expiry_s, until.map(Timestamp::as_millis)),
        )?;
        Ok(())
    }

    /// Ends a session, with all that belongs to it.
    pub fn end(&mut self, session: u64) -> Result<(), StoreError> {
        for sql in [
            "DELETE FROM sessions WHERE key = ?1",
            "DELETE FROM subscriptions WHERE session = ?1",
            "DELETE FROM deliveries WHERE session = ?1",
            "DELETE FROM taken WHERE session = ?1",
        ] {
            self.tx.execute(sql, [integer(session)])?;
        }
        Ok(())
    }

    /// Adds or replaces a subscription.
    pub fn subscribe(
        &mut self,
        session: u64,
        subscription: &SubscriptionRow,
    ) -> Result<(), StoreError> {
        let SubscriptionRow { filter, options, subscription_id } = subscription;
        self.tx.execute(
            "INSERT INTO subscriptions (session, filter, options, subscription_id) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (session, filter) \
             DO UPDATE SET options = excluded.options, subscription_id = excluded.subscription_id",
            (integer(session), filter, options, subscription_id),
        )?;
        Ok(())
    }

    /// Removes a subscription.
    pub fn unsubscribe(&mut self, session: u64, filter: &str) -> Result<(), StoreError> {
        self.tx.execute(
            "DELETE FROM subscriptions WHERE session = ?1 AND filter = ?2",
            (integer(session), filter),
        )?;
        Ok(())
    }

    /// Stores a message for the deliveries that will name it. One that none names is removed at the
    /// next start.
    pub fn message(
        &mut self,
        publish: &[u8],
        expires_at: Option<Timestamp>,
    ) -> Result<MessageId, StoreError> {
        self.tx.execute(
            "INSERT INTO messages (publish, expires_at) VALUES (?1, ?2)",
            (publish, expires_at.map(Timestamp::as_millis)),
        )?;
        Ok(MessageId(self.tx.connection.last_insert_rowid()))
    }

    /// Adds a delivery to a session.
    pub fn queue(&mut self, session: u64, delivery: &DeliveryRow) -> Result<(), StoreError> {
        let DeliveryRow { number, message, qos, retain, subscription_ids, shared, packet_id } =
            delivery;
        let (shared_filter, shared_retain) = match shared {
            Some((filter, retain)) => (Some(filter), *retain),
            None => (None, false),
        };
        let ids = subscription_ids.as_ref().map(|ids| serde_json::json!(ids).to_string());
        self.tx.execute(
            "INSERT INTO deliveries (session, number, message, qos, retain, subscription_ids, \
             shared_filter, shared_retain, packet_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (session, number) DO UPDATE SET message = excluded.message",
            (
                integer(session),
                integer(*number),
                message.map(|MessageId(id)| id),
                qos,
                retain,
                ids,
                shared_filter,
                shared_retain,
                packet_id,
            ),
        )?;
        Ok(())
    }

    /// Notes that a delivery was sent.
    pub fn sent(&mut self, session: u64, number: u64, packet_id: u16) -> Result<(), StoreError> {
        self.tx.execute(
            "UPDATE deliveries SET packet_id = ?3 WHERE session = ?1 AND number = ?2",
            (integer(session), integer(number), packet_id),
        )?;
        Ok(())
    }

    /// Notes that the client has a delivery, which needs its message no more.
    pub fn released(&mut self, session: u64, number: u64) -> Result<(), StoreError> {
        self.tx.execute(
            "UPDATE deliveries SET message = NULL WHERE session = ?1 AND number = ?2",
            (integer(session), integer(number)),
        )?;
        Ok(())
    }

    /// Ends a delivery.
    pub fn over(&mut self, session: u64, number: u64) -> Result<(), StoreError> {
        self.tx.execute(
            "DELETE FROM deliveries WHERE session = ?1 AND number = ?2",
            (integer(session), integer(number)),
        )?;
        Ok(())
    }

    /// Notes that a packet id was taken.
    pub fn take(&mut self, session: u64, packet_id: u16) -> Result<(), StoreError> {
        self.tx.execute(
            "INSERT OR IGNORE INTO taken (session, packet_id) VALUES (?1, ?2)",
            (integer(session), packet_id),
        )?;
        Ok(())
    }

    /// Notes that it is free again.
    pub fn free(&mut self, session: u64, packet_id: u16) -> Result<(), StoreError> {
        self.tx.execute(
            "DELETE FROM taken WHERE session = ?1 AND packet_id = ?2",
            (integer(session), packet_id),
        )?;
        Ok(())
    }
}
