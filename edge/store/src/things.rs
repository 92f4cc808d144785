//! Things: the devices that the registry knows.

use std::collections::BTreeMap;

use picket_model::{Change, Thing, ThingName, ThingTypeName, Timestamp};
use rusqlite::Row;

use crate::attributes;
use crate::codec::column;
use crate::error::{RegistryError, StoreError, expect_version};
use crate::page::{Page, Paged};
use crate::registry_events::{self, Fate, Link};
use crate::thing_types;
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "thing";
const LISTING: &str = "things";

/// What a thing is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewThing {
    /// Its name, for good.
    pub name: ThingName,
    /// Its type, which must exist.
    pub thing_type: Option<ThingTypeName>,
    /// Its attributes; those with an empty value are left out.
    pub attributes: BTreeMap<String, String>,
}

/// What changes about a thing. Source: aws UpdateThing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThingUpdate {
    /// New attributes; an empty value removes one. `None` leaves all as they are.
    pub attributes: Option<BTreeMap<String, String>>,
    /// Whether attributes that are not named stay.
    pub merge: bool,
    /// New type; `None` leaves it as it is.
    pub thing_type: Option<ThingTypeName>,
    /// Takes the type away.
    pub remove_type: bool,
    /// Refuses the update if the thing has another version.
    pub expected_version: Option<u64>,
}

/// Which things are listed; all, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ThingFilter {
    /// Only things with an attribute of this value.
    pub attribute: Option<AttributeFilter>,
    /// Only things of this type.
    pub thing_type: Option<ThingTypeName>,
}

/// An attribute that things are listed by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttributeFilter {
    /// Name of the attribute.
    pub name: String,
    /// Its value, or how its value begins.
    pub value: String,
    /// Whether `value` is how it begins.
    pub prefix: bool,
}

pub(crate) fn read_row(row: &Row<'_>) -> Result<Thing, StoreError> {
    Ok(Thing {
        name: column::name(row, "name", ThingName::parse)?,
        id: row.get("id")?,
        thing_type: column::name_opt(row, "thing_type", ThingTypeName::parse)?,
        attributes: column::map(row, "attributes")?,
        version: column::count(row, "version")?,
        created_at: column::time(row, "created_at")?,
    })
}

/// The thing, if there is one of that name.
pub fn find(tx: &ReadTx, name: &ThingName) -> Result<Option<Thing>, StoreError> {
    tx.row("SELECT * FROM things WHERE name = ?1", [name.as_str()], read_row)
}

/// The thing.
///
/// # Errors
/// [`RegistryError::NotFound`].
pub fn get(tx: &ReadTx, name: &ThingName) -> Result<Thing, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes a thing with the given `id`. If there is one of that name with the same type and
/// attributes, that one is the answer and nothing changes.
///
/// # Errors
/// [`RegistryError::AlreadyExists`] if there is one with another configuration,
/// [`RegistryError::NotFound`] for an unknown type, [`RegistryError::Invalid`] for a deprecated
/// type or too many attributes.
// aws: CreateThing
pub fn create(
    tx: &mut WriteTx,
    new: &NewThing,
    id: &str,
    now: Timestamp,
) -> Result<Thing, RegistryError> {
    let attributes = attributes::updated(&BTreeMap::new(), &new.attributes, false);
    if let Some(thing) = find(tx, &new.name)? {
        if thing.thing_type == new.thing_type && thing.attributes == attributes {
            return Ok(thing);
        }
        return Err(RegistryError::already_exists(WHAT, &new.name));
    }
    if let Some(thing_type) = &new.thing_type {
        thing_types::check_usable(tx, thing_type)?;
    }
    attributes::check_thing(&attributes, new.thing_type.is_some())?;
    let thing = Thing {
        name: new.name.clone(),
        id: id.to_owned(),
        thing_type: new.thing_type.clone(),
        attributes,
        version: 1,
        created_at: now,
    };
    tx.execute(
        "INSERT INTO things (name, id, thing_type, attributes, version, created_at) \
         VALUES (?1, ?2, ?3, ?4, 1, ?5)",
        (
            thing.name.as_str(),
            &thing.id,
            thing.thing_type.as_ref().map(ThingTypeName::as_str),
            column::from_map(&thing.attributes),
            now.as_millis(),
        ),
    )?;
    tx.changed(Change::Thing(thing.name.clone()));
    registry_events::thing(tx, Fate::Created, &thing)?;
    if let Some(thing_type) = &thing.thing_type {
        registry_events::thing_type_association(tx, Link::Added, &thing, thing_type)?;
    }
    Ok(thing)
}

/// Changes a thing; its version grows by one, whatever the update says.
///
/// # Errors
/// [`RegistryError::NotFound`], also for an unknown type; [`RegistryError::VersionConflict`];
/// [`RegistryError::Invalid`] for too many attributes, a deprecated type, or a type that is both
/// set and removed.
// aws: UpdateThing
pub fn update(
    tx: &mut WriteTx,
    name: &ThingName,
    update: &ThingUpdate,
) -> Result<Thing, RegistryError> {
    let mut thing = get(tx, name)?;
    expect_version(WHAT, name, update.expected_version, thing.version)?;
    let type_before = thing.thing_type.clone();
    if update.remove_type {
        if update.thing_type.is_some() {
            return Err(RegistryError::Invalid(format!(
                "thing `{name}`: a thing type can be set or removed, not both"
            )));
        }
        thing.thing_type = None;
    }
    if let Some(thing_type) = &update.thing_type {
        if thing.thing_type.as_ref() != Some(thing_type) {
            thing_types::check_usable(tx, thing_type)?;
        }
        thing.thing_type = Some(thing_type.clone());
    }
    if let Some(given) = &update.attributes {
        thing.attributes = attributes::updated(&thing.attributes, given, update.merge);
    }
    attributes::check_thing(&thing.attributes, thing.thing_type.is_some())?;
    thing.version += 1;
    tx.execute(
        "UPDATE things SET thing_type = ?2, attributes = ?3, version = version + 1 WHERE name = ?1",
        (
            name.as_str(),
            thing.thing_type.as_ref().map(ThingTypeName::as_str),
            column::from_map(&thing.attributes),
        ),
    )?;
    tx.changed(Change::Thing(name.clone()));
    registry_events::thing(tx, Fate::Updated, &thing)?;
    if type_before != thing.thing_type {
        let links = [(Link::Removed, &type_before), (Link::Added, &thing.thing_type)];
        for (link, thing_type) in links {
            if let Some(thing_type) = thing_type {
                registry_events::thing_type_association(tx, link, &thing, thing_type)?;
            }
        }
    }
    Ok(thing)
}

/// Deletes a thing and its group memberships. One that is not there is no error.
///
/// # Errors
/// [`RegistryError::Invalid`] while a certificate is attached; [`RegistryError::VersionConflict`].
// aws: DeleteThing
pub fn delete(
    tx: &mut WriteTx,
    name: &ThingName,
    expected_version: Option<u64>,
) -> Result<(), RegistryError> {
    let Some(thing) = find(tx, name)? else { return Ok(()) };
    expect_version(WHAT, name, expected_version, thing.version)?;
    if tx.exists("SELECT 1 FROM thing_certificates WHERE thing = ?1", [name.as_str()])? {
        return Err(RegistryError::Invalid(format!(
            "thing `{name}` has a certificate attached; detach it first"
        )));
    }
    registry_events::leaves_all(tx, &thing)?;
    tx.execute("DELETE FROM things WHERE name = ?1", [name.as_str()])?;
    tx.changed(Change::Thing(name.clone()));
    if let Some(thing_type) = &thing.thing_type {
        registry_events::thing_type_association(tx, Link::Removed, &thing, thing_type)?;
    }
    registry_events::thing(tx, Fate::Deleted, &thing)?;
    Ok(())
}

/// Lists things by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListThings
pub fn list(tx: &ReadTx, filter: &ThingFilter, page: &Page) -> Result<Paged<Thing>, RegistryError> {
    let after = page.name_key(LISTING)?;
    let attribute = filter.attribute.as_ref();
    let things = tx.rows(
        "SELECT * FROM things \
         WHERE name > ?1 AND (?2 IS NULL OR thing_type = ?2) \
           AND (?3 IS NULL OR EXISTS (SELECT 1 FROM json_each(things.attributes) AS attribute \
                WHERE attribute.key = ?3 AND \
                  CASE WHEN ?5 THEN substr(attribute.value, 1, length(?4)) = ?4 \
                       ELSE attribute.value = ?4 END)) \
         ORDER BY name LIMIT ?6",
        (
            after,
            filter.thing_type.as_ref().map(ThingTypeName::as_str),
            attribute.map(|attribute| &attribute.name),
            attribute.map(|attribute| &attribute.value),
            attribute.is_some_and(|attribute| attribute.prefix),
            page.rows_max(),
        ),
        read_row,
    )?;
    Ok(Paged::cut(things, page, LISTING, |thing| [thing.name.to_string()]))
}
