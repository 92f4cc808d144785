//! Picket watches a fleet of IoT devices and cuts off the one that goes bad.
//!
//! This crate wires the parts together. Dramatis personae:
//!
//! - `cli` is what a person types, `config` what a file says, `data_dir` what lies on disk for
//!   scripts to read;
//! - `serve` makes every part and ends it in the right order;
//! - `shard` owns the detection engine: observations in, commits out;
//! - `directory` and `messages` are the adapters between edges that do not know each other: the
//!   broker's view of the store, and the API's way into the broker;
//! - `export` publishes the values that profiles export;
//! - `retention` forgets what is too old, and packs metric values of the past;
//! - `http` is how the API and the operator's endpoints are served to clients that take their time,
//!   `descriptors` who may have how many connections, `threads` where those of devices live, `limits` every bound that is the program's;
//! - `demo` plays the whole story with real devices, through `client`, as a user's script would.

mod cli;
pub mod client;
pub mod clock;
mod config;
mod connections;
mod data_dir;
mod demo;
mod descriptors;
mod directory;
mod enroll;
mod env;
mod export;
mod function;
mod http;
mod limits;
mod listen;
mod logging;
mod messages;
mod operator;
mod registry_events;
mod retention;
mod serve;
mod session_store;
mod shard;
mod signals;
#[cfg(test)]
mod testing;
mod threads;
mod tls;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::filter::LevelFilter;

use cli::{Cli, Command, ConfigCommand, EnrollCommand, FunctionCommand};
use config::Config;
use data_dir::DataDir;

/// Does what the command line says and gives the process's exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // The demo tells its story itself; the server's log would run through it.
    let level = match cli.command {
        Command::Demo(_) => LevelFilter::WARN,
        _ => LevelFilter::INFO,
    };
    logging::init(cli.log_format, level);
    run(cli.command).unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => runtime()?.block_on(serve::run(args)),
        Command::Demo(args) => runtime()?.block_on(demo::run(args)),
        Command::IsolateFunction => {
            runtime()?.block_on(demo::isolate::run())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Env(args) => {
            let dir = DataDir::at(&args.data_dir);
            print(&env::Environment::of(&dir)?.render(args.format));
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Defaults) => {
            print(config::DEFAULTS);
            Ok(ExitCode::SUCCESS)
        }
        Command::Config(ConfigCommand::Check { file }) => {
            Config::load(&file)?.tls.check()?;
            print(&format!("{}: no problem found\n", file.display()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Enroll(EnrollCommand::Token(command)) => {
            print(&runtime()?.block_on(enroll::token(&command))?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Function(FunctionCommand::SetupPython) => {
            let python = function::setup_python()?;
            print(&format!("functions with a python3.* runtime run with {}\n", python.display()));
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

#[expect(clippy::print_stdout, reason = "the answer to what was typed goes to standard output")]
fn print(text: &str) {
    print!("{text}");
}

#[expect(clippy::print_stderr, reason = "the last word to the person who typed the command")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error:#}");
}
