//! The repository's own tasks: `cargo xtask test` and what else a change has to pass.
//!
//! [`test`] runs every test with the [`peers`] it needs, [`tidy`] holds the repository against the
//! house's rules, [`spec`] reads the tables in `specs/` and writes the page of [`metrics`], [`fuzz`]
//! feeds the parsers. CI runs what `cargo xtask ci` runs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks to the person who typed the command"
)]

mod agent;
mod bench;
mod ci;
mod deb;
mod fuzz;
mod metrics;
mod peers;
mod repo;
mod shell;
mod spec;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use repo::Repo;

/// Tasks of the Picket repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make what the tests need, then build and run every test.
    Test(test::TestArgs),
    /// Run what CI runs: test, format, clippy, tidy, specs, fuzz.
    Ci,
    /// Hold the repository against the house's rules.
    Tidy,
    /// Print how many operations are done, later and never; `check` and `refresh` what
    /// is made from the tables.
    Spec {
        #[command(subcommand)]
        verb: Option<spec::SpecCommand>,
    },
    /// Run every fuzz target for a while.
    Fuzz(fuzz::FuzzArgs),
    /// Measure the whole program on this machine.
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Build Debian packages of the agent for every architecture that can be built for here.
    Deb,
    /// Make the Python environment and find the clients that the tests drive the server with.
    Peers,
}

fn main() -> ExitCode {
    match run(Cli::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> anyhow::Result<()> {
    let repo = Repo::find()?;
    match task {
        Task::Test(args) => test::run(&repo, &args),
        Task::Ci => ci::run(&repo),
        Task::Tidy => tidy::run(&repo),
        Task::Spec { verb } => spec::run(&repo, verb),
        Task::Fuzz(args) => fuzz::run(&repo, &args),
        Task::Bench(what) => bench::run(&repo, &what),
        Task::Deb => deb::run(&repo),
        Task::Peers => peers::ready(&repo).map(|peers| println!("{}", peers.python.display())),
    }
}
