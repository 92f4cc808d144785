//! Schema migrations: numbered SQL files, applied in order, each in a transaction of its own.
//!
//! SQLite's `user_version` holds the number of the last one applied. A file that has been released
//! is never changed; the next change of the schema is the next file.

use rusqlite::Connection;

use crate::error::StoreError;

/// Those of the store; the first makes schema 1.
pub(crate) const STORE: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_detect.sql"),
    include_str!("../migrations/0003_enrollment.sql"),
    include_str!("../migrations/0004_registry_events.sql"),
];

/// Those of the database of sessions.
pub(crate) const SESSIONS: &[&str] = &[include_str!("../migrations/sessions/0001_first.sql")];

/// Brings a database to the schema that the last of its migrations makes.
///
/// # Errors
/// [`StoreError::NewerSchema`] if a later version of Picket wrote it; it is left untouched.
pub(crate) fn migrate(connection: &mut Connection, migrations: &[&str]) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > migrations.len() {
        let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        return Err(StoreError::NewerSchema { found, known });
    }
    for (number, sql) in (1_i64..).zip(migrations).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
