//! Which events of the registry are published.

use std::collections::BTreeMap;

use picket_model::{EventType, Timestamp};

use crate::codec::column;
use crate::error::StoreError;
use crate::tx::{ReadTx, WriteTx};

/// What is switched on, and since when anything was said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventConfigurations {
    /// Of the kinds that somebody said something about, whether they are on. All others are off.
    pub enabled: BTreeMap<EventType, bool>,
    /// When something was said first, and last.
    pub times: Option<(Timestamp, Timestamp)>,
}

/// What is switched on.
// aws: DescribeEventConfigurations
pub fn get(tx: &ReadTx) -> Result<EventConfigurations, StoreError> {
    let rows = tx.rows("SELECT * FROM event_configurations", [], |row| {
        let event_type = column::word(row, "event_type", EventType::parse)?;
        let times = (column::time(row, "created_at")?, column::time(row, "modified_at")?);
        Ok::<_, StoreError>((event_type, row.get::<_, bool>("enabled")?, times))
    })?;
    let times = rows.iter().map(|(_, _, times)| *times);
    let times = times.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
    let enabled = rows.into_iter().map(|(event_type, enabled, _)| (event_type, enabled)).collect();
    Ok(EventConfigurations { enabled, times })
}

/// Switches kinds of events on or off; those that are not named stay as they are.
// aws: UpdateEventConfigurations
pub fn update(
    tx: &mut WriteTx,
    enabled: &BTreeMap<EventType, bool>,
    now: Timestamp,
) -> Result<(), StoreError> {
    for (event_type, enabled) in enabled {
        tx.execute(
            "INSERT INTO event_configurations VALUES (?1, ?2, ?3, ?3) ON CONFLICT (event_type) \
             DO UPDATE SET enabled = excluded.enabled, modified_at = excluded.modified_at",
            (event_type.as_str(), enabled, now.as_millis()),
        )?;
    }
    Ok(())
}

/// Whether a kind of events is to be published.
pub(crate) fn is_enabled(tx: &ReadTx, event_type: EventType) -> Result<bool, StoreError> {
    tx.exists(
        "SELECT 1 FROM event_configurations WHERE event_type = ?1 AND enabled",
        [event_type.as_str()],
    )
}
