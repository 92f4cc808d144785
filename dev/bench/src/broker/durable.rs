//! What it costs that publishers are answered only once their message is on the disk: beside a
//! subscriber whose session is in memory one whose session is durable, present and away.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::{PAYLOAD_BYTES, Plan, median, shape_word, throughput};
use crate::brokers::{Broker, Kind, Transport};
use crate::load::{Arrival, Load, Sessions, Shape};
use crate::{machine, say};

const PUBLISHERS: usize = 8;

/// The subscriber's session, in the order of the lines.
const SESSIONS: [Sessions; 3] = [Sessions::End, Sessions::Stay, Sessions::StayAlone];

/// What a broker did in one turn.
struct Turn {
    /// Messages acknowledged in a second.
    per_second: f64,
    /// Messages acknowledged in a second of the broker's processor time, user and system.
    per_cpu_second: f64,
    /// Commits in a second. None are made for sessions in memory, nor by mosquitto.
    commits_per_second: f64,
}

/// Runs every window against both brokers. Gives the number of windows.
pub(super) async fn run(plan: &Plan) -> Result<usize> {
    let windows: Vec<usize> =
        [100, 4, 1].into_iter().filter(|window| plan.wants(&name(*window))).collect();
    if windows.is_empty() {
        return Ok(0);
    }
    say(&format!(
        "\ndurable: {PUBLISHERS} publishers to one subscriber, QoS 1, {PAYLOAD_BYTES} B, plain TCP, \
         policies on and every device watched; thousands of messages acknowledged, per second and \
         per CPU second of the broker; median of {} turns of {} ms, each with a new data directory \
         in {}",
        plan.rounds(),
        plan.turn().as_millis(),
        std::env::temp_dir().display(),
    ));
    say(
        "mosquitto acknowledges before it writes, and writes every half hour and at its end: it stands \
         here for orientation, not as a comparison",
    );
    say(&format!(
        "  {:<9} {:<16} {:>7} {:>8} {:>10} {:>15} {:>12}",
        "", "session", "k/s", "k/CPU-s", "commits/s", "messages/commit", "of in memory"
    ));
    for window in &windows {
        let sync_ms = machine::sync_time()?.as_secs_f64() * 1e3;
        say(&format!("window {window}: the disk takes {sync_ms:.2} ms to keep 4 KiB"));
        for (name, kind) in [
            ("mosquitto", Kind::Mosquitto { is_saving: true }),
            ("Picket", Kind::Picket { is_watching: true, has_long_queues: true }),
        ] {
            compare(plan, name, kind, *window).await?;
        }
    }
    Ok(windows.len())
}

fn name(window: usize) -> String {
    let shape = shape_word(Shape::FanIn);
    format!("durable plain window{window} qos1 {shape} x{PUBLISHERS}")
}

/// Gives each place of the session its turns, one after the other, and prints the medians.
async fn compare(plan: &Plan, name: &str, kind: Kind, window: usize) -> Result<()> {
    let mut turns = SESSIONS.map(|_| Vec::new());
    for _ in 0..plan.rounds() {
        for (turns, sessions) in turns.iter_mut().zip(SESSIONS) {
            turns.push(turn(plan, kind, sessions, window).await?);
        }
    }
    let medians = turns.map(|turns| Turn {
        per_second: median(turns.iter().map(|turn| turn.per_second).collect()),
        per_cpu_second: median(turns.iter().map(|turn| turn.per_cpu_second).collect()),
        commits_per_second: median(turns.iter().map(|turn| turn.commits_per_second).collect()),
    });
    let [Turn { per_second: in_memory, .. }, ..] = medians;
    for (turn, sessions) in medians.into_iter().zip(SESSIONS) {
        let Turn { per_second, per_cpu_second, commits_per_second } = turn;
        let (commits, batch) = if commits_per_second > 0.0 {
            let batch = per_second / commits_per_second;
            (format!("{commits_per_second:.0}"), format!("{batch:.1}"))
        } else {
            ("-".to_owned(), "-".to_owned())
        };
        say(&format!(
            "  {name:<9} {:<16} {:>7.1} {:>8.1} {commits:>10} {batch:>15} {:>10.2} x",
            session_words(sessions),
            per_second / 1e3,
            per_cpu_second / 1e3,
            per_second / in_memory,
        ));
    }
    Ok(())
}

/// Puts the load on a broker that has nothing on its disk, for a while.
async fn turn(plan: &Plan, kind: Kind, sessions: Sessions, window: usize) -> Result<Turn> {
    const COMMITS: &str = "picket_mqtt_journal_commits_total";
    let load = Load {
        shape: Shape::FanIn,
        publishers: PUBLISHERS,
        qos: 1,
        sessions,
        window,
        arrival: Arrival::Acknowledged,
        payload_bytes: PAYLOAD_BYTES,
    };
    let broker = Broker::start(kind, &plan.programs).await?;
    let mut running = load.start(broker.door(Transport::Plain)).await?;
    tokio::time::sleep(throughput::WARM_UP).await;
    let begun = Instant::now();
    let (acknowledged, cpu) = (running.acknowledged()?, machine::cpu_time(broker.pid)?);
    let commits = broker.counter(COMMITS).await?;
    tokio::time::sleep(plan.turn()).await;
    let elapsed = begun.elapsed().as_secs_f64();
    let acknowledged = running.acknowledged()? - acknowledged;
    let cpu = machine::cpu_time(broker.pid)? - cpu;
    let commits = broker.counter(COMMITS).await?.zip(commits).map(|(after, before)| after - before);
    ensure!(acknowledged > 0, "no message was acknowledged");
    let is_durable = sessions != Sessions::End;
    ensure!(
        commits.is_none_or(|n| (n > 0) == is_durable),
        "a durable session was not committed, or one in memory was"
    );
    let n_dropped = broker.counter("picket_mqtt_dropped_total").await?;
    ensure!(n_dropped.is_none_or(|n| n == 0), "messages found no room in the subscriber's queue");
    Ok(Turn {
        per_second: acknowledged as f64 / elapsed,
        per_cpu_second: acknowledged as f64 / cpu.as_secs_f64(),
        commits_per_second: commits.map_or(0.0, |n| n as f64 / elapsed),
    })
}

const fn session_words(sessions: Sessions) -> &'static str {
    match sessions {
        Sessions::End => "in memory",
        Sessions::Stay => "durable, present",
        Sessions::StayAlone => "durable, away",
    }
}
