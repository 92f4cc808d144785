//! Open windows, as records.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use picket_model::limits::SOURCE_ADDRESSES_PER_WINDOW_MAX;
use picket_model::{Number, Quantity, WindowLen};

use crate::plan::Plan;
use crate::series::Series;
use crate::snapshot::{RestoreProblem, moment};
use crate::tally::{Addresses, Denials, Messages, Reading, Span, Tally, Within};
use crate::windows::{Counter, CountsFor, Window, Windows, fits, number_of, start_of};

/// The windows of a series.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct SeriesRecord {
    #[n(0)]
    pub(super) fingerprint: u64,
    #[n(1)]
    pub(super) windows: Vec<WindowRecord>,
}

/// One window.
#[derive(Encode, Decode)]
#[cbor(map)]
pub(super) struct WindowRecord {
    #[n(0)]
    pub(super) start: i64,
    /// In version 1: how far from normal it was when it was judged early.
    #[n(1)]
    early: Option<u64>,
    #[n(2)]
    tally: TallyRecord,
}

#[derive(Encode, Decode)]
enum TallyRecord {
    #[n(0)]
    Count(#[n(0)] SpanRecord),
    #[n(1)]
    Messages(#[n(0)] MessagesRecord),
    #[n(2)]
    Denials(#[n(0)] DenialsRecord),
    #[n(3)]
    Addresses(#[n(0)] Vec<String>),
    #[n(4)]
    Total(#[n(0)] u64),
    #[n(5)]
    Last(#[n(0)] LastRecord),
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SpanRecord {
    #[n(0)]
    count: u64,
    #[n(1)]
    first_ms: u32,
    #[n(2)]
    last_ms: u32,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct MessagesRecord {
    #[n(0)]
    span: SpanRecord,
    #[n(1)]
    bytes_total: u64,
    #[n(2)]
    bytes_min: u64,
    #[n(3)]
    bytes_max: u64,
    #[n(4)]
    largest_topic: Option<String>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct DenialsRecord {
    #[n(0)]
    span: SpanRecord,
    #[n(1)]
    action: Option<String>,
    #[n(2)]
    resource: Option<String>,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct LastRecord {
    #[n(0)]
    count: Option<u64>,
    #[n(1)]
    number: Option<f64>,
}

/// Writes the windows that watches share.
pub(super) fn series(windows: &Windows, plan: &Plan) -> Vec<SeriesRecord> {
    let mut records = Vec::<(u32, SeriesRecord)>::new();
    for open in windows.iter() {
        let CountsFor::Series(index) = open.counter.counts_for() else { continue };
        let Series { fingerprint, len, .. } = &plan.series[index as usize];
        let record = record(open, *len);
        // Windows stand in the order of their series.
        match records.last_mut().filter(|(last, _)| *last == index) {
            Some((_, last)) => last.windows.push(record),
            None => {
                let fingerprint = fingerprint.0;
                records.push((index, SeriesRecord { fingerprint, windows: vec![record] }));
            }
        }
    }
    records.into_iter().map(|(_, record)| record).collect()
}

/// Writes one window.
pub(super) fn record(window: &Window, len: WindowLen) -> WindowRecord {
    let tally = match &window.tally {
        Tally::Count { .. } => TallyRecord::Count(span_record(window.tally.span())),
        Tally::Messages(messages) => TallyRecord::Messages(MessagesRecord {
            span: span_record(messages.span),
            bytes_total: messages.bytes_total,
            bytes_min: u64::from(messages.bytes_min),
            bytes_max: u64::from(messages.bytes_max),
            largest_topic: messages.largest_topic.as_deref().map(str::to_owned),
        }),
        Tally::Denials(denials) => {
            let (action, resource) = denials.last.clone().unzip();
            TallyRecord::Denials(DenialsRecord {
                span: span_record(denials.span),
                action: action.map(Cow::into_owned),
                resource: resource.map(|resource| resource.to_string()),
            })
        }
        Tally::Addresses(addresses) => {
            TallyRecord::Addresses(addresses.list().iter().map(IpAddr::to_string).collect())
        }
        Tally::Total(total) => TallyRecord::Total(*total),
        Tally::Last(last) => TallyRecord::Last(match last.and_then(|it| it.quantity()) {
            Some(Quantity::Count(count)) => LastRecord { count: Some(count), number: None },
            Some(Quantity::Number(it)) => LastRecord { count: None, number: Some(it.get()) },
            None => LastRecord { count: None, number: None },
        }),
    };
    WindowRecord { start: start_of(window.number, len).as_millis(), early: None, tally }
}

/// Reads a window of a series, and in version 1 how far from normal it was when it was judged early.
pub(super) fn restore(
    record: WindowRecord,
    counter: Counter,
    series: &Series,
) -> Result<(Window, Option<u64>), RestoreProblem> {
    let start = moment(record.start)?;
    let number = number_of(start, series.len).ok_or(RestoreProblem::Window)?;
    let tally = restore_tally(record.tally)?;
    if start_of(number, series.len) != start || !fits(&tally, &series.counted) {
        return Err(RestoreProblem::Window);
    }
    Ok((Window { counter, number, tally }, record.early))
}

fn restore_tally(record: TallyRecord) -> Result<Tally, RestoreProblem> {
    Ok(match record {
        TallyRecord::Count(record) => {
            let Span { count, first, last } = span(&record);
            Tally::Count { count, first, last }
        }
        TallyRecord::Messages(record) => Tally::Messages(Box::new(Messages {
            span: span(&record.span),
            bytes_total: record.bytes_total,
            bytes_min: u32::try_from(record.bytes_min).unwrap_or(u32::MAX),
            bytes_max: u32::try_from(record.bytes_max).unwrap_or(u32::MAX),
            largest_topic: record.largest_topic.map(Arc::from),
        })),
        TallyRecord::Denials(record) => Tally::Denials(Box::new(Denials {
            span: span(&record.span),
            last: record.action.map(Cow::Owned).zip(record.resource.map(Arc::from)),
        })),
        TallyRecord::Addresses(texts) => {
            let addresses = texts.iter().map(|text| text.parse());
            let addresses: Result<BTreeSet<IpAddr>, _> = addresses.collect();
            let addresses = addresses.map_err(|_| RestoreProblem::Window)?;
            if addresses.len() > SOURCE_ADDRESSES_PER_WINDOW_MAX {
                return Err(RestoreProblem::Window);
            }
            Tally::Addresses(Box::new(Addresses::from_sorted(addresses.into_iter().collect())))
        }
        TallyRecord::Total(total) => Tally::Total(total),
        TallyRecord::Last(LastRecord { count, number }) => {
            let number = match number {
                Some(number) => Some(Number::new(number).ok_or(RestoreProblem::Window)?),
                None => None,
            };
            let quantity = count.map(Quantity::Count).or(number.map(Quantity::Number));
            Tally::Last(quantity.map(Reading::new))
        }
    })
}

fn span_record(span: Span) -> SpanRecord {
    let (first_ms, last_ms) = (span.first.as_millis(), span.last.as_millis());
    SpanRecord { count: span.count, first_ms, last_ms }
}

fn span(record: &SpanRecord) -> Span {
    Span {
        count: record.count,
        first: Within::from_millis(record.first_ms),
        last: Within::from_millis(record.last_ms),
    }
}
