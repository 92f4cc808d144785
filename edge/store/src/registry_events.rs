//! Events of the registry on their way to subscribers: written with the change that they tell of,
//! forgotten once they are published.
//!
//! Every function that changes a noun says so here, whoever called it; only what is switched on
//! ([`event_configurations`](crate::event_configurations)) is written. Topics and members are those
//! of the AWS guide, "Registry events".

use picket_model::{
    Change, EventType, Group, GroupName, Thing, ThingName, ThingTypeName, Timestamp,
};
use serde_json::{Value, json};

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::event_configurations::is_enabled;
use crate::limits::REGISTRY_EVENTS_MAX;
use crate::thing_types::ThingType;
use crate::tx::{ReadTx, WriteTx};
use crate::{groups, meta, things};

/// Where the number of events is kept for which there was no room.
const LOST: &str = "registry_events.lost";

/// An event that waits to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEvent {
    /// Its place in the order of changes.
    pub row: i64,
    /// Stays the same however often it is published.
    pub id: String,
    /// When the change happened.
    pub at: Timestamp,
    /// The MQTT topic that it goes to.
    pub topic: String,
    /// All members but id and moment.
    body: Value,
}

impl RegistryEvent {
    /// The message, in JSON.
    pub fn payload(&self) -> String {
        let mut members = self.body.clone();
        members["eventId"] = json!(self.id);
        members["timestamp"] = json!(self.at.as_millis());
        members.to_string()
    }
}

/// What became of a noun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Created,
    Updated,
    Deleted,
}

/// What became of a relation between two nouns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    Added,
    Removed,
}

impl Fate {
    /// As in a topic, and as in a payload.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Created => ("created", "CREATED"),
            Self::Updated => ("updated", "UPDATED"),
            Self::Deleted => ("deleted", "DELETED"),
        }
    }
}

impl Link {
    /// As in a topic, and as in a payload.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Added => ("added", "ADDED"),
            Self::Removed => ("removed", "REMOVED"),
        }
    }
}

/// Events that wait, in the order of the changes; at most `limit`.
pub fn waiting(tx: &ReadTx, limit: usize) -> Result<Vec<RegistryEvent>, StoreError> {
    tx.rows(
        "SELECT * FROM registry_events ORDER BY row LIMIT ?1",
        [i64::try_from(limit).unwrap_or(i64::MAX)],
        |row| {
            Ok(RegistryEvent {
                row: row.get("row")?,
                id: row.get("id")?,
                at: column::time(row, "at")?,
                topic: row.get("topic")?,
                body: column::json(row, "body")?,
            })
        },
    )
}

/// Forgets the events up to this one: they are published.
pub fn forget(tx: &mut WriteTx, last: i64) -> Result<(), StoreError> {
    tx.execute("DELETE FROM registry_events WHERE row <= ?1", [last])?;
    Ok(())
}

/// How many events there was no room for, ever.
pub fn lost(tx: &ReadTx) -> Result<u64, StoreError> {
    let bytes = meta::get(tx, LOST)?.unwrap_or_default();
    Ok(bytes.try_into().map_or(0, u64::from_be_bytes))
}

fn push(tx: &mut WriteTx, topic: &str, body: &Value) -> Result<(), StoreError> {
    // Events leave in their order, so that there are no gaps between the first and the last.
    let n_waiting = tx.number(
        "SELECT coalesce((SELECT max(row) FROM registry_events) \
             - (SELECT min(row) FROM registry_events) + 1, 0)",
        [],
    )?;
    if n_waiting >= REGISTRY_EVENTS_MAX {
        let lost = lost(tx)?.saturating_add(1);
        meta::put(tx, LOST, &lost.to_be_bytes())?;
    } else {
        let topic = format!("$aws/events/{topic}");
        tx.execute(
            "INSERT INTO registry_events (topic, body) VALUES (?1, ?2)",
            (topic, body.to_string()),
        )?;
    }
    tx.changed(Change::RegistryEvent);
    Ok(())
}

/// Tells of a thing.
pub(crate) fn thing(tx: &mut WriteTx, fate: Fate, thing: &Thing) -> Result<(), StoreError> {
    if !is_enabled(tx, EventType::Thing)? {
        return Ok(());
    }
    let (word, operation) = fate.words();
    let body = json!({
        "eventType": "THING_EVENT",
        "operation": operation,
        "accountId": tx.account().id,
        "thingId": thing.id,
        "thingName": thing.name.as_str(),
        "versionNumber": thing.version,
        "thingTypeName": thing.thing_type.as_ref().map(ThingTypeName::as_str),
        "attributes": thing.attributes,
    });
    push(tx, &format!("thing/{}/{word}", thing.name), &body)
}

/// Tells of a thing type.
pub(crate) fn thing_type(
    tx: &mut WriteTx,
    fate: Fate,
    thing_type: &ThingType,
) -> Result<(), StoreError> {
    if !is_enabled(tx, EventType::ThingType)? {
        return Ok(());
    }
    let (word, operation) = fate.words();
    let body = json!({
        "eventType": "THING_TYPE_EVENT",
        "operation": operation,
        "accountId": tx.account().id,
        "thingTypeId": thing_type.id,
        "thingTypeName": thing_type.name.as_str(),
        "isDeprecated": thing_type.deprecated_at.is_some(),
        "deprecationDate": thing_type.deprecated_at.map(Timestamp::as_millis),
        "searchableAttributes": thing_type.searchable,
        // There are none; readers of the event ask for the member.
        "propagatingAttributes": [],
        "description": thing_type.description,
    });
    push(tx, &format!("thingType/{}/{word}", thing_type.name), &body)
}

/// Tells that a thing got or lost a type.
pub(crate) fn thing_type_association(
    tx: &mut WriteTx,
    link: Link,
    thing: &Thing,
    thing_type: &ThingTypeName,
) -> Result<(), StoreError> {
    if !is_enabled(tx, EventType::ThingTypeAssociation)? {
        return Ok(());
    }
    let (word, operation) = link.words();
    let body = json!({
        "eventType": "THING_TYPE_ASSOCIATION_EVENT",
        "operation": operation,
        "thingId": thing.id,
        "thingName": thing.name.as_str(),
        "thingTypeName": thing_type.as_str(),
    });
    let topic = format!("thingTypeAssociation/thing/{}/thingType/{thing_type}/{word}", thing.name);
    push(tx, &topic, &body)
}

/// Tells of a group. Those above it are there.
pub(crate) fn group(tx: &mut WriteTx, fate: Fate, group: &Group) -> Result<(), RegistryError> {
    if !is_enabled(tx, EventType::ThingGroup)? {
        return Ok(());
    }
    let mut above = Vec::new();
    if let Some(parent) = &group.parent {
        for name in groups::path(tx, parent)? {
            above.push(groups::get(tx, &name)?);
        }
    }
    let parent_id = above.first().map(|parent| parent.id.clone());
    let from_root = above.iter().rev().map(
        |group| json!({ "groupArn": tx.account().group_arn(&group.name), "groupId": group.id }),
    );
    let (word, operation) = fate.words();
    let body = json!({
        "eventType": "THING_GROUP_EVENT",
        "operation": operation,
        "accountId": tx.account().id,
        "thingGroupId": group.id,
        "thingGroupName": group.name.as_str(),
        "versionNumber": group.version,
        "parentGroupName": group.parent.as_ref().map(GroupName::as_str),
        "parentGroupId": parent_id,
        "description": group.description,
        "rootToParentThingGroups": from_root.collect::<Value>(),
        "attributes": group.attributes,
        "dynamicGroupMappingId": null,
    });
    Ok(push(tx, &format!("thingGroup/{}/{word}", group.name), &body)?)
}

/// Tells that a group came to lie below its parent, or does so no more; nothing of a root.
pub(crate) fn hierarchy(tx: &mut WriteTx, link: Link, child: &Group) -> Result<(), RegistryError> {
    let Some(parent) = &child.parent else { return Ok(()) };
    if !is_enabled(tx, EventType::ThingGroupHierarchy)? {
        return Ok(());
    }
    let parent = groups::get(tx, parent)?;
    let (word, operation) = link.words();
    let body = json!({
        "eventType": "THING_GROUP_HIERARCHY_EVENT",
        "operation": operation,
        "accountId": tx.account().id,
        "thingGroupId": parent.id,
        "thingGroupName": parent.name.as_str(),
        "childGroupId": child.id,
        "childGroupName": child.name.as_str(),
    });
    let topic = format!(
        "thingGroupHierarchy/thingGroup/{}/childThingGroup/{}/{word}",
        parent.name, child.name
    );
    Ok(push(tx, &topic, &body)?)
}

/// Tells that a thing came into a group or left it.
pub(crate) fn membership(
    tx: &mut WriteTx,
    link: Link,
    thing: &Thing,
    group: &GroupName,
) -> Result<(), RegistryError> {
    if !is_enabled(tx, EventType::ThingGroupMembership)? {
        return Ok(());
    }
    let group = groups::get(tx, group)?;
    Ok(push_membership(tx, link, thing, &group)?)
}

/// Tells that a thing leaves all its groups, for it is about to be deleted.
pub(crate) fn leaves_all(tx: &mut WriteTx, thing: &Thing) -> Result<(), RegistryError> {
    if !is_enabled(tx, EventType::ThingGroupMembership)? {
        return Ok(());
    }
    for name in groups::groups_of(tx, &thing.name)? {
        let group = groups::get(tx, &name)?;
        push_membership(tx, Link::Removed, thing, &group)?;
    }
    Ok(())
}

/// Tells that all members leave a group, for it is about to be deleted.
pub(crate) fn all_leave(
    tx: &mut WriteTx,
    group: &Group,
    members: &[ThingName],
) -> Result<(), RegistryError> {
    if !is_enabled(tx, EventType::ThingGroupMembership)? {
        return Ok(());
    }
    for name in members {
        let thing = things::get(tx, name)?;
        push_membership(tx, Link::Removed, &thing, group)?;
    }
    Ok(())
}

fn push_membership(
    tx: &mut WriteTx,
    link: Link,
    thing: &Thing,
    group: &Group,
) -> Result<(), StoreError> {
    let (word, operation) = link.words();
    let body = json!({
        "eventType": "THING_GROUP_MEMBERSHIP_EVENT",
        "operation": operation,
        "accountId": tx.account().id,
        "groupArn": tx.account().group_arn(&group.name),
        "groupId": group.id,
        "thingArn": tx.account().thing_arn(&thing.name),
        "thingId": thing.id,
        // The same when the thing comes and when it leaves.
        "membershipId": format!("{}:{}", group.id, thing.id),
    });
    let topic =
        format!("thingGroupMembership/thingGroup/{}/thing/{}/{word}", group.name, thing.name);
    push(tx, &topic, &body)
}
