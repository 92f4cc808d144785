//! Messages per second and per broker-CPU-second, with detection on and off, beside mosquitto.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::load::{self, Load, Shape};
use crate::server::Server;
use crate::{machine, say};

/// Messages in flight per publisher.
const WINDOW: usize = 100;

/// Payload of a message.
const PAYLOAD_BYTES: usize = 128;

/// A plain listener for the generator: on two cores its TLS would be measured as well.
const CONFIG: &str = "[[mqtt.listener]]\nlisten = \"127.0.0.1:0\"\ntls = false\n\
                      anonymous_policy = \"Bench\"\n";

/// Runs every shape against every broker and prints a table.
pub(crate) async fn run(picket: &Path, mosquitto: &Path, duration: Duration) -> Result<()> {
    say(&format!(
        "\nthroughput: {} publishers, {PAYLOAD_BYTES} B, window {WINDOW}, plain TCP, {} s each; \
         msg/s, and thousand msg per CPU second of the broker",
        load::PUBLISHERS,
        duration.as_secs()
    ));
    let watched = server(picket, true).await?;
    let unwatched = server(picket, false).await?;
    let (process, mosquitto) = start_mosquitto(mosquitto).await?;
    let mosquitto_pid = process.id().context("mosquitto has ended")?;
    let brokers = [
        ("mosquitto", mosquitto, mosquitto_pid),
        ("picket, nobody watched", unwatched.address("mqtt")?.to_string(), unwatched.pid()?),
        ("picket, all watched", watched.address("mqtt")?.to_string(), watched.pid()?),
    ];
    for (shape, name) in [(Shape::FanIn, "8:1"), (Shape::Pairs, "8 pairs")] {
        for qos in [0, 1] {
            let mut yardstick = None;
            for (broker, address, pid) in &brokers {
                let load = Load {
                    address: address.clone(),
                    shape,
                    qos,
                    window: WINDOW,
                    payload_bytes: PAYLOAD_BYTES,
                    duration,
                };
                let before = machine::cpu_time(*pid)?;
                let outcome = load::run(&load).await.with_context(|| format!("{broker} failed"))?;
                let cpu = (machine::cpu_time(*pid)? - before).as_secs_f64().max(0.01);
                let per_second = outcome.delivered as f64 / outcome.elapsed.as_secs_f64();
                let per_cpu = outcome.delivered as f64 / cpu;
                let ratio = per_cpu / *yardstick.get_or_insert(per_cpu);
                say(&format!(
                    "  {name:>8} qos {qos}  {broker:<22} {per_second:>10.0} msg/s {:>9.1} k/CPU-s  {ratio:>6.2} x",
                    per_cpu / 1000.0
                ));
            }
        }
    }
    Ok(())
}

/// A server whose plain listener allows everything; `watched` by a profile with three behaviors.
async fn server(picket: &Path, watched: bool) -> Result<Server> {
    let server = Server::start(picket, CONFIG).await?;
    let allow = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": "iot:*", "Resource": "*"}]});
    let body = json!({"policyDocument": allow.to_string()});
    server.call("iot", "POST /policies/Bench", body).await?;
    if watched {
        let behavior = |metric: &str| {
            json!({"name": metric.replace(':', "-"), "metric": metric, "criteria": {
                "comparisonOperator": "less-than-equals", "durationSeconds": 300,
                "value": {"count": 1_000_000_000_u64}}})
        };
        let behaviors: Vec<Value> =
            ["aws:message-byte-size", "aws:num-messages-sent", "aws:num-messages-received"]
                .map(behavior)
                .into();
        let body = json!({"behaviors": behaviors});
        server.call("iot", "POST /security-profiles/Bench", body).await?;
        let target = "arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Aall%2Fthings";
        let line =
            format!("PUT /security-profiles/Bench/targets?securityProfileTargetArn={target}");
        server.call("iot", &line, Value::Null).await?;
    }
    Ok(server)
}

/// Starts mosquitto on a free port, with nothing to write to disk.
async fn start_mosquitto(program: &Path) -> Result<(Child, String)> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mosquitto.conf");
    let config = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
         max_queued_messages 0\nmax_inflight_messages 0\nset_tcp_nodelay true\n"
    );
    std::fs::write(&file, config)?;
    let process = Command::new(program)
        .arg("-c")
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("{} cannot be started; install it", program.display()))?;
    let address = format!("127.0.0.1:{port}");
    for _ in 0..500 {
        if TcpStream::connect(&address).await.is_ok() {
            return Ok((process, address));
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    anyhow::bail!("mosquitto does not listen on {address}")
}
