//! Any bytes as what a client sends, in both versions of the protocol.
//!
//! Beyond not panicking, two laws: a frame never is longer than the limit or than the input, and a
//! packet that decodes encodes to something that decodes to the same.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use picket_mqtt::codec::{decode, encode, frame};
use picket_mqtt::{Packet, Version};

const PACKET_BYTES_MAX: usize = 4096;

fuzz_target!(|input: &[u8]| {
    for version in [Version::V311, Version::V5] {
        let mut rest = input;
        while let Ok(Some(found)) = frame(rest, PACKET_BYTES_MAX) {
            assert!(found.len <= PACKET_BYTES_MAX && found.len <= rest.len());
            rest = &rest[found.len..];
            let Ok(packet) = decode(&found, version) else { continue };
            let version = match &packet {
                Packet::Connect(connect) => connect.version,
                _ => version,
            };
            let mut bytes = BytesMut::new();
            encode(&packet, version, &mut bytes);
            let again = frame(&bytes, usize::MAX).expect("a packet of ours").expect("a whole one");
            assert_eq!(decode(&again, version).expect("a packet of ours"), packet);
        }
    }
});
