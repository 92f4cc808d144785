//! From the outbox to the subscribers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use picket_model::{Account, NotificationTopicName, Protocol, Subscription, Timestamp};
use picket_respond::deliver::{
    self, AttemptError, Backoff, DeliverConfig, Deliverer, FunctionSubscribers, Subscribers,
};
use picket_respond::{Metrics, message_id};
use picket_store::{
    Delivery, DeliveryState, OutboxEntry, RegistryError, Store, functions, outbox, subscriptions,
    topics,
};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::support::{Scene, clock, wait_for};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:BadIoTDevices";

fn endpoint(name: &str) -> String {
    format!("arn:aws:lambda:us-east-1:123456789012:function:{name}")
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path(), Account::default()).unwrap()
}

async fn subscribe(store: &Store, endpoints: &[&str]) {
    let endpoints: Vec<_> = endpoints.iter().map(|name| endpoint(name)).collect();
    let written = store.write(move |tx| {
        let topic = NotificationTopicName::parse("BadIoTDevices").unwrap();
        topics::create(tx, &topic, &BTreeMap::new(), Timestamp::EPOCH)?;
        for endpoint in endpoints {
            let name = endpoint.rsplit(':').next().unwrap();
            let subscription = Subscription {
                arn: format!("{TOPIC}:{name}"),
                topic: topic.clone(),
                protocol: Protocol::Lambda,
                endpoint: endpoint.clone(),
                attributes: BTreeMap::new(),
                created_at: Timestamp::EPOCH,
            };
            subscriptions::subscribe(tx, &subscription)?;
        }
        Ok::<_, RegistryError>(())
    });
    written.await.unwrap();
}

async fn push(store: &Store, id: &str) {
    let entry = OutboxEntry {
        id: id.to_owned(),
        topic_arn: TOPIC.to_owned(),
        subject: None,
        message: json!({ "thingName": "SensorDevice02" }).to_string(),
        attributes: BTreeMap::new(),
        at: clock()(),
    };
    store.write(move |tx| outbox::push(tx, &entry)).await.unwrap();
}

/// The deliveries of an entry: `function state attempts error`.
fn deliveries(store: &Store, id: &str) -> Vec<String> {
    let deliveries = store.read(|tx| outbox::deliveries_of(tx, id)).unwrap();
    deliveries
        .iter()
        .map(|delivery| {
            let name = delivery.endpoint.rsplit(':').next().unwrap();
            let error = delivery.last_error.as_deref().unwrap_or("-");
            format!("{name} {} {} {error}", delivery.state.as_str(), delivery.attempts)
        })
        .collect()
}

fn is_done(store: &Store, id: &str) -> bool {
    store.read(|tx| outbox::is_done(tx, id)).unwrap()
}

/// Attempts fail as often as the endpoint's name says (`fails-3`), always (`fails`), or never;
/// `hangs` does so until it is let go.
#[derive(Clone, Default)]
struct Stage {
    attempts: Arc<Mutex<Vec<String>>>,
    let_go: Arc<tokio::sync::Notify>,
}

impl Stage {
    fn count(&self, name: &str) -> usize {
        self.attempts.lock().unwrap().iter().filter(|at| *at == name).count()
    }
}

impl Subscribers for Stage {
    async fn attempt(&self, delivery: &Delivery, entry: &OutboxEntry) -> Result<(), AttemptError> {
        assert_eq!(delivery.id, format!("{} {}", entry.id, delivery.subscription_arn));
        let name = delivery.endpoint.rsplit(':').next().unwrap().to_owned();
        self.attempts.lock().unwrap().push(name.clone());
        if name == "hangs" {
            self.let_go.notified().await;
        }
        if name == "never" {
            return Err(AttemptError::Never("no such number".to_owned()));
        }
        match name.strip_prefix("fails") {
            Some("") => Err(AttemptError::Again("engaged".to_owned())),
            Some(often) if self.count(&name) <= often[1..].parse().unwrap() => {
                Err(AttemptError::Again(format!("engaged {}", self.count(&name))))
            }
            _ => Ok(()),
        }
    }
}

/// A running delivery; ends when dropped or stopped.
struct Running {
    stop: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    fn start(store: &Store, subscribers: impl Subscribers, attempts_max: u32) -> Self {
        let (stop, stopped) = oneshot::channel();
        let backoff = Backoff { attempts_max, first_wait_ms: 2, ..Backoff::default() };
        let deliverer = Deliverer {
            config: DeliverConfig {
                backoff,
                stop_timeout: std::time::Duration::ZERO,
                ..DeliverConfig::default()
            },
            store: store.clone(),
            subscribers,
            clock: clock(),
            jitter: Box::new(|| 0.5),
            metrics: Metrics::default(),
        };
        let stopped = async move { drop(stopped.await) };
        Self { stop: Some(stop), task: tokio::spawn(deliver::run(deliverer, stopped)) }
    }

    async fn stop(mut self) {
        drop(self.stop.take());
        self.task.await.unwrap();
    }
}

#[tokio::test]
async fn every_subscriber_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let (store, stage) = (open(&folder), Stage::default());
    subscribe(&store, &["one", "two"]).await;
    push(&store, "before").await;
    let running = Running::start(&store, stage.clone(), 5);
    wait_for("the first", || is_done(&store, "before")).await;
    push(&store, "after").await;
    wait_for("the second", || is_done(&store, "after")).await;
    assert_eq!(deliveries(&store, "after"), ["one done 1 -", "two done 1 -"]);
    assert_eq!(stage.attempts.lock().unwrap().len(), 4);
    running.stop().await;
}

#[tokio::test]
async fn an_entry_without_subscribers_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let running = Running::start(&store, Stage::default(), 5);
    push(&store, "alone").await;
    wait_for("it is done", || is_done(&store, "alone")).await;
    running.stop().await;
}

#[tokio::test]
async fn a_failed_attempt_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    subscribe(&store, &["fails-3", "well"]).await;
    push(&store, "alarm").await;
    let running = Running::start(&store, Stage::default(), 5);
    wait_for("it is done", || is_done(&store, "alarm")).await;
    assert_eq!(deliveries(&store, "alarm"), ["fails-3 done 4 engaged 3", "well done 1 -"]);
    running.stop().await;
}

#[tokio::test]
async fn what_fails_too_often_is_a_dead_letter_with_its_last_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    subscribe(&store, &["fails", "never"]).await;
    push(&store, "alarm").await;
    let running = Running::start(&store, Stage::default(), 3);
    wait_for("it is done", || is_done(&store, "alarm")).await;
    assert_eq!(
        deliveries(&store, "alarm"),
        ["fails dead 3 engaged", "never dead 1 no such number"]
    );
    running.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_hangs_holds_up_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let (store, stage) = (open(&folder), Stage::default());
    subscribe(&store, &["hangs", "well"]).await;
    for number in 0..200 {
        push(&store, &format!("alarm {number:03}")).await;
    }
    let running = Running::start(&store, stage.clone(), 5);
    wait_for("the other is told all", || stage.count("well") == 200).await;
    assert_eq!(stage.count("hangs"), 4);
    wait_for("it goes on when it is let go", || {
        stage.let_go.notify_waiters();
        is_done(&store, "alarm 199") && stage.count("hangs") == 200
    })
    .await;
    running.stop().await;
}

#[tokio::test]
async fn what_was_under_way_when_the_server_ended_is_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    let (store, stage) = (open(&folder), Stage::default());
    subscribe(&store, &["hangs"]).await;
    push(&store, "alarm").await;
    let running = Running::start(&store, stage.clone(), 5);
    wait_for("the first attempt", || stage.count("hangs") == 1).await;
    running.stop().await;
    assert_eq!(deliveries(&store, "alarm"), ["hangs pending 0 -"]);
    store.close().await;
    drop(store);

    let (store, again) = (open(&folder), Stage::default());
    let running = Running::start(&store, again.clone(), 5);
    wait_for("the second attempt", || {
        again.let_go.notify_waiters();
        is_done(&store, "alarm")
    })
    .await;
    assert_eq!(deliveries(&store, "alarm"), ["hangs done 1 -"]);
    running.stop().await;
}

fn function_subscribers(scene: &Scene) -> FunctionSubscribers {
    FunctionSubscribers { store: scene.store.clone(), host: scene.host.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_gets_the_event_that_lambda_would_give_it() {
    let scene = Scene::new();
    let code = "import json\ndef lambda_handler(event, context):\n    print(json.dumps(event))";
    let function = scene.python("echo", code).await;
    subscribe(&scene.store, &["echo"]).await;
    let name = function.clone();
    let statement = json!({
        "Sid": "topic", "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "lambda:InvokeFunction", "Resource": endpoint("echo"),
        "Condition": {"ArnLike": {"AWS:SourceArn": TOPIC}},
    });
    let allowed = scene
        .store
        .write(move |tx| functions::add_permission(tx, &name, "topic", &statement.to_string()));
    allowed.await.unwrap();
    push(&scene.store, "alarm").await;
    let running = Running::start(&scene.store, function_subscribers(&scene), 2);
    wait_for("it is told", || is_done(&scene.store, "alarm")).await;
    assert_eq!(deliveries(&scene.store, "alarm"), ["echo done 1 -"]);
    let log = scene.log(&function);
    let line = log.lines().find(|line| line.contains(" {\"Records\"")).unwrap();
    let event: Value = serde_json::from_str(line.splitn(3, ' ').nth(2).unwrap()).unwrap();
    let sns = &event["Records"][0]["Sns"];
    assert_eq!(sns["MessageId"], message_id("alarm").to_string());
    assert_eq!(sns["Subject"], Value::Null);
    assert_eq!(sns["Message"], r#"{"thingName":"SensorDevice02"}"#);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_function_that_cannot_be_told_is_a_dead_letter_that_says_what_to_do() {
    let scene = Scene::new();
    scene.script("closed", "exit 1").await;
    subscribe(&scene.store, &["closed", "gone"]).await;
    push(&scene.store, "alarm").await;
    let running = Running::start(&scene.store, function_subscribers(&scene), 5);
    wait_for("it is given up", || is_done(&scene.store, "alarm")).await;
    assert_eq!(
        deliveries(&scene.store, "alarm"),
        [
            format!(
                "closed dead 1 function `closed` does not allow the topic to invoke it; allow it by \
                 AddPermission with Action lambda:InvokeFunction, Principal sns.amazonaws.com and \
                 SourceArn {TOPIC}"
            ),
            "gone dead 1 function `gone` does not exist".to_owned(),
        ]
    );
    assert_eq!(scene.log(&picket_model::FunctionName::parse("closed").unwrap()), "");
    assert!(matches!(
        scene.store.read(|tx| outbox::deliveries_of(tx, "alarm")).unwrap()[0].state,
        DeliveryState::Dead
    ));
    running.stop().await;
}
