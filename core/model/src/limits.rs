//! Every bound on what comes from outside, with the reason for the number.
//!
//! What an operator may change is a field of [`MqttLimits`] with the default here.

/// Longest client id, in bytes. Source: AWS IoT Core quotas ("Client ID size", 128).
pub const CLIENT_ID_BYTES_MAX: usize = 128;

/// Largest certificate in DER form, in bytes: what fits into the largest PEM that can be registered.
/// Source: aws RegisterCertificate (65,536 characters).
pub const CERTIFICATE_BYTES_MAX: usize = 48 * 1024;

/// Largest policy document, in characters without white space. Source: AWS IoT quotas.
pub const POLICY_DOCUMENT_CHARS_MAX: usize = 2048;

/// Largest policy document as received, white space included: what a person's editor can add to
/// 2,048 characters, and little enough to parse at once.
pub const POLICY_DOCUMENT_BYTES_MAX: usize = 16 * 1024;

/// Versions kept of one policy. Source: aws CreatePolicyVersion.
pub const POLICY_VERSIONS_MAX: usize = 5;

/// Policies on one certificate. Source: AWS IoT quotas.
pub const POLICIES_PER_CERTIFICATE_MAX: usize = 10;

/// Policies on one thing group. Source: AWS guide "Static thing groups".
pub const POLICIES_PER_GROUP_MAX: usize = 2;

/// Levels of a thing group hierarchy, the root included. Source: AWS IoT quotas.
pub const GROUP_DEPTH_MAX: usize = 7;

/// Direct child groups of one thing group. Source: AWS IoT quotas.
pub const GROUP_CHILDREN_MAX: usize = 100;

/// Thing groups that one thing may be in. Source: AWS IoT quotas.
pub const GROUPS_PER_THING_MAX: usize = 10;

/// Attributes of a thing that has a thing type. Source: AWS IoT quotas.
pub const ATTRIBUTES_WITH_TYPE_MAX: usize = 50;

/// Attributes of a thing without a thing type. Source: AWS IoT quotas.
pub const ATTRIBUTES_WITHOUT_TYPE_MAX: usize = 3;

/// Longest attribute name. Source: aws CreateThing.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 128;

/// Longest attribute value. Source: aws CreateThing.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 800;

/// Behaviors in one security profile. Source: aws CreateSecurityProfile.
pub const BEHAVIORS_PER_PROFILE_MAX: usize = 100;

/// Security profiles on one target. Source: aws AttachSecurityProfile.
pub const PROFILES_PER_TARGET_MAX: usize = 5;

/// Elements in the values of one security profile (CIDR ranges and the like), all behaviors
/// together. Source: AWS Device Defender limits.
pub const VALUE_ELEMENTS_PER_PROFILE_MAX: usize = 1000;

/// Datapoints in a row to alarm or to clear. Source: aws BehaviorCriteria.
pub const CONSECUTIVE_DATAPOINTS_MAX: u8 = 10;

/// Different source addresses kept of one device in one window. A device has one or two; a client
/// id shared by a botnet has many, and the judgement needs only those outside the normal.
pub const SOURCE_ADDRESSES_PER_WINDOW_MAX: usize = 64;

/// Reports whose increments are kept apart to be summed over a trailing window, per metric: an hour
/// of reports every 5 s. Beyond half of it neighbours are added up, and the old end of the window
/// gets coarse: by 9 s in an hour.
pub const INCREMENTS_PER_METRIC_MAX: usize = 720;

/// Report ids that are remembered to find one that comes again: agents that repeat a report do so at
/// once, and the numbers of an honest one grow.
pub const REPORT_IDS_REMEMBERED: usize = 4;

/// How long a connected device that reports may be without a report before alarms say so, in
/// milliseconds: three times AWS's shortest interval, so that one lost report is none.
pub const REPORT_MISSING_AFTER_MS: i64 = 15 * 60 * 1000;

/// Ports, destinations or addresses that the evidence of one judgement names. The value of the
/// violation has them all; the evidence is for a person to look at.
pub const EVIDENCE_ELEMENTS_MAX: usize = 64;

/// Largest page of a list operation. Source: aws `maxResults`.
pub const PAGE_MAX: usize = 250;

/// Page of a list operation where the caller does not say.
pub const PAGE_DEFAULT: usize = 25;

/// Largest notification message. Source: aws sns Publish (256 KiB).
pub const NOTIFICATION_BYTES_MAX: usize = 256 * 1024;

/// Largest event or answer of a function. Source: AWS Lambda quotas (6 MB, synchronous).
pub const FUNCTION_PAYLOAD_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Largest zipped function. Source: AWS Lambda quotas (50 MB, direct upload).
pub const FUNCTION_ZIP_BYTES_MAX: usize = 50 * 1024 * 1024;

/// Largest unpacked function. Source: AWS Lambda quotas (250 MB).
pub const FUNCTION_UNPACKED_BYTES_MAX: u64 = 250 * 1024 * 1024;

/// Files in one function's zip: far more than any real one, far fewer than an inode bomb.
pub const FUNCTION_FILES_MAX: usize = 20_000;

/// Environment of a function, names and values together. Source: AWS Lambda quotas (4 KB).
pub const FUNCTION_ENVIRONMENT_BYTES_MAX: usize = 4 * 1024;

/// Retained messages of one device, whichever of its connections they came from: one device must not fill the room of all others.
pub const RETAINED_PER_CLIENT_MAX: usize = 1_000;

/// Clients that are remembered after they went, for the count of their connections and the reason of
/// their end: a fleet of the size that may be connected, once more. Each takes about 300 bytes.
pub const AWAY_CLIENTS_MAX: usize = 100_000;

/// Different (dimension, operator) pairs that all security profiles use together. Sessions mark each
/// topic with the pairs that it lies in, one bit of a machine word for each.
pub const SLICES_MAX: usize = 64;

/// Bounds of the MQTT edge that an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MqttLimits {
    /// Largest PUBLISH payload. Default 128 KiB, AWS IoT's.
    pub payload_bytes_max: usize,
    /// Open connections in all. Default 100,000: at 14 KB each, 1.4 GB.
    pub connections_max: usize,
    /// Sessions that outlive their connections, those of connected clients included: a place that is
    /// promised is there. Default 200,000, one for each connection and as many of absent clients.
    pub sessions_max: usize,
    /// Time for TLS handshake and CONNECT together, in milliseconds. Default 10 s.
    pub connect_timeout_ms: u64,
    /// Unacknowledged messages towards one client. Default 100, AWS IoT's.
    pub inflight_max: u16,
    /// Messages waiting for one client. Default 1,000.
    pub queue_messages_max: usize,
    /// Bytes waiting for one client, and as many again that were sent and not acknowledged. Default
    /// 1 MiB.
    pub queue_bytes_max: usize,
    /// Bytes waiting for all clients together, sent and not acknowledged ones included. Default
    /// 1 GiB: each of 200,000 sessions may have 1 MiB, and a storm of messages to absent clients
    /// would fill them all. A message counts for each client that it waits for, though it is there
    /// once.
    pub queues_bytes_max: usize,
    /// Bytes of what sessions are promised that wait for the disk. Default 64 MiB, a second's worth of
    /// a disk that is not fast; above it publishers wait.
    pub journal_bytes_max: usize,
    /// Subscriptions of one session. Default 1,000.
    pub subscriptions_max: usize,
    /// Subscriptions of all sessions together. Default 1,000,000, ten for each connection: of usual
    /// filters that is half a gigabyte.
    pub subscriptions_in_all_max: usize,
    /// Bytes of wills that wait for their delay. Default 64 MiB: a will may be as large as any
    /// message and outlive its session, so that a client that comes and goes leaves many.
    pub delayed_wills_bytes_max: usize,
    /// Filters in one SUBSCRIBE packet. Default 100.
    pub filters_per_subscribe_max: usize,
    /// Longest topic name or filter, in bytes. Default 1,024.
    pub topic_bytes_max: usize,
    /// Levels in a topic name or filter. Default 32.
    pub topic_levels_max: usize,
    /// Topic aliases a client may set up (MQTT 5). Default 16.
    pub topic_aliases_max: u16,
    /// Longest time a session is kept after its connection ended, in seconds. Default one hour,
    /// AWS IoT's.
    pub session_expiry_s_max: u32,
    /// Retained messages in all. Default 100,000.
    pub retained_messages_max: usize,
    /// Bytes of retained payloads in all. Default 256 MiB.
    pub retained_bytes_max: usize,
    /// Longest keep-alive, in seconds; a client that asks for none or for more gets this one.
    /// Default 1,200, AWS IoT's.
    pub keep_alive_s_max: u16,
    /// Shortest keep-alive, in seconds; a client that asks for less gets this one. Default 1, the
    /// standards'; AWS IoT's is 30.
    pub keep_alive_s_min: u16,
    /// Connections of one source address that have not introduced themselves yet. Default 4,096: a
    /// fleet behind one address that comes back at once, and 100 MB of unfinished handshakes. At most
    /// a quarter of [`MqttLimits::connections_max`] is left to one address in any case.
    pub half_open_per_source_max: usize,
    /// Publishes of one connection in a second, and as many at once; 0 is no bound. Default 0: what a
    /// device sends is slowed down by what is done with it, and Detect judges it; AWS IoT's is 100.
    /// What the client is sent does not count, as it does at AWS IoT.
    pub publishes_per_s_max: u32,
    /// Whether QoS 2 is spoken. Default true, the standards'; AWS IoT stops at QoS 1.
    pub exactly_once: bool,
    /// Whether `a/#` matches `a`. Default true, the standards'; AWS IoT says no.
    pub parent_matches: bool,
    /// Whether a filter with wildcards brings retained messages. Default true, the standards'; at
    /// AWS IoT only one without does.
    pub retained_by_wildcard: bool,
}

impl MqttLimits {
    /// These limits and rules where AWS IoT's are not narrower, and AWS IoT's where they are.
    ///
    /// Source: AWS IoT Core quotas, "Message broker and protocol limits"; AWS guide "MQTT", "AWS IoT
    /// differences from MQTT specifications", and "MQTT retained messages".
    pub fn within_aws(self) -> Self {
        Self {
            payload_bytes_max: self.payload_bytes_max.min(128 * 1024),
            inflight_max: self.inflight_max.min(100),
            subscriptions_max: self.subscriptions_max.min(50),
            filters_per_subscribe_max: self.filters_per_subscribe_max.min(8),
            topic_bytes_max: self.topic_bytes_max.min(256),
            topic_levels_max: self.topic_levels_max.min(8),
            keep_alive_s_max: self.keep_alive_s_max.min(1_200),
            keep_alive_s_min: self.keep_alive_s_min.max(30).min(self.keep_alive_s_max),
            publishes_per_s_max: match self.publishes_per_s_max {
                0 => 100,
                n => n.min(100),
            },
            exactly_once: false,
            parent_matches: false,
            retained_by_wildcard: false,
            ..self
        }
    }
}

impl Default for MqttLimits {
    fn default() -> Self {
        Self {
            payload_bytes_max: 128 * 1024,
            connections_max: 100_000,
            sessions_max: 200_000,
            connect_timeout_ms: 10_000,
            inflight_max: 100,
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            queues_bytes_max: 1024 * 1024 * 1024,
            journal_bytes_max: 64 * 1024 * 1024,
            subscriptions_max: 1_000,
            subscriptions_in_all_max: 1_000_000,
            delayed_wills_bytes_max: 64 * 1024 * 1024,
            filters_per_subscribe_max: 100,
            topic_bytes_max: 1_024,
            topic_levels_max: 32,
            topic_aliases_max: 16,
            session_expiry_s_max: 3_600,
            retained_messages_max: 100_000,
            retained_bytes_max: 256 * 1024 * 1024,
            keep_alive_s_max: 1_200,
            keep_alive_s_min: 1,
            half_open_per_source_max: 4_096,
            publishes_per_s_max: 0,
            exactly_once: true,
            parent_matches: true,
            retained_by_wildcard: true,
        }
    }
}
