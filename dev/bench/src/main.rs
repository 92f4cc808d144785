//! Benchmarks of the whole program: real processes, real clients, figures printed as measured.
//!
//! `cargo xtask bench line` or `agent` builds what is measured and runs this. Nothing is asserted:
//! a figure is for people, who compare it with those in docs/performance.md.

mod agent;
mod broker;
mod line;
mod load;
mod machine;
mod server;

use std::path::PathBuf;

use clap::Parser;

/// Measures a build of Picket.
#[derive(Debug, Parser)]
struct Args {
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

    /// Measure this agent beside the AWS Python agent, and nothing else.
    #[arg(long, value_name = "FILE", requires = "python")]
    agent: Option<PathBuf>,

    /// An interpreter that has the AWS Python agent installed.
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    say(&format!("machine: {}", machine::describe()));
    say(&format!("date:    {}", jiff::Timestamp::now()));
    if let (Some(agent), Some(python)) = (&args.agent, &args.python) {
        return agent::run(&agent::Programs { picket: &args.picket, agent, python }).await;
    }
    line::run(&args.picket, args.devices).await?;
    broker::run(&args.picket, &args.mosquitto, std::time::Duration::from_secs(args.seconds)).await
}

#[expect(clippy::print_stdout, reason = "figures are what this program is for")]
fn say(text: &str) {
    println!("{text}");
}
