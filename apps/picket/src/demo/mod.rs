//! `picket demo`: the whole story on one machine, with nothing faked.
//!
//! Dramatis personae: [`provision`] sets the stage through the API, as a user's script would;
//! [`devices`] are three MQTT clients that connect over mutual TLS; [`isolate`] is the function
//! as an executable, for machines without Python; [`narrate`] writes what happens. This module
//! waits for each thing that must happen, in its order, and says so if it does not.

mod devices;
pub(crate) mod isolate;
mod narrate;
mod provision;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::http::Method;
use picket_model::limits::PAGE_MAX;
use picket_model::{Change, DeviceName, FunctionName, ProfileName, ThingName, Timestamp};
use picket_store::violations::ViolationFilter;
use picket_store::{DeliveryState, Page, outbox, profiles, violations};
use serde_json::Value;
use tokio::sync::broadcast;
use tokio::time::Instant;

use self::devices::{Fleet, NORMAL_INTERVAL};
use self::narrate::Narrator;
use self::provision::{BAD, FUNCTION, GROUP, PROFILE, SENSORS, TOPIC};
use crate::cli::DemoArgs;
use crate::client::ApiClient;
use crate::clock;
use crate::config::{Config, Listener};
use crate::serve::Server;

/// How long everybody behaves before the one goes bad.
const CALM: Duration = Duration::from_secs(5);

/// How long the others are watched after the one was cut off.
const AFTERMATH: Duration = Duration::from_secs(4);

/// How long each step may take before the demo gives up. Far more than any step takes: the first
/// run of a function starts a Python interpreter.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the API is asked whether a step has happened.
const POLL: Duration = Duration::from_millis(20);

/// Plays the story. The exit code is 0 only if every step was seen to happen.
pub(crate) async fn run(args: DemoArgs) -> Result<ExitCode> {
    let narrator = Narrator::begin();
    let folder = tempfile::Builder::new().prefix("picket-demo-").tempdir()?;
    let python = narrator.prepare_python().await;
    let server = Server::start(&config(), folder.path()).await?;
    narrator.say(
        "server",
        &format!(
            "ready: API {}, MQTT over TLS {}, data in {}",
            server.endpoints().api[0],
            server.endpoints().mqtts[0],
            folder.path().display()
        ),
    );
    let outcome = play(&narrator, &server, python).await;
    let code = match &outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            narrator.failed(error);
            ExitCode::FAILURE
        }
    };
    if args.keep {
        narrator.how_to_look_around(folder.path(), &server);
        crate::signals::wait().await;
    }
    server.stop().await;
    if args.keep || outcome.is_err() {
        narrator.note(&format!("the data stays in {}", folder.keep().display()));
    }
    Ok(code)
}

/// Loopback, and every port a free one.
fn config() -> Config {
    let free = std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0));
    Config {
        api_listen: free,
        console_listen: free,
        listeners: vec![Listener::tls(free)],
        ..Config::default()
    }
}

async fn play(narrator: &Narrator, server: &Server, python: bool) -> Result<()> {
    let client = server.administrator();
    let sensors = provision::provision(&client, narrator, python).await?;
    let mut fleet = Fleet::connect(server, sensors).await?;
    narrator.say(
        "devices",
        "all three connected over mutual TLS, and send about 120 bytes every second",
    );
    tokio::time::sleep(CALM).await;
    fleet.everyone_is_well(NORMAL_INTERVAL)?;
    ensure_calm(&client).await?;
    let count = fleet.acknowledged_in_all();
    narrator.say("devices", &format!("{count} messages acknowledged; no alarm"));

    let changes = server.store().changes();
    let bad_since = fleet.turn_bad(BAD)?;
    narrator.turning_point(bad_since);
    narrator.say(BAD, "goes bad: sends 3,000 random letters and digits in place of a temperature");

    let (alarmed_at, sentence) = alarm(&client).await?;
    narrator.say_at(alarmed_at, "alarm", &sentence);
    let moved_at = moved(&client, changes).await?;
    let cut = fleet.cut(BAD, PATIENCE).await.context("the connection was not cut")?;
    let (ran_at, run) = function_ran(server).await?;
    let notified_at = delivered(server).await?;
    let quarantine = format!("{BAD} is in {GROUP}, whose policy denies everything");
    let mut steps = [
        (moved_at, "group", quarantine),
        (cut.at, "cut off", format!("{BAD}: {}", cut.reason)),
        (ran_at, "function", run),
        (notified_at, "notification", format!("topic {TOPIC} has told function {FUNCTION}")),
    ];
    // The move is seen at its commit, the others where they are felt or written down; told in the
    // order of their own times they are the story.
    steps.sort_by_key(|(at, ..)| *at);
    for (at, who, what) in &steps {
        narrator.say_at(*at, who, what);
    }
    let refused = fleet.refused(BAD, PATIENCE).await.context("the device was let in again")?;
    narrator.say_at(refused.at, "cut off", &format!("{BAD} comes back: {}", refused.reason));

    let before = fleet.acknowledged();
    tokio::time::sleep(AFTERMATH).await;
    fleet.others_are_untouched(BAD, &before)?;
    let untouched =
        "SensorDevice01 and 03 go on untouched: never disconnected, always acknowledged";
    narrator.say("devices", untouched);
    only_one_violates(&client).await?;

    narrator.summary(&[
        ("bad message to alarm", alarmed_at.millis_since(bad_since)),
        ("bad message to cut connection, through the function", cut.at.millis_since(bad_since)),
    ]);
    fleet.disconnect().await;
    Ok(())
}

/// Asks until there is an answer.
async fn until<T, F>(what: &str, mut ask: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<Option<T>>>,
{
    let give_up_at = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await? {
            return Ok(answer);
        }
        if Instant::now() >= give_up_at {
            bail!("{what} did not happen within {} s", PATIENCE.as_secs());
        }
        tokio::time::sleep(POLL).await;
    }
}

async fn active_violations(client: &ApiClient) -> Result<Vec<Value>> {
    let path = format!("/active-violations?securityProfileName={PROFILE}&maxResults={PAGE_MAX}");
    let answer = client.json("iot", Method::GET, &path, &Value::Null).await?;
    Ok(answer["activeViolations"].as_array().cloned().unwrap_or_default())
}

async fn ensure_calm(client: &ApiClient) -> Result<()> {
    match active_violations(client).await?.first() {
        None => Ok(()),
        Some(violation) => bail!("there is an alarm before anybody went bad: {violation}"),
    }
}

/// Waits for the alarm; gives its time and why it was raised.
async fn alarm(client: &ApiClient) -> Result<(Timestamp, String)> {
    let violation = until("the alarm", || async {
        let violations = active_violations(client).await?;
        Ok(violations.into_iter().find(|violation| violation["thingName"] == BAD))
    })
    .await?;
    let started_at = violation["violationStartTime"].as_f64().context("the alarm has no time")?;
    let sentence =
        violation["explanation"]["sentence"].as_str().context("the alarm has no reason")?;
    #[expect(clippy::cast_possible_truncation, reason = "milliseconds since 1970 are exact in f64")]
    let started_at = Timestamp::from_millis((started_at * 1000.0).round() as i64);
    Ok((started_at, sentence.to_owned()))
}

/// Waits until the outbox has handed the alarm to the function; gives the time of it.
async fn delivered(server: &Server) -> Result<Timestamp> {
    let profile = ProfileName::parse(PROFILE)?;
    let filter = ViolationFilter { device: Some(DeviceName::parse(BAD)?), ..Default::default() };
    until("the notification", || async {
        server.store().read(|tx| {
            let (from, until) = (Timestamp::EPOCH, clock::now() + 1);
            let page = Page::first(1);
            let events = violations::list_events(tx, from, until, &filter, &page)?.items;
            let Some((event, ..)) = events.first() else { return Ok(None) };
            let Some(profile) = profiles::find(tx, &profile)? else { return Ok(None) };
            for entry in picket_respond::plan(event, &profile) {
                let deliveries = outbox::deliveries_of(tx, &entry.id)?;
                let done = deliveries.iter().find(|it| it.state == DeliveryState::Done);
                if let Some(delivery) = done {
                    return Ok(Some(delivery.changed_at));
                }
            }
            Ok(None)
        })
    })
    .await
}

/// Waits for the function's log to report a run; gives the time and what the log says.
async fn function_ran(server: &Server) -> Result<(Timestamp, String)> {
    let log = server.functions().log_path(&FunctionName::parse(FUNCTION)?);
    until("the function's run", || async {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let Some(line) = text.lines().find(|line| line.contains(" REPORT ")) else {
            return Ok(None);
        };
        let at: jiff::Timestamp = line.split(' ').next().unwrap_or_default().parse()?;
        let took = line.split('\t').find(|part| part.starts_with("Duration: "));
        let took = took.and_then(|part| part.strip_prefix("Duration: ")).unwrap_or("unknown time");
        let told = format!("{FUNCTION} ran in {took}");
        Ok(Some((Timestamp::from_millis(at.as_millisecond()), told)))
    })
    .await
}

/// Waits until a commit says that the device changed and the API says that it is in the group;
/// gives the time of the commit.
async fn moved(
    client: &ApiClient,
    mut changes: broadcast::Receiver<Arc<[Change]>>,
) -> Result<Timestamp> {
    let bad = Change::Thing(ThingName::parse(BAD)?);
    let path = format!("/thing-groups/{GROUP}/things");
    let watching = async {
        loop {
            let is_concerned = changes.recv().await?.contains(&bad);
            let at = clock::now();
            if is_concerned {
                let answer = client.json("iot", Method::GET, &path, &Value::Null).await?;
                let things = answer["things"].as_array().cloned().unwrap_or_default();
                if things.iter().any(|thing| thing == BAD) {
                    return Ok(at);
                }
            }
        }
    };
    tokio::time::timeout(PATIENCE, watching).await.context("the device was not moved")?
}

async fn only_one_violates(client: &ApiClient) -> Result<()> {
    let violations = active_violations(client).await?;
    let innocent = violations.iter().find(|violation| violation["thingName"] != BAD);
    if let Some(violation) = innocent {
        bail!("an innocent device is in alarm: {violation}");
    }
    let path = format!("/thing-groups/{GROUP}/things");
    let answer = client.json("iot", Method::GET, &path, &Value::Null).await?;
    if answer["things"] != serde_json::json!([BAD]) {
        bail!("{GROUP} should hold {BAD} alone of {SENSORS:?}, but holds {}", answer["things"]);
    }
    Ok(())
}
