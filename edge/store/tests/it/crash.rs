//! A process that is killed loses nothing that it was told is stored.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use picket_model::{Account, EventType, Metric, MetricValue};
use picket_store::{
    Page, RegistryError, SessionStore, Store, StoreError, datapoints, event_configurations, meta,
    registry_events, things,
};
use tempfile::TempDir;

use crate::datapoints::datapoint;
use crate::scene::{NOW, device, run, thing};
use crate::sessions::{delivery_row, session_row};

/// Names the data directory to the child process.
const DIR_VARIABLE: &str = "PICKET_STORE_CRASH_DIR";

/// Tells the child process how often one was killed before, so that its numbers are new.
const ROUND_VARIABLE: &str = "PICKET_STORE_CRASH_ROUND";

/// Concurrent writers of the child.
const WRITERS: u64 = 8;

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = Vec::new();
    // Each round goes on in the directory that the killed one before left behind.
    for (round, kill_after) in [1, 40, 333, 75, 800].into_iter().enumerate() {
        let child = "crash::child_that_writes_until_it_is_killed";
        acknowledged.extend(run_and_kill(child, dir.path(), round, kill_after));
        let store = Store::open(dir.path(), Account::default()).unwrap();
        for number in &acknowledged {
            let name = thing(&format!("t{number}"));
            store.read(|tx| things::get(tx, &name)).unwrap();
            let key = name.to_string();
            let value = store.read::<_, StoreError>(|tx| meta::get(tx, &key)).unwrap();
            assert_eq!(value, Some(b"with it".to_vec()), "half a transaction of {name}");
        }
        drop(store);
        let database = rusqlite::Connection::open(dir.path().join("picket.db")).unwrap();
        let check: String =
            database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// An event that waits is on the disk as soon as its change is: whoever comes next publishes it.
#[test]
fn what_is_to_be_told_of_a_change_survives_kill_9_with_it() {
    let dir = TempDir::new().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = Store::open(dir.path(), Account::default()).unwrap();
    let enabled = BTreeMap::from([(EventType::Thing, true)]);
    let switch = store.write(move |tx| event_configurations::update(tx, &enabled, NOW));
    runtime.block_on(switch).unwrap();
    runtime.block_on(store.close());
    drop(store);
    let mut acknowledged = BTreeSet::new();
    for (round, kill_after) in [1, 40, 333].into_iter().enumerate() {
        let child = "crash::child_that_writes_until_it_is_killed";
        let numbers = run_and_kill(child, dir.path(), round, kill_after);
        acknowledged.extend(numbers.iter().map(|number| format!("t{number}")));
        let store = Store::open(dir.path(), Account::default()).unwrap();
        let events = store.read(|tx| registry_events::waiting(tx, 100_000)).unwrap();
        drop(store);
        let thing_of = |topic: &str| {
            let name = topic.strip_prefix("$aws/events/thing/")?.strip_suffix("/created")?;
            Some(name.to_owned())
        };
        let told: BTreeSet<_> = events.iter().map(|it| thing_of(&it.topic).unwrap()).collect();
        let database = rusqlite::Connection::open(dir.path().join("picket.db")).unwrap();
        let mut things = database.prepare("SELECT name FROM things").unwrap();
        let things: BTreeSet<String> =
            things.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
        assert_eq!(told, things, "after round {round}");
        assert_eq!(events.len(), told.len(), "each is told once");
        assert!(told.is_superset(&acknowledged), "after round {round}");
    }
}

/// Starts the child, kills it after `kill_after` acknowledgements and gives all that it printed.
fn run_and_kill(test: &str, dir: &Path, round: usize, kill_after: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored"])
        .args(["--nocapture", "--test-threads=1"])
        .env(DIR_VARIABLE, dir)
        .env(ROUND_VARIABLE, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut numbers = Vec::new();
    for line in lines {
        // The last line may be cut off in its middle; then it has no end mark.
        let line = line.unwrap();
        let Some(number) = line.strip_prefix("stored ").and_then(|rest| rest.strip_suffix('.'))
        else {
            continue;
        };
        numbers.push(number.to_owned());
        if numbers.len() == kill_after {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success(), "the child should have been killed");
    assert!(numbers.len() >= kill_after);
    numbers
}

#[test]
#[ignore = "the child of what_was_acknowledged_survives_kill_9 and another"]
fn child_that_writes_until_it_is_killed() {
    let dir = std::env::var_os(DIR_VARIABLE).unwrap();
    let round = std::env::var(ROUND_VARIABLE).unwrap();
    let store = Store::open(Path::new(&dir), Account::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (store, round) = (store.clone(), round.clone());
            runtime.spawn(async move {
                for number in (0..).map(|n| format!("{round}-{writer}-{n}")) {
                    let stored = number.clone();
                    let write = store.write(move |tx| {
                        run(tx, &format!("thing t{number}"))?;
                        meta::put(tx, &format!("t{number}"), b"with it")?;
                        Ok::<_, picket_store::RegistryError>(())
                    });
                    write.await.unwrap();
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "stored {stored}.").unwrap();
                    out.flush().unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        runtime.block_on(writer).unwrap();
    }
}

#[test]
fn what_a_session_was_promised_survives_kill_9() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for (round, kill_after) in [1, 300, 40, 777].into_iter().enumerate() {
        let child = "crash::child_that_stores_sessions_until_it_is_killed";
        let numbers = run_and_kill(child, dir.path(), round, kill_after);
        acknowledged = numbers.last().unwrap().parse::<u64>().unwrap().max(acknowledged);
        let store = Store::open(dir.path(), Account::default()).unwrap();
        let found = found_sessions(&SessionStore::open(&store).unwrap());
        let numbers = &found[0];
        // What was committed last may not have been acknowledged; it is there for both, or for none.
        assert_eq!(numbers, &found[1], "half a batch after round {round}");
        let last = *numbers.last().unwrap();
        assert!(last >= acknowledged, "{last} of {acknowledged}");
        assert_eq!(*numbers, (last.saturating_sub(WAITING - 1).max(1)..=last).collect::<Vec<_>>());
        acknowledged = last;
        drop(store);
        let database = rusqlite::Connection::open(dir.path().join("sessions.db")).unwrap();
        let check: String =
            database.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(check, "ok");
    }
}

/// Deliveries of each session that are left by the child: the older ones are over.
const WAITING: u64 = 5;

/// The numbers of the deliveries of each session, all of which have their message.
fn found_sessions(store: &SessionStore) -> Vec<Vec<u64>> {
    let mut messages = BTreeSet::new();
    let mut note = |id| assert!(messages.insert(id));
    store.messages(|id, _, _| note(id)).unwrap();
    let sessions = store.sessions().unwrap().into_iter().map(|(_, session)| session.unwrap());
    let numbers = sessions.map(|session| {
        let waiting = session.deliveries.iter();
        assert!(waiting.clone().all(|it| messages.contains(&it.message.unwrap())));
        waiting.map(|it| it.number).collect::<Vec<_>>()
    });
    let numbers: Vec<_> = numbers.collect();
    // Each is stored once, though it waits for two.
    assert_eq!(messages.len(), numbers.first().map_or(0, Vec::len));
    numbers
}

#[test]
#[ignore = "the child of what_a_session_was_promised_survives_kill_9"]
fn child_that_stores_sessions_until_it_is_killed() {
    let dir = std::env::var_os(DIR_VARIABLE).unwrap();
    let store = Store::open(Path::new(&dir), Account::default()).unwrap();
    let store = SessionStore::open(&store).unwrap();
    let before = found_sessions(&store).first().and_then(|numbers| numbers.last().copied());
    for number in before.unwrap_or(0) + 1.. {
        let write = store.write::<StoreError>(|tx| {
            let message = tx.message(format!("message {number}").as_bytes(), None)?;
            for key in [1, 2] {
                tx.put(&session_row(key))?;
                tx.queue(key, &delivery_row(number, Some(message)))?;
                tx.over(key, number.saturating_sub(WAITING))?;
            }
            Ok(())
        });
        write.unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "stored {number}.").unwrap();
        out.flush().unwrap();
    }
}

/// Devices of the child that seals: enough for several transactions of each round.
const DEVICES: i64 = 300;

#[test]
fn kill_9_in_the_middle_of_sealing_loses_and_doubles_no_value() {
    let dir = TempDir::new().unwrap();
    let mut acknowledged = 0;
    for (round, kill_after) in [3, 17, 6].into_iter().enumerate() {
        let child = "crash::child_that_seals_until_it_is_killed";
        acknowledged += run_and_kill(child, dir.path(), round, kill_after).len();
        let store = Store::open(dir.path(), Account::default()).unwrap();
        let values = |who: i64| {
            let who = device(&format!("d{who:03}"));
            let page = Page::first(10_000);
            let metric = Metric::MessagesSent.as_str();
            let found = store.read::<_, RegistryError>(|tx| {
                datapoints::list(tx, &who, metric, None, NOW, NOW + 10_000, &page)
            });
            found.unwrap().items.into_iter().rev().map(|(_, value)| value).collect::<Vec<_>>()
        };
        // What was appended last may not have been acknowledged; it is there for all or for none.
        let of_first = values(0);
        assert!(of_first.len() >= acknowledged, "{} of {acknowledged}", of_first.len());
        let expected: Vec<_> = (0..of_first.len() as u64).map(MetricValue::Count).collect();
        for who in 0..DEVICES {
            assert_eq!(values(who), expected, "of device {who} after round {round}");
        }
        acknowledged = of_first.len();
    }
}

#[test]
#[ignore = "the child of kill_9_in_the_middle_of_sealing_loses_and_doubles_no_value"]
fn child_that_seals_until_it_is_killed() {
    let dir = std::env::var_os(DIR_VARIABLE).unwrap();
    let store = Store::open(Path::new(&dir), Account::default()).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sealing = store.clone();
    let sealer = runtime.spawn(async move {
        loop {
            datapoints::seal(&sealing, NOW + 10_000, 1).await.unwrap();
        }
    });
    let first = store.read::<_, RegistryError>(|tx| {
        let metric = Metric::MessagesSent.as_str();
        let page = Page::first(10_000);
        datapoints::list(tx, &device("d000"), metric, None, NOW, NOW + 10_000, &page)
    });
    for number in first.unwrap().items.len() as i64.. {
        let point =
            |who| datapoint(&format!("d{who:03}"), Metric::MessagesSent, number, number as u64);
        let points: Vec<_> = (0..DEVICES).map(point).collect();
        let write = store.write::<_, StoreError>(move |tx| datapoints::append(tx, &points));
        runtime.block_on(write).unwrap();
        let mut out = std::io::stdout().lock();
        writeln!(out, "stored {number}.").unwrap();
        out.flush().unwrap();
        if sealer.is_finished() {
            break;
        }
    }
    panic!("sealing ended: {:?}", runtime.block_on(sealer));
}
