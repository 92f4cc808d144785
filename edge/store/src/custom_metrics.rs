//! Custom metrics: what an account measures beside the built-in ones.

use picket_model::{CustomMetric, CustomMetricKind, CustomMetricName, Timestamp};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::profiles::{self, Use};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "custom metric";
const LISTING: &str = "custom-metrics";

fn read_row(row: &Row<'_>) -> Result<CustomMetric, StoreError> {
    Ok(CustomMetric {
        name: column::name(row, "name", CustomMetricName::parse)?,
        kind: column::word(row, "kind", CustomMetricKind::parse)?,
        display_name: row.get("display_name")?,
        created_at: column::time(row, "created_at")?,
        modified_at: column::time(row, "modified_at")?,
    })
}

/// The metric, if there is one of that name.
pub fn find(tx: &ReadTx, name: &CustomMetricName) -> Result<Option<CustomMetric>, StoreError> {
    tx.row("SELECT * FROM custom_metrics WHERE name = ?1", [name.as_str()], read_row)
}

/// The metric.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: DescribeCustomMetric
pub fn get(tx: &ReadTx, name: &CustomMetricName) -> Result<CustomMetric, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes a metric. The same name again with the same `client_token` changes nothing and gives the
/// one that is there.
///
/// # Errors
/// [`RegistryError::AlreadyExists`] if it was made with another token.
// aws: CreateCustomMetric
pub fn create(
    tx: &mut WriteTx,
    metric: &CustomMetric,
    client_token: &str,
) -> Result<CustomMetric, RegistryError> {
    let added = tx.execute(
        "INSERT INTO custom_metrics (name, kind, display_name, client_token, created_at, \
                                     modified_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
        (
            metric.name.as_str(),
            metric.kind.as_str(),
            &metric.display_name,
            client_token,
            metric.created_at.as_millis(),
            metric.modified_at.as_millis(),
        ),
    )?;
    let is_the_same = || {
        tx.exists(
            "SELECT 1 FROM custom_metrics WHERE name = ?1 AND client_token = ?2",
            [metric.name.as_str(), client_token],
        )
    };
    if added == 0 && !is_the_same()? {
        return Err(RegistryError::already_exists(WHAT, &metric.name));
    }
    get(tx, &metric.name)
}

/// Gives a metric another name for people.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: UpdateCustomMetric
pub fn set_display_name(
    tx: &mut WriteTx,
    name: &CustomMetricName,
    display_name: &str,
    now: Timestamp,
) -> Result<CustomMetric, RegistryError> {
    tx.execute(
        "UPDATE custom_metrics SET display_name = ?2, modified_at = ?3 WHERE name = ?1",
        (name.as_str(), display_name, now.as_millis()),
    )?;
    get(tx, name)
}

/// Deletes a metric; its values are listed no more, not even if one of the same name is made
/// again. One that is not there is no error.
///
/// # Errors
/// [`RegistryError::Invalid`] while a security profile uses it.
// aws: DeleteCustomMetric
pub fn delete(tx: &mut WriteTx, name: &CustomMetricName) -> Result<(), RegistryError> {
    profiles::expect_unused(tx, Use::Metric, WHAT, name.as_str())?;
    tx.execute("DELETE FROM custom_metrics WHERE name = ?1", [name.as_str()])?;
    Ok(())
}

/// Lists metrics by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListCustomMetrics
pub fn list(tx: &ReadTx, page: &Page) -> Result<Paged<CustomMetricName>, RegistryError> {
    let names = tx.rows(
        "SELECT name FROM custom_metrics WHERE name > ?1 ORDER BY name LIMIT ?2",
        (page.name_key(LISTING)?, page.rows_max()),
        |row| column::name(row, "name", CustomMetricName::parse),
    )?;
    Ok(Paged::cut(names, page, LISTING, |name| [name.to_string()]))
}

/// The number that stands for the metric in stored values.
pub(crate) fn id(tx: &ReadTx, name: &str) -> Result<Option<u64>, StoreError> {
    tx.row("SELECT id FROM custom_metrics WHERE name = ?1", [name], |row| column::count(row, "id"))
}
