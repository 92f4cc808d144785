//! The rules of a session one by one; all of them together are in [`model`].

mod model;

use std::collections::BTreeSet;
use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;
use picket_model::limits::MqttLimits;

use super::*;
use crate::Message;
use crate::Text;
use crate::codec::PublishProperties;
use crate::packet::{Connect, ConnectProperties, MessageProperties};
use crate::topic::TopicLimits;

const START: Timestamp = Timestamp::from_millis(1_000_000);

fn topic(text: &str) -> TopicName {
    TopicName::parse(text, &TopicLimits { bytes_max: 99, levels_max: 9 }).unwrap()
}

fn message(number: usize, qos: QoS) -> Delivery {
    let payload = Bytes::from(number.to_string());
    let message = Message::received(topic("t"), payload, qos, None, START);
    Delivery {
        message: Arc::new(message),
        qos,
        retain: false,
        subscription_ids: None,
        shared: None,
        number: None,
    }
}

fn connect(version: Version) -> Connect {
    Connect {
        version,
        clean_start: false,
        keep_alive_s: 60,
        client_id: Text::default(),
        username: None,
        password: None,
        will: None,
        properties: ConnectProperties {
            session_expiry_s: Some(100),
            ..ConnectProperties::default()
        },
    }
}

fn terms(version: Version) -> Terms {
    Terms::settle(&connect(version), &MqttLimits::default()).0
}

fn session(terms: Terms) -> Session {
    Session::resume(SessionState::default(), terms, None, START, |_| true).0
}

fn publish<'a>(qos: QoS, id: u16, payload: &'a [u8]) -> PublishRef<'a> {
    PublishRef {
        dup: false,
        qos,
        retain: false,
        topic_bytes: b"t",
        packet_id: PacketId::new(id).filter(|_| qos > QoS::AtMostOnce),
        payload,
        properties: None,
    }
}

#[test]
fn a_refused_publish_closes_where_no_packet_can_say_so() {
    let decide = |version, qos| {
        let mut session = session(terms(version));
        let mut out = Vec::new();
        let Ok(Arrival::Fresh(undecided)) =
            session.publish_arrived(&publish(qos, 7, b""), START, &mut out)
        else {
            panic!("it is fresh")
        };
        let after = session.publish_decided(undecided, ReasonCode::NOT_AUTHORIZED, &mut out);
        let text: Vec<_> = out.iter().map(|out| format!("{out:?}").contains("135")).collect();
        (after, text)
    };
    let close = AfterDecision::Close(ReasonCode::NOT_AUTHORIZED);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        assert_eq!(decide(Version::V311, qos), (close, vec![]));
    }
    assert_eq!(decide(Version::V5, QoS::AtMostOnce), (close, vec![]));
    assert_eq!(decide(Version::V5, QoS::AtLeastOnce), (AfterDecision::GoOn, vec![true]));
    assert_eq!(decide(Version::V5, QoS::ExactlyOnce), (AfterDecision::GoOn, vec![true]));
}

/// What is too much is lost at QoS 0, told where a packet can say so, and closes where none can.
#[test]
fn publishes_beyond_the_pace_are_refused() {
    let decide = |version, qos| {
        let mut session =
            session(Terms { publishes_per_s_max: NonZeroU32::new(2), ..terms(version) });
        let mut out = Vec::new();
        let mut publish = |id| {
            let arrival = session.publish_arrived(&publish(qos, id, b""), START, &mut out);
            let Ok(Arrival::Fresh(undecided)) = arrival else { panic!("{arrival:?}") };
            let (pace, reason) = match undecided.pace() {
                Pace::Kept => (Pace::Kept, ReasonCode::SUCCESS),
                Pace::Exceeded => (Pace::Exceeded, ReasonCode::QUOTA_EXCEEDED),
            };
            (pace, session.publish_decided(undecided, reason, &mut out))
        };
        assert_eq!([publish(1), publish(2)], [(Pace::Kept, AfterDecision::GoOn); 2]);
        let (pace, after) = publish(3);
        assert_eq!(pace, Pace::Exceeded);
        (after, out.len())
    };
    let (go_on, close) = (AfterDecision::GoOn, AfterDecision::Close(ReasonCode::QUOTA_EXCEEDED));
    assert_eq!(decide(Version::V311, QoS::AtMostOnce), (go_on, 0));
    assert_eq!(decide(Version::V311, QoS::AtLeastOnce), (close, 2));
    assert_eq!(decide(Version::V311, QoS::ExactlyOnce), (close, 2));
    assert_eq!(decide(Version::V5, QoS::AtMostOnce), (go_on, 0));
    assert_eq!(decide(Version::V5, QoS::AtLeastOnce), (go_on, 3));
    assert_eq!(decide(Version::V5, QoS::ExactlyOnce), (go_on, 3));
}

#[test]
fn what_is_sent_again_does_not_count_for_the_pace() {
    let mut session =
        session(Terms { publishes_per_s_max: NonZeroU32::new(2), ..terms(Version::V5) });
    let mut out = Vec::new();
    let mut arrive = |session: &mut Session, id| {
        let at_2 = publish(QoS::ExactlyOnce, id, b"");
        let arrival = session.publish_arrived(&at_2, START, &mut out).unwrap();
        let Arrival::Fresh(undecided) = arrival else { return None };
        let pace = undecided.pace();
        let _ = session.publish_decided(undecided, ReasonCode::SUCCESS, &mut out);
        Some(pace)
    };
    assert_eq!(arrive(&mut session, 1), Some(Pace::Kept));
    for _ in 0..5 {
        assert_eq!(arrive(&mut session, 1), None);
    }
    assert_eq!(arrive(&mut session, 2), Some(Pace::Kept));
    assert_eq!(arrive(&mut session, 3), Some(Pace::Exceeded));
}

/// mqtt-5 [MQTT-3.3.4-7]
#[test]
fn more_unreleased_publishes_than_agreed_are_a_protocol_error() {
    let mut session = session(Terms { receive_max: 2, ..terms(Version::V5) });
    let mut out = Vec::new();
    for id in 1..=2 {
        let arrival = session.publish_arrived(&publish(QoS::ExactlyOnce, id, b""), START, &mut out);
        let Ok(Arrival::Fresh(undecided)) = arrival else { panic!("{arrival:?}") };
        assert_eq!(
            session.publish_decided(undecided, ReasonCode::SUCCESS, &mut out),
            AfterDecision::GoOn
        );
    }
    let third = session.publish_arrived(&publish(QoS::ExactlyOnce, 3, b""), START, &mut out);
    assert_eq!(third, Err(ProtocolError::ReceiveMaximum { max: 2 }));
    let again = session.publish_arrived(&publish(QoS::ExactlyOnce, 2, b""), START, &mut out);
    assert_eq!(again, Ok(Arrival::Again));
}

/// mqtt-5 section 4.9: what waits for its release from a connection before is no part of the quota.
#[test]
fn the_quota_of_publishes_begins_anew_with_each_connection() {
    let small = Terms { receive_max: 2, ..terms(Version::V5) };
    let mut state = SessionState::default();
    for connection in 0..3 {
        let (mut session, _) = Session::resume(state, small, None, START, |_| true);
        let mut out = Vec::new();
        for n in 1..=2 {
            let at_2 = publish(QoS::ExactlyOnce, connection * 2 + n, b"");
            let Ok(Arrival::Fresh(it)) = session.publish_arrived(&at_2, START, &mut out) else {
                panic!("it is within the quota")
            };
            let _ = session.publish_decided(it, ReasonCode::SUCCESS, &mut out);
        }
        let third = session.publish_arrived(&publish(QoS::ExactlyOnce, 99, b""), START, &mut out);
        assert_eq!(third, Err(ProtocolError::ReceiveMaximum { max: 2 }));
        state = session.end(End::Abnormal, START).kept.unwrap().state;
    }
    // It does not add up without end.
    state.unreleased = (1..=UNRELEASED_MAX_V311).filter_map(PacketId::new).collect();
    let (mut session, _) = Session::resume(state, small, None, START, |_| true);
    let one_more = publish(QoS::ExactlyOnce, UNRELEASED_MAX_V311 + 1, b"");
    assert!(session.publish_arrived(&one_more, START, &mut Vec::new()).is_err());
}

/// [MQTT-3.1.2-24], mqtt-5 [MQTT-3.1.2-22]
#[test]
fn silence_of_one_and_a_half_keep_alive_periods_is_too_long() {
    let mut session = session(terms(Version::V311));
    assert_eq!(session.tick(START + 89_999), Ok(()));
    assert_eq!(session.tick(START + 90_000), Err(ProtocolError::KeepAlive { silent_ms: 90_000 }));
    session.packet_arrived(Packet::PingReq, START + 50_000, &mut Vec::new()).unwrap();
    assert_eq!(session.tick(START + 139_999), Ok(()));
    assert!(session.tick(START + 140_000).is_err());
}

#[test]
fn terms_lie_within_the_limits_and_the_client_is_told() {
    let limits = MqttLimits::default();
    let mut asked = connect(Version::V5);
    asked.keep_alive_s = 0;
    asked.properties = ConnectProperties {
        session_expiry_s: Some(u32::MAX),
        receive_max: NonZeroU16::new(7),
        packet_bytes_max: NonZeroU32::new(99),
        topic_alias_max: Some(u16::MAX),
        ..ConnectProperties::default()
    };
    let (terms, told) = Terms::settle(&asked, &limits);
    assert_eq!((terms.keep_alive_s, told.server_keep_alive_s), (1200, Some(1200)));
    assert_eq!((terms.session_expiry_s, told.session_expiry_s), (3600, Some(3600)));
    assert_eq!((terms.send_max, terms.send_bytes_max, terms.send_aliases_max), (7, 99, 16));
    assert_eq!((terms.receive_max, told.receive_max.map(u16::from)), (100, Some(100)));

    let (_, told) = Terms::settle(&connect(Version::V5), &limits);
    assert_eq!((told.server_keep_alive_s, told.session_expiry_s), (None, None));
    let (terms, _) =
        Terms::settle(&Connect { clean_start: true, ..connect(Version::V311) }, &limits);
    assert_eq!(terms.session_expiry_s, 0);
}

fn with_will(delay_s: Option<u32>, session_expiry_s: u32) -> Session {
    let will = Will {
        topic: Text::new("w").unwrap(),
        payload: Bytes::new(),
        qos: QoS::AtMostOnce,
        retain: false,
        delay_s,
        properties: MessageProperties::default(),
    };
    let terms = Terms { session_expiry_s, ..terms(Version::V5) };
    Session::resume(SessionState::default(), terms, Some(will), START, |_| true).0
}

/// When the will is sent and how long the session is kept, in seconds after the end.
fn check_end(
    delay_s: Option<u32>,
    session_expiry_s: u32,
    how: End,
    will: Option<i64>,
    kept: Option<i64>,
) {
    let ending = with_will(delay_s, session_expiry_s).end(how, START);
    let seconds = |at: Timestamp| at.millis_since(START) / 1000;
    assert_eq!(ending.will.map(|(_, at)| seconds(at)), will);
    assert_eq!(ending.kept.map(|kept| seconds(kept.until)), kept);
}

fn goodbye(reason: ReasonCode, session_expiry_s: Option<u32>) -> End {
    End::Goodbye(Disconnect { reason, session_expiry_s, ..Disconnect::default() })
}

#[test]
fn a_will_is_sent_unless_the_client_says_goodbye_or_lost_its_rights() {
    check_end(None, 100, End::Abnormal, Some(0), Some(100));
    check_end(None, 0, End::Abnormal, Some(0), None);
    check_end(Some(30), 100, End::Abnormal, Some(30), Some(100));
    // It does not wait beyond the session. Source: mqtt-5 section 3.1.3.2.2.
    check_end(Some(300), 100, End::Abnormal, Some(100), Some(100));
    check_end(Some(30), 0, End::Abnormal, Some(0), None);
    check_end(None, 100, goodbye(ReasonCode::SUCCESS, None), None, Some(100));
    check_end(None, 100, goodbye(ReasonCode::SUCCESS, Some(0)), None, None);
    check_end(None, 100, goodbye(ReasonCode::SUCCESS, Some(9999)), None, Some(3600));
    check_end(None, 100, goodbye(ReasonCode::DISCONNECT_WITH_WILL, None), Some(0), Some(100));
    check_end(None, 100, End::Denied, None, None);
}

#[test]
fn what_a_client_must_not_send_is_a_protocol_error() {
    let mut session = session(Terms { session_expiry_s: 0, ..terms(Version::V5) });
    let mut check = |packet: Packet, expected: &str| {
        let error = session.packet_arrived(packet, START, &mut Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), expected);
        assert_eq!(error.reason(), ReasonCode::PROTOCOL_ERROR);
    };
    // [MQTT-3.1.0-2]
    check(Packet::Connect(Box::new(connect(Version::V5))), "protocol error: a second CONNECT");
    check(Packet::PingResp, "protocol error: a packet that only a server sends");
    check(Packet::Auth(Box::default()), "protocol error: AUTH without an authentication method");
    let later = Disconnect { session_expiry_s: Some(1), ..Disconnect::default() };
    check(Packet::Disconnect(later), "protocol error: a session that was to end is to be kept");
}

#[test]
fn an_acknowledgement_of_nothing_is_answered_or_ignored() {
    let mut session = session(terms(Version::V5));
    let id = PacketId::new(9).unwrap();
    let mut check = |packet: fn(Ack) -> Packet, expected: Option<fn(Ack) -> Packet>| {
        let mut out = Vec::new();
        session.packet_arrived(packet(Ack::new(id, ReasonCode::SUCCESS)), START, &mut out).unwrap();
        let not_found = Ack::new(id, ReasonCode::PACKET_IDENTIFIER_NOT_FOUND);
        let expected: Vec<_> =
            expected.iter().map(|made| Output::Packet(made(not_found.clone()))).collect();
        assert_eq!(out, expected);
    };
    check(Packet::PubAck, None);
    check(Packet::PubComp, None);
    check(Packet::PubRec, Some(Packet::PubRel));
    check(Packet::PubRel, Some(Packet::PubComp));
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_ends_nothing() {
    let mut session = session(terms(Version::V5));
    let mut out = Vec::new();
    session.send(message(0, QoS::AtLeastOnce), START, &mut out);
    session.send(message(1, QoS::ExactlyOnce), START, &mut out);
    let ack = |id| Ack::new(PacketId::new(id).unwrap(), ReasonCode::SUCCESS);
    for packet in [
        Packet::PubComp(ack(1)),
        Packet::PubRec(ack(1)),
        Packet::PubAck(ack(2)),
        Packet::PubComp(ack(2)),
    ] {
        session.packet_arrived(packet, START, &mut out).unwrap();
        assert_eq!(session.state.in_flight(), 2);
    }
}

#[test]
fn aliases_lie_within_what_was_agreed() {
    let mut session = session(Terms { receive_aliases_max: 2, ..terms(Version::V5) });
    session.set_alias(2, &topic("a")).unwrap();
    assert_eq!(session.aliased(2).unwrap().as_str(), "a");
    assert_eq!(
        session.aliased(1),
        Err(ProtocolError::Protocol("a topic alias that was not set up"))
    );
    for alias in [0, 3] {
        assert_eq!(
            session.set_alias(alias, &topic("a")),
            Err(ProtocolError::TopicAlias { alias, max: 2 })
        );
        assert_eq!(session.aliased(alias).unwrap_err().reason(), ReasonCode::TOPIC_ALIAS_INVALID);
    }
}

#[test]
fn a_topic_is_named_once_when_the_client_takes_aliases() {
    let mut session = session(Terms { send_aliases_max: 1, ..terms(Version::V5) });
    let mut sent = |text: &str| {
        let mut delivery = message(0, QoS::AtMostOnce);
        Arc::make_mut(&mut delivery.message).topic = topic(text);
        let mut out = Vec::new();
        session.send(delivery, START, &mut out);
        let Some(Output::Publish(publish)) = out.pop() else { panic!("nothing was sent") };
        (publish.parts().topic.to_owned(), publish.parts().topic_alias)
    };
    assert_eq!(sent("a"), ("a".to_owned(), Some(1)));
    assert_eq!(sent("a"), (String::new(), Some(1)));
    assert_eq!(sent("b"), ("b".to_owned(), None));
}

#[test]
fn expired_and_oversize_messages_are_not_sent() {
    let mut session = session(Terms { send_bytes_max: 30, ..terms(Version::V5) });
    let mut out = Vec::new();
    let mut delivery = message(0, QoS::AtLeastOnce);
    Arc::make_mut(&mut delivery.message).expires_at = Some(START + 1500);
    assert_eq!(session.send(delivery.clone(), START + 1500, &mut out), Sent::Expired);
    assert_eq!(session.send(delivery.clone(), START, &mut out), Sent::Yes);
    let Some(Output::Publish(publish)) = out.pop() else { panic!("nothing was sent") };
    assert_eq!(publish.expiry_s, Some(2));
    Arc::make_mut(&mut delivery.message).payload = vec![0; 30].into();
    assert_eq!(session.send(delivery, START, &mut out), Sent::TooLarge);
    assert!(out.is_empty());
}

/// Large messages fill the window by their bytes long before they do by their number.
#[test]
fn what_is_not_acknowledged_is_bounded_in_bytes() {
    let large = || {
        let mut delivery = message(0, QoS::ExactlyOnce);
        Arc::make_mut(&mut delivery.message).payload = vec![0; 1000].into();
        delivery
    };
    let bytes = large().message.cost_bytes();
    let terms = Terms { unacknowledged_bytes_max: 2 * bytes, ..terms(Version::V5) };
    let mut session = session(terms);
    let mut out = Vec::new();
    session.send(large(), START, &mut out);
    assert!(session.room() > 0);
    session.send(large(), START, &mut out);
    assert_eq!((session.room(), session.unacknowledged_bytes()), (0, 2 * bytes));
    // What was taken out of the queue before that is still sent.
    assert_eq!(session.send(large(), START, &mut out), Sent::Yes);
    let recorded = |id| Packet::PubRec(Ack::new(PacketId::new(id).unwrap(), ReasonCode::SUCCESS));
    for (id, left) in [(1, 2), (1, 2), (2, 1)] {
        session.packet_arrived(recorded(id), START, &mut out).unwrap();
        assert_eq!(session.unacknowledged_bytes(), left * bytes);
    }
    assert!(session.room() > 0);
    let kept = session.end(End::Abnormal, START).kept.unwrap();
    let (resumed, _) = Session::resume(kept.state, terms, None, START, |_| true);
    assert_eq!(resumed.unacknowledged_bytes(), bytes);
    let kept = resumed.end(End::Abnormal, START).kept.unwrap();
    let (resumed, _) = Session::resume(kept.state, terms, None, START, |_| false);
    assert_eq!(resumed.unacknowledged_bytes(), 0);
}

#[test]
fn what_may_no_longer_be_received_is_not_sent_again() {
    let mut session = session(terms(Version::V5));
    let mut out = Vec::new();
    session.send(message(0, QoS::AtLeastOnce), START, &mut out);
    session.send(message(1, QoS::ExactlyOnce), START, &mut out);
    let kept = session.end(End::Abnormal, START).kept.unwrap();
    let (mut session, dropped) =
        Session::resume(kept.state, terms(Version::V5), None, START, |topic| topic.as_str() != "t");
    let denied = [(0, QoS::AtLeastOnce), (1, QoS::ExactlyOnce)];
    assert_eq!(dropped, denied.map(|(number, qos)| NotResent::Denied(message(number, qos))));
    assert_eq!(session.state.in_flight(), 0);
    out.clear();
    session.resend(START, &mut out);
    assert!(out.is_empty());
}

/// mqtt-5 [MQTT-4.3.3-7]
#[test]
fn what_was_begun_does_not_expire() {
    let mut session = session(terms(Version::V5));
    let mut out = Vec::new();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut delivery = message(0, qos);
        Arc::make_mut(&mut delivery.message).expires_at = Some(START + 1);
        assert_eq!(session.send(delivery, START, &mut out), Sent::Yes);
    }
    let later = START + 50_000;
    let kept = session.end(End::Abnormal, START).kept.unwrap();
    let (mut session, dropped) =
        Session::resume(kept.state, terms(Version::V5), None, later, |_| true);
    assert_eq!(dropped, []);
    out.clear();
    session.resend(later, &mut out);
    let expiry: Vec<_> = out
        .iter()
        .map(|it| match it {
            Output::Publish(publish) => publish.expiry_s,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(expiry, [Some(0), Some(0)]);
}

#[test]
fn mqtt_3_1_1_knows_one_failure_only() {
    let id = PacketId::new(1).unwrap();
    let codes = || vec![ReasonCode(1), ReasonCode::NOT_AUTHORIZED];
    let answered = |version| {
        let mut out = Vec::new();
        session(terms(version)).subscribed(id, codes(), &mut out);
        session(terms(version)).unsubscribed(id, codes(), &mut out);
        out.into_iter()
            .map(|out| match out {
                Output::Packet(Packet::SubAck(codes) | Packet::UnsubAck(codes)) => {
                    codes.codes.iter().map(|code| code.0).collect::<Vec<_>>()
                }
                other => panic!("{other:?}"),
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(answered(Version::V311), [vec![1, 0x80], vec![]]);
    assert_eq!(answered(Version::V5), [vec![1, 0x87], vec![1, 0x87]]);
}

/// mqtt-5 [MQTT-3.3.4-6]
#[test]
fn a_subscription_identifier_from_a_client_is_a_protocol_error() {
    let mut packet = publish(QoS::AtMostOnce, 0, b"");
    packet.properties = Some(Box::new(PublishProperties {
        subscription_ids: vec![1],
        ..PublishProperties::default()
    }));
    let found = session(terms(Version::V5)).publish_arrived(&packet, START, &mut Vec::new());
    assert_eq!(found, Err(ProtocolError::Protocol("a subscription identifier from a client")));
}

/// What is on record after each of some packets of the client's, and which record holds up what
/// follows.
#[test]
fn a_durable_session_says_what_is_to_be_remembered_before_what_follows_from_it() {
    let mut session = session(Terms { is_durable: true, ..terms(Version::V5) });
    let numbered =
        |number: u64, qos| Delivery { number: DeliveryNumber::new(number), ..message(0, qos) };
    let mut out = Vec::new();
    let publish_2 = publish(QoS::ExactlyOnce, 7, b"");
    let Ok(Arrival::Fresh(it)) = session.publish_arrived(&publish_2, START, &mut out) else {
        panic!("it is fresh")
    };
    let _ = session.publish_decided(it, ReasonCode::SUCCESS, &mut out);
    session.send(numbered(1, QoS::AtLeastOnce), START, &mut out);
    session.send(numbered(2, QoS::ExactlyOnce), START, &mut out);
    let mut expired = numbered(3, QoS::AtLeastOnce);
    Arc::make_mut(&mut expired.message).expires_at = Some(START);
    session.send(expired, START, &mut out);
    let ack = |id| Ack::new(PacketId::new(id).unwrap(), ReasonCode::SUCCESS);
    for packet in [
        Packet::PubRel(ack(7)),
        Packet::PubRel(ack(7)),
        Packet::PubAck(ack(1)),
        Packet::PubAck(ack(1)),
        Packet::PubRec(ack(2)),
        Packet::PubRec(ack(2)),
        Packet::PubComp(ack(2)),
    ] {
        session.packet_arrived(packet, START, &mut out).unwrap();
    }
    let said: Vec<_> = out
        .iter()
        .map(|output| match output {
            Output::Record(record) if record.is_awaited() => format!("{record:?}!"),
            Output::Record(record) => format!("{record:?}"),
            Output::Publish(publish) => format!("publish {}", publish.packet_id.unwrap()),
            Output::Packet(Packet::PubRec(_)) => "pubrec".to_owned(),
            Output::Packet(Packet::PubRel(_)) => "pubrel".to_owned(),
            Output::Packet(Packet::PubComp(_)) => "pubcomp".to_owned(),
            Output::Packet(other) => panic!("{other:?}"),
        })
        .collect();
    let expected = [
        "Taken(7)!",
        "pubrec",
        "Sent { number: 1, packet_id: 1, qos: AtLeastOnce }",
        "publish 1",
        "Sent { number: 2, packet_id: 2, qos: ExactlyOnce }!",
        "publish 2",
        "Over(3)",
        "Freed(7)!",
        "pubcomp",
        "pubcomp",
        "Over(1)",
        "Released(2)!",
        "pubrel",
        "pubrel",
        "Over(2)",
    ];
    assert_eq!(said, expected);
}

#[test]
fn packet_ids_that_do_not_grow_were_never_in_flight() {
    let restored = |ids: &[u16]| {
        let in_flight = ids.iter().map(|&id| {
            let packet_id = PacketId::new(id).unwrap();
            Remembered::Sent(packet_id, message(0, QoS::AtLeastOnce))
        });
        SessionState::restored(in_flight, BTreeSet::new()).map(|state| state.in_flight())
    };
    assert_eq!(restored(&[]), Some(0));
    assert_eq!(restored(&[1]), Some(1));
    assert_eq!(restored(&[9, 10, 700]), Some(3));
    assert_eq!(restored(&[65_534, 65_535, 1, 2]), Some(4));
    assert_eq!(restored(&[2, 1, 3]), None);
    assert_eq!(restored(&[1, 1]), None);
    assert_eq!(restored(&[65_535, 2, 1]), None);
}
