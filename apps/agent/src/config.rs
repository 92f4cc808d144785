//! What the agent was told: the configuration file, the flags that win over it, and the settings
//! that come of both.

use std::io;
use std::path::{Path, PathBuf};

use picket_model::limits::CLIENT_ID_BYTES_MAX;
use picket_model::{NameError, ThingName};
use picket_mqtt::Version;
use picket_report::{Format, Names};
use serde::Deserialize;
use thiserror::Error;

use crate::cli::{FormatArg, MqttArg, RunArgs, SocketsArg};
use crate::collect::{CollectorOptions, SocketSource};
use crate::custom::{CustomError, CustomMetric, CustomMetricConfig, Ready};
use crate::endpoint::{Endpoint, EndpointError};
use crate::files;
use crate::limits::{
    CONFIG_BYTES_MAX, INTERVAL_S_MAX, INTERVAL_S_MIN, KEEP_ALIVE_S_MAX, KEEP_ALIVE_S_MIN,
    LIST_DEFAULT, LIST_MAX,
};

/// The configuration file as it is written. Every key may be left out.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    /// `HOST[:PORT]`.
    pub endpoint: Option<String>,
    /// PEM file of authorities.
    pub root_ca: Option<PathBuf>,
    /// PEM file of the device's certificate.
    pub cert: Option<PathBuf>,
    /// PEM file of the device's key.
    pub key: Option<PathBuf>,
    /// MQTT client id.
    pub client_id: Option<String>,
    /// Thing that is reported.
    pub thing_name: Option<String>,
    /// `json` or `cbor`.
    pub format: Option<FormatKey>,
    /// `long` or `short`.
    pub names: Option<NamesKey>,
    /// `3.1.1` or `5`.
    pub mqtt: Option<MqttKey>,
    /// Seconds between reports.
    pub interval_s: Option<u32>,
    /// Seconds without traffic before a ping.
    pub keep_alive_s: Option<u16>,
    /// Entries named in a list.
    pub list_max: Option<usize>,
    /// Whether loopback traffic counts.
    pub loopback: Option<bool>,
    /// Where `/proc` is.
    pub proc: Option<PathBuf>,
    /// `auto` or `proc`.
    pub sockets: Option<SocketsKey>,
    /// Where programs of this device send values of custom metrics to.
    pub metrics_socket: Option<PathBuf>,
    /// Custom metrics.
    #[serde(default, rename = "metric")]
    pub metrics: Vec<CustomMetricConfig>,
}

/// `format` in the file.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FormatKey {
    /// Text.
    Json,
    /// Binary.
    Cbor,
}

/// `names` in the file.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NamesKey {
    /// `listening_tcp_ports`.
    Long,
    /// `tp`.
    Short,
}

/// `mqtt` in the file.
#[derive(Clone, Copy, Debug, Deserialize)]
pub enum MqttKey {
    /// MQTT 3.1.1.
    #[serde(rename = "3.1.1")]
    V311,
    /// MQTT 5.
    #[serde(rename = "5")]
    V5,
}

/// `sockets` in the file.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketsKey {
    /// Netlink, else `/proc`.
    Auto,
    /// `/proc`.
    Proc,
}

/// Why the agent cannot be run as it was told.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read `{}`", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is no TOML, or names what is not there.
    #[error("the configuration file `{}`: {message}", file.display())]
    Wrong {
        /// The file.
        file: PathBuf,
        /// Where and what.
        message: String,
    },
    /// Something is not said that must be.
    #[error(
        "{what} is not given: `{flag}` on the command line or `{key}` in the configuration file"
    )]
    Missing {
        /// In words.
        what: &'static str,
        /// The flag.
        flag: &'static str,
        /// The key.
        key: &'static str,
    },
    /// A number is outside of its range.
    #[error("{what} is {found}; it can be {min} to {max}")]
    Range {
        /// In words.
        what: &'static str,
        /// As given.
        found: u64,
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// The endpoint is none.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The thing name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The client id is none.
    #[error("the client id must have 1 to {CLIENT_ID_BYTES_MAX} bytes and no control characters")]
    ClientId,
    /// A custom metric is none.
    #[error(transparent)]
    Custom(#[from] CustomError),
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    /// Host and port.
    pub endpoint: Endpoint,
    /// PEM file of authorities.
    pub root_ca: PathBuf,
    /// PEM file of the device's certificate.
    pub cert: PathBuf,
    /// PEM file of the device's key.
    pub key: PathBuf,
    /// 1 to 128 bytes.
    pub client_id: String,
    /// Which protocol is spoken.
    pub version: Version,
    /// Seconds without traffic before a ping.
    pub keep_alive_s: u16,
    /// Thing that the reports are about.
    pub thing: ThingName,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Writing {
    /// Text or binary.
    pub format: Format,
    /// Long names or short ones.
    pub names: Names,
}

/// Everything the agent has to know, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where reports go; `None` prints them.
    pub connection: Option<Connection>,
    /// How they are written.
    pub writing: Writing,
    /// What is looked at.
    pub collector: CollectorOptions,
    /// Seconds between reports.
    pub interval_s: u32,
    /// What is measured besides, each name once.
    pub custom: Vec<CustomMetric>,
    /// Where programs of this device send values to.
    pub metrics_socket: Option<PathBuf>,
    /// Whether one report is enough.
    pub once: bool,
}

impl ConfigFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, is no TOML, or has a key or a value that is none: with line and column.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = files::read_text(file, CONFIG_BYTES_MAX)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        toml::from_str(&text).map_err(|error| ConfigError::Wrong {
            file: file.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })
    }
}

impl Settings {
    /// Reads the file that the flags name, if any, and merges.
    ///
    /// # Errors
    /// As [`ConfigFile::load`] and [`Settings::merge`].
    pub fn load(args: &RunArgs) -> Result<Self, ConfigError> {
        let file = args.config.as_deref().map(ConfigFile::load).transpose()?;
        Self::merge(args, file.unwrap_or_default())
    }

    /// Lets the flags win over the file, fills in defaults, and checks.
    ///
    /// # Errors
    /// What is missing, out of its range or no name.
    pub fn merge(args: &RunArgs, file: ConfigFile) -> Result<Self, ConfigError> {
        let args = args.clone();
        let interval_s = args.interval.or(file.interval_s).unwrap_or(300);
        in_range("the interval", interval_s, INTERVAL_S_MIN, INTERVAL_S_MAX)?;
        let keep_alive_s = file.keep_alive_s.unwrap_or(240);
        in_range("the keep-alive", keep_alive_s, KEEP_ALIVE_S_MIN, KEEP_ALIVE_S_MAX)?;
        let list_max = file.list_max.unwrap_or(LIST_DEFAULT);
        in_range("list_max", list_max as u64, 1, LIST_MAX as u64)?;
        let format = args.format.map(Format::from).or(file.format.map(Format::from));
        let names = args.short_tags.then_some(Names::Short).or(file.names.map(Names::from));
        let sockets = args.sockets.map(SocketSource::from).or(file.sockets.map(SocketSource::from));

        let mut custom = CustomMetric::all(file.metrics, file.metrics_socket.is_some())?;
        if args.custom_metrics && !custom.iter().any(|metric| metric.name.as_str() == "cpu_usage") {
            custom.push(CustomMetric::ready(Ready::CpuUsage)?);
        }
        let version = args.mqtt.map(Version::from).or(file.mqtt.map(Version::from));
        let connection = if args.print {
            None
        } else {
            let client_id = args.client_id.or(file.client_id);
            let thing = args.thing_name.or(file.thing_name).or_else(|| client_id.clone());
            let thing = required(thing, "the thing name", "--thing_name", "thing_name")?;
            let client_id = client_id.unwrap_or_else(|| thing.clone());
            let is_client_id = (1..=CLIENT_ID_BYTES_MAX).contains(&client_id.len())
                && !client_id.contains(char::is_control);
            if !is_client_id {
                return Err(ConfigError::ClientId);
            }
            let endpoint = args.endpoint.or(file.endpoint);
            Some(Connection {
                endpoint: Endpoint::parse(&required(
                    endpoint,
                    "the server",
                    "--endpoint",
                    "endpoint",
                )?)?,
                root_ca: required(
                    args.root_ca.or(file.root_ca),
                    "the server's authority",
                    "--rootCA",
                    "root_ca",
                )?,
                cert: required(args.cert.or(file.cert), "the certificate", "--cert", "cert")?,
                key: required(args.key.or(file.key), "the private key", "--key", "key")?,
                client_id,
                version: version.unwrap_or(Version::V311),
                keep_alive_s,
                thing: ThingName::parse(thing)?,
            })
        };
        Ok(Self {
            connection,
            writing: Writing {
                format: format.unwrap_or(Format::Json),
                names: names.unwrap_or(Names::Long),
            },
            collector: CollectorOptions {
                proc: args.proc.or(file.proc).unwrap_or_else(|| "/proc".into()),
                sockets: sockets.unwrap_or_default(),
                loopback: args.loopback || file.loopback.unwrap_or(false),
                list_max,
            },
            interval_s,
            custom,
            metrics_socket: file.metrics_socket,
            once: args.once,
        })
    }
}

fn required<T>(
    value: Option<T>,
    what: &'static str,
    flag: &'static str,
    key: &'static str,
) -> Result<T, ConfigError> {
    value.ok_or(ConfigError::Missing { what, flag, key })
}

fn in_range<T: Into<u64>>(what: &'static str, found: T, min: T, max: T) -> Result<(), ConfigError> {
    let (found, min, max) = (found.into(), min.into(), max.into());
    if (min..=max).contains(&found) {
        return Ok(());
    }
    Err(ConfigError::Range { what, found, min, max })
}

impl From<FormatArg> for Format {
    fn from(arg: FormatArg) -> Self {
        match arg {
            FormatArg::Json => Self::Json,
            FormatArg::Cbor => Self::Cbor,
        }
    }
}

impl From<FormatKey> for Format {
    fn from(key: FormatKey) -> Self {
        match key {
            FormatKey::Json => Self::Json,
            FormatKey::Cbor => Self::Cbor,
        }
    }
}

impl From<NamesKey> for Names {
    fn from(key: NamesKey) -> Self {
        match key {
            NamesKey::Long => Self::Long,
            NamesKey::Short => Self::Short,
        }
    }
}

impl From<MqttArg> for Version {
    fn from(arg: MqttArg) -> Self {
        match arg {
            MqttArg::V311 => Self::V311,
            MqttArg::V5 => Self::V5,
        }
    }
}

impl From<MqttKey> for Version {
    fn from(key: MqttKey) -> Self {
        match key {
            MqttKey::V311 => Self::V311,
            MqttKey::V5 => Self::V5,
        }
    }
}

impl From<SocketsArg> for SocketSource {
    fn from(arg: SocketsArg) -> Self {
        match arg {
            SocketsArg::Auto => Self::Auto,
            SocketsArg::Proc => Self::Proc,
        }
    }
}

impl From<SocketsKey> for SocketSource {
    fn from(key: SocketsKey) -> Self {
        match key {
            SocketsKey::Auto => Self::Auto,
            SocketsKey::Proc => Self::Proc,
        }
    }
}

#[cfg(test)]
mod tests;
