//! Figures for docs/performance.md, taken by hand and never asserted:
//!
//! ```sh
//! cargo test --release -p picket-store --test it measure -- --ignored --nocapture
//! ```

use std::time::{Duration, Instant};

use picket_model::{Account, Datapoint, Metric, MetricValue, Timestamp};
use picket_store::{Page, Store, StoreError, datapoints, meta};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scene::{Scene, device};

const DEVICES: usize = 10_000;
const WINDOW_MS: i64 = 300_000;
const WINDOWS_OF_A_DAY: i64 = 288;
const START: Timestamp = Timestamp::from_secs(1_700_006_400);

/// The cloud-side counters, message size, and who it comes from.
fn metrics() -> Vec<Metric> {
    Metric::BUILT_IN[..8].to_vec()
}

/// What a fleet has at the end of one window.
fn window(number: i64) -> Vec<Datapoint> {
    let at = START + number * WINDOW_MS;
    let value = |who: usize, place: usize| match metrics()[place] {
        Metric::SourceIpAddress => {
            let [.., high, low] = who.to_be_bytes();
            MetricValue::Addresses([[10, 0, high, low].into()].into())
        }
        // Mostly small, all different, now and then large.
        _ => MetricValue::Count((who as u64 * 31 + number as u64 * 17 + place as u64) % 211),
    };
    let of_device = |who: usize| {
        (0..metrics().len()).map(move |place| Datapoint {
            device: device(&format!("device-{who:05}")),
            metric: metrics()[place].clone(),
            dimension: None,
            at,
            value: value(who, place),
        })
    };
    (0..DEVICES).flat_map(of_device).collect()
}

fn append(scene: &Scene, windows: std::ops::Range<i64>) {
    for number in windows {
        // The values of a window arrive over a few seconds.
        for part in window(number).chunks(20_000) {
            let part = part.to_vec();
            scene.write(move |tx| datapoints::append(tx, &part)).unwrap();
        }
    }
}

/// Median and longest time of listing a device's whole day in pages of 250.
fn list(scene: &Scene) -> String {
    let mut times: Vec<Duration> = (0..40)
        .map(|n| {
            let who = device(&format!("device-{:05}", n * 249));
            let metric = Metric::MessagesSent.as_str();
            let (from, until) = (START, START + 86_400_000);
            let started = Instant::now();
            let found = crate::paging::pages(scene, 250, |tx, page: &Page| {
                datapoints::list(tx, &who, metric, None, from, until, page)
            });
            assert!(found.len() >= 287, "{}", found.len());
            started.elapsed()
        })
        .collect();
    times.sort();
    format!("median {:?}, longest {:?}", times[times.len() / 2], times[times.len() - 1])
}

/// Seals all until `until`, while somebody writes a little all the time; says how long that took
/// and how long the little writes waited.
fn seal(scene: &Scene, until: Timestamp) -> String {
    let (store, probing): (Store, Store) = (scene.store.clone(), scene.store.clone());
    let started = Instant::now();
    let sealing = scene
        .runtime
        .spawn(async move { datapoints::seal(&store, until, usize::MAX).await.unwrap() });
    let mut waits = Vec::new();
    while !sealing.is_finished() {
        let began = Instant::now();
        // Another value each time: the same one again would not reach the disk.
        let number = waits.len().to_be_bytes();
        let written = probing.write::<_, StoreError>(move |tx| meta::put(tx, "probe", &number));
        scene.runtime.block_on(written).unwrap();
        waits.push(began.elapsed());
    }
    let steps = scene.runtime.block_on(sealing).unwrap();
    let took = started.elapsed();
    waits.sort();
    let place = |share: usize| waits[(waits.len() - 1) * share / 1000];
    format!(
        "{took:?} in {steps} transactions; {} little writes: median {:?}, p99 {:?}, p99.9 {:?}, \
         longest {:?}",
        waits.len(),
        place(500),
        place(990),
        place(999),
        place(1000)
    )
}

fn megabytes(scene: &Scene, table: &str) -> i64 {
    let database = rusqlite::Connection::open(scene.dir.path().join("picket.db")).unwrap();
    let sql = format!("SELECT sum(length(points)) FROM {table}");
    let bytes: Option<i64> = database.query_row(&sql, [], |row| row.get(0)).unwrap();
    bytes.unwrap_or_default() / 1_000_000
}

#[test]
#[expect(clippy::print_stdout, reason = "the figures are what it is for")]
#[ignore = "a measurement of some minutes; run it by hand, in release mode"]
fn a_day_of_ten_thousand_devices() {
    let dir = TempDir::new().unwrap();
    let store = Store::open(dir.path(), Account::default()).unwrap();
    let scene = Scene { store, runtime: Runtime::new().unwrap(), dir };
    let started = Instant::now();
    append(&scene, 0..WINDOWS_OF_A_DAY - 12);
    append(&scene, WINDOWS_OF_A_DAY - 12..WINDOWS_OF_A_DAY);
    let points = WINDOWS_OF_A_DAY as usize * DEVICES * metrics().len();
    println!("{points} values appended in {:?}", started.elapsed());
    println!("batches: {} MB", megabytes(&scene, "datapoint_batches"));
    println!("listing a day, not sealed: {}", list(&scene));
    println!("23 hours sealed: {}", seal(&scene, START + 276 * WINDOW_MS));
    println!("days: {} MB", megabytes(&scene, "datapoint_days"));
    println!("listing a day, the last hour not sealed: {}", list(&scene));
    println!("the last hour sealed: {}", seal(&scene, START + 300 * WINDOW_MS));
    println!("days: {} MB", megabytes(&scene, "datapoint_days"));
    println!("listing a day, sealed: {}", list(&scene));
}
