//! What a stored session finds at a start: time has passed by the wall clock, and it may be somebody
//! else who comes for it.

use picket_mqtt::packet::Version;
use picket_mqtt::{QoS, ReasonCode};

use crate::disk::Disk;
use crate::durable::{persistent, returning};
use crate::peer::{Peer, publish};
use crate::testbed::{ALLOW_ALL, Device, Testbed, all_but, soon};

/// What a server leaves that is killed while a message waits for one client, whose session outlives
/// its connection by 100 seconds.
async fn left_behind(is_connected: bool) -> Disk {
    let disk = Disk::new();
    let bed = Testbed::durable(&disk).await;
    let (mut sleeper, _) = returning(&bed, "sleeper", Version::V5).await;
    sleeper.subscribe("t", QoS::AtLeastOnce).await;
    let connected = if is_connected {
        Some(sleeper)
    } else {
        sleeper.disconnect(ReasonCode::SUCCESS).await;
        bed.counted("sessions_kept", 1).await;
        None
    };
    bed.plain_peer("publisher").await.publish("t", "x").await;
    soon("the disk", bed.broker.committed()).await;
    let left = disk.at_this_moment();
    drop(connected);
    left
}

/// Starts a server at each of these moments, in seconds after the first one was killed; each is
/// killed before the next. Whether the session is there at the last, with all that belongs to it.
async fn check(is_connected: bool, starts_s: &[i64], is_there: bool) {
    let case = format!("connected {is_connected}, started after {starts_s:?}");
    let mut disk = left_behind(is_connected).await;
    let (last_s, before_s) = starts_s.split_last().unwrap();
    for later_s in before_s {
        let bed = Testbed::durable_later(&disk, *later_s, |_| {}).await;
        soon("the disk", bed.broker.committed()).await;
        disk = disk.at_this_moment();
    }
    let bed = Testbed::durable_later(&disk, *last_s, |_| {}).await;
    assert_eq!(bed.broker.sessions().kept, usize::from(is_there), "{case}");
    soon("the disk", bed.broker.committed()).await;
    assert_eq!(disk.holds(), if is_there { (1, 1) } else { (0, 0) }, "{case}");
    let n_dropped = bed.counter(r#"dropped_total{reason="session_ended"}"#);
    assert_eq!(n_dropped, u64::from(!is_there), "{case}");

    let (mut sleeper, is_present) = returning(&bed, "sleeper", Version::V5).await;
    assert_eq!(is_present, is_there, "{case}");
    bed.plain_peer("publisher").await.publish("t", "y").await;
    for payload in ["t x", "t y"].iter().filter(|_| is_there) {
        assert_eq!(sleeper.received().await, *payload, "{case}");
    }
    sleeper.expect_nothing().await;
}

/// mqtt-5 [MQTT-4.1.0-2]
#[tokio::test]
async fn a_session_is_over_when_its_time_passed_while_there_was_no_server() {
    check(false, &[90], true).await;
    check(false, &[101], false).await;
    // A start in between gives it no more time.
    check(false, &[50, 90], true).await;
    check(false, &[50, 101], false).await;
    // Who was connected is away since the start, however late that was.
    check(true, &[1_000], true).await;
    check(true, &[1_000, 1_090], true).await;
    check(true, &[1_000, 1_101], false).await;
}

#[tokio::test]
async fn a_session_that_goes_on_ends_when_the_rest_of_its_time_is_over() {
    let left = left_behind(false).await;
    // By a clock that was set back it has more time left than any session may have.
    for (later_s, expiry_s_max) in [(97, 100), (-1_000_000, 3)] {
        let disk = left.at_this_moment();
        let bed = Testbed::durable_later(&disk, later_s, |config| {
            config.limits.session_expiry_s_max = expiry_s_max;
        });
        let bed = bed.await;
        assert_eq!(bed.broker.sessions().kept, 1, "{later_s}");
        bed.counted("sessions_kept", 0).await;
        soon("the disk", bed.broker.committed()).await;
        assert_eq!(disk.holds(), (0, 0), "{later_s}");
        let (mut sleeper, is_present) = returning(&bed, "sleeper", Version::V5).await;
        assert!(!is_present, "{later_s}");
        sleeper.expect_nothing().await;
    }
}

/// Connects with a certificate under the client id `sleeper`, without a clean start.
async fn connect_as_sleeper(bed: &Testbed, device: &Device, expiry_s: Option<u32>) -> (Peer, bool) {
    let mut peer = Peer::tls(bed, Some(device)).await;
    let mut wanted = persistent("sleeper", Version::V5);
    wanted.properties.session_expiry_s = expiry_s;
    let connack = peer.connect(wanted).await;
    assert_eq!(connack.code, ReasonCode::SUCCESS);
    (peer, connack.session_present)
}

#[tokio::test]
async fn a_stored_session_ends_for_good_when_another_principal_takes_its_client_id() {
    // Of the other, whose session is to be stored as well, or is not.
    for expiry_s in [Some(100), None] {
        let disk = Disk::new();
        let bed = Testbed::durable(&disk).await;
        let (owner, other) = (bed.device("owner", ALLOW_ALL), bed.device("other", ALLOW_ALL));
        let denied = bed.device("denied", ALLOW_ALL);
        let (mut sleeper, _) = connect_as_sleeper(&bed, &owner, Some(100)).await;
        sleeper.subscribe("t", QoS::ExactlyOnce).await;
        let mut publisher = bed.plain_peer("publisher").await;
        // The first is in flight when the server is killed.
        publisher.publish("t", "1").await;
        sleeper.expect().await;
        drop(sleeper);
        bed.counted("sessions_kept", 1).await;
        publisher.publish("t", "2").await;
        publisher.publish_with(publish("t", "3", QoS::ExactlyOnce)).await;

        let disk = disk.at_this_moment();
        let bed = restarted(&disk, &owner, &other).await;
        bed.register("denied", &denied, &all_but("iot:Connect", "client/sleeper"));
        let mut refused = Peer::tls(&bed, Some(&denied)).await;
        let connack = refused.connect(persistent("sleeper", Version::V5)).await;
        assert_eq!(connack.code, ReasonCode::NOT_AUTHORIZED);
        assert_eq!(disk.holds(), (1, 3), "who may not connect takes nothing");
        let (mut thief, is_present) = connect_as_sleeper(&bed, &other, expiry_s).await;
        assert!(!is_present);
        // Once the thief is told so, no server finds it any more.
        assert_eq!(disk.holds(), (expiry_s.iter().count(), 0));
        // The one in flight had been sent.
        assert_eq!(bed.counter(r#"dropped_total{reason="session_ended"}"#), 2);
        bed.plain_peer("publisher").await.publish("t", "4").await;
        thief.expect_nothing().await;

        let disk = disk.at_this_moment();
        let bed = restarted(&disk, &owner, &other).await;
        let (mut sleeper, is_present) = connect_as_sleeper(&bed, &owner, Some(100)).await;
        assert!(!is_present);
        bed.plain_peer("publisher").await.publish("t", "5").await;
        sleeper.expect_nothing().await;
        assert_eq!(disk.holds(), (1, 0));
    }
}

/// A server that finds a disk, and may let two devices in.
async fn restarted(disk: &Disk, owner: &Device, other: &Device) -> Testbed {
    let bed = Testbed::durable(disk).await;
    bed.register("owner", owner, ALLOW_ALL);
    bed.register("other", other, ALLOW_ALL);
    bed
}
