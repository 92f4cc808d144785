//! Any bytes as the query and headers of a message by HTTP.
//!
//! Beyond not panicking, one law: what is read can be sent to every client of MQTT 5 and is read
//! there as it was meant.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use picket_mqtt::codec::{decode, encode, frame};
use picket_mqtt::http::{HttpMessage, check_topic};
use picket_mqtt::packet::{PacketId, Publish};
use picket_mqtt::{Packet, QoS, Text, Version};

const NAMES: [&str; 9] = [
    "topic",
    "qos",
    "retain",
    "contentType",
    "responseTopic",
    "messageExpiry",
    "x-amz-mqtt5-user-properties",
    "x-amz-mqtt5-payload-format-indicator",
    "x-amz-mqtt5-correlation-data",
];

fuzz_target!(|input: &str| {
    // One line for each name; a line that is missing is a name that is not given.
    let given = |name: &str| {
        let place = NAMES.iter().position(|known| *known == name)?;
        input.split('\n').nth(place).filter(|value| !value.is_empty())
    };
    let topic = given("topic").unwrap_or("t");
    let Ok(message) = HttpMessage::read(given, given) else { return };
    if check_topic("topic", topic).is_err() {
        return;
    }
    let packet = Packet::Publish(Box::new(Publish {
        dup: false,
        qos: message.qos,
        retain: message.retain,
        topic: Text::new(topic).expect("a topic that was checked"),
        packet_id: (message.qos > QoS::AtMostOnce).then(|| PacketId::new(1).expect("not 0")),
        payload: Bytes::new(),
        topic_alias: None,
        subscription_ids: Vec::new(),
        properties: message.properties,
    }));
    let mut bytes = BytesMut::new();
    encode(&packet, Version::V5, &mut bytes);
    let whole = frame(&bytes, usize::MAX).expect("a packet of ours").expect("a whole one");
    assert_eq!(decode(&whole, Version::V5).expect("a packet of ours"), packet);
});
