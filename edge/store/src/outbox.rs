//! The outbox: messages that will be told, committed together with what they tell of.
//!
//! An [`OutboxEntry`] is one message for one topic. Expanding it makes one [`Delivery`] for each
//! subscription that the topic has at that moment; each delivery is attempted until it is done or
//! given up as a dead letter. An entry is done when none of its deliveries is pending. Entries stay
//! for a while after that, so that the same entry pushed again is recognised.

use std::collections::{BTreeMap, BTreeSet};

use picket_model::{Change, Protocol, Timestamp};
use rusqlite::Row;
use serde_json::{Map, Value, json};

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::subscriptions;
use crate::tx::{ReadTx, WriteTx};

const DEAD_LISTING: &str = "dead-letters";

/// One message for one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxEntry {
    /// The message's id: deterministic where doubles have to be recognised.
    pub id: String,
    /// ARN of the topic. One that names no topic has no subscribers.
    pub topic_arn: String,
    /// Subject, for those who show one.
    pub subject: Option<String>,
    /// The message itself.
    pub message: String,
    /// Message attributes by name.
    pub attributes: BTreeMap<String, MessageAttribute>,
    /// When it was published.
    pub at: Timestamp,
}

/// A message attribute. Source: aws sns `MessageAttributeValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageAttribute {
    /// `String`, `Number`, `Binary`, or one of them with a suffix of the user's.
    pub data_type: String,
    /// The value; bytes in base64.
    pub value: String,
}

/// One subscription's share of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The entry's id, a space, and the subscription's ARN.
    pub id: String,
    /// The entry.
    pub entry: String,
    /// The subscription, as it was when the entry was expanded.
    pub subscription_arn: String,
    /// How to reach the subscriber.
    pub protocol: Protocol,
    /// Where.
    pub endpoint: String,
    /// Attempts made so far.
    pub attempts: u32,
    /// When the next attempt is due.
    pub next_at: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why the last attempt failed, if one did.
    pub last_error: Option<String>,
    /// When it was made or last attempted.
    pub changed_at: Timestamp,
}

/// Where a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// To be attempted, at [`Delivery::next_at`].
    Pending,
    /// Arrived.
    Done,
    /// Given up: a dead letter.
    Dead,
}

impl DeliveryState {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Dead => "dead",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Done, Self::Dead].into_iter().find(|state| state.as_str() == text)
    }
}

fn read_entry(row: &Row<'_>) -> Result<OutboxEntry, StoreError> {
    Ok(OutboxEntry {
        id: row.get("id")?,
        topic_arn: row.get("topic_arn")?,
        subject: row.get("subject")?,
        message: row.get("message")?,
        attributes: read_attributes(row)?,
        at: column::time(row, "at")?,
    })
}

fn read_attributes(row: &Row<'_>) -> Result<BTreeMap<String, MessageAttribute>, StoreError> {
    let read = |value: &Value| {
        let text = |member: &str| value.get(member).and_then(Value::as_str).map(str::to_owned);
        Some(MessageAttribute { data_type: text("type")?, value: text("value")? })
    };
    match column::json(row, "attributes")? {
        Value::Object(members) => {
            members.into_iter().map(|(name, value)| Some((name, read(&value)?))).collect()
        }
        _ => None,
    }
    .ok_or_else(|| StoreError::Unreadable {
        column: "attributes",
        problem: "no message attributes".to_owned(),
    })
}

fn attributes_text(attributes: &BTreeMap<String, MessageAttribute>) -> String {
    let members: Map<String, Value> = attributes
        .iter()
        .map(|(name, attribute)| {
            (name.clone(), json!({ "type": attribute.data_type, "value": attribute.value }))
        })
        .collect();
    Value::Object(members).to_string()
}

fn read_delivery(row: &Row<'_>) -> Result<Delivery, StoreError> {
    Ok(Delivery {
        id: row.get("id")?,
        entry: row.get("entry")?,
        subscription_arn: row.get("subscription")?,
        protocol: column::word(row, "protocol", Protocol::parse)?,
        endpoint: row.get("endpoint")?,
        attempts: column::count(row, "attempts")?,
        next_at: column::time(row, "next_at")?,
        state: column::word(row, "state", DeliveryState::parse)?,
        last_error: row.get("last_error")?,
        changed_at: column::time(row, "changed_at")?,
    })
}

/// Puts a message into the outbox. `false` if one of that id is there already, or was within the
/// time that entries are kept: then nothing changes.
pub fn push(tx: &mut WriteTx, entry: &OutboxEntry) -> Result<bool, StoreError> {
    let added = tx.execute(
        "INSERT INTO outbox_entries (id, topic_arn, subject, message, attributes, at, state) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'pending') ON CONFLICT (id) DO NOTHING",
        (
            &entry.id,
            &entry.topic_arn,
            &entry.subject,
            &entry.message,
            attributes_text(&entry.attributes),
            entry.at.as_millis(),
        ),
    )?;
    if added > 0 {
        tx.changed(Change::Outbox);
    }
    Ok(added > 0)
}

/// Entries that have not been expanded, in the order they were pushed; at most `limit`.
pub fn pending(tx: &ReadTx, limit: usize) -> Result<Vec<OutboxEntry>, StoreError> {
    tx.rows(
        "SELECT * FROM outbox_entries WHERE state = 'pending' ORDER BY row LIMIT ?1",
        [i64::try_from(limit).unwrap_or(i64::MAX)],
        read_entry,
    )
}

/// The entry of that id, if it is kept.
pub fn entry(tx: &ReadTx, id: &str) -> Result<Option<OutboxEntry>, StoreError> {
    tx.row("SELECT * FROM outbox_entries WHERE id = ?1", [id], read_entry)
}

/// Makes the deliveries of a pending entry, due at once: one for each subscription that its topic
/// has now. Gives them back; none for an entry that is not pending, or whose topic has no
/// subscriptions, which is thereby done.
pub fn expand(
    tx: &mut WriteTx,
    entry_id: &str,
    now: Timestamp,
) -> Result<Vec<Delivery>, StoreError> {
    let topic_arn = tx.row(
        "SELECT topic_arn FROM outbox_entries WHERE id = ?1 AND state = 'pending'",
        [entry_id],
        |row| Ok::<String, StoreError>(row.get(0)?),
    )?;
    let Some(topic_arn) = topic_arn else { return Ok(Vec::new()) };
    let subscriptions = match tx.account().parse_notification_topic(&topic_arn) {
        Ok(topic) => subscriptions::all_of_topic(tx, &topic)?,
        Err(_) => Vec::new(),
    };
    let mut deliveries = Vec::new();
    for subscription in subscriptions {
        let delivery = Delivery {
            id: format!("{entry_id} {}", subscription.arn),
            entry: entry_id.to_owned(),
            subscription_arn: subscription.arn,
            protocol: subscription.protocol,
            endpoint: subscription.endpoint,
            attempts: 0,
            next_at: now,
            state: DeliveryState::Pending,
            last_error: None,
            changed_at: now,
        };
        tx.execute(
            "INSERT INTO outbox_deliveries \
                 (id, entry, subscription, protocol, endpoint, attempts, next_at, state, \
                  changed_at) \
             VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, 'pending', ?6)",
            (
                &delivery.id,
                entry_id,
                &delivery.subscription_arn,
                delivery.protocol.as_str(),
                &delivery.endpoint,
                now.as_millis(),
            ),
        )?;
        deliveries.push(delivery);
    }
    let state = if deliveries.is_empty() { "done" } else { "expanded" };
    tx.execute("UPDATE outbox_entries SET state = ?2 WHERE id = ?1", (entry_id, state))?;
    Ok(deliveries)
}

/// Pending deliveries whose next attempt is due by `now`, each with its entry, the longest due
/// first; at most `limit`.
pub fn due(
    tx: &ReadTx,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Delivery, OutboxEntry)>, StoreError> {
    let deliveries = tx.rows(
        "SELECT * FROM outbox_deliveries WHERE state = 'pending' AND next_at <= ?1 \
         ORDER BY next_at, id LIMIT ?2",
        (now.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)),
        read_delivery,
    )?;
    with_entries(tx, deliveries)
}

/// As [`due`], without the deliveries to some endpoints.
pub fn due_elsewhere(
    tx: &ReadTx,
    now: Timestamp,
    endpoints: &BTreeSet<String>,
    limit: usize,
) -> Result<Vec<(Delivery, OutboxEntry)>, StoreError> {
    let deliveries = tx.rows(
        "SELECT * FROM outbox_deliveries WHERE state = 'pending' AND next_at <= ?1 \
             AND endpoint NOT IN (SELECT value FROM json_each(?2)) \
         ORDER BY next_at, id LIMIT ?3",
        (now.as_millis(), json!(endpoints).to_string(), i64::try_from(limit).unwrap_or(i64::MAX)),
        read_delivery,
    )?;
    with_entries(tx, deliveries)
}

fn with_entries(
    tx: &ReadTx,
    deliveries: Vec<Delivery>,
) -> Result<Vec<(Delivery, OutboxEntry)>, StoreError> {
    deliveries
        .into_iter()
        .map(|delivery| {
            let entry = entry(tx, &delivery.entry)?.ok_or_else(|| StoreError::Unreadable {
                column: "entry",
                problem: format!("delivery `{}` has no entry", delivery.id),
            })?;
            Ok((delivery, entry))
        })
        .collect()
}

/// When the next attempt of any delivery is due; none if nothing is pending.
pub fn next_due(tx: &ReadTx) -> Result<Option<Timestamp>, StoreError> {
    tx.row(
        "SELECT next_at FROM outbox_deliveries WHERE state = 'pending' ORDER BY next_at LIMIT 1",
        [],
        |row| column::time(row, "next_at"),
    )
}

/// When the first attempt that is not due by `now` will be; none if there is no such.
pub fn next_due_after(tx: &ReadTx, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
    tx.row(
        "SELECT next_at FROM outbox_deliveries WHERE state = 'pending' AND next_at > ?1 \
         ORDER BY next_at LIMIT 1",
        [now.as_millis()],
        |row| column::time(row, "next_at"),
    )
}

/// The deliveries of an entry, by id; none before it is expanded.
pub fn deliveries_of(tx: &ReadTx, entry_id: &str) -> Result<Vec<Delivery>, StoreError> {
    tx.rows(
        "SELECT * FROM outbox_deliveries WHERE entry = ?1 ORDER BY id",
        [entry_id],
        read_delivery,
    )
}

/// Whether an entry waits for nothing any more: every delivery is done or dead. `false` for an
/// entry that is not kept.
pub fn is_done(tx: &ReadTx, entry_id: &str) -> Result<bool, StoreError> {
    tx.exists("SELECT 1 FROM outbox_entries WHERE id = ?1 AND state = 'done'", [entry_id])
}

/// Records that an attempt arrived. A delivery that is not pending stays as it is.
pub fn succeeded(tx: &mut WriteTx, delivery_id: &str, now: Timestamp) -> Result<(), StoreError> {
    record(tx, delivery_id, DeliveryState::Done, None, now, now)
}

/// Records that an attempt failed and when the next one is due. A delivery that is not pending
/// stays as it is.
pub fn failed(
    tx: &mut WriteTx,
    delivery_id: &str,
    error: &str,
    next_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    record(tx, delivery_id, DeliveryState::Pending, Some(error), next_at, now)
}

/// Records that an attempt failed and that it was the last: the delivery is a dead letter. One
/// that is not pending stays as it is.
pub fn gave_up(
    tx: &mut WriteTx,
    delivery_id: &str,
    error: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    record(tx, delivery_id, DeliveryState::Dead, Some(error), now, now)
}

fn record(
    tx: &mut WriteTx,
    delivery_id: &str,
    state: DeliveryState,
    error: Option<&str>,
    next_at: Timestamp,
    now: Timestamp,
) -> Result<(), StoreError> {
    let changed = tx.execute(
        "UPDATE outbox_deliveries SET attempts = attempts + 1, state = ?2, \
             last_error = coalesce(?3, last_error), next_at = ?4, changed_at = ?5 \
         WHERE id = ?1 AND state = 'pending'",
        (delivery_id, state.as_str(), error, next_at.as_millis(), now.as_millis()),
    )?;
    if changed > 0 && state != DeliveryState::Pending {
        tx.execute(
            "UPDATE outbox_entries SET state = 'done' \
             WHERE id = (SELECT entry FROM outbox_deliveries WHERE id = ?1) \
               AND NOT EXISTS (SELECT 1 FROM outbox_deliveries AS other \
                   WHERE other.entry = outbox_entries.id AND other.state = 'pending')",
            [delivery_id],
        )?;
    }
    Ok(())
}

/// Makes a dead letter pending again, due at once, with its attempts counted anew.
///
/// # Errors
/// [`RegistryError::NotFound`] if there is no dead letter of that id.
pub fn revive(tx: &mut WriteTx, delivery_id: &str, now: Timestamp) -> Result<(), RegistryError> {
    let changed = tx.execute(
        "UPDATE outbox_deliveries SET state = 'pending', attempts = 0, next_at = ?2, \
             changed_at = ?2 WHERE id = ?1 AND state = 'dead'",
        (delivery_id, now.as_millis()),
    )?;
    if changed == 0 {
        return Err(RegistryError::not_found("dead letter", delivery_id));
    }
    tx.execute(
        "UPDATE outbox_entries SET state = 'expanded' \
         WHERE id = (SELECT entry FROM outbox_deliveries WHERE id = ?1)",
        [delivery_id],
    )?;
    tx.changed(Change::Outbox);
    Ok(())
}

/// Lists the deliveries that were given up, each with its entry, the latest first.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
pub fn dead_letters(
    tx: &ReadTx,
    page: &Page,
) -> Result<Paged<(Delivery, OutboxEntry)>, RegistryError> {
    let (at, id) = page.time_key(DEAD_LISTING, (i64::MAX, String::new()))?;
    let dead = tx.rows(
        "SELECT * FROM outbox_deliveries \
         WHERE state = 'dead' AND (changed_at, id) < (?1, ?2) \
         ORDER BY changed_at DESC, id DESC LIMIT ?3",
        (at, id, page.rows_max()),
        read_delivery,
    )?;
    let cut = Paged::cut(dead, page, DEAD_LISTING, |delivery| {
        [delivery.changed_at.as_millis().to_string(), delivery.id.clone()]
    });
    Ok(Paged { items: with_entries(tx, cut.items)?, next: cut.next })
}

/// Deletes at most `limit` entries that are done and from before `before`, oldest first, with
/// their deliveries. Gives the number deleted: fewer than `limit` when done.
pub fn delete_older_than(
    tx: &mut WriteTx,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM outbox_entries WHERE row IN ( \
             SELECT row FROM outbox_entries WHERE at < ?1 AND state = 'done' \
             ORDER BY at LIMIT ?2)",
        (before.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)),
    )
}
