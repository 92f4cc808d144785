//! picket-agent tells what a device's network looks like: which ports listen, which connections are
//! open, how much went in and out.
//!
//! It reports to Picket and to AWS IoT Device Defender alike. Dramatis personae:
//!
//! - [`cli`] is what a person types, [`config`] what a file says and what comes of both;
//! - [`collect`] looks at the machine, [`custom`] measures what the configuration names besides;
//! - [`schedule`] says when, [`tls`] is the line to the server, [`session`] the MQTT on it,
//!   [`reply`] what the server says to a report;
//! - [`enroll`] gets a certificate, [`install`] writes a service of systemd;
//! - [`run`] is the one thread that waits for whatever comes next, [`stop`] how it ends;
//! - [`limits`] has every bound.
//!
//! There is no runtime and but one thread: a device spends its memory on other things.

#[cfg(not(target_os = "linux"))]
compile_error!("picket-agent reads the tables of the Linux kernel");

pub mod cli;
pub mod collect;
pub mod config;
pub mod custom;
pub mod endpoint;
pub mod enroll;
mod files;
pub mod install;
pub mod limits;
mod logging;
pub mod reply;
pub mod run;
pub mod schedule;
pub mod session;
pub mod stop;
pub mod tls;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use cli::{Cli, Command};
use config::Settings;

/// Does what the command line says and gives the process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse_from(cli::spelled(std::env::args_os()));
    logging::init(if cli.run.verbose { LevelFilter::DEBUG } else { LevelFilter::INFO });
    let done = match cli.command {
        None => Settings::load(&cli.run).map_err(Into::into).and_then(run::run),
        Some(Command::Check(args)) => check(&args).map(|()| ExitCode::SUCCESS),
        Some(Command::Enroll(args)) => {
            enroll::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS)
        }
        Some(Command::Install(args)) => {
            install::run(&args, &mut std::io::stdout()).map(|()| ExitCode::SUCCESS)
        }
    };
    done.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// Reads the configuration and the files that it names.
fn check(args: &cli::RunArgs) -> anyhow::Result<()> {
    let settings = Settings::load(args)?;
    if let Some(connection) = settings.connection {
        let port = connection.endpoint.port;
        tls::Identity::load(&connection.root_ca, &connection.cert, &connection.key, port)?;
    }
    Ok(())
}

#[expect(clippy::print_stderr, reason = "the last word to the person who typed the command")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
