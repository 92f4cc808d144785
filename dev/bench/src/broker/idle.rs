//! What connections cost that do nothing: each has subscribed to one filter with a wildcard.

use std::ops::Range;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use super::{Plan, transport_word};
use crate::brokers::{Broker, Kind, Transport};
use crate::client::{Door, Stream, subscribe};
use crate::{machine, say};

/// Handshakes at a time.
const AT_ONCE: usize = 64;

/// How often to look whether memory is still growing.
const LOOK: Duration = Duration::from_secs(1);

/// Measures both brokers with both transports. Gives the number of lines.
pub(super) async fn run(plan: &Plan) -> Result<usize> {
    let n_connections = if plan.is_quick { 1_000 } else { 10_000 };
    let transports: Vec<Transport> = [Transport::Plain, Transport::Tls]
        .into_iter()
        .filter(|transport| plan.wants(&format!("idle {}", transport_word(*transport))))
        .collect();
    if transports.is_empty() {
        return Ok(0);
    }
    machine::raise_open_files()?;
    say(&format!(
        "\nidle: {n_connections} connections with one wildcard subscription each, every device \
         watched; memory is what the process holds more of from a tenth of them to all (Pss)"
    ));
    for transport in &transports {
        for (name, kind) in [
            ("mosquitto", Kind::Mosquitto { is_saving: false }),
            ("Picket", Kind::Picket { is_watching: true, has_long_queues: false }),
        ] {
            let broker = Broker::start(kind, &plan.programs).await?;
            let idle = measure(&broker, *transport, n_connections).await?;
            say(&format!(
                "  {:<5} {name:<9} {:>6.2} KB a connection{}, {:.2} ms CPU to connect one",
                transport_word(*transport),
                idle.bytes_each / 1e3,
                match kind {
                    Kind::Mosquitto { .. } => "            ",
                    Kind::Picket { .. } => verdict(*transport, idle.bytes_each),
                },
                idle.cpu_each.as_secs_f64() * 1e3,
            ));
        }
    }
    say("aims: 4 KB plain, 14 KB with TLS and client certificates");
    Ok(transports.len())
}

/// What one connection cost.
struct Idle {
    bytes_each: f64,
    cpu_each: Duration,
}

/// Connects a tenth, then the rest: what the first ones cost besides themselves, such as threads and
/// tables, is not the connections'.
async fn measure(broker: &Broker, transport: Transport, n_connections: usize) -> Result<Idle> {
    let door = broker.door(transport);
    let n_before = n_connections / 10;
    let mut open = connect_all(door, 0..n_before).await?;
    let bytes = settled_memory(broker.pid).await?;
    let cpu = machine::cpu_time(broker.pid)?;
    open.extend(connect_all(door, n_before..n_connections).await?);
    let cpu = machine::cpu_time(broker.pid)? - cpu;
    let bytes = settled_memory(broker.pid).await?.saturating_sub(bytes);
    let n_measured = n_connections - n_before;
    Ok(Idle {
        bytes_each: bytes as f64 / n_measured as f64,
        cpu_each: cpu / u32::try_from(n_measured)?,
    })
}

async fn connect_all(door: &Door, numbers: Range<usize>) -> Result<Vec<Box<dyn Stream>>> {
    let mut open = Vec::with_capacity(numbers.len());
    let mut connecting = JoinSet::new();
    for number in numbers {
        if connecting.len() == AT_ONCE {
            open.push(connecting.join_next().await.context("nobody connects")???);
        }
        let door = door.clone();
        connecting.spawn(async move { connect(&door, format!("idle-{number}")).await });
    }
    while let Some(connected) = connecting.join_next().await {
        open.push(connected??);
    }
    Ok(open)
}

async fn connect(door: &Door, client: String) -> Result<Box<dyn Stream>> {
    let mut stream = door.connect(&client).await?;
    subscribe(&mut stream, &format!("devices/{client}/+"), 1).await?;
    Ok(stream)
}

/// What a process holds once that has stopped changing.
async fn settled_memory(pid: u32) -> Result<u64> {
    let mut before = machine::memory_bytes(pid)?;
    loop {
        tokio::time::sleep(LOOK).await;
        let now = machine::memory_bytes(pid)?;
        if now.abs_diff(before) < now / 200 {
            return Ok(now);
        }
        before = now;
    }
}

fn verdict(transport: Transport, bytes: f64) -> &'static str {
    let aim_bytes = match transport {
        Transport::Plain => 4e3,
        Transport::Tls => 14e3,
    };
    if bytes <= aim_bytes { " (aim holds)" } else { " (aim missed)" }
}
