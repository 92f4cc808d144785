//! Metric values: what was measured, for people to look at.
//!
//! One row holds the values of one append, packed: a row for each value would be 50 times slower.

use picket_model::{Datapoint, DeviceName, Metric, MetricValue, Timestamp};

use crate::codec::datapoints::{Point, decode, encode};
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};

const LISTING: &str = "metric-values";

/// Stores values, as one row; none at all store nothing.
pub fn append(tx: &mut WriteTx, datapoints: &[Datapoint]) -> Result<(), StoreError> {
    let times = || datapoints.iter().map(|datapoint| datapoint.at);
    let (Some(min), Some(max)) = (times().min(), times().max()) else { return Ok(()) };
    tx.execute(
        "INSERT INTO datapoint_batches (min_at, max_at, points) VALUES (?1, ?2, ?3)",
        (min.as_millis(), max.as_millis(), encode(datapoints, min)),
    )?;
    Ok(())
}

/// Where a value lies: later moments, later batches and later places in a batch come first.
type Place = (Timestamp, i64, usize);

/// Lists the values of one metric of one device with `from <= at < until`, the latest first.
///
/// Reads the batches of that time from the end, as far as the page needs.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListMetricValues
pub fn list(
    tx: &ReadTx,
    device: &DeviceName,
    metric: Metric,
    from: Timestamp,
    until: Timestamp,
    page: &Page,
) -> Result<Paged<(Timestamp, MetricValue)>, RegistryError> {
    let before = before(page)?;
    // Nothing later than the key can be on this page; the key's own moment can.
    let last = before.map_or(until - 1, |(at, _, _)| at.min(until - 1));
    let limit = page.limit.max(1);
    let mut found: Vec<(Place, MetricValue)> = Vec::new();
    let mut statement = tx.connection.prepare_cached(
        "SELECT row, max_at, points FROM datapoint_batches \
         WHERE max_at >= ?1 AND min_at <= ?2 ORDER BY max_at DESC",
    )?;
    let mut rows = statement.query((from.as_millis(), last.as_millis()))?;
    while let Some(row) = rows.next()? {
        let max = Timestamp::from_millis(row.get("max_at")?);
        // Batches overlap in time: the page is full when all that is left is older than its end.
        if found.len() > limit && found[limit].0.0 > max {
            break;
        }
        let number: i64 = row.get("row")?;
        let batch = row.get_ref("points")?.as_blob().map_err(rusqlite::Error::from)?;
        let points = decode(batch, device, metric).ok_or_else(|| StoreError::Unreadable {
            column: "points",
            problem: format!("row {number} is no batch of datapoints"),
        })?;
        let places = points
            .into_iter()
            .enumerate()
            .map(|(index, Point { at, value })| ((at, number, index), value));
        found.extend(places.filter(|((at, number, index), _)| {
            from <= *at && *at < until && before.is_none_or(|key| (*at, *number, *index) < key)
        }));
        found.sort_by(|(left, _), (right, _)| right.cmp(left));
        found.truncate(limit + 1);
    }
    let page = Paged::cut(found, page, LISTING, |((at, number, index), _)| {
        [at.as_millis().to_string(), number.to_string(), index.to_string()]
    });
    Ok(page.map(|((at, _, _), value)| (at, value)))
}

fn before(page: &Page) -> Result<Option<Place>, RegistryError> {
    let Some([at, number, index]) = page.key::<3>(LISTING)? else { return Ok(None) };
    match (at.parse(), number.parse(), index.parse()) {
        (Ok(at), Ok(number), Ok(index)) => Ok(Some((Timestamp::from_millis(at), number, index))),
        _ => Err(page.refused()),
    }
}

/// Deletes at most `limit` rows whose values are all from before `before`. Gives the number of
/// rows deleted: fewer than `limit` when done.
pub fn delete_older_than(
    tx: &mut WriteTx,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    tx.execute(
        "DELETE FROM datapoint_batches WHERE row IN ( \
             SELECT row FROM datapoint_batches WHERE max_at < ?1 ORDER BY max_at LIMIT ?2)",
        (before.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)),
    )
}
