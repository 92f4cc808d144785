//! Every packet but PUBLISH; of them SUBSCRIBE and UNSUBSCRIBE ask for something.

use std::sync::Arc;

use picket_model::limits::MqttLimits;
use picket_mqtt::packet::{Packet, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe};
use picket_mqtt::session::Request;
use picket_mqtt::{ProtocolError, ReasonCode, TopicFilter, TopicLimits};
use picket_policy::{Action, Decision};
use tracing::info;

use super::{Close, Connection};
use crate::authorize::subscribable;
use crate::journal::Ticket;
use crate::metrics::{Broken, NoRoom};
use crate::router::{Subscription, TooMany};
use crate::tally::Flush;

impl<IO> Connection<IO> {
    pub(super) fn other_packet(&mut self, packet: Packet) -> Result<(), Close> {
        let acknowledged =
            if let Packet::PubAck(ack) = &packet { Some(ack.packet_id) } else { None };
        let request = self.session.packet_arrived(packet, self.now, &mut self.out);
        if let Some(packet_id) = acknowledged {
            self.acknowledged(packet_id);
        }
        match request.map_err(Close::ProtocolError)? {
            Request::Nothing => Ok(()),
            Request::Subscribe(subscribe) => self.subscribe(*subscribe),
            Request::Unsubscribe(unsubscribe) => {
                self.unsubscribe(&unsubscribe);
                Ok(())
            }
            Request::Goodbye(disconnect) => Err(Close::Goodbye(disconnect)),
        }
    }

    /// Decides each filter and answers. The retained messages follow when there is room for them.
    fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Close> {
        let Subscribe { packet_id, filters, subscription_id, user: _ } = subscribe;
        let id = subscription_id.map(u32::from);
        let mut codes = Vec::with_capacity(filters.len());
        let mut granted = Vec::new();
        for (index, (text, asked)) in filters.iter().enumerate() {
            // mqtt-3.1.1 [MQTT-3.8.4-6], mqtt-5 [MQTT-3.8.4-8]: less may be granted than is asked for.
            let qos = asked.qos.min(self.session.terms().qos_max);
            let options = SubscribeOptions { qos, ..*asked };
            if index >= self.shared.config.limits.filters_per_subscribe_max {
                self.shared.metrics.refuse_subscription(NoRoom::Packet);
                codes.push(ReasonCode::QUOTA_EXCEEDED);
                continue;
            }
            codes.push(match self.decide_filter(text, options)? {
                Err(code) => code,
                Ok(filter) => {
                    let code = self.subscribe_to(filter.clone(), options, id);
                    granted.extend(Some(filter).filter(|_| !code.is_error()));
                    code
                }
            });
        }
        self.session.subscribed(packet_id, codes, &mut self.out);
        self.presence.subscribed(&granted);
        Ok(())
    }

    /// Subscribes to a filter that is allowed, and says with which code.
    fn subscribe_to(
        &mut self,
        filter: TopicFilter,
        options: SubscribeOptions,
        id: Option<u32>,
    ) -> ReasonCode {
        let mailbox = Arc::clone(&self.lease.mailbox);
        let subscription = Subscription { mailbox, options, id };
        let subscribed = self.shared.router.subscribe(&filter, subscription.clone());
        let Ok(is_new) = subscribed.inspect_err(|TooMany| {
            self.shared.metrics.refuse_subscription(NoRoom::All);
        }) else {
            return ReasonCode::QUOTA_EXCEEDED;
        };
        let kept = self.lease.subscribe(&filter, subscription);
        self.withhold(kept);
        if brings_retained(&filter, options, is_new, &self.shared.config.limits) {
            self.lease.bringing.begin(filter);
        }
        ReasonCode(options.qos.as_u8())
    }

    /// The filter, or the code that says why not.
    fn decide_filter(
        &mut self,
        text: &str,
        options: SubscribeOptions,
    ) -> Result<Result<TopicFilter, ReasonCode>, Close> {
        let limits = &self.shared.config.limits;
        let filter = match subscribable(text, &TopicLimits::from(limits)) {
            Ok(filter) => filter,
            Err(error) => {
                info!(client.id = %self.presence.who.client.as_str().escape_debug(), "topic filter refused: {error}");
                self.shared.metrics.count_protocol_error(Broken::TopicFilter);
                return Ok(Err(ReasonCode::TOPIC_FILTER_INVALID));
            }
        };
        if filter.share_group().is_some() && options.no_local {
            // mqtt-5 [MQTT-3.8.3-4]
            let error = ProtocolError::Protocol("a shared subscription with no local");
            return Err(Close::ProtocolError(error));
        }
        let is_known = self.lease.subscriptions.get(&filter).is_some();
        if !is_known && self.lease.subscriptions.len() >= limits.subscriptions_max {
            self.shared.metrics.refuse_subscription(NoRoom::Session);
            return Ok(Err(ReasonCode::QUOTA_EXCEEDED));
        }
        match self.access.decide(Action::Subscribe, filter.filter()) {
            Decision::Allowed { .. } => Ok(Ok(filter)),
            decision @ (Decision::ExplicitDeny { .. } | Decision::ImplicitDeny) => {
                info!(
                    client.id = %self.presence.who.client.as_str().escape_debug(),
                    filter = %filter,
                    "{} {decision}", Action::Subscribe
                );
                self.shared.metrics.deny(Action::Subscribe);
                let slices = self.tally.slices().of_filter(&filter, &self.presence.who.client);
                let flush = self.tally.denied(self.at, Action::Subscribe, filter.filter(), slices);
                self.flush_now |= flush == Flush::Now;
                Ok(Err(ReasonCode::NOT_AUTHORIZED))
            }
        }
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        let limits = TopicLimits::from(&self.shared.config.limits);
        let (mut removed, mut kept) = (Vec::new(), Ticket::NOTHING);
        let codes = unsubscribe.filters.iter().map(|text| {
            let Ok(filter) = TopicFilter::parse(text, &limits) else {
                return ReasonCode::TOPIC_FILTER_INVALID;
            };
            let Some(ticket) = self.lease.unsubscribe(&filter) else {
                return ReasonCode::NO_SUBSCRIPTION_EXISTED;
            };
            kept = kept.max(ticket);
            removed.push(filter);
            ReasonCode::SUCCESS
        });
        let codes = codes.collect();
        self.shared.router.unsubscribe(self.lease.mailbox.session, &removed);
        self.withhold(kept);
        self.session.unsubscribed(unsubscribe.packet_id, codes, &mut self.out);
        self.presence.unsubscribed(&removed);
    }
}

/// Whether a subscription brings the retained messages of its filter.
///
/// Source: mqtt-5 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]; a shared one brings none (section
/// 4.8.2).
fn brings_retained(
    filter: &TopicFilter,
    options: SubscribeOptions,
    is_new: bool,
    limits: &MqttLimits,
) -> bool {
    let is_wanted = match options.retain_handling {
        RetainHandling::Always => true,
        RetainHandling::WhenNew => is_new,
        RetainHandling::Never => false,
    };
    let may_be = limits.retained_by_wildcard || !filter.has_wildcards();
    is_wanted && may_be && filter.share_group().is_none()
}
