//! Dimensions: named sets of topic filters that narrow a metric.

use picket_model::{Change, Dimension, DimensionName, Timestamp};
use rusqlite::Row;
use serde_json::Value;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::profiles::{self, Use};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "dimension";
const LISTING: &str = "dimensions";

fn read_row(row: &Row<'_>) -> Result<Dimension, StoreError> {
    Ok(Dimension {
        name: column::name(row, "name", DimensionName::parse)?,
        filters: column::list(row, "filters", |filter| {
            filter.as_str().map(str::to_owned).ok_or_else(|| "no topic filter".to_owned())
        })?,
        created_at: column::time(row, "created_at")?,
        modified_at: column::time(row, "modified_at")?,
    })
}

fn filters_text(filters: &[String]) -> String {
    Value::from(filters).to_string()
}

/// The dimension, if there is one of that name.
pub fn find(tx: &ReadTx, name: &DimensionName) -> Result<Option<Dimension>, StoreError> {
    tx.row("SELECT * FROM dimensions WHERE name = ?1", [name.as_str()], read_row)
}

/// The dimension.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: DescribeDimension
pub fn get(tx: &ReadTx, name: &DimensionName) -> Result<Dimension, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes a dimension. The same name again with the same `client_token` changes nothing and gives
/// the one that is there.
///
/// # Errors
/// [`RegistryError::AlreadyExists`] if it was made with another token.
// aws: CreateDimension
pub fn create(
    tx: &mut WriteTx,
    dimension: &Dimension,
    client_token: &str,
) -> Result<Dimension, RegistryError> {
    let added = tx.execute(
        "INSERT INTO dimensions (name, filters, client_token, created_at, modified_at) \
         VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
        (
            dimension.name.as_str(),
            filters_text(&dimension.filters),
            client_token,
            dimension.created_at.as_millis(),
            dimension.modified_at.as_millis(),
        ),
    )?;
    if added > 0 {
        tx.changed(Change::Dimension(dimension.name.clone()));
        return get(tx, &dimension.name);
    }
    let is_the_same = tx.exists(
        "SELECT 1 FROM dimensions WHERE name = ?1 AND client_token = ?2",
        [dimension.name.as_str(), client_token],
    )?;
    if !is_the_same {
        return Err(RegistryError::already_exists(WHAT, &dimension.name));
    }
    get(tx, &dimension.name)
}

/// Replaces the topic filters of a dimension.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: UpdateDimension
pub fn set_filters(
    tx: &mut WriteTx,
    name: &DimensionName,
    filters: Vec<String>,
    now: Timestamp,
) -> Result<Dimension, RegistryError> {
    let changed = tx.execute(
        "UPDATE dimensions SET filters = ?2, modified_at = ?3 WHERE name = ?1",
        (name.as_str(), filters_text(&filters), now.as_millis()),
    )?;
    if changed > 0 {
        tx.changed(Change::Dimension(name.clone()));
    }
    get(tx, name)
}

/// Deletes a dimension; values that it narrowed are listed no more. One that is not there is no
/// error.
///
/// # Errors
/// [`RegistryError::Invalid`] while a security profile uses it.
// aws: DeleteDimension
pub fn delete(tx: &mut WriteTx, name: &DimensionName) -> Result<(), RegistryError> {
    profiles::expect_unused(tx, Use::Dimension, WHAT, name.as_str())?;
    let deleted = tx.execute("DELETE FROM dimensions WHERE name = ?1", [name.as_str()])?;
    if deleted > 0 {
        tx.changed(Change::Dimension(name.clone()));
    }
    Ok(())
}

/// Lists dimensions by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListDimensions
pub fn list(tx: &ReadTx, page: &Page) -> Result<Paged<DimensionName>, RegistryError> {
    let names = tx.rows(
        "SELECT name FROM dimensions WHERE name > ?1 ORDER BY name LIMIT ?2",
        (page.name_key(LISTING)?, page.rows_max()),
        |row| column::name(row, "name", DimensionName::parse),
    )?;
    Ok(Paged::cut(names, page, LISTING, |name| [name.to_string()]))
}

/// All dimensions, by name.
pub fn all(tx: &ReadTx) -> Result<Vec<Dimension>, StoreError> {
    tx.rows("SELECT * FROM dimensions ORDER BY name", [], read_row)
}

/// The number that stands for the dimension in stored values.
pub(crate) fn id(tx: &ReadTx, name: &DimensionName) -> Result<Option<u64>, StoreError> {
    tx.row("SELECT id FROM dimensions WHERE name = ?1", [name.as_str()], |row| {
        column::count(row, "id")
    })
}
