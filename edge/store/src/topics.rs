//! Notification topics (AWS: SNS). Their subscriptions are in [`crate::subscriptions`].

use std::collections::BTreeMap;

use picket_model::{NotificationTopic, NotificationTopicName, Timestamp};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "topic";
const LISTING: &str = "topics";

fn read_row(row: &Row<'_>) -> Result<NotificationTopic, StoreError> {
    Ok(NotificationTopic {
        name: column::name(row, "name", NotificationTopicName::parse)?,
        attributes: column::map(row, "attributes")?,
        created_at: column::time(row, "created_at")?,
    })
}

/// The topic, if there is one of that name.
pub fn find(
    tx: &ReadTx,
    name: &NotificationTopicName,
) -> Result<Option<NotificationTopic>, StoreError> {
    tx.row("SELECT * FROM topics WHERE name = ?1", [name.as_str()], read_row)
}

/// The topic.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: sns GetTopicAttributes
pub fn get(tx: &ReadTx, name: &NotificationTopicName) -> Result<NotificationTopic, RegistryError> {
    find(tx, name)?.ok_or_else(|| RegistryError::not_found(WHAT, name))
}

/// Makes a topic. If there is one of that name that has the given attributes, that one is the
/// answer and nothing changes.
///
/// # Errors
/// [`RegistryError::Invalid`] if there is one and an attribute is given that it has not.
// aws: sns CreateTopic
pub fn create(
    tx: &mut WriteTx,
    name: &NotificationTopicName,
    attributes: &BTreeMap<String, String>,
    now: Timestamp,
) -> Result<NotificationTopic, RegistryError> {
    if let Some(topic) = find(tx, name)? {
        let other =
            attributes.iter().find(|(key, value)| topic.attributes.get(*key) != Some(value));
        return match other {
            None => Ok(topic),
            Some((key, _)) => Err(RegistryError::Invalid(format!(
                "topic `{name}` already exists with another `{}`",
                key.escape_debug()
            ))),
        };
    }
    tx.execute(
        "INSERT INTO topics (name, attributes, created_at) VALUES (?1, ?2, ?3)",
        (name.as_str(), column::from_map(attributes), now.as_millis()),
    )?;
    get(tx, name)
}

/// Sets an attribute of a topic; an empty value takes it away.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: sns SetTopicAttributes
pub fn set_attribute(
    tx: &mut WriteTx,
    name: &NotificationTopicName,
    key: &str,
    value: &str,
) -> Result<(), RegistryError> {
    let mut attributes = get(tx, name)?.attributes;
    if value.is_empty() {
        attributes.remove(key);
    } else {
        attributes.insert(key.to_owned(), value.to_owned());
    }
    tx.execute(
        "UPDATE topics SET attributes = ?2 WHERE name = ?1",
        (name.as_str(), column::from_map(&attributes)),
    )?;
    Ok(())
}

/// Deletes a topic and its subscriptions. One that is not there is no error.
// aws: sns DeleteTopic
pub fn delete(tx: &mut WriteTx, name: &NotificationTopicName) -> Result<(), RegistryError> {
    tx.execute("DELETE FROM topics WHERE name = ?1", [name.as_str()])?;
    Ok(())
}

/// Lists topics by name.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: sns ListTopics
pub fn list(tx: &ReadTx, page: &Page) -> Result<Paged<NotificationTopic>, RegistryError> {
    let topics = tx.rows(
        "SELECT * FROM topics WHERE name > ?1 ORDER BY name LIMIT ?2",
        (page.name_key(LISTING)?, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(topics, page, LISTING, |topic| [topic.name.to_string()]))
}
