//! The topics that reports and their answers travel on.

use picket_model::DeviceName;

use crate::Format;

/// The topic of a report: `$aws/things/THING/defender/metrics/json` or `../cbor`.
///
/// The report is about the device that the topic names, whoever sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportTopic {
    /// The device that the report is about: a thing, or an unregistered device by its client id.
    pub device: DeviceName,
    /// The format of the report and of the answer.
    pub format: Format,
}

impl ReportTopic {
    /// Reads a topic name; `None` if it is not that of a report, be it for a name that no device
    /// can have.
    pub fn parse(topic: &str) -> Option<Self> {
        let rest = topic.strip_prefix("$aws/things/")?;
        let (device, format) = rest.split_once("/defender/metrics/")?;
        // A client id may hold a slash, but a topic level does not.
        if device.contains('/') {
            return None;
        }
        let format = Format::parse(format)?;
        let device = DeviceName::parse(device).ok()?;
        Some(Self { device, format })
    }

    /// Whether a topic name is that of an answer to a report. Only the server answers.
    pub fn is_answer(topic: &str) -> bool {
        let report = topic.strip_suffix("/accepted").or_else(|| topic.strip_suffix("/rejected"));
        report.is_some_and(|report| Self::parse(report).is_some())
    }

    /// The topic of reports.
    pub fn report(&self) -> String {
        format!("$aws/things/{}/defender/metrics/{}", self.device, self.format.as_str())
    }

    /// The topic that acceptance is told on.
    pub fn accepted(&self) -> String {
        self.report() + "/accepted"
    }

    /// The topic that rejection is told on.
    pub fn rejected(&self) -> String {
        self.report() + "/rejected"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topic_names_the_device_and_the_format() {
        let long = "x".repeat(128);
        for (topic, expected) in [
            ("$aws/things/pump-7/defender/metrics/json", Some(("pump-7", Format::Json))),
            ("$aws/things/pump-7/defender/metrics/cbor", Some(("pump-7", Format::Cbor))),
            // An unregistered device is named by its client id.
            ("$aws/things/a b+#/defender/metrics/json", Some(("a b+#", Format::Json))),
            (&format!("$aws/things/{long}/defender/metrics/json"), Some((&long, Format::Json))),
            (&format!("$aws/things/{long}x/defender/metrics/json"), None),
            ("$aws/things//defender/metrics/json", None),
            ("$aws/things/a\u{7}/defender/metrics/json", None),
            ("$aws/things/a/b/defender/metrics/json", None),
            ("$aws/things/pump-7/defender/metrics/xml", None),
            ("$aws/things/pump-7/defender/metrics/JSON", None),
            ("$aws/things/pump-7/defender/metrics/json/accepted", None),
            ("$aws/things/pump-7/defender/metrics/", None),
            ("$aws/things/pump-7/defender/metrics", None),
            ("/$aws/things/pump-7/defender/metrics/json", None),
            ("pump-7", None),
        ] {
            let read = ReportTopic::parse(topic);
            let read = read.as_ref().map(|topic| (topic.device.as_str(), topic.format));
            assert_eq!(read, expected, "{topic}");
        }
    }

    #[test]
    fn the_answers_topics_stand_below_the_reports() {
        let text = "$aws/things/pump-7/defender/metrics/cbor";
        let topic = ReportTopic::parse(text).unwrap();
        assert_eq!(topic.report(), text);
        for answer in [topic.accepted(), topic.rejected()] {
            assert!(ReportTopic::is_answer(&answer));
        }
        for other in [text, "$aws/things/pump-7/accepted", "accepted", "a/rejected"] {
            assert!(!ReportTopic::is_answer(other), "{other}");
        }
        assert_eq!(topic.accepted(), format!("{text}/accepted"));
        assert_eq!(topic.rejected(), format!("{text}/rejected"));
    }
}
