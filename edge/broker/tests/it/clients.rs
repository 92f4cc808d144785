//! Clients that people use: rumqttc in both versions over TLS, and mosquitto's.

use std::process::Stdio;
use std::time::Duration;

use picket_mqtt::QoS;
use rumqttc::Transport;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::peer::client_config;
use crate::testbed::{ALLOW_ALL, Device, Testbed, all_but, soon};

/// Clients that know nothing of this server need nothing else. [MQTT-7.0.0-2]
#[tokio::test]
async fn rumqttc_speaks_mqtt_3_1_1_over_tls() {
    use rumqttc::{AsyncClient, Event, Incoming, MqttOptions, QoS};
    let bed = Testbed::new().await;
    let device = bed.device("rumqttc", ALLOW_ALL);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut options = MqttOptions::new("rumqttc", "localhost", bed.tls.port());
        options
            .set_transport(Transport::tls_with_config(client_config(&bed, Some(&device)).into()));
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe("t/+", qos).await.unwrap();
        let received = async {
            loop {
                match events.poll().await.unwrap() {
                    Event::Incoming(Incoming::SubAck(_)) => {
                        client.publish("t/1", qos, false, "hello").await.unwrap();
                    }
                    Event::Incoming(Incoming::Publish(publish)) => return publish,
                    _ => {}
                }
            }
        };
        let publish = soon("the message", received).await;
        assert_eq!(
            (&*publish.topic, &publish.payload[..], publish.qos),
            ("t/1", &b"hello"[..], qos)
        );
    }
}

#[tokio::test]
async fn rumqttc_speaks_mqtt_5_over_tls() {
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, Event, Incoming, MqttOptions};
    let bed = Testbed::new().await;
    let device = bed.device("rumqttc", ALLOW_ALL);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut options = MqttOptions::new("rumqttc", "localhost", bed.tls.port());
        options
            .set_transport(Transport::tls_with_config(client_config(&bed, Some(&device)).into()));
        options.set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 10);
        client.subscribe("t/+", qos).await.unwrap();
        let received = async {
            loop {
                match events.poll().await.unwrap() {
                    Event::Incoming(Incoming::SubAck(_)) => {
                        client.publish("t/1", qos, false, "hello").await.unwrap();
                    }
                    Event::Incoming(Incoming::Publish(publish)) => return publish,
                    _ => {}
                }
            }
        };
        let publish = soon("the message", received).await;
        assert_eq!((&publish.topic[..], &publish.payload[..]), (&b"t/1"[..], &b"hello"[..]));
        assert_eq!(publish.qos, qos);
    }
}

/// A mosquitto client for a device. That it is missing fails the test: nothing is skipped.
fn mosquitto(program: &str, bed: &Testbed, device: &Device, version: &str) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-h", "localhost", "-p", &bed.tls.port().to_string(), "-V", version])
        .arg("--cafile")
        .arg(bed.folder.path().join("ca.pem"))
        .arg("--cert")
        .arg(&device.certificate_file)
        .arg("--key")
        .arg(&device.key_file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn started(mut command: Command) -> Child {
    command.spawn().expect("the mosquitto clients are installed (Debian: mosquitto-clients)")
}

async fn line(child: &mut Child) -> String {
    let stdout = child.stdout.take().unwrap();
    let line = soon("a line", BufReader::new(stdout).lines().next_line()).await;
    line.unwrap().unwrap_or_default()
}

#[tokio::test]
async fn mosquitto_clients_publish_and_subscribe() {
    let bed = Testbed::new().await;
    let (one, two) = (bed.device("one", ALLOW_ALL), bed.device("two", ALLOW_ALL));
    for version in ["mqttv311", "mqttv5"] {
        for qos in ["0", "1", "2"] {
            let mut subscriber = mosquitto("mosquitto_sub", &bed, &one, version);
            subscriber.args([
                "-i",
                "sub",
                "-t",
                "room/#",
                "-q",
                qos,
                "-C",
                "1",
                "-F",
                "%t %q %r %p",
            ]);
            let mut subscriber = started(subscriber);
            // The retained message comes whenever the subscription is there.
            let mut publisher = mosquitto("mosquitto_pub", &bed, &two, version);
            publisher.args(["-i", "pub", "-t", "room/1", "-m", "21.5", "-q", qos, "-r"]);
            let done = soon("mosquitto_pub", started(publisher).wait()).await.unwrap();
            assert!(done.success());
            let line = line(&mut subscriber).await;
            let (flag_free, retained) =
                (format!("room/1 {qos} 0 21.5"), format!("room/1 {qos} 1 21.5"));
            assert!(line == flag_free || line == retained, "{line:?}");
            let mut cleaner = mosquitto("mosquitto_pub", &bed, &two, version);
            cleaner.args(["-i", "pub", "-t", "room/1", "-n", "-r"]);
            assert!(soon("mosquitto_pub", started(cleaner).wait()).await.unwrap().success());
        }
    }
}

#[tokio::test]
async fn mosquitto_clients_are_told_what_is_denied() {
    let bed = Testbed::new().await;
    let device = bed.device("device", &all_but("iot:Publish", "topic/secret"));
    let mut publisher = mosquitto("mosquitto_pub", &bed, &device, "mqttv5");
    publisher.args(["-i", "pub", "-t", "secret", "-m", "x", "-q", "1"]);
    let output = soon("mosquitto_pub", started(publisher).wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(said.contains("not authorized"), "{said}");
    let stranger = bed.stranger("stranger", 2100);
    let mut publisher = mosquitto("mosquitto_pub", &bed, &stranger, "mqttv311");
    publisher.args(["-i", "pub", "-t", "open", "-m", "x"]);
    let output = soon("mosquitto_pub", started(publisher).wait_with_output()).await.unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    assert!(said.contains("not authorised"), "{said}");
}

#[tokio::test]
async fn mosquittos_will_and_kept_session_work() {
    let bed = Testbed::new().await;
    let device = bed.device("device", ALLOW_ALL);
    let mut watcher = bed.plain_peer("watcher").await;
    watcher.subscribe("gone", QoS::AtLeastOnce).await;
    let sleeper = |count: &str| {
        let mut sleeper = mosquitto("mosquitto_sub", &bed, &device, "mqttv311");
        sleeper.args(["-i", "sleeper", "-c", "-q", "1", "-t", "mail", "-C", count]);
        sleeper.args(["--will-topic", "gone", "--will-payload", "sleeper"]);
        started(sleeper)
    };
    let mut first = sleeper("9");
    bed.counted("connections_admitted_total", 2).await;
    let mut publisher = bed.plain_peer("publisher").await;
    // Whether it has subscribed yet shows in what it prints.
    let printed = async {
        let stdout = first.stdout.take().unwrap();
        let mut lines = BufReader::new(stdout).lines();
        loop {
            publisher.publish("mail", "awake").await;
            let next = tokio::time::timeout(Duration::from_millis(50), lines.next_line()).await;
            if let Ok(line) = next {
                return line.unwrap();
            }
        }
    };
    assert_eq!(soon("a message", printed).await.as_deref(), Some("awake"));
    first.kill().await.unwrap();
    assert_eq!(watcher.received().await, "gone sleeper");
    bed.counted("sessions_kept", 1).await;
    publisher.publish("mail", "while away").await;
    let second = sleeper("20");
    let mut second = second;
    let stdout = second.stdout.take().unwrap();
    let mut lines = BufReader::new(stdout).lines();
    let found = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line == "while away" {
                return true;
            }
        }
        false
    };
    assert!(soon("what waited", found).await);
}
