//! Three sessions, and every way in which rights change.

use std::sync::mpsc;
use std::thread;

use super::*;
use crate::budget::Budget;
use crate::mailbox::SessionKey;
use world::{Registry, certificate, change};

mod world;

fn opening(name: &str, client: &str) -> Opening {
    Opening {
        errand: Errand::Connect,
        issued_as: None,
        principal: Principal::Certificate(certificate(name)),
        client: ClientId::parse(client).unwrap(),
        facts: ConnectionFacts::default(),
    }
}

fn book(registry: &Arc<Registry>) -> Arc<AccessBook> {
    AccessBook::new(Account::default(), Arc::clone(registry) as Arc<dyn Directory>)
}

/// What the access allows, short enough for a table.
fn summary(access: &Access) -> String {
    match &access.standing {
        Standing::Stays => {
            let topics = ["data/x", "extra", "1", "2", "3"];
            let allowed =
                topics.into_iter().filter(|t| access.decide(Action::Publish, t).is_allowed());
            format!("{} publishes [{}]", access.device, allowed.collect::<Vec<_>>().join(" "))
        }
        Standing::ConnectDenied(_) => "connect denied".to_owned(),
        standing => standing.to_string(),
    }
}

/// Three sessions: A as pump-1, B as pump-2, C as a guest that is no thing.
fn sessions(book: &Arc<AccessBook>) -> [(&'static str, AccessWatch); 3] {
    [("A", "pump-1"), ("B", "pump-2"), ("C", "guest")]
        .map(|(name, client)| (name, book.open(opening(name, client))))
}

/// Does the deeds one by one; after the last, checks who was woken and what they may do.
fn check(deeds: &[&str], expected: &[(&str, &str)]) {
    let registry = Registry::new();
    let book = book(&registry);
    let mut sessions = sessions(&book);
    for (i, deed) in deeds.iter().enumerate() {
        if i == deeds.len() - 1 {
            for (_, watch) in &mut sessions {
                watch.see();
            }
        }
        book.changed(&registry.take(deed));
    }
    let woken: Vec<(&str, String)> = sessions
        .iter()
        .filter(|(_, watch)| watch.has_changed())
        .map(|(name, watch)| (*name, summary(&watch.get())))
        .collect();
    let expected: Vec<(&str, String)> =
        expected.iter().map(|(name, summary)| (*name, (*summary).to_owned())).collect();
    assert_eq!(woken, expected, "after {deeds:?}");
}

#[test]
fn a_session_begins_with_its_rights() {
    let registry = Registry::new();
    let book = book(&registry);
    let sessions = sessions(&book);
    let summaries = sessions.each_ref().map(|(_, watch)| summary(&watch.get()));
    assert_eq!(
        summaries,
        [
            "pump-1 publishes [data/x 1]",
            "pump-2 publishes [data/x extra]",
            "guest publishes [data/x]"
        ]
    );
    assert!(sessions.iter().all(|(_, watch)| !watch.has_changed()));
    assert_eq!(sessions.each_ref().map(|(_, watch)| watch.get().registered), [true, true, false]);
}

#[test]
fn a_new_policy_version_reaches_those_under_the_policy() {
    check(&["policy Extra allows-more"], &[("B", "pump-2 publishes [data/x extra 1 2 3]")]);
    check(
        &["policy Base denies-all"],
        &[("A", "connect denied"), ("B", "connect denied"), ("C", "connect denied")],
    );
    check(&["policy Floor denies-data"], &[("A", "pump-1 publishes [extra 1 2 3]")]);
    check(&["policy Isolate allows-more"], &[]);
}

#[test]
fn a_policy_on_a_certificate_reaches_its_sessions() {
    check(&["attach Extra certificate C"], &[("C", "guest publishes [data/x extra]")]);
    check(&["detach Extra certificate B"], &[("B", "pump-2 publishes [data/x]")]);
    check(&["attach Isolate certificate A"], &[("A", "connect denied")]);
    check(&["detach Base certificate C"], &[("C", "connect denied")]);
}

#[test]
fn a_policy_on_a_group_reaches_its_members() {
    check(&["attach Isolate group floor"], &[("A", "connect denied")]);
    check(&["detach Floor group floor"], &[("A", "pump-1 publishes [data/x]")]);
    check(&["attach Isolate group empty"], &[]);
}

#[test]
fn membership_reaches_the_thing() {
    check(&["join pump-2 floor"], &[("B", "pump-2 publishes [data/x extra 2]")]);
    check(&["leave pump-1 floor"], &[("A", "pump-1 publishes [data/x]")]);
    check(&["attach Isolate group isolated", "join pump-2 isolated"], &[("B", "connect denied")]);
    check(
        &["attach Isolate group isolated", "join pump-2 isolated", "leave pump-2 isolated"],
        &[("B", "pump-2 publishes [data/x extra]")],
    );
    check(&["join pump-1 empty"], &[]);
}

#[test]
fn what_came_to_matter_later_matters() {
    check(&["join pump-2 empty", "attach Isolate group empty"], &[("B", "connect denied")]);
    check(
        &["attach Isolate certificate C", "policy Isolate allows-more"],
        &[("C", "guest publishes [data/x extra 1 2 3]")],
    );
    check(&["leave pump-1 floor", "attach Isolate group floor"], &[]);
    check(&["detach Extra certificate B", "policy Extra denies-all"], &[]);
}

#[test]
fn a_certificate_that_is_not_active_has_no_rights() {
    check(&["deactivate B"], &[("B", "its certificate is not active")]);
    check(&["deactivate B", "activate B"], &[("B", "pump-2 publishes [data/x extra]")]);
}

#[test]
fn a_things_attributes_reach_the_thing_where_a_policy_uses_them() {
    check(&["move pump-1 3"], &[("A", "pump-1 publishes [data/x 3]")]);
    check(&["move pump-2 3"], &[]);
    check(&["move pump-1 1"], &[]);
}

#[test]
fn attaching_a_certificate_to_a_thing_reaches_its_sessions() {
    check(&["disown A pump-1"], &[("A", "pump-1 publishes [data/x]")]);
    check(&["own C pump-1"], &[("C", "pump-1 publishes [data/x 1]")]);
    check(&["own C pump-1", "own C pump-2"], &[("C", "guest publishes [data/x]")]);
    // It speaks for the same thing, but may report for the other too.
    check(&["own A pump-2"], &[("A", "pump-1 publishes [data/x 1]")]);
}

#[test]
fn a_thing_made_with_the_client_id_as_name_reaches_the_session() {
    check(&["create guest"], &[("C", "guest publishes [data/x]")]);
    check(&["create guest", "own C guest"], &[("C", "guest publishes [data/x]")]);
    check(&["create stranger"], &[]);
}

#[test]
fn a_session_whose_last_right_is_gone_ends() {
    let nothing = "its policies allow nothing but connecting";
    check(
        &["detach Floor group floor", "policy Base allows-nothing-but-connect"],
        &[("A", nothing), ("B", "pump-2 publishes [extra]"), ("C", nothing)],
    );
}

#[test]
fn a_session_that_never_had_a_right_may_wait_for_one() {
    let registry = Registry::new();
    registry.take("policy Base allows-nothing-but-connect");
    let book = book(&registry);
    let watch = book.open(opening("C", "guest"));
    assert_eq!(summary(&watch.get()), "guest publishes []");
    book.changed(&registry.take("attach Floor certificate C"));
    assert_eq!(summary(&watch.get()), "guest publishes []");
    book.changed(&registry.take("attach Extra certificate C"));
    assert_eq!(summary(&watch.get()), "guest publishes [extra]");
    book.changed(&registry.take("detach Extra certificate C"));
    assert!(!watch.get().standing.stays());
}

#[test]
fn an_unavailable_registry_denies() {
    let registry = Registry::new();
    let book = book(&registry);
    let watch = book.open(opening("A", "pump-1"));
    lock(&registry.world).is_unavailable = true;
    book.changed(&[change("certificate", "A")]);
    let access = watch.get();
    assert_eq!(access.standing.to_string(), "the registry cannot be read: the disk is on holiday");
    assert!(!access.decide(Action::Publish, "data/x").is_allowed());
    assert!(!book.open(opening("B", "pump-2")).get().standing.stays());
    lock(&registry.world).is_unavailable = false;
    book.changed(&[change("certificate", "A")]);
    assert_eq!(summary(&watch.get()), "pump-1 publishes [data/x 1]");
}

#[test]
fn a_change_of_rights_decides_anew_under_a_version_of_its_own() {
    let registry = Registry::new();
    let book = book(&registry);
    let watch = book.open(opening("B", "pump-2"));
    let other = book.open(opening("A", "pump-1"));
    let before = watch.get();
    assert_ne!(before.version, other.get().version);
    assert!(before.decide(Action::Publish, "extra").is_allowed());
    book.changed(&registry.take("detach Extra certificate B"));
    let after = watch.get();
    assert!(after.version > before.version);
    assert_eq!(after.decide(Action::Publish, "extra"), Decision::ImplicitDeny);
}

#[test]
fn a_closed_session_leaves_nothing_in_the_book() {
    let registry = Registry::new();
    let book = book(&registry);
    drop(sessions(&book));
    assert!(book.is_empty());
    assert!(book.lock().by_change.is_empty());
    let reads = *lock(&registry.reads);
    book.changed(&registry.take("policy Base denies-all"));
    assert_eq!(*lock(&registry.reads), reads, "nobody is there to read for");
}

#[test]
fn only_those_concerned_are_read_again() {
    let registry = Registry::new();
    let book = book(&registry);
    let _sessions = sessions(&book);
    let reads_of = |deed: &str| {
        let before = *lock(&registry.reads);
        book.changed(&registry.take(deed));
        *lock(&registry.reads) - before
    };
    assert_eq!(reads_of("move pump-2 3"), 1);
    assert_eq!(reads_of("policy Base allows-more"), 3);
    assert_eq!(reads_of("detach Isolate group floor"), 1);
    assert_eq!(reads_of("leave pump-1 floor"), 1);
    assert_eq!(reads_of("attach Isolate group floor"), 0, "nobody is in it any more");
    assert_eq!(reads_of("policy Floor denies-all"), 0, "nobody is under it any more");
    let before = *lock(&registry.reads);
    book.changed(&[Change::Outbox]);
    assert_eq!(*lock(&registry.reads), before);
}

#[test]
fn a_change_between_the_read_and_its_note_is_not_missed_at_the_beginning() {
    let registry = Registry::new();
    let book = book(&registry);
    let hook = {
        let (registry, book) = (Arc::clone(&registry), Arc::clone(&book));
        move || book.changed(&registry.take("attach Isolate certificate A"))
    };
    *lock(&registry.hook) = Some(Box::new(hook));
    let watch = book.open(opening("A", "pump-1"));
    assert_eq!(summary(&watch.get()), "connect denied");
    assert_eq!(*lock(&registry.reads), 2);
    assert!(book.lock().recent.kept.is_empty(), "nobody reads, so nothing is remembered");
}

#[test]
fn a_change_between_the_read_and_its_note_is_not_missed_later() {
    // B joins a group, and while that is read the group gets its policy: the session was not in
    // the group's book yet.
    let registry = Registry::new();
    let book = book(&registry);
    let watch = book.open(opening("B", "pump-2"));
    let (done, is_done) = mpsc::channel();
    let hook = {
        let (registry, book) = (Arc::clone(&registry), Arc::clone(&book));
        move || {
            book.changed(&registry.take("attach Isolate group isolated"));
            done.send(()).unwrap();
        }
    };
    *lock(&registry.hook) = Some(Box::new(hook));
    book.changed(&registry.take("join pump-2 isolated"));
    is_done.recv().unwrap();
    assert_eq!(summary(&watch.get()), "connect denied");
}

#[test]
fn an_unrelated_change_during_a_read_causes_no_second_one() {
    let registry = Registry::new();
    let book = book(&registry);
    let hook = {
        let (registry, book) = (Arc::clone(&registry), Arc::clone(&book));
        move || book.changed(&registry.take("policy Isolate denies-all"))
    };
    *lock(&registry.hook) = Some(Box::new(hook));
    let _watch = book.open(opening("A", "pump-1"));
    assert_eq!(*lock(&registry.reads), 1);
}

#[test]
fn a_reader_that_fell_too_far_behind_reads_again() {
    let registry = Registry::new();
    let book = book(&registry);
    let hook = {
        let (registry, book) = (Arc::clone(&registry), Arc::clone(&book));
        move || {
            book.changed(&registry.take("attach Isolate certificate A"));
            let stranger = change("thing", "stranger");
            book.changed(&vec![stranger; RECENT_CHANGES_MAX]);
            assert_eq!(book.lock().recent.kept.len(), RECENT_CHANGES_MAX);
        }
    };
    *lock(&registry.hook) = Some(Box::new(hook));
    let watch = book.open(opening("A", "pump-1"));
    assert_eq!(summary(&watch.get()), "connect denied");
}

#[tokio::test]
async fn a_waiting_session_is_woken() {
    let registry = Registry::new();
    let book = book(&registry);
    let mut watch = book.open(opening("A", "pump-1"));
    let budget = Arc::new(Budget::new(0, Default::default()));
    let mailbox = Arc::new(Mailbox::new(SessionKey(1), 0, 0, budget));
    watch.wake(&mailbox);
    let waiting = tokio::spawn(async move {
        mailbox.bell.rung().await;
        summary(&watch.see())
    });
    tokio::task::spawn_blocking({
        let (registry, book) = (Arc::clone(&registry), Arc::clone(&book));
        move || book.changed(&registry.take("deactivate A"))
    })
    .await
    .unwrap();
    assert_eq!(waiting.await.unwrap(), "its certificate is not active");
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) as usize % bound
    }
}

const DEEDS: &[&str] = &[
    "policy Base denies-all",
    "policy Base allows-more",
    "policy Extra denies-data",
    "policy Isolate denies-all",
    "policy Isolate allows-nothing-but-connect",
    "attach Extra certificate A",
    "detach Extra certificate A",
    "attach Isolate group floor",
    "detach Isolate group floor",
    "attach Isolate certificate C",
    "detach Isolate certificate C",
    "join pump-2 floor",
    "leave pump-2 floor",
    "join pump-1 isolated",
    "attach Isolate group isolated",
    "detach Isolate group isolated",
    "deactivate B",
    "activate B",
    "move pump-1 3",
    "move pump-2 1",
    "own C pump-1",
    "disown C pump-1",
    "own A pump-2",
    "disown A pump-2",
    "create guest",
];

/// What a session that began now would be told.
fn fresh(book: &Arc<AccessBook>, name: &str, client: &str) -> Access {
    let access = book.open(opening(name, client)).get();
    Access { version: 0, ..Access::clone(&access) }
}

#[test]
fn after_any_deeds_every_session_has_the_rights_of_the_registry() {
    for seed in 0..8 {
        let mut numbers = Numbers(seed);
        let registry = Registry::new();
        let book = book(&registry);
        let mut sessions = sessions(&book);
        for _ in 0..40 {
            let deed = DEEDS[numbers.below(DEEDS.len())];
            let before = sessions.each_ref().map(|(_, watch)| watch.get());
            book.changed(&registry.take(deed));
            for ((name, watch), before) in sessions.iter_mut().zip(before) {
                let after = watch.get();
                let client = watch.registration.entry.client.to_string();
                let expected = fresh(&book, name, &client);
                let is_ended = after.standing == Standing::NothingAllowed;
                let now = Access { version: 0, ..Access::clone(&after) };
                assert!(is_ended && !expected.allows_anything || now == expected, "{seed} {deed}");
                let was_woken = watch.has_changed();
                watch.see();
                assert_eq!(was_woken, before != after, "{seed} {deed}");
                let version = before.version;
                assert_eq!(was_woken, *before != Access { version, ..now }, "{seed} {deed}");
            }
        }
    }
}

#[test]
fn changes_at_once_leave_no_stale_rights() {
    for seed in 0..4 {
        let registry = Registry::new();
        let book = book(&registry);
        let sessions = sessions(&book);
        thread::scope(|scope| {
            for worker in 0..4 {
                let (registry, book) = (&registry, &book);
                scope.spawn(move || {
                    let mut numbers = Numbers(seed * 4 + worker);
                    for _ in 0..50 {
                        let deed = DEEDS[numbers.below(DEEDS.len())];
                        let changes = registry.take(deed);
                        book.changed(&changes);
                        drop(book.open(opening("C", "pump-1")));
                    }
                });
            }
        });
        for (name, watch) in &sessions {
            let expected = fresh(&book, name, watch.registration.entry.client.as_str());
            let now = Access { version: 0, ..Access::clone(&watch.get()) };
            let is_ended = now.standing == Standing::NothingAllowed;
            assert!(
                is_ended && !expected.allows_anything || now == expected,
                "seed {seed}: {name}"
            );
        }
        assert_eq!(book.len(), 3);
        assert!(book.lock().recent.kept.is_empty() && book.lock().recent.readers.is_empty());
    }
}
