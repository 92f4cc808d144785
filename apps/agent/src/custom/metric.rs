//! A custom metric as it is configured.

use std::collections::BTreeSet;
use std::path::PathBuf;

use picket_model::{CustomMetricName, NameError};
use serde::Deserialize;
use thiserror::Error;

use super::ready::Ready;
use super::value::Kind;
use crate::limits::CUSTOM_METRICS_MAX;

/// `[[metric]]` in the configuration file: a name and one source.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomMetricConfig {
    /// As it is registered at the server; a ready-made one may go by its own name.
    pub name: Option<String>,
    /// What the value is; a ready-made one knows itself.
    #[serde(rename = "type")]
    pub kind: Option<Kind>,
    /// A ready-made metric.
    pub ready: Option<Ready>,
    /// A program and its arguments, which prints the value.
    pub command: Option<Vec<String>>,
    /// A file that holds the value.
    pub file: Option<PathBuf>,
    /// Programs send it to the socket.
    pub socket: Option<bool>,
}

/// A metric besides those of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct CustomMetric {
    /// As it is registered at the server.
    pub name: CustomMetricName,
    /// What its value is.
    pub kind: Kind,
    /// Where its value comes from.
    pub source: Source,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The agent measures it.
    Ready(Ready),
    /// A program, never empty, and its arguments.
    Command(Vec<String>),
    /// A file.
    File(PathBuf),
    /// The socket.
    Socket,
}

/// Why a custom metric cannot be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CustomError {
    /// There are too many.
    #[error("there are {0} custom metrics; at most {CUSTOM_METRICS_MAX} are reported")]
    TooMany(usize),
    /// The name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// AWS keeps names that begin with `aws:`.
    #[error("the custom metric `{0}` cannot begin with `aws:`")]
    Reserved(CustomMetricName),
    /// Nobody said how it is called.
    #[error("a custom metric needs a `name`")]
    Nameless,
    /// Two have one name.
    #[error("there are two custom metrics `{0}`")]
    Twice(CustomMetricName),
    /// No source, or more than one.
    #[error(
        "the custom metric `{0}` needs exactly one of `ready`, `command`, `file` and `socket = true`"
    )]
    Sources(CustomMetricName),
    /// No type.
    #[error(
        "the custom metric `{0}` needs a `type`: number, number-list, string-list or ip-address-list"
    )]
    Kindless(CustomMetricName),
    /// A ready-made metric with a type that is not its own.
    #[error("the custom metric `{0}` is ready-made and has another type")]
    OtherKind(CustomMetricName),
    /// The socket is not configured.
    #[error("the custom metric `{0}` comes by the socket, but `metrics_socket` is not set")]
    Socketless(CustomMetricName),
}

impl CustomMetric {
    /// A ready-made metric under its own name.
    ///
    /// # Errors
    /// None in practice: the names of ready-made metrics are names.
    pub fn ready(ready: Ready) -> Result<Self, CustomError> {
        let name = CustomMetricName::parse(ready.name())?;
        Ok(Self { name, kind: ready.kind(), source: Source::Ready(ready) })
    }

    /// Checks what the file says of all of them.
    ///
    /// # Errors
    /// The first that cannot be.
    pub fn all(
        configs: Vec<CustomMetricConfig>,
        has_socket: bool,
    ) -> Result<Vec<Self>, CustomError> {
        if configs.len() > CUSTOM_METRICS_MAX {
            return Err(CustomError::TooMany(configs.len()));
        }
        let mut names = BTreeSet::new();
        let mut metrics = Vec::with_capacity(configs.len());
        for config in configs {
            let metric = Self::one(config, has_socket)?;
            if !names.insert(metric.name.clone()) {
                return Err(CustomError::Twice(metric.name));
            }
            metrics.push(metric);
        }
        Ok(metrics)
    }

    fn one(config: CustomMetricConfig, has_socket: bool) -> Result<Self, CustomError> {
        let own_name = config.ready.map(|ready| ready.name().to_owned());
        let name = config.name.or(own_name).ok_or(CustomError::Nameless)?;
        let name = CustomMetricName::parse(name)?;
        if name.as_str().starts_with("aws:") {
            return Err(CustomError::Reserved(name));
        }
        let command = config.command.filter(|words| !words.is_empty()).map(Source::Command);
        let socket = config.socket.filter(|is_used| *is_used).map(|_| Source::Socket);
        let sources =
            [config.ready.map(Source::Ready), command, config.file.map(Source::File), socket];
        let mut sources = sources.into_iter().flatten();
        let (Some(source), None) = (sources.next(), sources.next()) else {
            return Err(CustomError::Sources(name));
        };
        if source == Source::Socket && !has_socket {
            return Err(CustomError::Socketless(name));
        }
        let kind = match (&source, config.kind) {
            (Source::Ready(ready), None) => ready.kind(),
            (Source::Ready(ready), Some(kind)) if kind == ready.kind() => kind,
            (Source::Ready(_), Some(_)) => return Err(CustomError::OtherKind(name)),
            (_, Some(kind)) => kind,
            (_, None) => return Err(CustomError::Kindless(name)),
        };
        Ok(Self { name, kind, source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What one or more `[[metric]]` tables come to.
    fn check(text: &str, expected: Result<&str, &str>) {
        #[derive(Deserialize)]
        struct File {
            metric: Vec<CustomMetricConfig>,
        }
        let file: File = toml::from_str(text).unwrap();
        let found = CustomMetric::all(file.metric, false).map(|metrics| {
            let metrics = metrics.into_iter();
            let words = metrics.map(|m| format!("{} {:?} {:?}", m.name, m.kind, m.source));
            words.collect::<Vec<_>>().join("; ")
        });
        let found = found.map_err(|error| error.to_string());
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{text}");
    }

    #[test]
    fn a_metric_has_a_name_a_type_and_a_source() {
        check(
            "[[metric]]\nname = \"a\"\ntype = \"number\"\ncommand = [\"/bin/x\", \"y\"]",
            Ok("a Number Command([\"/bin/x\", \"y\"])"),
        );
        check(
            "[[metric]]\nname = \"a\"\ntype = \"ip-address-list\"\nfile = \"/run/x\"",
            Ok("a IpAddressList File(\"/run/x\")"),
        );
        check("[[metric]]\nready = \"cpu-usage\"", Ok("cpu_usage Number Ready(CpuUsage)"));
        check(
            "[[metric]]\nname = \"if\"\nready = \"interfaces\"",
            Ok("if StringList Ready(Interfaces)"),
        );
    }

    #[test]
    fn a_metric_that_cannot_be_is_refused() {
        let sources = "the custom metric `a` needs exactly one of `ready`, `command`, `file` and `socket = true`";
        for (text, expected) in [
            ("file = \"f\"\ntype = \"number\"", "a custom metric needs a `name`"),
            ("name = \"a\"\ntype = \"number\"", sources),
            ("name = \"a\"\ntype = \"number\"\ncommand = []", sources),
            ("name = \"a\"\ntype = \"number\"\nsocket = false", sources),
            ("name = \"a\"\ntype = \"number\"\nfile = \"f\"\ncommand = [\"c\"]", sources),
            (
                "name = \"a\"\nfile = \"f\"",
                "the custom metric `a` needs a `type`: number, number-list, string-list or ip-address-list",
            ),
            (
                "name = \"a\"\ntype = \"string-list\"\nready = \"cpu-usage\"",
                "the custom metric `a` is ready-made and has another type",
            ),
            (
                "name = \"aws:a\"\ntype = \"number\"\nfile = \"f\"",
                "the custom metric `aws:a` cannot begin with `aws:`",
            ),
            (
                "name = \"a\"\ntype = \"number\"\nsocket = true",
                "the custom metric `a` comes by the socket, but `metrics_socket` is not set",
            ),
        ] {
            check(&format!("[[metric]]\n{text}"), Err(expected));
        }
        let twice = "[[metric]]\nready = \"cpu-usage\"\n".repeat(2);
        check(&twice, Err("there are two custom metrics `cpu_usage`"));
        let many = "[[metric]]\nready = \"cpu-usage\"\n".repeat(101);
        check(&many, Err("there are 101 custom metrics; at most 100 are reported"));
    }
}
