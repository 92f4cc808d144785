//! How writes are grouped, isolated, told and made durable.

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;
use std::task::{Context, Waker};

use picket_model::Change;
use picket_store::{RegistryError, Store, StoreError, WriteTx, meta, things};

use tokio::task::JoinHandle;

use crate::scene::{Scene, in_words, received, run, thing};

/// Holds the writer in a transaction until the sender is used or dropped, so that what is written
/// meanwhile waits in the queue together.
fn hold(scene: &Scene) -> mpsc::Sender<()> {
    let (started, has_started) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let store = scene.store.clone();
    scene.runtime.spawn(async move {
        let held = store.write::<(), StoreError>(move |_| {
            started.send(()).unwrap();
            let _ = released.recv();
            Ok(())
        });
        held.await.unwrap();
    });
    has_started.recv().unwrap();
    release
}

/// Starts a write that waits in the queue; its result comes through the handle.
fn start<T: Send + 'static, E: From<StoreError> + Send + 'static>(
    scene: &Scene,
    f: impl FnOnce(&mut WriteTx) -> Result<T, E> + Send + 'static,
) -> JoinHandle<Result<T, E>> {
    let (queued, is_queued) = mpsc::channel();
    let store = scene.store.clone();
    let handle = scene.runtime.spawn(async move {
        let mut write = pin!(store.write(f));
        // The first poll puts it into the queue.
        let first =
            std::future::poll_fn(|context| std::task::Poll::Ready(write.as_mut().poll(context)));
        let first = first.await;
        queued.send(()).unwrap();
        match first {
            std::task::Poll::Ready(result) => result,
            std::task::Poll::Pending => write.await,
        }
    });
    is_queued.recv().unwrap();
    handle
}

fn script(command: &'static str) -> impl FnOnce(&mut WriteTx) -> Result<(), RegistryError> {
    move |tx| run(tx, command)
}

#[test]
fn writers_that_wait_together_are_committed_together_and_all_of_them_last() {
    let scene = Scene::new();
    let mut changes = scene.store.changes();
    let release = hold(&scene);
    let writers: Vec<_> =
        (0..200).map(|i| start(&scene, move |tx| run(tx, &format!("thing t{i}")))).collect();
    drop(release);
    for writer in writers {
        scene.runtime.block_on(writer).unwrap().unwrap();
    }
    let commits = std::iter::from_fn(|| changes.try_recv().ok()).count();
    assert!(commits <= 100, "{commits} commits for 200 writes");
    let scene = scene.reopen();
    for i in 0..200 {
        scene.read(|tx| things::get(tx, &thing(&format!("t{i}"))));
    }
}

#[test]
fn a_write_that_fails_or_panics_undoes_itself_alone() {
    let scene = Scene::new();
    let mut changes = scene.store.changes();
    let release = hold(&scene);
    let first = start(&scene, script("thing A"));
    let failing = start(&scene, |tx| {
        run(tx, "thing B")?;
        run(tx, "group G")?;
        Err::<(), _>(RegistryError::Invalid("changed my mind".to_owned()))
    });
    let panicking = start(&scene, |tx| -> Result<(), RegistryError> {
        run(tx, "thing C")?;
        panic!("on purpose");
    });
    let last = start(&scene, script("thing D"));
    drop(release);

    let wait =
        |handle: JoinHandle<Result<(), RegistryError>>| scene.runtime.block_on(handle).unwrap();
    wait(first).unwrap();
    assert_eq!(wait(failing).unwrap_err().to_string(), "changed my mind");
    let panic = wait(panicking).unwrap_err();
    assert!(
        matches!(&panic, RegistryError::Store(StoreError::Panicked(text)) if text == "on purpose"),
        "{panic}"
    );
    wait(last).unwrap();
    assert_eq!(in_words(&received(&mut changes)), "thing A, thing D");
    for (name, there) in [("A", true), ("B", false), ("C", false), ("D", true)] {
        let found = scene.read(|tx| Ok(things::find(tx, &thing(name))?));
        assert_eq!(found.is_some(), there, "{name}");
    }
    scene.run("thing E");
}

#[test]
fn changes_are_told_once_each_in_the_order_of_the_commits_before_the_write_resolves() {
    let scene = Scene::new();
    let mut changes = scene.store.changes();
    scene.run("thing T; group G");
    scene
        .write(|tx| {
            run(tx, "add T G")?;
            run(tx, "remove T G")?;
            run(tx, "policy P")?;
            run(tx, "attach P G")?;
            run(tx, "add T G")
        })
        .unwrap();
    // No waiting: what a resolved write changed is there.
    let groups: Vec<String> =
        std::iter::from_fn(|| changes.try_recv().ok()).map(|group| in_words(&group)).collect();
    assert_eq!(groups, ["thing T", "group G", "thing T, policy P, group G"]);
}

#[test]
fn a_write_that_changes_nothing_tells_nobody() {
    let scene = Scene::with("thing T");
    let mut changes = scene.store.changes();
    scene.run("thing T");
    scene.write::<(), StoreError>(|_| Ok(())).unwrap();
    assert!(changes.try_recv().is_err());
}

#[test]
fn a_write_in_the_queue_runs_although_nobody_waits_for_it() {
    let scene = Scene::new();
    let release = hold(&scene);
    {
        let _inside = scene.runtime.enter();
        let mut write = pin!(scene.store.write(script("thing T")));
        let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    }
    drop(release);
    scene.run("thing U");
    scene.read(|tx| things::get(tx, &thing("T")));
}

#[test]
fn a_read_sees_one_moment_whatever_is_written_meanwhile() {
    let scene = Scene::with("thing T");
    let version = |tx: &picket_store::ReadTx| Ok(things::get(tx, &thing("T"))?.version);
    scene.read(|tx| {
        let before: u64 = version(tx)?;
        scene.run("update-thing T a=1");
        assert_eq!(version(tx)?, before);
        assert_eq!(scene.read(version), before + 1, "a read that begins later sees it");
        Ok(())
    });
    assert_eq!(scene.read(version), 2);
}

#[test]
fn a_reader_that_panics_or_fails_leaves_the_store_usable() {
    let scene = Scene::with("thing T");
    for _ in 0..20 {
        let panicking = std::panic::AssertUnwindSafe(|| {
            scene.store.read::<(), StoreError>(|_| panic!("on purpose"))
        });
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert!(scene.store.read(|tx| things::get(tx, &thing("U"))).is_err());
    }
    scene.run("thing V");
    scene.read(|tx| things::get(tx, &thing("V")));
}

#[test]
fn closing_finishes_what_waits_and_refuses_what_comes_later() {
    let scene = Scene::new();
    let release = hold(&scene);
    let waiting = start(&scene, script("thing T"));
    let closing = {
        let store = scene.store.clone();
        scene.runtime.spawn(async move { store.close().await })
    };
    drop(release);
    scene.runtime.block_on(closing).unwrap();
    scene.runtime.block_on(waiting).unwrap().unwrap();
    assert!(matches!(scene.try_run("thing U"), Err(RegistryError::Store(StoreError::Closed))));
    assert!(matches!(scene.store.read(|tx| meta::get(tx, "k")), Err(StoreError::Closed)));
    scene.runtime.block_on(scene.store.close());
    let scene = scene.reopen();
    scene.read(|tx| things::get(tx, &thing("T")));
}

#[test]
fn the_last_handle_may_die_in_the_writer() {
    let scene = Scene::new();
    let Scene { store, runtime, dir } = scene;
    let inside: Store = store.clone();
    let (done, is_done) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    runtime.block_on(async move {
        let mut write = pin!(store.write::<(), StoreError>(move |_| {
            let _ = released.recv();
            drop(inside);
            done.send(()).unwrap();
            Ok(())
        }));
        let polled = write.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(polled.is_pending());
    });
    // Only the closure holds the store now.
    drop(release);
    is_done.recv().unwrap();
    drop(dir);
}

#[test]
fn a_watcher_that_falls_behind_is_told_so() {
    let scene = Scene::with("thing T");
    let mut changes = scene.store.changes();
    // One commit after the other; far more than are kept for a watcher.
    scene.runtime.block_on(async {
        for i in 0..1100 {
            let key = if i % 2 == 0 { "add" } else { "remove" };
            let command = format!("{key} T G");
            let first = i == 0;
            let write = scene.store.write(move |tx| {
                if first {
                    run(tx, "group G")?;
                }
                run(tx, &command)
            });
            write.await.unwrap();
        }
    });
    let lagged = changes.try_recv();
    assert!(
        matches!(lagged, Err(tokio::sync::broadcast::error::TryRecvError::Lagged(_))),
        "{lagged:?}"
    );
    assert!(received(&mut changes).contains(&Change::Thing(thing("T"))));
}
