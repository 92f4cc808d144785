//! Metric values: what was measured, for people to look at.
//!
//! An append writes one row, a batch, with all its values packed: a row for each value would be 50
//! times slower. [`seal`] moves the values of the past into a row for each device and day.
//!
//! Values belong to a series: a metric, or one side of a dimension of it. In stored form a
//! built-in metric is its code in the catalogue, a custom metric 256 and its id, a dimension its
//! id. Ids are never given twice, so that what is deleted takes its values with it.

mod sealing;

use std::collections::BTreeMap;

use picket_model::{
    Datapoint, DeviceName, DimensionOperator, Metric, MetricDimension, MetricValue, Timestamp,
};

use crate::codec::datapoints::{Batch, Entry, encode};
use crate::codec::days;
use crate::codec::values::{Point, Series};
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};
use crate::{custom_metrics, dimensions};
use sealing::Mark;

pub use sealing::seal;

const LISTING: &str = "metric-values";

const DAY_MS: i64 = 24 * 3_600_000;

/// The day that a moment lies in, counted from 1970.
fn day_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}

/// Codes of built-in metrics are below, one byte each.
const CUSTOM: u64 = 256;

/// The number of a metric in stored values; `None` if there is no such metric.
fn metric_number(tx: &ReadTx, metric: &str) -> Result<Option<u64>, StoreError> {
    if let Some(metric) = Metric::parse(metric) {
        return Ok(metric.entry().map(|entry| u64::from(entry.code)));
    }
    Ok(custom_metrics::id(tx, metric)?.map(|id| CUSTOM + id))
}

/// The number of one side of a dimension in stored values, 0 for none; `None` if there is no such
/// dimension.
fn dimension_number(
    tx: &ReadTx,
    dimension: Option<&MetricDimension>,
) -> Result<Option<u64>, StoreError> {
    let Some(dimension) = dimension else { return Ok(Some(0)) };
    let side = match dimension.operator {
        DimensionOperator::In => 0,
        DimensionOperator::NotIn => 1,
    };
    Ok(dimensions::id(tx, &dimension.name)?.map(|id| 2 * id + side))
}

/// Stores values, as one row; none at all store nothing. Values of custom metrics and dimensions
/// that do not exist (any more) are left out.
pub fn append(tx: &mut WriteTx, datapoints: &[Datapoint]) -> Result<(), StoreError> {
    let mut metrics = BTreeMap::new();
    let mut narrowed = BTreeMap::new();
    let mut entries = Vec::with_capacity(datapoints.len());
    for datapoint in datapoints {
        let metric = match metrics.get(&datapoint.metric) {
            Some(number) => *number,
            None => {
                let number = metric_number(tx, datapoint.metric.as_str())?;
                metrics.insert(&datapoint.metric, number);
                number
            }
        };
        let dimension = match narrowed.get(&datapoint.dimension) {
            Some(number) => *number,
            None => {
                let number = dimension_number(tx, datapoint.dimension.as_deref())?;
                narrowed.insert(&datapoint.dimension, number);
                number
            }
        };
        if let (Some(metric), Some(dimension)) = (metric, dimension) {
            entries.push(Entry {
                device: &datapoint.device,
                series: Series { metric, dimension },
                at: datapoint.at,
                value: &datapoint.value,
            });
        }
    }
    let times = || entries.iter().map(|entry| entry.at);
    let (Some(min), Some(max)) = (times().min(), times().max()) else { return Ok(()) };
    tx.execute(
        "INSERT INTO datapoint_batches (row, min_at, max_at, points) \
         SELECT 1 + max(up_to, coalesce((SELECT max(row) FROM datapoint_batches), 0)), ?1, ?2, ?3 \
         FROM datapoint_sealing",
        (min.as_millis(), max.as_millis(), encode(&entries, min)),
    )?;
    Ok(())
}

/// Where a value lies among those of its series: by moment, then as they were stored. What is in
/// days was stored before what is in batches.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at: Timestamp,
    in_batch: bool,
    /// Part of the day, or row of the batch.
    number: i64,
    index: usize,
}

/// Lists the values of one series of one device with `from <= at < until`, the latest first, and
/// of one moment those that were stored last; none for a metric or a dimension that does not
/// exist.
///
/// Reads the device's days of that time from the end, as far as the page needs, and the batches
/// that are not sealed. Sealing in the meantime changes no page.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListMetricValues
pub fn list(
    tx: &ReadTx,
    device: &DeviceName,
    metric: &str,
    dimension: Option<&MetricDimension>,
    from: Timestamp,
    until: Timestamp,
    page: &Page,
) -> Result<Paged<(Timestamp, MetricValue)>, RegistryError> {
    // A value is known by its moment and its rank among those of that moment, counted from the
    // first stored: sealing moves values, but changes neither.
    let before: (i64, usize) = page.time_key(LISTING, (i64::MAX, usize::MAX))?;
    let (Some(metric), Some(dimension)) =
        (metric_number(tx, metric)?, dimension_number(tx, dimension)?)
    else {
        return Ok(Paged { items: Vec::new(), next: None });
    };
    let mut newest = Newest {
        series: Series { metric, dimension },
        from,
        // Nothing later than the key can be on this page; the key's own moment can.
        last: Timestamp::from_millis(before.0).min(until - 1),
        key_at: Timestamp::from_millis(before.0),
        wanted: page.limit.max(1).saturating_add(1),
        found: Vec::new(),
    };
    newest.read_batches(tx, device)?;
    newest.read_days(tx, device)?;
    let mut ranked = newest.ranked();
    ranked.retain(|(at, rank, _)| (at.as_millis(), *rank) < before);
    let page = Paged::cut(ranked, page, LISTING, |(at, rank, _)| {
        [at.as_millis().to_string(), rank.to_string()]
    });
    Ok(page.map(|(at, _, value)| (at, value)))
}

/// The newest values of a series in some time: as many as are wanted, and all of the oldest
/// moment among them.
struct Newest {
    series: Series,
    from: Timestamp,
    last: Timestamp,
    /// Moment of the page's key: values of it may be on the page before.
    key_at: Timestamp,
    wanted: usize,
    /// The latest first.
    found: Vec<(Place, MetricValue)>,
}

impl Newest {
    fn read_batches(&mut self, tx: &ReadTx, device: &DeviceName) -> Result<(), StoreError> {
        let sealed = Mark::read(tx)?.sealed_up_to(device);
        let mut statement = tx.connection.prepare_cached(
            "SELECT row, max_at, points FROM datapoint_batches \
             WHERE max_at >= ?1 AND min_at <= ?2 AND row > ?3 ORDER BY max_at DESC",
        )?;
        let mut rows = statement.query((self.from.as_millis(), self.last.as_millis(), sealed))?;
        while let Some(row) = rows.next()? {
            // Batches overlap in time, but what follows is no later than this.
            if self.has_all_from(Timestamp::from_millis(row.get("max_at")?)) {
                break;
            }
            let number: i64 = row.get("row")?;
            let batch = row.get_ref("points")?.as_blob().map_err(rusqlite::Error::from)?;
            let points = Batch::open(batch)
                .and_then(|batch| batch.section_of(device)?.points())
                .ok_or_else(|| sealing::unreadable_batch(number))?;
            let series = self.series;
            let of_it = points.into_iter().filter(|(found, _)| *found == series);
            self.add(true, number, of_it.map(|(_, point)| point));
        }
        Ok(())
    }

    fn read_days(&mut self, tx: &ReadTx, device: &DeviceName) -> Result<(), StoreError> {
        let mut statement = tx.connection.prepare_cached(
            "SELECT day, part, points FROM datapoint_days \
             WHERE device = ?1 AND day BETWEEN ?2 AND ?3 ORDER BY day DESC",
        )?;
        let mut rows = statement.query((device.as_str(), day_of(self.from), day_of(self.last)))?;
        while let Some(row) = rows.next()? {
            let day: i64 = row.get("day")?;
            let start = Timestamp::from_millis(day.saturating_mul(DAY_MS));
            if self.has_all_from(start + (DAY_MS - 1)) {
                break;
            }
            let bytes = row.get_ref("points")?.as_blob().map_err(rusqlite::Error::from)?;
            let points = days::decode_series(bytes, start, self.series)
                .ok_or_else(|| sealing::unreadable_day(device.as_str(), day))?;
            self.add(false, row.get("part")?, points.into_iter());
        }
        Ok(())
    }

    /// Whether the page is full and nothing from `at` or before belongs to it.
    fn has_all_from(&self, at: Timestamp) -> bool {
        self.oldest_wanted().is_some_and(|oldest| oldest > at)
    }

    /// The moment of the last value wanted; none as long as there are too few.
    fn oldest_wanted(&self) -> Option<Timestamp> {
        let given = self.found.partition_point(|(place, _)| place.at >= self.key_at);
        self.found.get(given.saturating_add(self.wanted - 1)).map(|(place, _)| place.at)
    }

    fn add(&mut self, in_batch: bool, number: i64, points: impl Iterator<Item = Point>) {
        let (from, last) = (self.from, self.last);
        let places = points
            .enumerate()
            .map(|(index, Point { at, value })| (Place { at, in_batch, number, index }, value))
            .filter(|(place, _)| from <= place.at && place.at <= last);
        self.found.extend(places);
        self.found.sort_by(|(left, _), (right, _)| right.cmp(left));
        if let Some(oldest) = self.oldest_wanted() {
            let wanted = self.found.partition_point(|(place, _)| place.at >= oldest);
            self.found.truncate(wanted);
        }
    }

    /// Every value with its rank among those of its moment, the latest first.
    fn ranked(self) -> Vec<(Timestamp, usize, MetricValue)> {
        let mut ranked: Vec<(Timestamp, usize, MetricValue)> = Vec::new();
        for (place, value) in self.found.into_iter().rev() {
            let rank = match ranked.last() {
                Some((at, rank, _)) if *at == place.at => rank + 1,
                _ => 0,
            };
            ranked.push((place.at, rank, value));
        }
        ranked.reverse();
        ranked
    }
}

/// Deletes at most `limit` rows whose values are all from before `before`: batches, and days that
/// ended by then. Gives the number of rows deleted: fewer than `limit` when done.
pub fn delete_older_than(
    tx: &mut WriteTx,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let batches = tx.execute(
        "DELETE FROM datapoint_batches WHERE row IN ( \
             SELECT row FROM datapoint_batches WHERE max_at < ?1 ORDER BY max_at LIMIT ?2)",
        (before.as_millis(), limit),
    )?;
    let left = limit - i64::try_from(batches).unwrap_or(limit);
    let days = tx.execute(
        "DELETE FROM datapoint_days WHERE rowid IN ( \
             SELECT rowid FROM datapoint_days WHERE day < ?1 ORDER BY day LIMIT ?2)",
        (day_of(before), left),
    )?;
    Ok(batches + days)
}
