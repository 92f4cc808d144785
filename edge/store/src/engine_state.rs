//! What the detection engine knows of each device, so that a restart forgets nothing.
//!
//! Committed together with the verdicts that follow from it.

use picket_model::DeviceName;

use crate::codec::column;
use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx};

/// Stores the state of devices; `None` forgets one.
pub fn put(tx: &mut WriteTx, states: &[(DeviceName, Option<Vec<u8>>)]) -> Result<(), StoreError> {
    for (device, state) in states {
        match state {
            Some(state) => tx.execute(
                "INSERT INTO engine_states (device, state) VALUES (?1, ?2) \
                 ON CONFLICT (device) DO UPDATE SET state = excluded.state",
                (device.as_str(), state),
            )?,
            None => tx.execute("DELETE FROM engine_states WHERE device = ?1", [device.as_str()])?,
        };
    }
    Ok(())
}

/// All states, by device.
pub fn all(tx: &ReadTx) -> Result<Vec<(DeviceName, Vec<u8>)>, StoreError> {
    tx.rows("SELECT device, state FROM engine_states ORDER BY device", [], |row| {
        Ok((column::name(row, "device", DeviceName::parse)?, row.get("state")?))
    })
}
