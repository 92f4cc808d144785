//! Static thing groups: trees of sets of things.

use std::collections::BTreeMap;

use picket_model::limits::{GROUP_CHILDREN_MAX, GROUP_DEPTH_MAX, GROUPS_PER_THING_MAX};
use picket_model::{Change, Group, GroupName, GroupPath, ProfileName, ThingName, Timestamp};
use rusqlite::Row;

use crate::attributes;
use crate::codec::column;
use crate::error::{RegistryError, StoreError, expect_version};
use crate::page::{Page, Paged};
use crate::registry_events::{self, Fate, Link};
use crate::things;
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "thing group";
const LISTING: &str = "thing-groups";
const MEMBERS_LISTING: &str = "thing-group-members";

/// What a group is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewGroup {
    /// Its name, for good.
    pub name: GroupName,
    /// The group it lies in, for good.
    pub parent: Option<GroupName>,
    /// For people.
    pub description: Option<String>,
    /// Its attributes; those with an empty value are left out.
    pub attributes: BTreeMap<String, String>,
}

/// What changes about a group. Source: aws UpdateThingGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupUpdate {
    /// New description; `None` leaves it as it is.
    pub description: Option<String>,
    /// New attributes; an empty value removes one. `None` leaves all as they are.
    pub attributes: Option<BTreeMap<String, String>>,
    /// Whether attributes that are not named stay.
    pub merge: bool,
    /// Refuses the update if the group has another version.
    pub expected_version: Option<u64>,
}

/// Which groups are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// Only groups below this one; without it the filter looks at the whole forest.
    pub parent: Option<GroupName>,
    /// Only groups whose name begins so.
    pub prefix: Option<String>,
    /// Whether all levels are listed; otherwise the children of the parent, or the roots.
    pub recursive: bool,
}

fn read_row(row: &Row<'_>) -> Result<Group, StoreError> {
    Ok(Group {
        name: column::name(row, "name", GroupName::parse)?,
        id: row.get("id")?,
        parent: column::name_opt(row, "parent", GroupName::parse)?,
        description: row.get("description")?,
        attributes: column::map(row, "attributes")?,
        version: column::count(row, "version")?,
        created_at: column::time(row, "created_at")?,
    })
}

fn read_name(row: &Row<'_>) -> Result<GroupName, StoreError> {
    column::name(row, "name", GroupName::parse)
}

/// The group, if there is one of that name.
pub fn find(tx: &ReadTx, name: &GroupName) -> Result<Option<Group>, StoreError> {
    tx.row("SELECT * FROM groups WHERE name = ?1", [name.as_str()], read_row)
}

/// The group.
///
/// # Errors
/// [`RegistryError::NotFound`].
pub fn get(tx: &ReadTx, name: &GroupName) -> Result<Group, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

pub(crate) fn exists(tx: &ReadTx, name: &GroupName) -> Result<bool, StoreError> {
    tx.exists("SELECT 1 FROM groups WHERE name = ?1", [name.as_str()])
}

fn check_exists(tx: &ReadTx, name: &GroupName) -> Result<(), RegistryError> {
    if exists(tx, name)? { Ok(()) } else { Err(RegistryError::not_found(WHAT, name)) }
}

/// Makes a group with the given `id`. If there is one of that name with the same parent,
/// description and attributes, that one is the answer and nothing changes.
///
/// # Errors
/// [`RegistryError::AlreadyExists`] if there is one with another configuration;
/// [`RegistryError::Invalid`] for an unknown parent, too deep a tree, too many children, too many
/// attributes.
// aws: CreateThingGroup
pub fn create(
    tx: &mut WriteTx,
    new: &NewGroup,
    id: &str,
    now: Timestamp,
) -> Result<Group, RegistryError> {
    let attributes = attributes::updated(&BTreeMap::new(), &new.attributes, false);
    if let Some(group) = find(tx, &new.name)? {
        let is_same = group.parent == new.parent
            && group.description == new.description
            && group.attributes == attributes;
        if is_same {
            return Ok(group);
        }
        return Err(RegistryError::already_exists(WHAT, &new.name));
    }
    if let Some(parent) = &new.parent {
        check_parent(tx, parent)?;
    }
    attributes::check_group(&attributes)?;
    let group = Group {
        name: new.name.clone(),
        id: id.to_owned(),
        parent: new.parent.clone(),
        description: new.description.clone(),
        attributes,
        version: 1,
        created_at: now,
    };
    tx.execute(
        "INSERT INTO groups (name, id, parent, description, attributes, version, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6)",
        (
            group.name.as_str(),
            &group.id,
            group.parent.as_ref().map(GroupName::as_str),
            &group.description,
            column::from_map(&group.attributes),
            now.as_millis(),
        ),
    )?;
    tx.changed(Change::Group(group.name.clone()));
    registry_events::group(tx, Fate::Created, &group)?;
    registry_events::hierarchy(tx, Link::Added, &group)?;
    Ok(group)
}

fn check_parent(tx: &ReadTx, parent: &GroupName) -> Result<(), RegistryError> {
    let levels = match path(tx, parent) {
        Ok(path) => path.len(),
        Err(RegistryError::NotFound { .. }) => {
            return Err(RegistryError::Invalid(format!(
                "parent thing group `{parent}` does not exist"
            )));
        }
        Err(error) => return Err(error),
    };
    if levels >= GROUP_DEPTH_MAX {
        return Err(RegistryError::Invalid(format!(
            "thing group `{parent}` lies {levels} levels deep; a hierarchy has at most \
             {GROUP_DEPTH_MAX} levels"
        )));
    }
    let children = tx.number("SELECT count(*) FROM groups WHERE parent = ?1", [parent.as_str()])?;
    if children >= GROUP_CHILDREN_MAX as i64 {
        return Err(RegistryError::Invalid(format!(
            "thing group `{parent}` has {children} child groups; at most {GROUP_CHILDREN_MAX} are \
             allowed"
        )));
    }
    Ok(())
}

/// Changes a group's description or attributes; its version grows by one.
///
/// Nobody's rights follow from either, so it records no [`Change`].
///
/// # Errors
/// [`RegistryError::NotFound`], [`RegistryError::VersionConflict`], [`RegistryError::Invalid`] for
/// too many attributes.
// aws: UpdateThingGroup
pub fn update(
    tx: &mut WriteTx,
    name: &GroupName,
    update: &GroupUpdate,
) -> Result<Group, RegistryError> {
    let mut group = get(tx, name)?;
    expect_version(WHAT, name, update.expected_version, group.version)?;
    if let Some(description) = &update.description {
        group.description = Some(description.clone());
    }
    if let Some(given) = &update.attributes {
        group.attributes = attributes::updated(&group.attributes, given, update.merge);
    }
    attributes::check_group(&group.attributes)?;
    group.version += 1;
    tx.execute(
        "UPDATE groups SET description = ?2, attributes = ?3, version = version + 1 \
         WHERE name = ?1",
        (name.as_str(), &group.description, column::from_map(&group.attributes)),
    )?;
    registry_events::group(tx, Fate::Updated, &group)?;
    Ok(group)
}

/// Deletes a group; its members leave it, security profiles are detached from it. One that is not
/// there is no error.
///
/// # Errors
/// [`RegistryError::Invalid`] while it has child groups or policies;
/// [`RegistryError::VersionConflict`].
// aws: DeleteThingGroup
pub fn delete(
    tx: &mut WriteTx,
    name: &GroupName,
    expected_version: Option<u64>,
) -> Result<(), RegistryError> {
    let Some(group) = find(tx, name)? else { return Ok(()) };
    expect_version(WHAT, name, expected_version, group.version)?;
    if tx.exists("SELECT 1 FROM groups WHERE parent = ?1", [name.as_str()])? {
        return Err(RegistryError::Invalid(format!(
            "thing group `{name}` has child groups; delete them first"
        )));
    }
    if tx.exists("SELECT 1 FROM group_policies WHERE group_name = ?1", [name.as_str()])? {
        return Err(RegistryError::Invalid(format!(
            "thing group `{name}` has a policy attached; detach it first"
        )));
    }
    let members = tx.rows(
        "SELECT thing AS name FROM group_members WHERE group_name = ?1",
        [name.as_str()],
        |row| column::name(row, "name", ThingName::parse),
    )?;
    let profiles = tx.rows(
        "SELECT profile FROM profile_targets WHERE group_name = ?1",
        [name.as_str()],
        |row| column::name(row, "profile", ProfileName::parse),
    )?;
    registry_events::all_leave(tx, &group, &members)?;
    tx.execute("DELETE FROM profile_targets WHERE group_name = ?1", [name.as_str()])?;
    tx.execute("DELETE FROM groups WHERE name = ?1", [name.as_str()])?;
    tx.changed(Change::Group(name.clone()));
    members.into_iter().for_each(|thing| tx.changed(Change::Thing(thing)));
    profiles.into_iter().for_each(|profile| tx.changed(Change::Profile(profile)));
    registry_events::hierarchy(tx, Link::Removed, &group)?;
    registry_events::group(tx, Fate::Deleted, &group)?;
    Ok(())
}

/// Lists groups by name.
///
/// # Errors
/// [`RegistryError::NotFound`] for an unknown parent; [`RegistryError::Invalid`] for a token that
/// this listing did not give.
// aws: ListThingGroups
pub fn list(tx: &ReadTx, filter: &GroupFilter, page: &Page) -> Result<Paged<Group>, RegistryError> {
    let after = page.name_key(LISTING)?;
    if let Some(parent) = &filter.parent {
        check_exists(tx, parent)?;
    }
    let sql = match (&filter.parent, filter.recursive) {
        (None, true) => {
            "SELECT * FROM groups \
             WHERE ?1 IS NULL AND name > ?2 AND (?3 IS NULL OR substr(name, 1, length(?3)) = ?3) \
             ORDER BY name LIMIT ?4"
        }
        (_, false) => {
            "SELECT * FROM groups \
             WHERE parent IS ?1 AND name > ?2 \
               AND (?3 IS NULL OR substr(name, 1, length(?3)) = ?3) \
             ORDER BY name LIMIT ?4"
        }
        (Some(_), true) => {
            "WITH RECURSIVE below (child) AS ( \
                 SELECT name FROM groups WHERE parent = ?1 \
                 UNION ALL SELECT name FROM groups JOIN below ON parent = child) \
             SELECT groups.* FROM below JOIN groups ON name = child \
             WHERE name > ?2 AND (?3 IS NULL OR substr(name, 1, length(?3)) = ?3) \
             ORDER BY name LIMIT ?4"
        }
    };
    let groups = tx.rows(
        sql,
        (filter.parent.as_ref().map(GroupName::as_str), after, &filter.prefix, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(groups, page, LISTING, |group| [group.name.to_string()]))
}

/// The group and all groups above it: itself first, the root last.
///
/// # Errors
/// [`RegistryError::NotFound`].
pub fn path(tx: &ReadTx, name: &GroupName) -> Result<GroupPath, RegistryError> {
    let path: GroupPath = tx.rows(
        "WITH RECURSIVE above (name, parent, level) AS ( \
             SELECT name, parent, 0 FROM groups WHERE name = ?1 \
             UNION ALL SELECT groups.name, groups.parent, level + 1 \
             FROM above JOIN groups ON groups.name = above.parent) \
         SELECT name FROM above ORDER BY level",
        [name.as_str()],
        read_name,
    )?;
    if path.is_empty() { Err(RegistryError::not_found(WHAT, name)) } else { Ok(path) }
}

/// The things in a group, with `recursive` also those in the groups below it, by name.
///
/// # Errors
/// [`RegistryError::NotFound`]; [`RegistryError::Invalid`] for a token that this listing did not
/// give.
// aws: ListThingsInThingGroup
pub fn members(
    tx: &ReadTx,
    name: &GroupName,
    recursive: bool,
    page: &Page,
) -> Result<Paged<ThingName>, RegistryError> {
    let after = page.name_key(MEMBERS_LISTING)?;
    check_exists(tx, name)?;
    let sql = if recursive {
        "WITH RECURSIVE below (child) AS ( \
             SELECT ?1 UNION ALL SELECT name FROM groups JOIN below ON parent = child) \
         SELECT DISTINCT thing FROM below JOIN group_members ON group_name = child \
         WHERE thing > ?2 ORDER BY thing LIMIT ?3"
    } else {
        "SELECT thing FROM group_members \
         WHERE group_name = ?1 AND thing > ?2 ORDER BY thing LIMIT ?3"
    };
    let things = tx.rows(sql, (name.as_str(), after, page.rows_max()), |row| {
        column::name(row, "thing", ThingName::parse)
    })?;
    Ok(Paged::cut(things, page, MEMBERS_LISTING, |thing| [thing.to_string()]))
}

/// The groups that a thing is in itself, by name; none for an unknown thing. Bounded by the number
/// of groups that a thing may be in.
// aws: ListThingGroupsForThing
pub fn groups_of(tx: &ReadTx, thing: &ThingName) -> Result<Vec<GroupName>, StoreError> {
    tx.rows(
        "SELECT group_name AS name FROM group_members WHERE thing = ?1 ORDER BY group_name",
        [thing.as_str()],
        read_name,
    )
}

/// The groups that a thing is in and all groups above them, by name; none for an unknown thing.
pub fn groups_with_ancestors(tx: &ReadTx, thing: &ThingName) -> Result<Vec<GroupName>, StoreError> {
    tx.rows(
        "WITH RECURSIVE above (name) AS ( \
             SELECT group_name FROM group_members WHERE thing = ?1 \
             UNION SELECT parent FROM above JOIN groups USING (name) WHERE parent IS NOT NULL) \
         SELECT name FROM above ORDER BY name",
        [thing.as_str()],
        read_name,
    )
}

/// Puts a thing into a group; one that is in it already stays in it.
///
/// # Errors
/// [`RegistryError::NotFound`] for the thing or the group; [`RegistryError::Invalid`] if the thing
/// is in too many groups, or in another group of the same hierarchy.
// aws: AddThingToThingGroup
pub fn add_thing(
    tx: &mut WriteTx,
    thing: &ThingName,
    group: &GroupName,
) -> Result<(), RegistryError> {
    let hierarchy = path(tx, group)?;
    let found = things::get(tx, thing)?;
    let current = groups_of(tx, thing)?;
    if current.contains(group) {
        return Ok(());
    }
    if current.len() >= GROUPS_PER_THING_MAX {
        return Err(RegistryError::Invalid(format!(
            "thing `{thing}` is in {} thing groups; at most {GROUPS_PER_THING_MAX} are allowed",
            current.len()
        )));
    }
    for other in &current {
        if path(tx, other)?.last() == hierarchy.last() {
            return Err(RegistryError::Invalid(format!(
                "thing `{thing}` is in thing group `{other}`, which is in the same hierarchy as \
                 `{group}`; it can be in one group of a hierarchy"
            )));
        }
    }
    tx.execute(
        "INSERT INTO group_members (thing, group_name) VALUES (?1, ?2)",
        (thing.as_str(), group.as_str()),
    )?;
    tx.changed(Change::Thing(thing.clone()));
    registry_events::membership(tx, Link::Added, &found, group)?;
    Ok(())
}

/// Takes a thing out of a group; one that is not in it is no error.
///
/// # Errors
/// [`RegistryError::NotFound`] for the thing or the group.
// aws: RemoveThingFromThingGroup
pub fn remove_thing(
    tx: &mut WriteTx,
    thing: &ThingName,
    group: &GroupName,
) -> Result<(), RegistryError> {
    check_exists(tx, group)?;
    let found = things::get(tx, thing)?;
    let removed = tx.execute(
        "DELETE FROM group_members WHERE thing = ?1 AND group_name = ?2",
        (thing.as_str(), group.as_str()),
    )?;
    if removed > 0 {
        tx.changed(Change::Thing(thing.clone()));
        registry_events::membership(tx, Link::Removed, &found, group)?;
    }
    Ok(())
}
