//! The values of all custom metrics at one moment.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use picket_model::{CustomMetricName, CustomValue, Number};

use super::command;
use super::mailbox::Mailbox;
use super::metric::{CustomMetric, Source};
use super::ready::{Places, Ready, ReadyMeter};
use super::value;
use crate::collect::{Collector, Unseen};
use crate::files;
use crate::limits::{COMMAND_TIMEOUT, COMMANDS_TIMEOUT, CUSTOM_VALUE_BYTES_MAX};

/// Measures the custom metrics.
#[derive(Debug)]
pub struct Measurer {
    metrics: Vec<CustomMetric>,
    meter: ReadyMeter,
}

impl Measurer {
    /// Of these metrics, with `/proc` mounted at `proc`.
    pub fn new(metrics: Vec<CustomMetric>, proc: &Path) -> Self {
        Self { metrics, meter: ReadyMeter::new(Places::with_proc(proc)) }
    }

    /// The metrics.
    pub fn metrics(&self) -> &[CustomMetric] {
        &self.metrics
    }

    /// Measures all of them, in the order of the configuration. A metric without a value is left
    /// out; where that is a trouble it is named in `unseen`.
    pub fn measure(
        &mut self,
        collector: &Collector,
        mailbox: Option<&mut Mailbox>,
        unseen: &mut BTreeSet<Unseen>,
    ) -> Vec<(CustomMetricName, CustomValue)> {
        let mut mailbox = mailbox;
        let deadline = Instant::now() + COMMANDS_TIMEOUT;
        let mut values = Vec::new();
        for metric in &self.metrics {
            let value = match &metric.source {
                Source::Ready(Ready::Interfaces) => {
                    let names = collector.interface_names().map(Box::from);
                    Ok(Some(CustomValue::StringList(names.collect())))
                }
                Source::Ready(ready) => self
                    .meter
                    .number(*ready)
                    .map(|number| number.and_then(Number::new).map(CustomValue::Number))
                    .map_err(Into::into),
                Source::Command(words) => of_command(words, metric, deadline).map(Some),
                Source::File(file) => of_file(file, metric).map(Some),
                Source::Socket => {
                    Ok(mailbox.as_mut().and_then(|mailbox| mailbox.give(metric.name.as_str())))
                }
            };
            match value {
                Ok(value) => values.extend(value.map(|value| (metric.name.clone(), value))),
                Err(error) => {
                    let what = format!("custom metric `{}`", metric.name);
                    unseen.insert(Unseen::new(what, format_args!("{error:#}")));
                }
            }
        }
        values
    }
}

fn of_command(
    words: &[String],
    metric: &CustomMetric,
    deadline: Instant,
) -> anyhow::Result<CustomValue> {
    let program = words.first().map_or("", String::as_str);
    let timeout = deadline.saturating_duration_since(Instant::now()).min(COMMAND_TIMEOUT);
    ensure!(
        !timeout.is_zero(),
        "the commands before it took the {} s that all of them have",
        COMMANDS_TIMEOUT.as_secs()
    );
    let text = command::run(words, timeout, CUSTOM_VALUE_BYTES_MAX)
        .with_context(|| format!("the command `{}`", program.escape_debug()))?;
    value::parse(&text, metric.kind)
        .with_context(|| format!("what the command `{}` prints", program.escape_debug()))
}

fn of_file(file: &Path, metric: &CustomMetric) -> anyhow::Result<CustomValue> {
    let shown = || format!("the file `{}`", file.display());
    let text = files::read_text(file, CUSTOM_VALUE_BYTES_MAX).with_context(shown)?;
    value::parse(&text, metric.kind).with_context(shown)
}

#[cfg(test)]
mod tests {
    use super::super::value::Kind;
    use super::*;
    use crate::collect::{CollectorOptions, SocketSource};

    fn metric(name: &str, kind: Kind, source: Source) -> CustomMetric {
        CustomMetric { name: CustomMetricName::parse(name).unwrap(), kind, source }
    }

    fn measured(metrics: Vec<CustomMetric>) -> (Vec<String>, Vec<String>) {
        let collector = Collector::new(CollectorOptions {
            proc: "/proc".into(),
            sockets: SocketSource::Auto,
            loopback: false,
            list_max: 50,
        });
        let mut unseen = BTreeSet::new();
        let mut measurer = Measurer::new(metrics, Path::new("/proc"));
        let values = measurer.measure(&collector, None, &mut unseen);
        let values = values.into_iter().map(|(name, value)| format!("{name} {value:?}"));
        (values.collect(), unseen.iter().map(Unseen::to_string).collect())
    }

    #[test]
    fn values_come_from_their_sources_in_the_order_of_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("value");
        std::fs::write(&file, "[\"10.0.0.1\"]\n").unwrap();
        let echo = ["/bin/echo", "17"].map(str::to_owned).to_vec();
        let (values, unseen) = measured(vec![
            metric("b", Kind::Number, Source::Command(echo)),
            metric("a", Kind::IpAddressList, Source::File(file)),
            metric("c", Kind::Number, Source::Socket),
        ]);
        assert_eq!(values, ["b Number(Number(17.0))", "a IpList([10.0.0.1])"]);
        assert_eq!(unseen, Vec::<String>::new());
    }

    #[test]
    fn a_value_that_cannot_be_had_is_named_and_the_others_are_there() {
        let echo = |text: &str| Source::Command(["/bin/echo", text].map(str::to_owned).to_vec());
        let (values, unseen) = measured(vec![
            metric("a", Kind::Number, echo("lots")),
            metric("b", Kind::Number, Source::File("/no/such/file".into())),
            metric("c", Kind::Number, echo("1")),
        ]);
        assert_eq!(values, ["c Number(Number(1.0))"]);
        assert_eq!(
            unseen,
            [
                "not seen: custom metric `a` (what the command `/bin/echo` prints: it is no JSON)",
                "not seen: custom metric `b` (the file `/no/such/file`: No such file or directory (os error 2))",
            ]
        );
    }
}
