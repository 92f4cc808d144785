//! What an operator may set: the file `picket.toml`, and the flags that win over it.
//!
//! [`Config`] is what the rest of the program sees; it cannot hold a value that was not checked.
//! [`read`](mod@read) turns a file into one, or into every problem that the file has.

mod read;

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use picket_broker::ReportConfig;
use picket_broker::tls::Protocol;
use picket_model::limits::MqttLimits;
use picket_model::{Account, PolicyName};
use picket_store::limits::{EVENTS_KEPT_MS, VALUES_KEPT_MS};
use thiserror::Error;

use crate::cli::ServeArgs;
use crate::tls::TlsFiles;

/// The file with every key at its default, as `picket config defaults` prints it.
pub(crate) const DEFAULTS: &str = include_str!("config/defaults.toml");

const DAY_MS: i64 = 24 * 3_600_000;

/// The settings of one server, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Config {
    /// The account and region that ARNs carry.
    pub(crate) account: Account,
    /// Host name or address that devices are told to use; one of the server certificate's names.
    pub(crate) endpoint_host: String,
    /// Where the AWS-compatible API listens.
    pub(crate) api_listen: SocketAddr,
    /// Where the operator's endpoints listen.
    pub(crate) console_listen: SocketAddr,
    /// Where devices connect; never empty.
    pub(crate) listeners: Vec<Listener>,
    /// Files of certificates and revocation lists.
    pub(crate) tls: TlsFiles,
    /// Bounds of the MQTT edge.
    pub(crate) mqtt_limits: MqttLimits,
    /// Whether what MQTT sessions were promised survives the server.
    pub(crate) durable_sessions: bool,
    /// How long a window waits for late observations before it is judged, in milliseconds.
    pub(crate) grace_ms: i64,
    /// How long nothing may be seen of a device before its alarms end, in milliseconds.
    pub(crate) silence_ms: i64,
    /// How often values are published to the export topics of profiles, in milliseconds.
    pub(crate) export_interval_ms: i64,
    /// How long what is over is kept.
    pub(crate) kept: Kept,
    /// Refuses every `durationSeconds` but AWS's five.
    pub(crate) aws_durations_only: bool,
    /// How reports are taken.
    pub(crate) reports: ReportConfig,
    /// Interpreter for functions with a `python3.*` runtime; `None` means the private environment.
    pub(crate) python: Option<PathBuf>,
}

/// How long what is over is kept, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Violation events.
    pub(crate) violations_ms: i64,
    /// Metric values.
    pub(crate) metric_values_ms: i64,
}

/// A socket that devices connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The address to bind; port 0 takes a free one.
    pub(crate) listen: SocketAddr,
    /// How a device proves who it is there.
    pub(crate) admission: Admission,
    /// What is spoken with clients that do not say in their TLS hello what they speak.
    pub(crate) protocol: Protocol,
    /// Web pages that are served besides the server's own.
    pub(crate) origins: Vec<String>,
}

/// How a listener admits devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// TLS with a client certificate.
    Certificate,
    /// No TLS: nobody proves anything, and every session gets the rights of this policy.
    Anonymous(PolicyName),
}

/// Why a configuration file cannot be used.
#[derive(Debug, Error)]
pub(crate) enum ConfigError {
    /// The file could not be read.
    #[error("cannot read the configuration file `{}`", file.display())]
    Unreadable {
        /// The file asked for.
        file: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file was read and says something that cannot be.
    #[error("the configuration file `{}` has {}:\n{}", file.display(), count(problems), lines(problems))]
    Wrong {
        /// The file.
        file: PathBuf,
        /// What is wrong, in the order of the file; never empty.
        problems: Vec<Problem>,
    },
}

/// One thing that is wrong in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Line of the file, from 1.
    pub(crate) line: usize,
    /// What is wrong there and what would be right.
    pub(crate) message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  line {}: {}", self.line, self.message)
    }
}

fn count(problems: &[Problem]) -> String {
    match problems.len() {
        1 => "a problem".to_owned(),
        n => format!("{n} problems"),
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl Default for Config {
    fn default() -> Self {
        Self {
            account: Account::default(),
            endpoint_host: "localhost".to_owned(),
            api_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            console_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            listeners: vec![Listener::tls(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8883)))],
            tls: TlsFiles::default(),
            mqtt_limits: MqttLimits::default(),
            durable_sessions: true,
            grace_ms: 1_000,
            silence_ms: 2 * DAY_MS,
            export_interval_ms: 300_000,
            kept: Kept { violations_ms: EVENTS_KEPT_MS, metric_values_ms: VALUES_KEPT_MS },
            aws_durations_only: false,
            reports: ReportConfig::default(),
            python: None,
        }
    }
}

impl Listener {
    /// A listener for MQTT with certificates.
    pub(crate) fn tls(listen: SocketAddr) -> Self {
        let (admission, protocol) = (Admission::Certificate, Protocol::Mqtt);
        Self { listen, admission, protocol, origins: Vec::new() }
    }

    /// Whether it is one for MQTT with certificates.
    fn is_mqtts(&self) -> bool {
        self.admission == Admission::Certificate && self.protocol == Protocol::Mqtt
    }
}

impl Config {
    /// Reads and checks a configuration file. Keys that it leaves out have their defaults.
    pub(crate) fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        let config = read::config(&text)
            .map_err(|problems| ConfigError::Wrong { file: file.to_owned(), problems })?;
        let tls = config.tls.within(file.parent().unwrap_or(Path::new("")));
        Ok(Self { tls, ..config })
    }

    /// The settings that `picket serve` was asked for: the file's, if one is named, then the flags.
    pub(crate) fn for_serve(args: &ServeArgs) -> Result<Self, ConfigError> {
        let config = args.config.as_deref().map_or_else(|| Ok(Self::default()), Self::load)?;
        Ok(config.with_flags(args))
    }

    /// These settings with the flags laid over them; `--mqtts` replaces every listener for MQTT
    /// over TLS.
    fn with_flags(mut self, args: &ServeArgs) -> Self {
        self.api_listen = args.api.unwrap_or(self.api_listen);
        self.console_listen = args.console.unwrap_or(self.console_listen);
        if !args.mqtts.is_empty() {
            self.listeners.retain(|listener| !listener.is_mqtts());
            self.listeners.extend(args.mqtts.iter().copied().map(Listener::tls));
        }
        self
    }
}

/// Reads an address and port to listen on; `localhost` is understood, other names are not.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let numeric = text.replacen("localhost:", "127.0.0.1:", 1);
    numeric.parse().map_err(|_| {
        format!("`{text}` is not an address and a port such as `127.0.0.1:8080` or `[::1]:0`")
    })
}

#[cfg(test)]
mod tests;
