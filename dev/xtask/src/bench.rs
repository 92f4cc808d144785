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
    /// The agent beside the AWS Python agent: memory and processor time with few and many sockets.
    Agent,
}

/// Builds what is measured in release mode, finds what it is compared with, and measures.
pub(crate) fn run(repo: &Repo, what: &BenchCommand) -> Result<()> {
    let peers = step("find the peers", || peers::ready(repo))?;
    let build =
        |args: &[&str]| run_command(cargo().current_dir(&repo.root).arg("build").args(args));
    step("build", || {
        build(&["--release", "--package", "picket", "--package", "picket-bench"])?;
        match what {
            BenchCommand::Line { .. } => Ok(()),
            BenchCommand::Agent => build(&["--profile", "agent", "--package", "picket-agent"]),
        }
    })?;
    let programs = repo.target.join("release");
    let bench = programs.join("picket-bench");
    let picket = programs.join("picket");
    match what {
        BenchCommand::Line { args } => {
            run_command(Command::new(bench).arg("--picket").arg(picket).args(args))
        }
        BenchCommand::Agent => {
            // 10,000 sockets are more than a shell's usual limit lets one process open.
            let mut command = Command::new("sh");
            command.args(["-c", "ulimit -n 20000 && exec \"$@\"", "sh"]).arg(bench);
            command.arg("--picket").arg(picket).arg("--python").arg(&peers.python);
            run_command(command.arg("--agent").arg(repo.target.join("agent/picket-agent")))
        }
    }
}
