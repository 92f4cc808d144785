//! Every packet but PUBLISH; of them SUBSCRIBE and UNSUBSCRIBE ask for something.

use std::sync::Arc;

use picket_mqtt::packet::{Packet, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe};
use picket_mqtt::session::Request;
use picket_mqtt::{ReasonCode, TopicFilter, TopicLimits, Violation};
use picket_policy::{Action, Decision};
use tracing::info;

use super::{Close, Connection};
use crate::authorize::subscribable;
use crate::mailbox::Posted;
use crate::metrics::Dropped;
use crate::router::{Subscription, retained_delivery};
use crate::tally::Flush;

impl<IO> Connection<IO> {
    pub(super) fn other_packet(&mut self, packet: Packet) -> Result<(), Close> {
        let request = self.session.packet_arrived(packet, self.now, &mut self.out);
        match request.map_err(Close::Violation)? {
            Request::Nothing => Ok(()),
            Request::Subscribe(subscribe) => self.subscribe(*subscribe),
            Request::Unsubscribe(unsubscribe) => {
                self.unsubscribe(&unsubscribe);
                Ok(())
            }
            Request::Goodbye(disconnect) => Err(Close::Goodbye(disconnect)),
        }
    }

    /// Decides each filter, answers, and brings the retained messages after the answer.
    fn subscribe(&mut self, subscribe: Subscribe) -> Result<(), Close> {
        let Subscribe { packet_id, filters, subscription_id, user: _ } = subscribe;
        let id = subscription_id.map(u32::from);
        let mut codes = Vec::with_capacity(filters.len());
        let mut granted = Vec::new();
        for (index, (text, options)) in filters.iter().enumerate() {
            if index >= self.shared.config.limits.filters_per_subscribe_max {
                codes.push(ReasonCode::QUOTA_EXCEEDED);
                continue;
            }
            codes.push(match self.decide_filter(text, *options)? {
                Err(code) => code,
                Ok(filter) => {
                    let mailbox = Arc::clone(&self.lease.mailbox);
                    let subscription = Subscription { mailbox, options: *options, id };
                    let is_new = self.shared.router.subscribe(&filter, subscription.clone());
                    self.lease.subscriptions.insert(filter.clone(), subscription.clone());
                    granted.push((filter, subscription, is_new));
                    ReasonCode(options.qos.as_u8())
                }
            });
        }
        self.session.subscribed(packet_id, codes, &mut self.out);
        for (filter, subscription, is_new) in granted {
            self.bring_retained(&filter, &subscription, is_new);
        }
        Ok(())
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
                info!(client.id = %self.client.as_str().escape_debug(), "topic filter refused: {error}");
                return Ok(Err(ReasonCode::TOPIC_FILTER_INVALID));
            }
        };
        if filter.share_group().is_some() && options.no_local {
            // mqtt-5 [MQTT-3.8.3-4]
            let error = Violation::Protocol("a shared subscription with no local");
            return Err(Close::Violation(error));
        }
        let is_known = self.lease.subscriptions.contains_key(&filter);
        if !is_known && self.lease.subscriptions.len() >= limits.subscriptions_max {
            return Ok(Err(ReasonCode::QUOTA_EXCEEDED));
        }
        match self.access.decide(Action::Subscribe, filter.filter()) {
            Decision::Allowed { .. } => Ok(Ok(filter)),
            decision @ (Decision::ExplicitDeny { .. } | Decision::ImplicitDeny) => {
                info!(
                    client.id = %self.client.as_str().escape_debug(),
                    filter = %filter,
                    "{} {decision}", Action::Subscribe
                );
                self.shared.metrics.deny(Action::Subscribe);
                let flush = self.tally.denied(self.at, Action::Subscribe, filter.filter());
                self.flush_now |= flush == Flush::Now;
                Ok(Err(ReasonCode::NOT_AUTHORIZED))
            }
        }
    }

    /// Posts the retained messages of a subscription to its own mailbox, which bounds them.
    fn bring_retained(&self, filter: &TopicFilter, subscription: &Subscription, is_new: bool) {
        // mqtt-5 [MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11]; a shared subscription gets none
        // (section 4.8.2).
        let wanted = match subscription.options.retain_handling {
            RetainHandling::Always => true,
            RetainHandling::WhenNew => is_new,
            RetainHandling::Never => false,
        };
        if !wanted || filter.share_group().is_some() {
            return;
        }
        let max = self.shared.config.limits.queue_messages_max;
        for message in self.shared.retained.matching(filter, self.now, max, &self.shared.metrics) {
            if self.lease.mailbox.post(retained_delivery(message, subscription)) == Posted::Full {
                self.shared.metrics.drop_message(Dropped::QueueFull);
            }
        }
    }

    fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        let limits = TopicLimits::from(&self.shared.config.limits);
        let mut removed = Vec::new();
        let codes = unsubscribe.filters.iter().map(|text| {
            let Ok(filter) = TopicFilter::parse(text, &limits) else {
                return ReasonCode::TOPIC_FILTER_INVALID;
            };
            if self.lease.subscriptions.remove(&filter).is_none() {
                return ReasonCode::NO_SUBSCRIPTION_EXISTED;
            }
            removed.push(filter);
            ReasonCode::SUCCESS
        });
        let codes = codes.collect();
        self.shared.router.unsubscribe(self.lease.mailbox.session, &removed);
        self.session.unsubscribed(unsubscribe.packet_id, codes, &mut self.out);
    }
}
