//! `cargo xtask bench`: figures of the whole program, from real runs on this machine.

use std::process::Command;

use anyhow::Result;

use crate::peers;
use crate::repo::{Repo, cargo};
use crate::shell::{run as run_command, step};

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchCommand {
    /// The main line: from a bad message to the closed connection, and messages per second beside
    /// mosquitto.
    Line {
        /// Handed to the benchmark: `--devices N`, `--seconds N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Builds what is measured in release mode, finds mosquitto, and measures.
pub(crate) fn run(repo: &Repo, what: &BenchCommand) -> Result<()> {
    let BenchCommand::Line { args } = what;
    step("find the peers", || peers::ready(repo))?;
    step("build", || {
        let packages = ["--package", "picket", "--package", "picket-bench"];
        run_command(cargo().current_dir(&repo.root).args(["build", "--release"]).args(packages))
    })?;
    let programs = repo.target.join("release");
    let mut command = Command::new(programs.join("picket-bench"));
    command.arg("--picket").arg(programs.join("picket")).args(args);
    run_command(&mut command)
}
