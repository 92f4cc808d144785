//! What an export message looks like. Source: AWS guide "Exporting metrics".

use std::iter::Peekable;

use picket_detect::ExportPart;
use picket_model::wire::metric_value_to_json;
use serde::Serialize;

use super::buffer::{Series, Value};

const HEAD: &str = r#"{"version":"1.0","metrics":["#;
const TAIL: &str = "]}";

/// One value. Members that say nothing are left out.
#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    thing: &'a str,
    value: serde_json::Value,
    /// Of several values for one thing, metric and moment the one with the highest version counts.
    /// There is never a second one.
    version: u32,
    /// Milliseconds since 1970.
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension: Option<ItemDimension<'a>>,
}

#[derive(Serialize)]
struct ItemDimension<'a> {
    name: &'a str,
    operator: &'static str,
}

/// Writes one value as an element of `metrics`.
fn item(series: &Series, value: &Value) -> String {
    let metric = series.metric.as_str();
    let name = match series.part {
        ExportPart::Value | ExportPart::Total => metric.to_owned(),
        ExportPart::Min => format!("{metric}-min"),
        ExportPart::Max => format!("{metric}-max"),
    };
    let dimension = series.dimension.as_deref().map(|dimension| ItemDimension {
        name: dimension.name.as_str(),
        operator: dimension.operator.as_str(),
    });
    let item = Item {
        name: &name,
        thing: series.device.as_str(),
        value: metric_value_to_json(&value.value),
        version: 1,
        timestamp: value.at.as_millis(),
        dimension,
    };
    #[expect(clippy::expect_used, reason = "strings, numbers and JSON values can be written")]
    serde_json::to_string(&item).expect("an exported value is JSON")
}

/// Puts values into as few messages as they fit in, one message after the other.
pub(super) struct Messages<I: Iterator<Item = (Series, Value)>> {
    items: Peekable<Written<I>>,
    bytes_max: usize,
    n_too_large: usize,
}

struct Written<I>(I);

impl<I: Iterator<Item = (Series, Value)>> Iterator for Written<I> {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        self.0.next().map(|(series, value)| item(&series, &value))
    }
}

impl<I: Iterator<Item = (Series, Value)>> Messages<I> {
    /// Messages of at most `bytes_max` bytes with `values`.
    pub(super) fn new(values: I, bytes_max: usize) -> Self {
        Self { items: Written(values).peekable(), bytes_max, n_too_large: 0 }
    }

    /// The next message and how many values are in it; none at the end.
    pub(super) fn next(&mut self) -> Option<(String, usize)> {
        let mut message = HEAD.to_owned();
        let mut n = 0;
        while let Some(item) = self.items.peek() {
            let comma = usize::from(n > 0);
            if message.len() + comma + item.len() + TAIL.len() <= self.bytes_max {
                if n > 0 {
                    message.push(',');
                }
                message.push_str(item);
                n += 1;
            } else if n > 0 {
                break;
            } else {
                // It would not fit into a message of its own either.
                self.n_too_large += 1;
            }
            self.items.next();
        }
        message.push_str(TAIL);
        (n > 0).then_some((message, n))
    }

    /// Values left out so far because no message can hold them.
    pub(super) fn n_too_large(&self) -> usize {
        self.n_too_large
    }
}
