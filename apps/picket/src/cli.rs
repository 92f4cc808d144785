//! What a person types: the verbs of `picket`, their flags and their help.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::parse_listen;
use crate::enroll::{Seconds, parse_seconds};
use crate::logging::LogFormat;

/// Picket watches a fleet of IoT devices and cuts off the one that goes bad.
///
/// Devices connect to it by MQTT with a certificate each. Security profiles say what is normal; a
/// device that leaves the normal raises an alarm, people and functions are told, and it can be
/// moved to a quarantine group whose policy cuts it off at once. Picket speaks the API of AWS IoT
/// Device Defender Detect, and of the parts of IoT Core, SNS and Lambda around it, so boto3, the
/// AWS CLI and the device SDKs work with it unchanged.
///
/// New here? `picket demo` shows the whole story in a minute or two.
#[derive(Debug, Parser)]
#[command(name = "picket", version, max_term_width = 100)]
pub(crate) struct Cli {
    /// How log lines on standard error look. RUST_LOG says which are written (default: info; for the demo, warn).
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        display_order = 900
    )]
    pub(crate) log_format: LogFormat,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Serve(ServeArgs),
    Demo(DemoArgs),
    Env(EnvArgs),
    /// Show what the configuration file may say, or check one.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Prepare this machine for functions.
    #[command(subcommand)]
    Function(FunctionCommand),
    /// Let devices get their first certificate by themselves, with `picket-agent enroll`.
    #[command(subcommand)]
    Enroll(EnrollCommand),
    /// What the demo's function is where there is no Python; started by the function host.
    #[command(hide = true)]
    IsolateFunction,
}

/// Run the server until it is told to stop.
///
/// Prints the line `picket ready` when every address is bound. By then the data directory holds
/// endpoints.json (the addresses really bound), credentials (the administrator's key, in the form
/// that AWS tools read) and ca.pem (the authority that signed the server's certificate). SIGTERM
/// or ctrl-C stops it: it commits what it has, closes the sessions and exits within 5 seconds.
/// SIGHUP makes it read its certificate and revocation lists again at once.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Folder that keeps everything: state, keys and logs of functions. Made if missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,

    /// Configuration file; flags win over it. `picket config defaults` prints one.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Where the AWS-compatible API listens; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub(crate) api: Option<SocketAddr>,

    /// Where /healthz, /readyz and /metrics listen [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub(crate) console: Option<SocketAddr>,

    /// Where devices connect with MQTT over TLS; may be repeated [default: 0.0.0.0:8883]
    #[arg(long, value_name = "ADDR", value_parser = parse_listen)]
    pub(crate) mqtts: Vec<SocketAddr>,
}

/// Watch a device go bad and be cut off, on this machine, with nothing to set up.
///
/// Starts a whole server in a temporary folder on free ports, registers three devices that connect
/// over mutual TLS, lets one of them misbehave, and shows the alarm, the notification, the
/// function's run, the move to the quarantine group and the cut connection as they happen. Exits
/// with 0 only if all of that really happened.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Leave the server running afterwards, and print how to look around with the AWS CLI.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Print what AWS tools and MQTT clients need to reach a running server.
///
/// In a shell: eval "$(picket env --data-dir DIR)"
#[derive(Debug, Args)]
pub(crate) struct EnvArgs {
    /// The data directory that the server was started with.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,

    /// `sh` prints export lines for a shell, `json` one object.
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) format: EnvFormat,
}

/// How `picket env` writes its answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum EnvFormat {
    /// `export NAME='value'` lines.
    #[default]
    Sh,
    /// One JSON object.
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a configuration file with every key, its default and what it means.
    Defaults,
    /// Read a configuration file and name everything that is wrong with it.
    Check {
        /// The file to read.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FunctionCommand {
    /// Make the private Python environment that functions with a python3.* runtime run in.
    ///
    /// Needs Python 3.9 or later and installs two packages there, awslambdaric and boto3. A server
    /// does the same by itself when the first such function is created.
    SetupPython,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnrollCommand {
    /// Make and list the tokens that devices enrol with.
    #[command(subcommand)]
    Token(TokenCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    Create(TokenCreateArgs),
    /// List tokens, each with every use that was made of it. The tokens themselves are kept nowhere.
    List {
        /// The data directory that the server was started with.
        #[arg(long, value_name = "DIR")]
        data_dir: PathBuf,
    },
}

/// Make a token, and print it this once.
///
/// Whoever has it can make new things, each with a certificate, that become members of the group;
/// the group's policies say what they may do. A thing that is there is never given to a token.
#[derive(Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// The data directory that the server was started with.
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: PathBuf,

    /// Thing group that enrolled things become members of.
    #[arg(long, value_name = "GROUP")]
    pub(crate) group: String,

    /// How many things may enrol with it, up to 10,000.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) uses: u32,

    /// How long it is good for: `90s`, `30m`, `12h`, up to `30d`.
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_seconds)]
    pub(crate) expires: Seconds,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    /// The help text of a verb, as a terminal of 100 columns shows it.
    fn help(verb: &[&str]) -> String {
        let words = ["picket"].iter().chain(verb).chain(&["--help"]);
        let error = Cli::command().term_width(100).try_get_matches_from(words).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DisplayHelp);
        error.to_string()
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_of_picket() {
        insta::assert_snapshot!(help(&[]));
    }

    #[test]
    fn help_of_serve() {
        insta::assert_snapshot!(help(&["serve"]));
    }

    #[test]
    fn help_of_demo() {
        insta::assert_snapshot!(help(&["demo"]));
    }

    #[test]
    fn help_of_env() {
        insta::assert_snapshot!(help(&["env"]));
    }

    #[test]
    fn help_of_config() {
        insta::assert_snapshot!(help(&["config"]));
    }

    #[test]
    fn help_of_enroll_token_create() {
        insta::assert_snapshot!(help(&["enroll", "token", "create"]));
    }

    #[test]
    fn help_of_function_setup_python() {
        insta::assert_snapshot!(help(&["function", "setup-python"]));
    }

    #[test]
    fn an_address_without_a_port_is_refused_with_an_example() {
        let typed = ["picket", "serve", "--data-dir", "d", "--api", "127.0.0.1"];
        let message = Cli::try_parse_from(typed).unwrap_err().to_string();
        assert!(message.contains("such as `127.0.0.1:8080`"), "{message}");
    }

    #[test]
    fn mqtts_may_be_repeated() {
        let typed = "picket serve --data-dir d --mqtts 127.0.0.1:0 --mqtts [::1]:0";
        let cli = Cli::try_parse_from(typed.split(' ')).unwrap();
        let Command::Serve(args) = cli.command else { panic!("not serve") };
        assert_eq!(args.mqtts, ["127.0.0.1:0", "[::1]:0"].map(|a| a.parse().unwrap()));
    }
}
