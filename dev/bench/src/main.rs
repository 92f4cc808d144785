//! Benchmarks, with figures printed as measured: of the whole program with real processes and real
//! clients, of the broker beside mosquitto, of the agent, and of the detection engine by itself.
//!
//! `cargo xtask bench line`, `broker`, `agent` or `engine` builds what is measured and runs this. Nothing is
//! asserted: a figure is for people, who compare it with those in docs/performance.md.

mod agent;
mod broker;
mod brokers;
mod client;
mod engine;
mod line;
mod load;
mod machine;
mod server;

use std::path::PathBuf;

use clap::Parser;

/// Measures a build of Picket.
#[derive(Debug, Parser)]
enum Bench {
    /// The main line: from a bad message to the closed connection.
    Line(Line),
    /// The broker beside mosquitto.
    Broker(Broker),
    /// The agent beside the AWS Python agent.
    Agent(Agent),
    /// The detection engine, on one core.
    Engine {
        /// Devices whose state is measured and whose windows end.
        #[arg(long, default_value_t = 1_000_000)]
        devices: usize,
    },
}

#[derive(Debug, clap::Args)]
struct Line {
    /// The program under test.
    #[arg(long, value_name = "FILE")]
    picket: PathBuf,

    /// Devices that are cut off, one after the other.
    #[arg(long, default_value_t = 200)]
    devices: usize,
}

#[derive(Debug, clap::Args)]
struct Broker {
    /// The program under test.
    #[arg(long, value_name = "FILE")]
    picket: PathBuf,

    /// The broker to compare with.
    #[arg(long, value_name = "FILE")]
    mosquitto: PathBuf,

    /// Look once and briefly.
    #[arg(long)]
    quick: bool,

    /// What deciding one message costs by itself, in nanoseconds, where topics are alike and where they
    /// change; and what counting it does.
    #[arg(long, value_name = "ALIKE,CHANGING,COUNTING", value_parser = apart)]
    apart: Option<broker::Apart>,

    /// Only what has all of these words in its name: throughput, shares, idle, durable, stalled;
    /// plain, tls; window100, window4, window1; qos0, qos1; fan-in, pairs; x8, x50, x100.
    words: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Agent {
    /// The server that the agents report to.
    #[arg(long, value_name = "FILE")]
    picket: PathBuf,

    /// The agent under test.
    #[arg(long, value_name = "FILE")]
    agent: PathBuf,

    /// An interpreter that has the AWS Python agent installed.
    #[arg(long, value_name = "FILE")]
    python: PathBuf,
}

fn main() -> anyhow::Result<()> {
    let bench = Bench::parse();
    say(&format!("machine: {}", machine::describe()));
    say(&format!("date:    {}, load {}", jiff::Timestamp::now(), machine::load()));
    let runtime = tokio::runtime::Runtime::new()?;
    match bench {
        Bench::Line(Line { picket, devices }) => runtime.block_on(line::run(&picket, devices)),
        Bench::Broker(Broker { picket, mosquitto, quick, apart, words }) => {
            let programs = brokers::Programs { picket, mosquitto };
            let plan = broker::Plan { programs, words, is_quick: quick, apart };
            runtime.block_on(broker::run(&plan))
        }
        Bench::Agent(Agent { picket, agent, python }) => {
            let programs = agent::Programs { picket: &picket, agent: &agent, python: &python };
            runtime.block_on(agent::run(&programs))
        }
        Bench::Engine { devices } => engine::run(devices),
    }
}

fn apart(text: &str) -> Result<broker::Apart, String> {
    let number = |text: &str| text.parse::<f64>().map_err(|error| error.to_string());
    let figures = text.split(',').map(number).collect::<Result<Vec<_>, _>>()?;
    let [deciding_alike_ns, deciding_changing_ns, counting_ns] = figures[..] else {
        return Err("three numbers are needed".to_owned());
    };
    Ok(broker::Apart { deciding_alike_ns, deciding_changing_ns, counting_ns })
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
