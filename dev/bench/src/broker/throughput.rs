//! Messages per second and per CPU second of the broker.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::{PAYLOAD_BYTES, Plan, median, shape_word, transport_word};
use crate::brokers::{Broker, Kind, Transport};
use crate::client::Door;
use crate::load::{Arrival, Load, Sessions, Shape};
use crate::{machine, say};

/// Time for connections, caches and batches to settle before anything counts.
pub(super) const WARM_UP: Duration = Duration::from_millis(200);

/// One line of the table.
struct Row {
    transport: Transport,
    load: Load,
}

/// What a broker did in one turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turn {
    /// Messages delivered in a second.
    pub(super) per_second: f64,
    /// Messages delivered in a second of the broker's processor time, user and system.
    pub(super) per_cpu_second: f64,
}

/// Runs every row against both brokers in turn. Gives the number of rows.
pub(super) async fn run(plan: &Plan) -> Result<usize> {
    let rows: Vec<Row> = rows().into_iter().filter(|row| plan.wants(&row.name())).collect();
    if rows.is_empty() {
        return Ok(0);
    }
    say(&format!(
        "\nthroughput: {PAYLOAD_BYTES} B, policies on and every device watched; median of {} turns \
         of {} ms; thousands of messages per CPU second of the broker, and per second",
        plan.rounds(),
        plan.turn().as_millis(),
    ));
    say(&format!(
        "{:<38} {:>19} {:>19} {:>7} {:>6}",
        "", "mosquitto  k/CPU-s", "Picket  k/CPU-s", "ratio", "aim"
    ));
    let mosquitto = Broker::start(Kind::Mosquitto { is_saving: false }, &plan.programs).await?;
    let kind = Kind::Picket { is_watching: true, has_long_queues: false };
    let picket = Broker::start(kind, &plan.programs).await?;
    for row in &rows {
        let [theirs, ours] = compare(plan, &row.load, row.transport, [&mosquitto, &picket]).await?;
        let ratio = ours.per_cpu_second / theirs.per_cpu_second;
        let aim = aim(row.load.window);
        let cell = |turn: Turn| {
            format!("{:>9.1} ({:>6.1})", turn.per_cpu_second / 1e3, turn.per_second / 1e3)
        };
        say(&format!(
            "{:<38} {:>19} {:>19} {ratio:>5.2} x {aim:>4.1} x {}",
            row.name().trim_start_matches("throughput "),
            cell(theirs),
            cell(ours),
            if ratio >= aim { "holds" } else { "missed" },
        ));
    }
    Ok(rows.len())
}

/// Gives each broker its turns under a load, one after the other, and the medians.
pub(super) async fn compare<const N: usize>(
    plan: &Plan,
    load: &Load,
    transport: Transport,
    brokers: [&Broker; N],
) -> Result<[Turn; N]> {
    let mut turns: [Vec<Turn>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..plan.rounds() {
        for (turns, broker) in turns.iter_mut().zip(brokers) {
            turns.push(turn(load, broker.door(transport), broker.pid, plan.turn()).await?);
        }
    }
    let of = |turns: &[Turn], figure: fn(&Turn) -> f64| median(turns.iter().map(figure).collect());
    Ok(turns.map(|turns| Turn {
        per_second: of(&turns, |turn| turn.per_second),
        per_cpu_second: of(&turns, |turn| turn.per_cpu_second),
    }))
}

/// Puts a load on a broker for a while.
pub(super) async fn turn(load: &Load, door: &Door, pid: u32, duration: Duration) -> Result<Turn> {
    let mut running = load.start(door).await?;
    tokio::time::sleep(WARM_UP).await;
    let (begun, delivered, cpu) = (Instant::now(), running.delivered()?, machine::cpu_time(pid)?);
    tokio::time::sleep(duration).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let delivered = running.delivered()? - delivered;
    let cpu = machine::cpu_time(pid)? - cpu;
    ensure!(delivered > 0, "no message came through");
    Ok(Turn {
        per_second: delivered as f64 / elapsed,
        per_cpu_second: delivered as f64 / cpu.as_secs_f64(),
    })
}

/// All rows: the fewer messages wait together, the more publishers there are as well, for that is
/// how such loads come about.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for transport in [Transport::Plain, Transport::Tls] {
        for (window, publishers) in [(100, 8), (4, 8), (4, 50), (1, 8), (1, 100)] {
            for qos in [0, 1] {
                for shape in [Shape::FanIn, Shape::Pairs] {
                    let load = Load {
                        shape,
                        publishers,
                        qos,
                        sessions: Sessions::End,
                        window,
                        arrival: Arrival::Delivered,
                        payload_bytes: PAYLOAD_BYTES,
                    };
                    rows.push(Row { transport, load });
                }
            }
        }
    }
    rows
}

impl Row {
    fn name(&self) -> String {
        let Load { shape, publishers, qos, window, .. } = self.load;
        let (transport, shape) = (transport_word(self.transport), shape_word(shape));
        format!("throughput {transport} window{window} qos{qos} {shape} x{publishers}")
    }
}

/// How many times mosquitto's messages per CPU second ours are to be.
const fn aim(window: usize) -> f64 {
    match window {
        0..=1 => 1.2,
        2..=4 => 4.0,
        _ => 12.0,
    }
}
