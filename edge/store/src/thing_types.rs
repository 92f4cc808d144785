//! Thing types: what things have in common.

use picket_model::{ThingTypeName, Timestamp};
use rusqlite::Row;
use serde_json::Value;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::limits::SEARCHABLE_MAX;
use crate::page::{Page, Paged};
use crate::registry_events::{self, Fate};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "thing type";
const LISTING: &str = "thing-types";

/// Time between deprecation and deletion, so that things made meanwhile are seen. Source: aws
/// DeleteThingType.
const DEPRECATED_MS_MIN: i64 = 5 * 60 * 1000;

/// A thing type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThingType {
    /// Unchangeable name.
    pub name: ThingTypeName,
    /// Unchangeable id in the form of a UUID.
    pub id: String,
    /// For people.
    pub description: Option<String>,
    /// Attributes that things of this type are searched by.
    pub searchable: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Since when no new thing can have it.
    pub deprecated_at: Option<Timestamp>,
}

/// What a thing type is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewThingType {
    /// Its name, for good.
    pub name: ThingTypeName,
    /// For people.
    pub description: Option<String>,
    /// At most 3 names of attributes.
    pub searchable: Vec<String>,
}

fn read_row(row: &Row<'_>) -> Result<ThingType, StoreError> {
    let searchable = match column::json(row, "searchable")? {
        Value::Array(names) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    };
    Ok(ThingType {
        name: column::name(row, "name", ThingTypeName::parse)?,
        id: row.get("id")?,
        description: row.get("description")?,
        searchable,
        created_at: column::time(row, "created_at")?,
        deprecated_at: row.get::<_, Option<i64>>("deprecated_at")?.map(Timestamp::from_millis),
    })
}

fn find(tx: &ReadTx, name: &ThingTypeName) -> Result<Option<ThingType>, StoreError> {
    tx.row("SELECT * FROM thing_types WHERE name = ?1", [name.as_str()], read_row)
}

/// The thing type.
///
/// # Errors
/// [`RegistryError::NotFound`].
pub fn get(tx: &ReadTx, name: &ThingTypeName) -> Result<ThingType, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Refuses a type that a thing cannot be given now.
pub(crate) fn check_usable(tx: &ReadTx, name: &ThingTypeName) -> Result<(), RegistryError> {
    match get(tx, name)?.deprecated_at {
        None => Ok(()),
        Some(_) => Err(RegistryError::Invalid(format!("thing type `{name}` is deprecated"))),
    }
}

/// Makes a thing type with the given `id`; the same again is the one that is there.
///
/// # Errors
/// [`RegistryError::AlreadyExists`] if there is another of that name, [`RegistryError::Invalid`]
/// for too many searchable attributes.
// aws: CreateThingType
pub fn create(
    tx: &mut WriteTx,
    new: &NewThingType,
    id: &str,
    now: Timestamp,
) -> Result<ThingType, RegistryError> {
    if let Some(found) = find(tx, &new.name)? {
        if found.description == new.description && found.searchable == new.searchable {
            return Ok(found);
        }
        return Err(RegistryError::already_exists(WHAT, &new.name));
    }
    if new.searchable.len() > SEARCHABLE_MAX {
        return Err(RegistryError::Invalid(format!(
            "thing type `{}` names {} searchable attributes; at most {SEARCHABLE_MAX} are allowed",
            new.name,
            new.searchable.len()
        )));
    }
    tx.execute(
        "INSERT INTO thing_types (name, id, description, searchable, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5)",
        (
            new.name.as_str(),
            id,
            &new.description,
            Value::from(new.searchable.clone()).to_string(),
            now.as_millis(),
        ),
    )?;
    let made = get(tx, &new.name)?;
    registry_events::thing_type(tx, Fate::Created, &made)?;
    Ok(made)
}

/// Lists thing types by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListThingTypes
pub fn list(tx: &ReadTx, page: &Page) -> Result<Paged<ThingType>, RegistryError> {
    let types = tx.rows(
        "SELECT * FROM thing_types WHERE name > ?1 ORDER BY name LIMIT ?2",
        (page.name_key(LISTING)?, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(types, page, LISTING, |found| [found.name.to_string()]))
}

/// Forbids new things of a type, or with `undo` allows them again.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: DeprecateThingType
pub fn deprecate(
    tx: &mut WriteTx,
    name: &ThingTypeName,
    undo: bool,
    now: Timestamp,
) -> Result<(), RegistryError> {
    let deprecated_at = if undo { None } else { Some(now.as_millis()) };
    let changed = tx.execute(
        "UPDATE thing_types SET deprecated_at = ?2 WHERE name = ?1",
        (name.as_str(), deprecated_at),
    )?;
    if changed == 0 {
        return Err(RegistryError::not_found(WHAT, name));
    }
    let thing_type = get(tx, name)?;
    registry_events::thing_type(tx, Fate::Updated, &thing_type)?;
    Ok(())
}

/// Deletes a thing type that has been deprecated for five minutes and that no thing has.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] if it is too early or in use.
// aws: DeleteThingType
pub fn delete(tx: &mut WriteTx, name: &ThingTypeName, now: Timestamp) -> Result<(), RegistryError> {
    let thing_type = get(tx, name)?;
    let is_ripe =
        thing_type.deprecated_at.is_some_and(|since| now.millis_since(since) >= DEPRECATED_MS_MIN);
    if !is_ripe {
        return Err(RegistryError::Invalid(format!(
            "thing type `{name}` has not been deprecated for 5 minutes"
        )));
    }
    if tx.exists("SELECT 1 FROM things WHERE thing_type = ?1", [name.as_str()])? {
        return Err(RegistryError::Invalid(format!("thing type `{name}` is still in use")));
    }
    tx.execute("DELETE FROM thing_types WHERE name = ?1", [name.as_str()])?;
    registry_events::thing_type(tx, Fate::Deleted, &thing_type)?;
    Ok(())
}
