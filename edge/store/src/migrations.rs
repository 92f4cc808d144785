//! Schema migrations: numbered SQL files, applied in order, each in a transaction of its own.
//!
//! SQLite's `user_version` holds the number of the last one applied. A file that has been released
//! is never changed; the next change of the schema is the next file.

use rusqlite::Connection;

use crate::error::StoreError;

/// The migrations; the first makes schema 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_first.sql"),
    include_str!("../migrations/0002_detect.sql"),
    include_str!("../migrations/0003_enrollment.sql"),
    include_str!("../migrations/0004_registry_events.sql"),
];

/// The schema that this version reads and writes.
pub(crate) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// Brings the database to the schema of this version.
///
/// # Errors
/// [`StoreError::NewerSchema`] if a later version of Picket wrote it; it is left untouched.
pub(crate) fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let done = usize::try_from(found).unwrap_or(usize::MAX);
    if done > MIGRATIONS.len() {
        return Err(StoreError::NewerSchema { found, known: known() });
    }
    for (number, sql) in (1_i64..).zip(MIGRATIONS).skip(done) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", number)?;
        transaction.commit()?;
    }
    Ok(())
}
