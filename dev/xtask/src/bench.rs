//! `cargo xtask bench`: figures of the whole program, from real runs on this machine.

use std::process::Command;

use anyhow::{Context, Result};

use crate::agent::Toolchain;
use crate::peers;
use crate::repo::{Repo, cargo};
use crate::shell::{output, run as run_command, step, which};

/// What to measure.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum BenchCommand {
    /// The main line: from a bad message to the closed connection.
    Line {
        /// Handed to the benchmark: `--devices N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The broker beside mosquitto: messages per CPU second, what deciding and counting cost, idle
    /// connections, durable sessions, subscribers that do not read.
    Broker {
        /// Handed to the benchmark: `--quick`, and words that choose what is measured (`throughput`,
        /// `shares`, `idle`, `durable`, `stalled`, `plain`, `tls`, `window1`, `qos0`, `fan-in`, ...).
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// The agent beside the AWS Python agent: memory and processor time with few and many sockets.
    Agent,
    /// The detection engine by itself: reports in a second, state of a device, a window's end.
    Engine {
        /// Handed to the benchmark: `--devices N`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

/// Builds what is measured in release mode, finds what it is compared with, and measures.
pub(crate) fn run(repo: &Repo, what: &BenchCommand) -> Result<()> {
    let build =
        |args: &[&str]| run_command(cargo().current_dir(&repo.root).arg("build").args(args));
    let programs = repo.target.join("release");
    let bench = programs.join("picket-bench");
    let picket = programs.join("picket");
    let both = ["--release", "--package", "picket", "--package", "picket-bench"];
    match what {
        BenchCommand::Line { args } => {
            step("find the peers", || peers::ready(repo))?;
            step("build", || build(&both))?;
            run_command(Command::new(bench).args(["line", "--picket"]).arg(picket).args(args))
        }
        BenchCommand::Broker { args } => {
            let mosquitto = which("mosquitto").context(
                "mosquitto is missing: install the package (Debian and Ubuntu: `sudo apt-get install mosquitto`)",
            )?;
            step("build", || build(&both))?;
            let mut command = Command::new(bench);
            command.args(["broker", "--picket"]).arg(picket).arg("--mosquitto").arg(mosquitto);
            if wants_shares(args) {
                let apart = step("measure what deciding and counting cost", || apart(repo))?;
                command.args(["--apart", &apart]);
            }
            run_command(command.args(args))
        }
        BenchCommand::Agent => {
            let peers = step("find the peers", || peers::ready(repo))?;
            let target =
                Toolchain::find()?.best_of_ours().context("the agent has no target here")?;
            let what = format!("build the agent as it is packaged ({})", target.triple);
            step("build", || build(&both))?;
            let agent = step(&what, || target.build(repo))?;
            // 10,000 sockets are more than a shell's usual limit lets one process open.
            let mut command = Command::new("sh");
            command.args(["-c", "ulimit -n 20000 && exec \"$@\"", "sh"]).arg(bench).arg("agent");
            command.arg("--picket").arg(picket).arg("--python").arg(&peers.python);
            run_command(command.arg("--agent").arg(agent))
        }
        BenchCommand::Engine { args } => {
            step("build", || build(&["--release", "--package", "picket-bench"]))?;
            run_command(Command::new(bench).arg("engine").args(args))
        }
    }
}

/// Whether the arguments leave the shares in.
fn wants_shares(args: &[String]) -> bool {
    let others = ["throughput", "idle", "durable", "stalled"];
    !others.iter().any(|other| args.iter().any(|arg| arg == other))
}

/// What deciding and counting a message cost by themselves: numbers of nanoseconds.
fn apart(repo: &Repo) -> Result<String> {
    let mut test = cargo();
    test.current_dir(&repo.root).args(["test", "--release", "--quiet", "-p", "picket-broker"]);
    test.args(["--lib", "measure", "--", "--ignored", "--nocapture"]);
    let printed = output(&mut test)?;
    let figures = printed.lines().find_map(|line| line.strip_prefix("apart "));
    figures.map(str::to_owned).context("the measurement printed no figures")
}
