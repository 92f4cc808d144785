//! What a person types. Flags that mean the same as the AWS Python agent's are spelled the same.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Reports what this device's network looks like, to Picket or to AWS IoT Device Defender.
///
/// Listening ports, open connections and traffic go out every five minutes over MQTT with the
/// device's certificate. Flags win over the configuration file. It runs as any user and says what
/// it could not see.
#[derive(Debug, Parser)]
#[command(name = "picket-agent", version, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// What else to do.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// What to report and where to.
    #[command(flatten)]
    pub run: RunArgs,
}

/// What the agent does besides reporting.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read the configuration and name the first thing that is wrong with it
    Check(RunArgs),
    /// Write a hardened systemd service, and a configuration to fill in where there is none
    Install(InstallArgs),
    /// Get a certificate for this device as a new thing, against a token
    Enroll(EnrollArgs),
}

/// Where a certificate comes from and where it goes.
#[derive(Clone, Debug, Args)]
pub struct EnrollArgs {
    /// The server's API
    #[arg(long, value_name = "URL")]
    pub server: String,

    /// What `picket enroll token create` printed
    #[arg(long, env = "PICKET_ENROLL_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    pub token: String,

    /// The new thing [default: the host name]
    #[arg(short, long = "thing_name", visible_alias = "thing-name", value_name = "NAME")]
    pub thing_name: Option<String>,

    /// Where key, certificate and configuration are written
    #[arg(long, value_name = "DIR", default_value = "/etc/picket-agent")]
    pub dir: PathBuf,

    /// Authorities that may have signed the certificate of an https server (PEM)
    #[arg(short, long = "rootCA", visible_alias = "root-ca", value_name = "FILE")]
    pub root_ca: Option<PathBuf>,

    /// Send the token in the clear to another machine
    #[arg(long)]
    pub insecure: bool,
}

/// Where the service goes.
#[derive(Clone, Debug, Args)]
pub struct InstallArgs {
    /// Folder that stands for the root of the file system
    #[arg(long, value_name = "DIR", default_value = "/")]
    pub root: PathBuf,

    /// The program that the service runs [default: this one]
    #[arg(long, value_name = "FILE")]
    pub binary: Option<PathBuf>,

    /// The configuration file that the service reads
    #[arg(long, value_name = "FILE", default_value = "/etc/picket-agent/agent.toml")]
    pub config: PathBuf,

    /// Where systemd looks for services
    #[arg(long, value_name = "DIR", default_value = "/etc/systemd/system")]
    pub unit_dir: PathBuf,

    /// Where systemd looks for users
    #[arg(long, value_name = "DIR", default_value = "/etc/sysusers.d")]
    pub sysusers_dir: PathBuf,
}

/// Flags of a reporting agent.
#[derive(Clone, Debug, Default, Args)]
pub struct RunArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Server; with port 443 the protocol is named by ALPN [default port: 8883]
    #[arg(short, long, value_name = "HOST[:PORT]")]
    pub endpoint: Option<String>,

    /// Authorities that may have signed the server's certificate (PEM)
    #[arg(short, long = "rootCA", visible_alias = "root-ca", value_name = "FILE")]
    pub root_ca: Option<PathBuf>,

    /// This device's certificate (PEM)
    #[arg(short, long, value_name = "FILE")]
    pub cert: Option<PathBuf>,

    /// This device's private key (PEM)
    #[arg(short, long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// MQTT client id; also spelled -id [default: the thing name]
    #[arg(long = "client_id", visible_alias = "client-id", value_name = "ID")]
    pub client_id: Option<String>,

    /// Thing that the reports are about [default: the client id]
    #[arg(short, long = "thing_name", visible_alias = "thing-name", value_name = "NAME")]
    pub thing_name: Option<String>,

    /// How reports are written [default: json]
    #[arg(short, long, value_enum)]
    pub format: Option<FormatArg>,

    /// Write short field names; also spelled --short-names
    #[arg(short, long = "short_tags", visible_alias = "short-names")]
    pub short_tags: bool,

    /// Seconds between reports; AWS asks for 300 or more [default: 300]
    #[arg(short, long, value_name = "SECONDS")]
    pub interval: Option<u32>,

    /// Report the CPU's use as custom metric `cpu_usage`; also spelled -cm
    #[arg(long = "custom-metrics", visible_alias = "include-custom-metrics")]
    pub custom_metrics: bool,

    /// MQTT version [default: 3.1.1]
    #[arg(long, value_enum, value_name = "VERSION")]
    pub mqtt: Option<MqttArg>,

    /// Count the loopback interface's traffic too
    #[arg(long)]
    pub loopback: bool,

    /// Where /proc of the machine to report is mounted [default: /proc]
    #[arg(long, value_name = "DIR")]
    pub proc: Option<PathBuf>,

    /// Where sockets are looked for [default: auto]
    #[arg(long, value_enum)]
    pub sockets: Option<SocketsArg>,

    /// Print reports instead of sending them; needs no certificate
    #[arg(short = 'd', long, visible_alias = "dryrun")]
    pub print: bool,

    /// Make one report and stop
    #[arg(long)]
    pub once: bool,

    /// Log more: every report and its answer
    #[arg(short, long)]
    pub verbose: bool,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FormatArg {
    /// Text.
    Json,
    /// Binary, and smaller.
    Cbor,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MqttArg {
    /// MQTT 3.1.1.
    #[value(name = "3.1.1")]
    V311,
    /// MQTT 5.
    #[value(name = "5")]
    V5,
}

/// Where sockets are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SocketsArg {
    /// Netlink, else /proc.
    Auto,
    /// /proc.
    Proc,
}

/// Spells the AWS Python agent's flags of one dash and two letters as the parser reads them.
pub fn spelled(args: impl Iterator<Item = OsString>) -> Vec<OsString> {
    args.map(|arg| match arg.to_str() {
        Some("-id") => "--client_id".into(),
        Some("-cm") => "--custom-metrics".into(),
        _ => arg,
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(spelled(line.split(' ').map(OsString::from)))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_command_line_of_the_aws_agent_is_understood() {
        let long = "agent --endpoint h --rootCA r --cert c --key k --client_id i --thing_name t --format cbor --interval 60 --short_tags --dryrun --include-custom-metrics";
        let short = "agent -e h -r r -c c -k k -id i -t t -f cbor -i 60 -s -d -cm";
        for line in [long, short] {
            let run = parse(line).unwrap().run;
            assert_eq!(run.endpoint.as_deref(), Some("h"), "{line}");
            assert_eq!(run.root_ca, Some("r".into()));
            assert_eq!(run.cert, Some("c".into()));
            assert_eq!(run.key, Some("k".into()));
            assert_eq!(run.client_id.as_deref(), Some("i"));
            assert_eq!(run.thing_name.as_deref(), Some("t"));
            assert_eq!(run.format, Some(FormatArg::Cbor));
            assert_eq!(run.interval, Some(60));
            assert!(run.short_tags && run.print && run.custom_metrics);
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for line in ["agent --use-websocket true", "agent -i soon", "agent -f xml", "agent mine"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
