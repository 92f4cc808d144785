//! What a subscriber costs that does not read: memory, and the others' throughput.

use anyhow::Result;
use picket_model::limits::MqttLimits;

use super::{Plan, throughput};
use crate::brokers::{Broker, Kind, Transport};
use crate::client::{Stream, subscribe};
use crate::load::{Arrival, Load, Sessions, Shape};
use crate::{machine, say};

/// Large enough that a queue is full of bytes before it is full of messages.
const PAYLOAD_BYTES: usize = 4_096;

/// Pairs, each with one more subscriber, which does not read.
const PAIRS: usize = 8;

/// Bytes of output that a connection may have encoded besides its queue, and the largest piece that
/// it can be over by.
const OUTPUT_BYTES: usize = 2 * 128 * 1024;

/// Measures both qualities of service. Gives their number.
pub(super) async fn run(plan: &Plan) -> Result<usize> {
    let wanted: Vec<u8> =
        [0, 1].into_iter().filter(|qos| plan.wants(&format!("stalled qos{qos}"))).collect();
    if wanted.is_empty() {
        return Ok(0);
    }
    say(&format!(
        "\nstalled: {PAIRS} pairs, {PAYLOAD_BYTES} B, window 4, each with one more subscriber that \
         does not read; thousands of messages per second to those that do"
    ));
    for qos in &wanted {
        measure(plan, *qos).await?;
    }
    Ok(wanted.len())
}

async fn measure(plan: &Plan, qos: u8) -> Result<()> {
    let kind = Kind::Picket { is_watching: true, has_long_queues: false };
    let broker = Broker::start(kind, &plan.programs).await?;
    let door = broker.door(Transport::Plain);
    let load = Load {
        shape: Shape::Pairs,
        publishers: PAIRS,
        qos,
        sessions: Sessions::End,
        window: 4,
        arrival: Arrival::Delivered,
        payload_bytes: PAYLOAD_BYTES,
    };
    let turn = || throughput::turn(&load, door, broker.pid, plan.turn());
    let alone = turn().await?;
    let memory = machine::memory_bytes(broker.pid)?;
    let mut stalled: Vec<Box<dyn Stream>> = Vec::new();
    for number in 0..PAIRS {
        let mut stream = door.connect(&format!("stalled-{number}")).await?;
        subscribe(&mut stream, &format!("bench/{number}"), qos).await?;
        stalled.push(stream);
    }
    // While they fill, then while they are full.
    let (filling, beside) = (turn().await?, turn().await?);
    let grown = machine::memory_bytes(broker.pid)?.saturating_sub(memory);
    drop(stalled);
    let limits = MqttLimits::default();
    // What was sent and is not acknowledged counts besides what waits.
    let bound = limits.queue_bytes_max * (1 + usize::from(qos)) + OUTPUT_BYTES;
    let each = grown as f64 / PAIRS as f64;
    say(&format!(
        "  qos {qos}: {:.2} MB for each that does not read, bound {:.2} MB ({}); \
         others {:.1} k/s without it, {:.1} while it fills, {:.1} beside it",
        each / 1e6,
        bound as f64 / 1e6,
        if each <= bound as f64 { "holds" } else { "missed" },
        alone.per_second / 1e3,
        filling.per_second / 1e3,
        beside.per_second / 1e3,
    ));
    Ok(())
}
