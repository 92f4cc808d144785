//! What sessions were promised outlives the server: nothing is acknowledged before it is on the disk,
//! and whoever starts with that disk goes on.

use picket_mqtt::packet::{Ack, Connect, Packet, Publish, Version};
use picket_mqtt::{QoS, ReasonCode};

use crate::disk::Disk;
use crate::peer::{Peer, connect, id, publish};
use crate::testbed::{Testbed, soon};

/// A CONNECT of one whose session outlives its connection, in MQTT 5 by 100 seconds.
pub(crate) fn persistent(client: &str, version: Version) -> Connect {
    let mut wanted = connect(client, version);
    wanted.clean_start = false;
    if version == Version::V5 {
        wanted.properties.session_expiry_s = Some(100);
    }
    wanted
}

/// A client whose session outlives its connection; whether it went on from before.
pub(crate) async fn returning(bed: &Testbed, client: &str, version: Version) -> (Peer, bool) {
    let mut peer = Peer::plain(bed.plain).await;
    let connack = peer.connect(persistent(client, version)).await;
    (peer, connack.session_present)
}

fn ack(packet_id: u16) -> Ack {
    Ack::new(id(packet_id), ReasonCode::SUCCESS)
}

/// Publishes at QoS 2 as far as PUBREC.
async fn publish_2(peer: &mut Peer, payload: &str) {
    assert_eq!(
        peer.publish_with(publish("t", payload, QoS::ExactlyOnce)).await,
        ReasonCode::SUCCESS
    );
}

#[tokio::test]
async fn a_publisher_is_answered_once_its_message_is_on_the_disk() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V311).await;
    sleeper.subscribe("t", QoS::ExactlyOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        disk.hold_up();
        publisher.send(Packet::Publish(Box::new(publish("t", "x", qos)))).await;
        disk.waits().await;
        publisher.expect_silence().await;
        // Nobody else is held up.
        bed.plain_peer("other").await.expect_nothing().await;
        disk.let_go();
        match (qos, publisher.expect().await) {
            (QoS::AtLeastOnce, Packet::PubAck(_)) | (QoS::ExactlyOnce, Packet::PubRec(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    // What nobody keeps is acknowledged without a disk.
    disk.hold_up();
    assert_eq!(publisher.publish("elsewhere", "x").await, ReasonCode::SUCCESS);
    disk.let_go();
}

#[tokio::test]
async fn a_session_and_its_subscriptions_are_granted_once_they_are_on_the_disk() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    disk.hold_up();
    let mut sleeper = Peer::plain(bed.plain).await;
    sleeper.version = Version::V311;
    sleeper.send(Packet::Connect(Box::new(persistent("sleeper", Version::V311)))).await;
    disk.waits().await;
    sleeper.expect_silence().await;
    disk.let_go();
    assert!(matches!(sleeper.expect().await, Packet::ConnAck(_)));
    assert_eq!(sleeper.subscribe("t", QoS::AtLeastOnce).await, ReasonCode(1));
    let bed = Testbed::durable(&disk.at_this_moment()).await;
    let (mut sleeper, is_present) = returning(&bed, "sleeper", Version::V311).await;
    assert!(is_present);
    bed.plain_peer("publisher").await.publish("t", "x").await;
    assert_eq!(sleeper.received().await, "t x");
    // mqtt-3.1.1 [MQTT-3.10.4-3], mqtt-5 [MQTT-3.10.4-2]: it is gone as well once it is said to be.
    sleeper.unsubscribe("t").await;
    let bed = Testbed::durable(&disk.at_this_moment()).await;
    assert_eq!(bed.broker.sessions().kept, 1);
}

/// mqtt-3.1.1 [MQTT-4.1.0-1], mqtt-5 [MQTT-4.1.0-1]
#[tokio::test]
async fn what_waited_when_the_server_was_killed_arrives() {
    for version in [Version::V311, Version::V5] {
        let disk = Disk::new();
        let bed = Testbed::durable(&disk).await;
        let (mut sleeper, is_present) = returning(&bed, "sleeper", version).await;
        assert!(!is_present);
        sleeper.subscribe("t", QoS::ExactlyOnce).await;
        sleeper.disconnect(ReasonCode::SUCCESS).await;
        let mut publisher = bed.plain_peer("publisher").await;
        for payload in ["1", "2", "3"] {
            publisher.publish("t", payload).await;
        }
        publish_2(&mut publisher, "4").await;
        let bed = Testbed::durable(&disk.at_this_moment()).await;
        let (mut sleeper, is_present) = returning(&bed, "sleeper", version).await;
        assert!(is_present);
        for payload in ["t 1", "t 2", "t 3", "t 4"] {
            assert_eq!(sleeper.received().await, payload);
        }
    }
}

/// mqtt-3.1.1 [MQTT-4.3.3-2], mqtt-5 [MQTT-4.3.3-10]
#[tokio::test]
async fn a_qos_2_publish_is_not_taken_twice_although_the_server_was_killed_in_between() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    let (mut publisher, _) = returning(&bed, "publisher", Version::V5).await;
    publish_2(&mut publisher, "1").await;
    let disk = disk.at_this_moment();
    let bed = Testbed::durable(&disk).await;
    let (mut publisher, _) = returning(&bed, "publisher", Version::V5).await;
    let again = Publish { dup: true, ..publish("t", "1", QoS::ExactlyOnce) };
    publisher.publish_with(again).await;
    publisher.send(Packet::PubRel(ack(77))).await;
    assert!(matches!(publisher.expect().await, Packet::PubComp(_)));
    // From here on its packet id stands for another message, also for a server that comes later.
    let bed = Testbed::durable(&disk.at_this_moment()).await;
    let (mut publisher, _) = returning(&bed, "publisher", Version::V5).await;
    publish_2(&mut publisher, "2").await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    assert_eq!(sleeper.received().await, "t 1");
    assert_eq!(sleeper.received().await, "t 2");
    sleeper.expect_nothing().await;
}

/// mqtt-3.1.1 [MQTT-4.4.0-1], mqtt-5 [MQTT-4.4.0-1]
#[tokio::test]
async fn what_was_in_flight_goes_on_under_its_packet_id() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    sleeper.subscribe("t", QoS::ExactlyOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    publish_2(&mut publisher, "1").await;
    let first = sleeper.message().await;
    // What the client is asked to release is released on the disk too.
    assert!(matches!(sleeper.expect().await, Packet::PubRel(_)));
    publisher.send(Packet::PubRel(ack(77))).await;
    assert!(matches!(publisher.expect().await, Packet::PubComp(_)));
    publish_2(&mut publisher, "2").await;
    let Packet::Publish(second) = sleeper.expect().await else { panic!("no message") };

    let bed = Testbed::durable(&disk.at_this_moment()).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    let Packet::PubRel(released) = sleeper.expect().await else { panic!("no PUBREL") };
    assert_eq!(Some(released.packet_id), first.packet_id);
    let Packet::Publish(again) = sleeper.expect().await else { panic!("no message") };
    assert_eq!((again.dup, again.packet_id), (true, second.packet_id));
    assert_eq!(again.payload, "2");
    sleeper.expect_nothing().await;
}

#[tokio::test]
async fn while_the_disk_fails_nothing_is_acknowledged_and_nothing_is_lost() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    let mut publisher = bed.plain_peer("publisher").await;
    disk.set_failing(true);
    publisher.send(Packet::Publish(Box::new(publish("t", "1", QoS::AtLeastOnce)))).await;
    bed.counted("journal_failing", 1).await;
    publisher.expect_silence().await;
    assert_eq!(disk.holds(), (1, 0));
    disk.set_failing(false);
    assert!(matches!(publisher.expect().await, Packet::PubAck(_)));
    bed.counted("journal_failing", 0).await;
    assert!(bed.counter("journal_failures_total") > 0);
    let bed = Testbed::durable(&disk.at_this_moment()).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    assert_eq!(sleeper.received().await, "t 1");
}

#[tokio::test]
async fn what_waits_for_the_disk_is_bounded_and_arrives_in_the_end() {
    const N: usize = 400;
    let disk = Disk::new();
    let bed = Testbed::durable_with(&disk, |config| config.limits.journal_bytes_max = 20_000).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V311).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    let mut publisher = Peer::plain(bed.plain).await;
    publisher.connect(connect("publisher", Version::V311)).await;
    disk.hold_up();
    for _ in 0..N {
        publisher.send(Packet::Publish(Box::new(publish("t", "x", QoS::AtLeastOnce)))).await;
    }
    disk.waits().await;
    // Of the other answers none comes, so that what is taken in meanwhile is taken in by now.
    publisher.expect_silence().await;
    let taken_in = bed.counter("messages_in_total");
    assert!(taken_in < 100, "{taken_in} messages of 250 bytes in memory");
    disk.let_go();
    for _ in 0..N {
        assert!(matches!(publisher.expect().await, Packet::PubAck(_)));
    }
    assert_eq!(disk.holds(), (1, N));
}

#[tokio::test]
async fn a_client_that_keeps_up_leaves_nothing_on_the_disk() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut reader, _) = returning(&bed, "reader", Version::V5).await;
    reader.subscribe("t", QoS::ExactlyOnce).await;
    let mut publisher = bed.plain_peer("publisher").await;
    publisher.publish("t", "1").await;
    assert_eq!(reader.received().await, "t 1");
    publish_2(&mut publisher, "2").await;
    let second = reader.message().await;
    assert!(matches!(reader.expect().await, Packet::PubRel(_)));
    reader.send(Packet::PubComp(Ack::new(second.packet_id.unwrap(), ReasonCode::SUCCESS))).await;
    reader.expect_nothing().await;
    soon("the disk", bed.broker.committed()).await;
    assert_eq!(disk.holds(), (1, 0));
}

/// mqtt-3.1.1 [MQTT-3.1.2-6], mqtt-5 [MQTT-3.1.2-4] [MQTT-4.1.0-2]
#[tokio::test]
async fn a_session_that_is_over_is_over_on_the_disk() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let begin = async || {
        let (mut sleeper, is_present) = returning(&bed, "sleeper", Version::V5).await;
        assert!(!is_present);
        sleeper.subscribe("t", QoS::AtLeastOnce).await;
        bed.plain_peer("publisher").await.publish("t", "x").await;
        assert_eq!(disk.holds(), (1, 1));
        sleeper
    };
    // A clean start, by a session that does not outlive its connection.
    begin().await;
    let clean = bed.plain_peer("sleeper").await;
    assert_eq!(disk.holds(), (0, 0));
    clean.disconnect(ReasonCode::SUCCESS).await;
    // The same without the clean start: it goes on, but not beyond this connection.
    begin().await;
    let mut last = Peer::plain(bed.plain).await;
    assert!(
        last.connect(Connect { clean_start: false, ..connect("sleeper", Version::V5) })
            .await
            .session_present
    );
    assert_eq!(disk.holds(), (0, 0));
    assert_eq!(last.received().await, "t x");
    last.disconnect(ReasonCode::SUCCESS).await;
    // Its time is over.
    let mut short = Peer::plain(bed.plain).await;
    short.connect_v5("short", |it| it.properties.session_expiry_s = Some(1)).await;
    assert_eq!(disk.holds(), (1, 0));
    short.disconnect(ReasonCode::SUCCESS).await;
    bed.counted("sessions_kept", 1).await;
    bed.counted("sessions_kept", 0).await;
    soon("the disk", bed.broker.committed()).await;
    assert_eq!(disk.holds(), (0, 0));
}

#[tokio::test]
async fn a_clean_stop_leaves_everything_on_the_disk() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    bed.plain_peer("publisher").await.publish("t", "x").await;
    let stopping = bed.broker.shutdown(crate::testbed::PATIENCE);
    let (stopped, _) = tokio::join!(stopping, sleeper.closed());
    assert!(stopped);
    assert!(disk.all_are_left());
    assert_eq!(disk.holds(), (1, 1));
}

#[tokio::test]
async fn what_cannot_go_on_costs_no_other_session_anything() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    for client in ["first", "second", "third"] {
        let (mut sleeper, _) = returning(&bed, client, Version::V5).await;
        sleeper.subscribe("t", QoS::AtLeastOnce).await;
        sleeper.disconnect(ReasonCode::SUCCESS).await;
    }
    bed.plain_peer("publisher").await.publish("t", "x").await;
    let disk = disk.at_this_moment();
    disk.spoil_first();
    let bed = Testbed::durable_with(&disk, |config| config.limits.sessions_max = 1).await;
    assert_eq!(bed.counter(r#"sessions_lost_total{reason="unreadable"}"#), 1);
    assert_eq!(bed.counter(r#"sessions_lost_total{reason="no_room"}"#), 1);
    let (mut second, is_present) = returning(&bed, "second", Version::V5).await;
    assert!(is_present);
    assert_eq!(second.received().await, "t x");
    // Those that were lost do not come back with the next start.
    second.expect_nothing().await;
    soon("the disk", bed.broker.committed()).await;
    assert_eq!(disk.holds(), (1, 0));
}

#[tokio::test]
async fn a_session_begun_after_a_restart_is_no_session_of_before() {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    sleeper.disconnect(ReasonCode::SUCCESS).await;
    bed.plain_peer("publisher").await.publish("t", "for the sleeper").await;
    let disk = disk.at_this_moment();
    let bed = Testbed::durable(&disk).await;
    let (mut other, _) = returning(&bed, "other", Version::V5).await;
    other.subscribe("t", QoS::AtLeastOnce).await;
    bed.plain_peer("publisher").await.publish("t", "for both").await;
    assert_eq!(other.received().await, "t for both");
    let bed = Testbed::durable(&disk.at_this_moment()).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    assert_eq!(sleeper.received().await, "t for the sleeper");
    assert_eq!(sleeper.received().await, "t for both");
}
