//! Subscriptions of notification topics.

use picket_model::{NotificationTopicName, Protocol, Subscription};
use rusqlite::Row;

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::topics;
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "subscription";
const LISTING: &str = "subscriptions";
const OF_TOPIC_LISTING: &str = "subscriptions-of-topic";

fn read_row(row: &Row<'_>) -> Result<Subscription, StoreError> {
    Ok(Subscription {
        arn: row.get("arn")?,
        topic: column::name(row, "topic", NotificationTopicName::parse)?,
        protocol: column::word(row, "protocol", Protocol::parse)?,
        endpoint: row.get("endpoint")?,
        attributes: column::map(row, "attributes")?,
        created_at: column::time(row, "created_at")?,
    })
}

/// The subscription, if there is one of that ARN.
pub fn find(tx: &ReadTx, arn: &str) -> Result<Option<Subscription>, StoreError> {
    tx.row("SELECT * FROM subscriptions WHERE arn = ?1", [arn], read_row)
}

/// The subscription.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: sns GetSubscriptionAttributes
pub fn get(tx: &ReadTx, arn: &str) -> Result<Subscription, RegistryError> {
    find(tx, arn)?.ok_or_else(|| RegistryError::not_found(WHAT, arn))
}

/// Makes a subscription as given. If the topic has one of the same protocol and endpoint, that one
/// is the answer and nothing changes.
///
/// # Errors
/// [`RegistryError::NotFound`] for the topic; [`RegistryError::Invalid`] if there is one and an
/// attribute is given that it has not.
// aws: sns Subscribe
pub fn subscribe(tx: &mut WriteTx, new: &Subscription) -> Result<Subscription, RegistryError> {
    topics::get(tx, &new.topic)?;
    let found = tx.row(
        "SELECT * FROM subscriptions WHERE topic = ?1 AND protocol = ?2 AND endpoint = ?3",
        (new.topic.as_str(), new.protocol.as_str(), &new.endpoint),
        read_row,
    )?;
    if let Some(found) = found {
        let other = new.attributes.iter().find(|(key, v)| found.attributes.get(*key) != Some(v));
        return match other {
            None => Ok(found),
            Some((key, _)) => Err(RegistryError::Invalid(format!(
                "subscription `{}` already exists with another `{}`",
                found.arn,
                key.escape_debug()
            ))),
        };
    }
    tx.execute(
        "INSERT INTO subscriptions (arn, topic, protocol, endpoint, attributes, created_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (
            &new.arn,
            new.topic.as_str(),
            new.protocol.as_str(),
            &new.endpoint,
            column::from_map(&new.attributes),
            new.created_at.as_millis(),
        ),
    )?;
    Ok(new.clone())
}

/// Sets an attribute of a subscription; an empty value takes it away.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: sns SetSubscriptionAttributes
pub fn set_attribute(
    tx: &mut WriteTx,
    arn: &str,
    key: &str,
    value: &str,
) -> Result<(), RegistryError> {
    let mut attributes = get(tx, arn)?.attributes;
    if value.is_empty() {
        attributes.remove(key);
    } else {
        attributes.insert(key.to_owned(), value.to_owned());
    }
    tx.execute(
        "UPDATE subscriptions SET attributes = ?2 WHERE arn = ?1",
        (arn, column::from_map(&attributes)),
    )?;
    Ok(())
}

/// Ends a subscription; one that is not there is no error. Deliveries on their way still arrive.
// aws: sns Unsubscribe
pub fn unsubscribe(tx: &mut WriteTx, arn: &str) -> Result<(), RegistryError> {
    tx.execute("DELETE FROM subscriptions WHERE arn = ?1", [arn])?;
    Ok(())
}

/// Lists subscriptions by ARN.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: sns ListSubscriptions
pub fn list(tx: &ReadTx, page: &Page) -> Result<Paged<Subscription>, RegistryError> {
    let subscriptions = tx.rows(
        "SELECT * FROM subscriptions WHERE arn > ?1 ORDER BY arn LIMIT ?2",
        (page.name_key(LISTING)?, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(subscriptions, page, LISTING, |found| [found.arn.clone()]))
}

/// Lists the subscriptions of a topic by ARN.
///
/// # Errors
/// [`RegistryError::NotFound`] for the topic; [`RegistryError::Invalid`] for a token that this
/// listing did not give.
// aws: sns ListSubscriptionsByTopic
pub fn of_topic(
    tx: &ReadTx,
    topic: &NotificationTopicName,
    page: &Page,
) -> Result<Paged<Subscription>, RegistryError> {
    let after = page.name_key(OF_TOPIC_LISTING)?;
    topics::get(tx, topic)?;
    let subscriptions = tx.rows(
        "SELECT * FROM subscriptions WHERE topic = ?1 AND arn > ?2 ORDER BY arn LIMIT ?3",
        (topic.as_str(), after, page.rows_max()),
        read_row,
    )?;
    Ok(Paged::cut(subscriptions, page, OF_TOPIC_LISTING, |found| [found.arn.clone()]))
}

/// All subscriptions of a topic, by ARN; none if there is no such topic.
pub fn all_of_topic(
    tx: &ReadTx,
    topic: &NotificationTopicName,
) -> Result<Vec<Subscription>, StoreError> {
    tx.rows("SELECT * FROM subscriptions WHERE topic = ?1 ORDER BY arn", [topic.as_str()], read_row)
}
