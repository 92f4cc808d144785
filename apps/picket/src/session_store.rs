//! Where the broker's sessions are kept over the end of the server: its port, on the database.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use picket_broker::ports::{
    Batch, DeliveryChange, Principal, Progress, SessionChange, SessionChanges, SessionFacts,
    StoreFailed, StoredDelivery, StoredOptions, StoredSession, StoredSessions,
};
use picket_model::text::chain;
use picket_model::{CertificateId, ClientId, PolicyName, Timestamp};
use picket_mqtt::codec::{decode_message, decode_options, encode_message, encode_options};
use picket_mqtt::packet::PacketId;
use picket_mqtt::{DeliveryNumber, Message, QoS, TopicFilter, TopicLimits, Version};
use picket_store::sessions::{
    self, DeliveryRow, MessageId, SessionRow, SessionTx, SubscriptionRow,
};
use picket_store::{SessionStore, StoreError};

/// The database behind the broker's port.
pub(crate) struct StoredInDatabase {
    store: SessionStore,
}

/// Of filters that were let in once: what filters may be may have changed since.
const FILTERS: TopicLimits =
    TopicLimits { bytes_max: u16::MAX as usize, levels_max: u16::MAX as usize + 1 };

impl StoredInDatabase {
    pub(crate) fn new(store: SessionStore) -> Self {
        Self { store }
    }
}

impl picket_broker::ports::SessionStore for StoredInDatabase {
    fn load(&mut self) -> Result<StoredSessions, StoreFailed> {
        let mut stored = StoredSessions::default();
        self.store
            .messages(|id, publish, expires_at| {
                // Without it the session that it waits for cannot be read, and says so.
                if let Ok(message) = decode_message(publish, expires_at) {
                    stored.messages.insert(id.number(), message);
                }
            })
            .map_err(failed)?;
        for (key, read) in self.store.sessions().map_err(failed)? {
            match read.map_err(|error| chain(&error)).and_then(|it| session(it, &stored.messages)) {
                Ok(session) => stored.sessions.push(session),
                Err(why) => stored.unreadable.push((key, why)),
            }
        }
        Ok(stored)
    }

    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFailed> {
        self.store
            .write(|tx| {
                let mut messages = Messages::default();
                for (key, changes) in &batch.sessions {
                    write(tx, *key, changes, &mut messages)?;
                }
                Ok::<_, StoreError>(())
            })
            .map_err(failed)
    }
}

fn failed(error: StoreError) -> StoreFailed {
    StoreFailed { reason: chain(&error) }
}

/// The messages of one batch, each of which is stored once, however many sessions it waits for.
#[derive(Default)]
struct Messages {
    /// By where they lie in memory: the batch holds them there.
    ids: BTreeMap<*const Message, MessageId>,
}

impl Messages {
    fn id(
        &mut self,
        tx: &mut SessionTx<'_>,
        message: &Arc<Message>,
        expires_at: Option<Timestamp>,
    ) -> Result<MessageId, StoreError> {
        if let Some(id) = self.ids.get(&Arc::as_ptr(message)) {
            return Ok(*id);
        }
        let id = tx.message(&encode_message(message), expires_at)?;
        self.ids.insert(Arc::as_ptr(message), id);
        Ok(id)
    }
}

fn write(
    tx: &mut SessionTx<'_>,
    key: u64,
    changes: &SessionChanges,
    messages: &mut Messages,
) -> Result<(), StoreError> {
    match &changes.session {
        Some(SessionChange::Ended) => return tx.end(key),
        Some(SessionChange::Put(facts)) => tx.put(&session_row(key, facts))?,
        None => {}
    }
    for (filter, stored) in &changes.subscriptions {
        match stored {
            Some(StoredOptions { options, id }) => tx.subscribe(
                key,
                &SubscriptionRow {
                    filter: filter.as_str().to_owned(),
                    options: encode_options(options, Version::V5),
                    subscription_id: *id,
                },
            )?,
            None => tx.unsubscribe(key, filter.as_str())?,
        }
    }
    for (number, change) in &changes.deliveries {
        let number = number.get();
        match change {
            DeliveryChange::New { delivery, expires_at, progress } => {
                let message = match progress.is_released {
                    true => None,
                    false => Some(messages.id(tx, &delivery.message, *expires_at)?),
                };
                let shared = delivery.shared.as_ref();
                tx.queue(
                    key,
                    &DeliveryRow {
                        number,
                        message,
                        qos: delivery.qos.as_u8(),
                        retain: delivery.retain,
                        subscription_ids: delivery.subscription_ids.as_deref().map(<[u32]>::to_vec),
                        shared: shared.map(|it| (it.filter.as_str().to_owned(), it.retain)),
                        packet_id: progress.sent.map(PacketId::get),
                    },
                )?;
            }
            DeliveryChange::Moved(Progress { sent, is_released }) => {
                if let Some(packet_id) = sent {
                    tx.sent(key, number, packet_id.get())?;
                }
                if *is_released {
                    tx.released(key, number)?;
                }
            }
            DeliveryChange::Over => tx.over(key, number)?,
        }
    }
    for (packet_id, is_taken) in &changes.taken {
        match is_taken {
            true => tx.take(key, packet_id.get())?,
            false => tx.free(key, packet_id.get())?,
        }
    }
    Ok(())
}

fn session_row(key: u64, facts: &SessionFacts) -> SessionRow {
    SessionRow {
        key,
        client: facts.client.as_str().to_owned(),
        principal: match &facts.principal {
            Principal::Certificate(id) => format!("certificate/{id}"),
            Principal::Anonymous { policy } => format!("policy/{policy}"),
        },
        expiry_s: facts.expiry_s,
        until: facts.until,
    }
}

/// A session as the broker knows it, or why its rows are none.
fn session(
    stored: sessions::StoredSession,
    messages: &BTreeMap<u64, Message>,
) -> Result<StoredSession, String> {
    let SessionRow { key, client, principal, expiry_s, until } = stored.row;
    let facts = SessionFacts {
        client: ClientId::parse(client).map_err(|error| format!("client id: {error}"))?,
        principal: read_principal(&principal)?,
        expiry_s,
        until,
    };
    let subscriptions = stored.subscriptions.into_iter().map(|row| {
        let options =
            decode_options(row.options, Version::V5).map_err(|error| error.to_string())?;
        Ok((filter(&row.filter)?, StoredOptions { options, id: row.subscription_id }))
    });
    let deliveries = stored.deliveries.into_iter().map(|row| delivery(row, messages));
    let taken = stored.taken.into_iter().map(packet_id);
    Ok(StoredSession {
        key,
        facts,
        subscriptions: subscriptions.collect::<Result<_, String>>()?,
        deliveries: deliveries.collect::<Result<_, String>>()?,
        taken: taken.collect::<Result<BTreeSet<_>, String>>()?,
    })
}

fn read_principal(text: &str) -> Result<Principal, String> {
    let wrong = || format!("`{}` is no principal", text.escape_debug());
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    match kind {
        "certificate" => {
            CertificateId::parse(name).map(Principal::Certificate).map_err(|_| wrong())
        }
        "policy" => PolicyName::parse(name)
            .map(|policy| Principal::Anonymous { policy })
            .map_err(|_| wrong()),
        _ => Err(wrong()),
    }
}

fn filter(text: &str) -> Result<TopicFilter, String> {
    TopicFilter::parse(text, &FILTERS).map_err(|error| format!("topic filter: {error}"))
}

fn packet_id(id: u16) -> Result<PacketId, String> {
    PacketId::new(id).ok_or_else(|| "packet id 0".to_owned())
}

fn delivery(row: DeliveryRow, messages: &BTreeMap<u64, Message>) -> Result<StoredDelivery, String> {
    let DeliveryRow { number, message, qos, retain, subscription_ids, shared, packet_id: id } = row;
    let message = message.map(MessageId::number);
    if let Some(message) = message.filter(|it| !messages.contains_key(it)) {
        return Err(format!("message {message} is not there or cannot be read"));
    }
    let shared = shared.map(|(text, retain)| Ok::<_, String>((filter(&text)?, retain)));
    Ok(StoredDelivery {
        number: DeliveryNumber::new(number).ok_or("delivery 0")?,
        message,
        qos: QoS::from_u8(qos).filter(|it| *it > QoS::AtMostOnce).ok_or("a delivery at QoS 0")?,
        retain,
        subscription_ids,
        shared: shared.transpose()?,
        packet_id: id.map(packet_id).transpose()?,
    })
}

#[cfg(test)]
mod tests;
