//! MQTT 5's reason codes.

use std::fmt;

/// What became of a request, as MQTT 5 puts it. Source: mqtt-5 section 2.4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReasonCode(pub u8);

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $words:literal;)*) => {
        impl ReasonCode {
            $($(#[$doc])* pub const $name: Self = Self($code);)*

            /// The code in words, for people.
            pub const fn in_words(self) -> &'static str {
                match self.0 {
                    $($code => $words,)*
                    _ => "unknown reason",
                }
            }
        }
    };
}

reasons! {
    /// Also "normal disconnection" and "granted QoS 0".
    SUCCESS = 0x00, "success";
    /// The client leaves and wants its will sent.
    DISCONNECT_WITH_WILL = 0x04, "disconnect with will message";
    /// Accepted; nobody subscribes to it.
    NO_MATCHING_SUBSCRIBERS = 0x10, "no matching subscribers";
    /// There was nothing to unsubscribe.
    NO_SUBSCRIPTION_EXISTED = 0x11, "no subscription existed";
    /// Something went wrong and no other code fits.
    UNSPECIFIED_ERROR = 0x80, "unspecified error";
    /// The bytes are no packet.
    MALFORMED_PACKET = 0x81, "malformed packet";
    /// A packet that must not come now, or not with this content.
    PROTOCOL_ERROR = 0x82, "protocol error";
    /// Valid, but not taken by this server.
    IMPLEMENTATION_SPECIFIC_ERROR = 0x83, "implementation specific error";
    /// The protocol version is not spoken here.
    UNSUPPORTED_PROTOCOL_VERSION = 0x84, "unsupported protocol version";
    /// The client id is valid but not allowed.
    CLIENT_IDENTIFIER_NOT_VALID = 0x85, "client identifier not valid";
    /// Not permitted by policy.
    NOT_AUTHORIZED = 0x87, "not authorized";
    /// The server cannot answer now.
    SERVER_UNAVAILABLE = 0x88, "server unavailable";
    /// The server has no room.
    SERVER_BUSY = 0x89, "server busy";
    /// The authentication method is not supported.
    BAD_AUTHENTICATION_METHOD = 0x8C, "bad authentication method";
    /// The server stops.
    SERVER_SHUTTING_DOWN = 0x8B, "server shutting down";
    /// Nothing was heard for one and a half keep-alive periods.
    KEEP_ALIVE_TIMEOUT = 0x8D, "keep alive timeout";
    /// The same client id connected elsewhere.
    SESSION_TAKEN_OVER = 0x8E, "session taken over";
    /// The filter is well formed but not accepted.
    TOPIC_FILTER_INVALID = 0x8F, "topic filter invalid";
    /// The name is well formed but not accepted.
    TOPIC_NAME_INVALID = 0x90, "topic name invalid";
    /// The packet id is in use.
    PACKET_IDENTIFIER_IN_USE = 0x91, "packet identifier in use";
    /// The packet id is not known.
    PACKET_IDENTIFIER_NOT_FOUND = 0x92, "packet identifier not found";
    /// More unacknowledged publishes than agreed.
    RECEIVE_MAXIMUM_EXCEEDED = 0x93, "receive maximum exceeded";
    /// The alias is zero or above the agreed maximum.
    TOPIC_ALIAS_INVALID = 0x94, "topic alias invalid";
    /// The packet is larger than agreed.
    PACKET_TOO_LARGE = 0x95, "packet too large";
    /// A limit of the server is reached.
    QUOTA_EXCEEDED = 0x97, "quota exceeded";
    /// An operator closed the connection.
    ADMINISTRATIVE_ACTION = 0x98, "administrative action";
    /// The QoS is above what the server speaks.
    QOS_NOT_SUPPORTED = 0x9B, "QoS not supported";
    /// Shared subscriptions are not taken.
    SHARED_SUBSCRIPTIONS_NOT_SUPPORTED = 0x9E, "shared subscriptions not supported";
}

impl ReasonCode {
    /// Whether the request failed.
    pub const fn is_error(self) -> bool {
        self.0 >= 0x80
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.in_words(), self.0)
    }
}
