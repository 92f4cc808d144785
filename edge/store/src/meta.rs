//! Small values of the installation: ids and keys made once, on the first start.

use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx};

/// The value of a key, if it has one.
pub fn get(tx: &ReadTx, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
    tx.row("SELECT value FROM meta WHERE key = ?1", [key], |row| Ok(row.get(0)?))
}

/// Sets the value of a key. Keys are dotted by owner: `api.server_secret`.
pub fn put(tx: &mut WriteTx, key: &str, value: &[u8]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO meta (key, value) VALUES (?1, ?2) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        (key, value),
    )?;
    Ok(())
}

/// Forgets a key; one that is not there is no error.
pub fn delete(tx: &mut WriteTx, key: &str) -> Result<(), StoreError> {
    tx.execute("DELETE FROM meta WHERE key = ?1", [key])?;
    Ok(())
}
