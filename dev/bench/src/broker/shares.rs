//! What deciding and counting cost: with and without a profile that watches every device, and as a
//! share of all that a message costs.

use anyhow::Result;

use super::{PAYLOAD_BYTES, Plan, shape_word, throughput};
use crate::brokers::{Broker, Kind, Transport};
use crate::load::{Arrival, Load, Sessions, Shape};
use crate::say;

/// What one message costs to decide and to count on its way in and out, in nanoseconds, measured
/// apart from everything else.
///
/// Nobody can run the broker without its decisions, so they are measured by themselves: a test of
/// the broker's does to the same values what a connection does with each message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Apart {
    /// Deciding the publish and the delivery, where a subscriber gets messages of one topic.
    pub(crate) deciding_alike_ns: f64,
    /// The same where the topic changes with every message that it gets.
    pub(crate) deciding_changing_ns: f64,
    /// Counting both for Detect.
    pub(crate) counting_ns: f64,
}

impl Apart {
    /// What both cost where messages flow so. With several publishers to a subscriber topics change
    /// with every message at worst; they come in runs as well.
    fn ns(&self, shape: Shape) -> f64 {
        let deciding_ns = match shape {
            Shape::FanIn => self.deciding_changing_ns,
            Shape::Pairs => self.deciding_alike_ns,
        };
        deciding_ns + self.counting_ns
    }
}

/// Deciding and counting together are to be at most this share of a message's cost, in percent.
const AIM_PERCENT: f64 = 10.0;

/// Measures the loads with many messages per wake-up, where a share is largest. Gives their number.
pub(super) async fn run(plan: &Plan) -> Result<usize> {
    let loads: Vec<(String, Load)> =
        loads().into_iter().filter(|(name, _)| plan.wants(name)).collect();
    if loads.is_empty() {
        return Ok(0);
    }
    say("\nshares: window 100, plain TCP; nanoseconds of the broker's processor time per message");
    if let Some(Apart { deciding_alike_ns, deciding_changing_ns, counting_ns }) = plan.apart {
        say(&format!(
            "  apart: deciding {deciding_alike_ns:.1} ns, {deciding_changing_ns:.1} ns where the \
             topic changes with every delivery, counting {counting_ns:.1} ns"
        ));
    }
    say(&format!(
        "{:<16} {:>13} {:>13} {:>12} {:>22}",
        "", "all watched", "none watched", "watching", "deciding and counting"
    ));
    let kind = |is_watching| Kind::Picket { is_watching, has_long_queues: false };
    let watching = Broker::start(kind(true), &plan.programs).await?;
    let without = Broker::start(kind(false), &plan.programs).await?;
    for (name, load) in &loads {
        let turns =
            throughput::compare(plan, load, Transport::Plain, [&watching, &without]).await?;
        let [with_ns, without_ns] = turns.map(|turn| 1e9 / turn.per_cpu_second);
        let share = plan.apart.map_or_else(String::new, |apart| {
            let percent = apart.ns(load.shape) / with_ns * 100.0;
            let verdict = if percent <= AIM_PERCENT { "holds" } else { "missed" };
            format!("{percent:>12.1} % {verdict}")
        });
        say(&format!(
            "{:<16} {with_ns:>10.0} ns {without_ns:>10.0} ns {:>10.1} % {share:>22}",
            name.trim_start_matches("shares "),
            (with_ns - without_ns) / with_ns * 100.0,
        ));
    }
    if plan.apart.is_some() {
        say(&format!("aim: at most {AIM_PERCENT} % together"));
    }
    Ok(loads.len())
}

fn loads() -> Vec<(String, Load)> {
    let mut loads = Vec::new();
    for qos in [0, 1] {
        for shape in [Shape::FanIn, Shape::Pairs] {
            let name = format!("shares qos{qos} {}", shape_word(shape));
            let load = Load {
                shape,
                publishers: 8,
                qos,
                sessions: Sessions::End,
                window: 100,
                arrival: Arrival::Delivered,
                payload_bytes: PAYLOAD_BYTES,
            };
            loads.push((name, load));
        }
    }
    loads
}
