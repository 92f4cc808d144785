use std::collections::BTreeMap;

use picket_model::{EventType, ThingName};
use picket_store::things::{self, NewThing};
use picket_store::{RegistryError, event_configurations};
use serde_json::Value;
use tokio::sync::oneshot;

use super::*;
use crate::clock;
use crate::testing::{Bed, Client, PATIENCE};

async fn switch_on(bed: &Bed) {
    let enabled = BTreeMap::from([(EventType::Thing, true)]);
    bed.write(move |tx| Ok(event_configurations::update(tx, &enabled, clock::now())?)).await;
}

async fn make(bed: &Bed, names: impl Iterator<Item = String> + Send + 'static) {
    bed.write(move |tx| {
        for name in names {
            let name = ThingName::parse(name).unwrap();
            let new = NewThing { name, thing_type: None, attributes: BTreeMap::new() };
            things::create(tx, &new, "id", clock::now())?;
        }
        Ok(())
    })
    .await;
}

/// Starts the task; it stops when the sender goes.
fn publish(bed: &Bed) -> (RegistryEventMetrics, oneshot::Sender<()>) {
    let metrics = RegistryEventMetrics::default();
    let (store, broker) = (bed.store.clone(), bed.broker.clone());
    let (stop, stopped) = oneshot::channel();
    let publisher = EventPublisher { store, broker, metrics: metrics.clone() };
    tokio::spawn(run(publisher, async move {
        let _ = stopped.await;
    }));
    (metrics, stop)
}

/// The next event: the thing's name and the event's id.
async fn event(client: &mut Client) -> (String, String) {
    let message = client.message().await;
    let event: Value = serde_json::from_slice(&message.payload).unwrap();
    let text = |member: &str| event[member].as_str().unwrap().to_owned();
    let topic = format!("$aws/events/thing/{}/created", text("thingName"));
    assert_eq!(message.topic, topic);
    (text("thingName"), text("eventId"))
}

fn waiting(bed: &Bed) -> usize {
    let read = bed.store.read(|tx| Ok::<_, RegistryError>(registry_events::waiting(tx, 1_000)?));
    read.unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_leave_in_the_order_of_the_changes_and_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    let mut client = bed.connect("watcher").await;
    client.subscribe("$aws/events/thing/+/created").await;
    switch_on(&bed).await;
    let (metrics, _stop) = publish(&bed);
    make(&bed, (0..250).map(|n| format!("t-{n}"))).await;
    for n in 0..250 {
        assert_eq!(event(&mut client).await.0, format!("t-{n}"));
    }
    let forgotten = async {
        while waiting(&bed) > 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    make(&bed, ["late".to_owned()].into_iter()).await;
    assert_eq!(event(&mut client).await.0, "late");
    assert!(metrics.published.get() >= 250);
    assert_eq!(metrics.lost.get(), 0);
}

/// As after a crash between the commit and the publishing, or before the forgetting.
#[tokio::test(flavor = "multi_thread")]
async fn events_from_before_the_start_are_published_under_their_ids() {
    let dir = tempfile::tempdir().unwrap();
    let (bed, _observations) = Bed::new(dir.path()).await;
    switch_on(&bed).await;
    make(&bed, ["a".to_owned()].into_iter()).await;
    let read = bed.store.read(|tx| Ok::<_, RegistryError>(registry_events::waiting(tx, 9)?));
    let waiting = read.unwrap();
    let mut client = bed.connect("watcher").await;
    client.subscribe("$aws/events/#").await;
    let (_metrics, _stop) = publish(&bed);
    let found = loop {
        let message = client.message().await;
        // Its own subscription is an event too.
        if message.topic.starts_with(b"$aws/events/thing/") {
            break serde_json::from_slice::<Value>(&message.payload).unwrap();
        }
    };
    assert_eq!(found["eventId"], waiting[0].id.as_str());
}
