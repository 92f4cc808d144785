//! Moves values of the past from batches, which hold the whole fleet, into days, which hold one
//! device each.
//!
//! Batches are what can be written quickly, days what can be read quickly. The batches up to some
//! row are sealed together, device by device in the order of their names, a few devices in each
//! transaction. `datapoint_sealing` says how far that is: what lies before counts where it is now,
//! what lies behind where it was. Whoever reads sees one moment of it.
//!
//! INVARIANT (sealed once): a transaction that stores days moves the mark past just these values,
//! and only if the mark is still where the days were made from. So a crash, a second sealer or
//! trying again loses and doubles nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use picket_model::{DeviceName, Timestamp};
use rusqlite::Row;

use super::{DAY_MS, day_of};
use crate::codec::column;
use crate::codec::datapoints::{Batch, Section};
use crate::codec::days::{self, Day};
use crate::codec::values::Point;
use crate::error::StoreError;
use crate::limits::{
    DAY_PART_BYTES_MAX, SEALED_BATCHES_MAX, SEALED_BYTES_MAX, SEALED_DEVICES_MAX,
    SEALED_TOGETHER_BYTES_MAX,
};
use crate::store::Store;
use crate::tx::{ReadTx, WriteTx};

/// How far values have moved from batches into days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The last batch of those that are sealed together.
    up_to: i64,
    /// The last device that is done; none when all are. Empty before the first.
    device: Option<String>,
}

impl Mark {
    pub(super) fn read(tx: &ReadTx) -> Result<Self, StoreError> {
        let read = |row: &Row<'_>| {
            Ok::<_, StoreError>(Self { up_to: row.get("up_to")?, device: row.get("device")? })
        };
        let mark = tx.row("SELECT up_to, device FROM datapoint_sealing", [], read)?;
        mark.ok_or_else(|| StoreError::Unreadable {
            column: "datapoint_sealing",
            problem: "its row is missing".to_owned(),
        })
    }

    /// The last batch whose values of the device lie in days; those of later ones do not.
    pub(super) fn sealed_up_to(&self, device: &DeviceName) -> i64 {
        match &self.device {
            Some(done) if device.as_str() > done.as_str() => 0,
            _ => self.up_to,
        }
    }
}

/// Moves values of batches that are from before `until` into days, in at most `steps` short
/// transactions. Gives the number of transactions made: fewer than `steps` when done.
///
/// What it needs to read and to pack is done aside, on a blocking thread. Dropping the future, or
/// a crash, leaves everything in one place or the other, and the next call goes on from there.
/// A batch that holds later values than `until` too is moved with the ones that came after it.
///
/// # Errors
/// When the store fails or is closed, or a batch or day cannot be read.
pub async fn seal(store: &Store, until: Timestamp, steps: usize) -> Result<usize, StoreError> {
    let mut round = Round::default();
    for taken in 0..steps {
        let reading = store.clone();
        let prepared = tokio::task::spawn_blocking(move || {
            let step = reading.read(|tx| round.next(tx, until))?;
            Ok::<_, StoreError>((round, step))
        });
        let prepared = prepared.await.map_err(|panic| StoreError::Panicked(panic.to_string()))?;
        let (next_round, step) = prepared?;
        round = next_round;
        let Some(step) = step else { return Ok(taken) };
        store.write(move |tx| step.apply(tx)).await?;
    }
    Ok(steps)
}

/// One short transaction.
enum Step {
    /// Stores days, if the mark is at `from`, and moves it to `to`.
    Store { from: Mark, to: Mark, days: Vec<Part> },
    /// Deletes some of the batches up to this row, which are sealed.
    Delete { up_to: i64 },
}

/// A part of a day, as it becomes.
struct Part {
    device: String,
    day: i64,
    number: i64,
    points: Vec<u8>,
}

impl Step {
    fn apply(&self, tx: &mut WriteTx) -> Result<(), StoreError> {
        match self {
            Self::Store { from, to, days } => {
                // INVARIANT (sealed once).
                if Mark::read(tx)? != *from {
                    return Ok(());
                }
                for part in days {
                    tx.execute(
                        "INSERT INTO datapoint_days (device, day, part, points) \
                         VALUES (?1, ?2, ?3, ?4) \
                         ON CONFLICT (device, day, part) DO UPDATE SET points = excluded.points",
                        (&part.device, part.day, part.number, &part.points),
                    )?;
                }
                tx.execute(
                    "UPDATE datapoint_sealing SET up_to = ?1, device = ?2",
                    (to.up_to, &to.device),
                )?;
            }
            Self::Delete { up_to } => {
                tx.execute(
                    "DELETE FROM datapoint_batches WHERE row IN ( \
                         SELECT row FROM datapoint_batches WHERE row <= ?1 LIMIT ?2)",
                    (up_to, SEALED_BATCHES_MAX as i64),
                )?;
            }
        }
        Ok(())
    }
}

/// The batches that are sealed together, read as far as the steps have come.
#[derive(Default)]
struct Round {
    /// Where the batches below lead on from; none before they were read.
    mark: Option<Mark>,
    batches: Vec<Source>,
    /// The next device of each batch that has one, with the batch's place: the first by name on
    /// top, and of those the first batch.
    heads: BinaryHeap<Reverse<(String, usize)>>,
}

/// The values of one device by day, in the order in which they were stored.
struct Sealable {
    device: String,
    days: BTreeMap<i64, Day>,
}

/// A batch, and how much of it is left to seal.
struct Source {
    row: i64,
    bytes: Vec<u8>,
    left: usize,
}

impl Source {
    /// The next device's name.
    fn peek(&self) -> Result<Option<&str>, StoreError> {
        Ok(self.split()?.map(|(name, _, _)| name))
    }

    /// The next device's name and section, and how much is left behind it.
    fn split(&self) -> Result<Option<(&str, Section<'_>, usize)>, StoreError> {
        let read = || {
            let mut batch = Batch::open(&self.bytes)?.with_left(self.left)?;
            let Some((name, section)) = batch.next()? else { return Some(None) };
            Some(Some((std::str::from_utf8(name).ok()?, section, batch.left())))
        };
        read().ok_or_else(|| unreadable_batch(self.row))
    }
}

pub(super) fn unreadable_batch(row: i64) -> StoreError {
    StoreError::Unreadable {
        column: "points",
        problem: format!("row {row} is no batch of datapoints"),
    }
}

pub(super) fn unreadable_day(device: &str, day: i64) -> StoreError {
    StoreError::Unreadable {
        column: "points",
        problem: format!("day {day} of `{}` is no day of datapoints", device.escape_debug()),
    }
}

impl Round {
    /// Prepares the next transaction; none if there is nothing to seal.
    fn next(&mut self, tx: &ReadTx, until: Timestamp) -> Result<Option<Step>, StoreError> {
        let mark = Mark::read(tx)?;
        if mark.device.is_none() {
            // What is sealed has to go first: in the next round it would count as not sealed.
            let up_to = mark.up_to;
            if tx.exists("SELECT 1 FROM datapoint_batches WHERE row <= ?1", [up_to])? {
                return Ok(Some(Step::Delete { up_to }));
            }
            let Some(up_to) = last_to_seal(tx, until)? else { return Ok(None) };
            let begun = Mark { up_to, device: Some(String::new()) };
            return self.store_next(tx, mark, begun).map(Some);
        }
        let begun = mark.clone();
        self.store_next(tx, mark, begun).map(Some)
    }

    /// The days of the next devices behind `begun`.
    fn store_next(&mut self, tx: &ReadTx, from: Mark, begun: Mark) -> Result<Step, StoreError> {
        if self.mark.as_ref() != Some(&begun) {
            self.begin(tx, &begun)?;
        }
        let mut days = Vec::new();
        let mut bytes = 0;
        let mut to = begun;
        for _ in 0..SEALED_DEVICES_MAX {
            if bytes >= SEALED_BYTES_MAX {
                break;
            }
            let Some(Sealable { device, days: values }) = self.take_device()? else {
                to.device = None;
                break;
            };
            for (day, values) in values {
                let part = merge(tx, &device, day, values)?;
                bytes += part.points.len();
                days.push(part);
            }
            to.device = Some(device);
        }
        self.mark = Some(to.clone());
        Ok(Step::Store { from, to, days })
    }

    /// Reads the batches up to the mark, without the devices that are done.
    fn begin(&mut self, tx: &ReadTx, mark: &Mark) -> Result<(), StoreError> {
        let done = mark.device.as_deref().unwrap_or_default();
        self.batches = tx.rows(
            "SELECT row, points FROM datapoint_batches WHERE row <= ?1 ORDER BY row",
            [mark.up_to],
            |row| {
                let (row, bytes): (i64, Vec<u8>) = (row.get("row")?, row.get("points")?);
                let left = Batch::open(&bytes).ok_or_else(|| unreadable_batch(row))?.left();
                Ok::<_, StoreError>(Source { row, bytes, left })
            },
        )?;
        self.heads.clear();
        for (place, source) in self.batches.iter_mut().enumerate() {
            while let Some((name, _, left)) = source.split()?
                && name <= done
            {
                source.left = left;
            }
            self.heads.extend(source.peek()?.map(|name| Reverse((name.to_owned(), place))));
        }
        Ok(())
    }

    /// The values of the next device by name; none at the end.
    fn take_device(&mut self) -> Result<Option<Sealable>, StoreError> {
        let Some(Reverse((device, _))) = self.heads.peek() else { return Ok(None) };
        let device = device.clone();
        let mut days: BTreeMap<i64, Day> = BTreeMap::new();
        while let Some(Reverse((name, place))) = self.heads.peek()
            && *name == device
        {
            let place = *place;
            self.heads.pop();
            let source = &mut self.batches[place];
            let Some((_, section, left)) = source.split()? else { continue };
            let points = section.points().ok_or_else(|| unreadable_batch(source.row))?;
            for (series, point) in points {
                let day = days.entry(day_of(point.at)).or_default();
                day.entry(series).or_default().push(point);
            }
            source.left = left;
            self.heads.extend(source.peek()?.map(|name| Reverse((name.to_owned(), place))));
        }
        Ok(Some(Sealable { device, days }))
    }
}

/// The last of the batches to seal together: as many as fit, of those that are from before
/// `until` and those stored before them.
fn last_to_seal(tx: &ReadTx, until: Timestamp) -> Result<Option<i64>, StoreError> {
    let ripe: Option<i64> = tx
        .row(
            "SELECT max(row) AS last FROM datapoint_batches WHERE max_at < ?1",
            [until.as_millis()],
            |row| row.get::<_, Option<i64>>("last").map_err(StoreError::from),
        )?
        .flatten();
    let Some(ripe) = ripe else { return Ok(None) };
    let mut statement = tx.connection.prepare_cached(
        "SELECT row, length(points) AS bytes FROM datapoint_batches WHERE row <= ?1 ORDER BY row",
    )?;
    let mut rows = statement.query([ripe])?;
    let mut last = None;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += row.get::<_, i64>("bytes")?;
        if last.is_some() && bytes > SEALED_TOGETHER_BYTES_MAX {
            break;
        }
        last = Some(row.get("row")?);
    }
    Ok(last)
}

/// The part of a day that the values come into, with what is in it already: the last one, or a
/// new one if that is full.
fn merge(tx: &ReadTx, device: &str, day: i64, values: Day) -> Result<Part, StoreError> {
    let start = Timestamp::from_millis(day.saturating_mul(DAY_MS));
    let last = tx.row(
        "SELECT part, points FROM datapoint_days WHERE device = ?1 AND day = ?2 \
         ORDER BY part DESC LIMIT 1",
        (device, day),
        |row| {
            let number: i64 = column::count(row, "part")?;
            Ok::<_, StoreError>((number, row.get::<_, Vec<u8>>("points")?))
        },
    )?;
    let (number, mut merged) = match last {
        None => (0, Day::new()),
        Some((number, points)) if points.len() >= DAY_PART_BYTES_MAX => (number + 1, Day::new()),
        Some((number, points)) => {
            let points = days::decode(&points, start);
            (number, points.ok_or_else(|| unreadable_day(device, day))?)
        }
    };
    for (series, points) in values {
        let all: &mut Vec<Point> = merged.entry(series).or_default();
        all.extend(points);
        // Stable: values of one moment stay in the order in which they were stored.
        all.sort_by_key(|point| point.at);
    }
    let points = days::encode(&merged, start);
    Ok(Part { device: device.to_owned(), day, number, points })
}
