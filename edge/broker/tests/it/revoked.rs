//! Certificates on a revocation list, at the door and inside.

use picket_model::{DisconnectReason, Fact};
use picket_mqtt::packet::Version;
use picket_mqtt::{QoS, ReasonCode};

use crate::peer::{Peer, connect, will};
use crate::testbed::{ALLOW_ALL, Testbed};

#[tokio::test]
async fn a_revoked_certificate_is_not_let_in() {
    let bed = Testbed::new().await;
    let (good, bad) = (bed.device("good", ALLOW_ALL), bed.device("bad", ALLOW_ALL));
    bed.broker.revoke(bed.revocations(&[&bad]));
    for (version, code) in
        [(Version::V311, ReasonCode(5)), (Version::V5, ReasonCode::NOT_AUTHORIZED)]
    {
        let mut peer = Peer::tls(&bed, Some(&bad)).await;
        peer.version = version;
        assert_eq!(peer.connect(connect("bad", version)).await.code, code);
    }
    bed.counted("connections_refused_total{reason=\"revoked_certificate\"}", 2).await;
    let attempted = bed.fact("bad", |fact| matches!(fact, Fact::ConnectionAttempted { .. })).await;
    assert!(matches!(attempted.fact, Fact::ConnectionAttempted { accepted: false, .. }));
    bed.tls_peer(&good, "good").await;
}

#[tokio::test]
async fn an_open_session_ends_when_its_certificate_is_revoked_and_no_other() {
    let bed = Testbed::new().await;
    let (good, bad) = (bed.device("good", ALLOW_ALL), bed.device("bad", ALLOW_ALL));
    let mut stays = bed.tls_peer(&good, "good").await;
    stays.subscribe("wills", QoS::AtMostOnce).await;
    let mut peer = Peer::tls(&bed, Some(&bad)).await;
    let mut wanted = connect("bad", Version::V5);
    wanted.will = Some(will("wills", "gone"));
    assert_eq!(peer.connect(wanted).await.code, ReasonCode::SUCCESS);
    peer.retain("last/words", "of a thief").await;
    bed.broker.revoke(bed.revocations(&[&bad]));
    assert_eq!(peer.closed().await, Some(ReasonCode::NOT_AUTHORIZED));
    let is_it = |fact: &Fact| {
        matches!(fact, Fact::Disconnected { reason: DisconnectReason::AuthError, .. })
    };
    bed.fact("bad", is_it).await;
    // No will, and what it retained is gone with it.
    stays.expect_nothing().await;
    stays.subscribe("last/words", QoS::AtMostOnce).await;
    stays.expect_nothing().await;
    // A list that does not name it any more lets it in again.
    bed.broker.revoke(bed.revocations(&[]));
    bed.tls_peer(&bad, "bad").await;
}

#[tokio::test]
async fn a_list_says_nothing_of_who_has_no_certificate() {
    let bed = Testbed::new().await;
    let bad = bed.device("bad", ALLOW_ALL);
    let mut plain = bed.plain_peer("plain").await;
    bed.broker.revoke(bed.revocations(&[&bad]));
    plain.expect_nothing().await;
}
