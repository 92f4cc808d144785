//! Benchmarks, with figures printed as measured: of the whole program with real processes and real
//! clients, of the agent, and of the detection engine by itself.
//!
//! `cargo xtask bench line`, `agent` or `engine` builds what is measured and runs this. Nothing is
//! asserted: a figure is for people, who compare it with those in docs/performance.md.

mod agent;
mod broker;
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
    /// The main line, and messages per second beside mosquitto.
    Line(Line),
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

    /// The broker to compare with.
    #[arg(long, value_name = "FILE", default_value = "mosquitto")]
    mosquitto: PathBuf,

    /// Devices that are cut off, one after the other.
    #[arg(long, default_value_t = 200)]
    devices: usize,

    /// Seconds that each throughput figure is measured for.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
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
    say(&format!("date:    {}", jiff::Timestamp::now()));
    let runtime = tokio::runtime::Runtime::new()?;
    match bench {
        Bench::Line(Line { picket, mosquitto, devices, seconds }) => runtime.block_on(async {
            line::run(&picket, devices).await?;
            broker::run(&picket, &mosquitto, std::time::Duration::from_secs(seconds)).await
        }),
        Bench::Agent(Agent { picket, agent, python }) => {
            let programs = agent::Programs { picket: &picket, agent: &agent, python: &python };
            runtime.block_on(agent::run(&programs))
        }
        Bench::Engine { devices } => engine::run(devices),
    }
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
