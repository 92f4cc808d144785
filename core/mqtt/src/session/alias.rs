//! Topic aliases of one connection, MQTT 5. Source: mqtt-5 section 3.3.2.3.4.

use std::collections::BTreeMap;

use super::Terms;
use crate::{ProtocolError, TopicName};

/// Aliases of both ways, from the first one on: most connections use none.
#[derive(Debug, Default)]
pub(super) struct Aliases(Option<Box<Both>>);

#[derive(Debug)]
struct Both {
    received: ReceiveAliases,
    sent: SendAliases,
}

impl Aliases {
    fn both(&mut self, terms: &Terms) -> &mut Both {
        self.0.get_or_insert_with(|| {
            Box::new(Both {
                received: ReceiveAliases::new(terms.receive_aliases_max),
                sent: SendAliases::new(terms.send_aliases_max),
            })
        })
    }

    /// Those that the client set up.
    pub(super) fn received(&mut self, terms: &Terms) -> &mut ReceiveAliases {
        &mut self.both(terms).received
    }

    /// The alias that a topic is sent under, and whether the client knows it already.
    pub(super) fn sent(&mut self, topic: &TopicName, terms: &Terms) -> Option<(u16, bool)> {
        if terms.send_aliases_max == 0 {
            return None;
        }
        self.both(terms).sent.of(topic)
    }
}

/// Aliases that the client set up.
#[derive(Debug)]
pub(super) struct ReceiveAliases {
    topics: Vec<Option<TopicName>>,
    max: u16,
}

impl ReceiveAliases {
    const fn new(max: u16) -> Self {
        Self { topics: Vec::new(), max }
    }

    fn index(&self, alias: u16) -> Result<usize, ProtocolError> {
        // mqtt-5 [MQTT-3.3.2-8] [MQTT-3.3.2-9]
        match usize::from(alias).checked_sub(1) {
            Some(index) if alias <= self.max => Ok(index),
            _ => Err(ProtocolError::TopicAlias { alias, max: self.max }),
        }
    }

    pub(super) fn set(&mut self, alias: u16, topic: &TopicName) -> Result<(), ProtocolError> {
        let index = self.index(alias)?;
        if self.topics.len() <= index {
            self.topics.resize(index + 1, None);
        }
        self.topics[index] = Some(topic.clone());
        Ok(())
    }

    pub(super) fn get(&self, alias: u16) -> Result<&TopicName, ProtocolError> {
        let index = self.index(alias)?;
        self.topics
            .get(index)
            .and_then(Option::as_ref)
            .ok_or(ProtocolError::Protocol("a topic alias that was not set up"))
    }
}

/// Aliases that the server set up: the first topics that come along get one, and keep it.
#[derive(Debug)]
struct SendAliases {
    topics: BTreeMap<TopicName, u16>,
    max: u16,
}

impl SendAliases {
    const fn new(max: u16) -> Self {
        Self { topics: BTreeMap::new(), max }
    }

    fn of(&mut self, topic: &TopicName) -> Option<(u16, bool)> {
        if let Some(&alias) = self.topics.get(topic) {
            return Some((alias, true));
        }
        let alias = u16::try_from(self.topics.len()).ok()?.checked_add(1)?;
        if alias > self.max {
            return None;
        }
        self.topics.insert(topic.clone(), alias);
        Some((alias, false))
    }
}
