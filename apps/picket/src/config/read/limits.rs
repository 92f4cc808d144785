//! `[mqtt.limits]`: a key for each bound of the MQTT edge, named like its field of [`MqttLimits`].

use std::num::TryFromIntError;
use std::ops::RangeInclusive;

use picket_model::limits::MqttLimits;
use picket_mqtt::session::packet_bytes_max;

use super::{Table, integer};

const KIB: i64 = 1024;
const MIB: i64 = 1024 * KIB;
const TIB: i64 = 1024 * 1024 * MIB;

/// A key, the values that it takes, and the bound that it sets.
pub(in crate::config) struct Key {
    pub(in crate::config) name: &'static str,
    pub(in crate::config) range: RangeInclusive<i64>,
    set: fn(&mut MqttLimits, i64) -> Result<(), TryFromIntError>,
}

/// Lists the keys. A bound that is neither a key nor a rule of `aws_limits` does not compile.
macro_rules! keys {
    ($($name:ident: $range:expr,)*) => {
        pub(in crate::config) const KEYS: &[Key] = &[$(Key {
            name: stringify!($name),
            range: $range,
            set: |limits, value| {
                limits.$name = value.try_into()?;
                Ok(())
            },
        },)*];

        const _: fn(MqttLimits) = |limits| {
            let MqttLimits {
                $($name: _,)*
                exactly_once: _,
                parent_matches: _,
                retained_by_wildcard: _,
            } = limits;
        };
    };
}

keys! {
    // MQTT packets end at 256 MiB (mqtt-5 section 1.5.5); half of that leaves room for everything
    // besides the payload.
    payload_bytes_max: 1..=128 * MIB,
    // Ten million idle connections are 140 GB.
    connections_max: 1..=10_000_000,
    // Without any, every session ends with its connection.
    sessions_max: 0..=10_000_000,
    // Less than a tenth of a second is no round trip; ten minutes of silence are no introduction.
    connect_timeout_ms: 100..=600_000,
    // Two bytes, and not 0 (mqtt-5 section 3.1.2.11.3).
    inflight_max: 1..=u16::MAX as i64,
    // A message goes through the queue also where nothing waits.
    queue_messages_max: 1..=1_000_000,
    queue_bytes_max: KIB..=TIB,
    queues_bytes_max: KIB..=TIB,
    // It may be above by a message of each publisher: less than some messages would only be slow.
    journal_bytes_max: 64 * KIB..=TIB,
    subscriptions_max: 1..=1_000_000,
    subscriptions_in_all_max: 1..=100_000_000,
    // Without any, a will does not wait.
    delayed_wills_bytes_max: 0..=TIB,
    // Each filter is decided before anything else of the client is.
    filters_per_subscribe_max: 1..=10_000,
    // AWS IoT's 256, which the topics of reports need; half of what a packet has besides its payload.
    topic_bytes_max: 256..=8 * KIB,
    // AWS IoT's 8, which the topics of reports need; the trees of filters are gone down by recursion.
    topic_levels_max: 8..=128,
    // Each is a topic that every connection may have kept.
    topic_aliases_max: 0..=1_024,
    // All ones mean "never" (mqtt-5 section 3.1.2.11.2), and every session ends here.
    session_expiry_s_max: 0..=u32::MAX as i64 - 1,
    retained_messages_max: 0..=100_000_000,
    retained_bytes_max: 0..=TIB,
    // Two bytes; 0 would mean none.
    keep_alive_s_max: 1..=u16::MAX as i64,
    keep_alive_s_min: 1..=u16::MAX as i64,
    half_open_per_source_max: 1..=10_000_000,
    // 0 is no bound; a million a second is more than a connection carries.
    publishes_per_s_max: 0..=1_000_000,
}

/// Reads the keys over `limits`.
pub(super) fn read(mut table: Table, limits: &mut MqttLimits) {
    for Key { name, range, set } in KEYS {
        table.get(name, |value| {
            let n = integer(value, range.clone())?;
            set(limits, n).map_err(|_| format!("{n} is more than this machine can count to"))
        });
    }
    for Order { name, value, other, least, what } in orders(limits) {
        if value < least {
            let given = [name, other].into_iter().find(|key| table.entries.contains_key(*key));
            let message = format!("`{}`: {value} is less than {what}, {least}", table.path(name));
            table.complain_at(given.unwrap_or(name), &message);
        }
    }
    table.finish();
}

/// A bound that must leave room for what another one allows.
struct Order {
    name: &'static str,
    value: usize,
    other: &'static str,
    least: usize,
    /// In words, what needs the least.
    what: &'static str,
}

fn orders(limits: &MqttLimits) -> [Order; 4] {
    [
        Order {
            name: "queue_bytes_max",
            value: limits.queue_bytes_max,
            other: "payload_bytes_max",
            least: packet_bytes_max(limits),
            what: "the largest packet takes with this `payload_bytes_max`",
        },
        Order {
            name: "queues_bytes_max",
            value: limits.queues_bytes_max,
            other: "queue_bytes_max",
            least: limits.queue_bytes_max,
            what: "the `queue_bytes_max` of one session",
        },
        Order {
            name: "subscriptions_in_all_max",
            value: limits.subscriptions_in_all_max,
            other: "subscriptions_max",
            least: limits.subscriptions_max,
            what: "the `subscriptions_max` of one session",
        },
        Order {
            name: "keep_alive_s_max",
            value: limits.keep_alive_s_max.into(),
            other: "keep_alive_s_min",
            least: limits.keep_alive_s_min.into(),
            what: "`keep_alive_s_min`",
        },
    ]
}
