//! Columns to checked values and back.

use std::collections::BTreeMap;

use picket_model::wire::{
    behavior_from_json, behavior_to_json, metric_value_from_json, metric_value_to_json,
};
use picket_model::{Behavior, MetricValue, NameError, Timestamp};
use rusqlite::Row;
use serde_json::Value;

use crate::error::StoreError;

/// A name or an id.
pub(crate) fn name<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(String) -> Result<T, NameError>,
) -> Result<T, StoreError> {
    parse(row.get(column)?)
        .map_err(|error| StoreError::Unreadable { column, problem: error.to_string() })
}

/// A name that may be absent.
pub(crate) fn name_opt<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(String) -> Result<T, NameError>,
) -> Result<Option<T>, StoreError> {
    row.get::<_, Option<String>>(column)?
        .map(parse)
        .transpose()
        .map_err(|error| StoreError::Unreadable { column, problem: error.to_string() })
}

/// One of a closed set of words.
pub(crate) fn word<T>(
    row: &Row<'_>,
    column: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, StoreError> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| StoreError::Unreadable {
        column,
        problem: format!("`{}` is not one of its words", text.escape_debug()),
    })
}

/// A moment.
pub(crate) fn time(row: &Row<'_>, column: &'static str) -> Result<Timestamp, StoreError> {
    Ok(Timestamp::from_millis(row.get(column)?))
}

/// A count that is never negative.
pub(crate) fn count<T: TryFrom<i64>>(row: &Row<'_>, column: &'static str) -> Result<T, StoreError> {
    let number: i64 = row.get(column)?;
    T::try_from(number).map_err(|_| StoreError::Unreadable {
        column,
        problem: format!("{number} is out of range"),
    })
}

/// A count that may be absent.
pub(crate) fn count_opt<T: TryFrom<i64>>(
    row: &Row<'_>,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    row.get::<_, Option<i64>>(column)?.map(|_| count(row, column)).transpose()
}

/// A map from text to text.
pub(crate) fn map(
    row: &Row<'_>,
    column: &'static str,
) -> Result<BTreeMap<String, String>, StoreError> {
    serde_json::from_str(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|error| StoreError::Unreadable { column, problem: error.to_string() })
}

/// JSON in a column.
pub(crate) fn json(row: &Row<'_>, column: &'static str) -> Result<Value, StoreError> {
    serde_json::from_str(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
        .map_err(|error| StoreError::Unreadable { column, problem: error.to_string() })
}

/// A JSON list whose elements `read` understands.
pub(crate) fn list<T>(
    row: &Row<'_>,
    column: &'static str,
    read: impl Fn(&Value) -> Result<T, String>,
) -> Result<Vec<T>, StoreError> {
    let unreadable = |problem: String| StoreError::Unreadable { column, problem };
    match json(row, column)? {
        Value::Array(items) => items.iter().map(|item| read(item).map_err(unreadable)).collect(),
        _ => Err(unreadable("no list".to_owned())),
    }
}

/// A moment that may be absent.
pub(crate) fn time_opt(
    row: &Row<'_>,
    column: &'static str,
) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_millis))
}

/// The stored form of a map from text to text.
pub(crate) fn from_map(map: &BTreeMap<String, String>) -> String {
    let object: serde_json::Map<_, _> =
        map.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    Value::Object(object).to_string()
}

/// A behavior.
pub(crate) fn behavior(row: &Row<'_>, column: &'static str) -> Result<Behavior, StoreError> {
    behavior_from_json(&json(row, column)?, 1)
        .map_err(|error| StoreError::Unreadable { column, problem: error.to_string() })
}

/// The stored form of a behavior: the API's.
pub(crate) fn from_behavior(behavior: &Behavior) -> String {
    behavior_to_json(behavior).to_string()
}

/// A metric's value.
pub(crate) fn metric_value(row: &Row<'_>, column: &'static str) -> Result<MetricValue, StoreError> {
    metric_value_from_json(&json(row, column)?)
        .ok_or_else(|| StoreError::Unreadable { column, problem: "no metric value".to_owned() })
}

/// The stored form of a metric's value: the API's.
pub(crate) fn from_metric_value(value: &MetricValue) -> String {
    metric_value_to_json(value).to_string()
}
