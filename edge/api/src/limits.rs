//! Bounds on what callers send, with the reason for each number.

use std::time::Duration;

use picket_model::limits::{
    FUNCTION_PAYLOAD_BYTES_MAX, FUNCTION_ZIP_BYTES_MAX, NOTIFICATION_BYTES_MAX,
};

use crate::service::Service;

/// Largest `Authorization` header. A real one has about 400 bytes; each signed header adds its name.
pub const AUTHORIZATION_BYTES_MAX: usize = 8 * 1024;

/// Headers that a signature may cover. SDKs sign about ten.
pub const SIGNED_HEADERS_MAX: usize = 100;

/// Longest session token. Ours hold a role's ARN (at most 2,048 bytes) and a session's name.
pub const SESSION_TOKEN_BYTES_MAX: usize = 8 * 1024;

/// Difference between the caller's clock and ours that a signature may have. Source: SigV4.
pub const CLOCK_SKEW_MS_MAX: i64 = 5 * 60 * 1000;

/// Query parameters of one request. The operation with the most, ListViolationEvents, has nine.
pub const QUERY_PARAMETERS_MAX: usize = 200;

/// Time for a whole body to arrive: 70 MB of a function's code at 5 Mbit/s.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(120);

/// Time in which a body that is not complete must go on: bodies that stand still must not keep the
/// few places of [`LARGE_BODIES_AT_ONCE`] from others.
pub const BODY_STALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Bytes of a refused body that are taken in and forgotten: the largest body of any operation.
pub const DRAINED_BYTES_MAX: usize = 80 * 1024 * 1024;

/// Time for that.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// Bodies above this size are large, and read few at a time.
pub const LARGE_BODY_BYTES: usize = 1024 * 1024;

/// Large bodies that are held in memory at once: 4 x 70 MB.
pub const LARGE_BODIES_AT_ONCE: usize = 4;

/// Largest body of most operations. A security profile with 100 behaviors and 1,000 values has
/// about 100 KB.
const BODY_BYTES_MAX: usize = 512 * 1024;

/// Longest description of a group and of a thing type. Source: aws `ThingGroupDescription`,
/// `ThingTypeDescription`.
pub const DESCRIPTION_CHARS_MAX: usize = 2028;

/// Longest message of a refusal, in characters: ten problems of a profile's behaviors, each with its
/// 2,048. A sentence that repeats what it refuses could be as long as a body otherwise.
pub const ERROR_MESSAGE_CHARS_MAX: usize = 21_000;

/// Tasks of mitigation actions that are in progress at once. A task of one profile may be work for
/// minutes, and they run one after the other: whoever starts more has made a loop.
pub const MITIGATION_TASKS_UNFINISHED_MAX: usize = 100;

/// Largest body of a request of enrolment: a request for a certificate of 4,096 characters, a
/// token, a name. Anybody may send one.
pub const ENROLL_BODY_BYTES_MAX: usize = 16 * 1024;

/// Time for it to arrive.
pub const ENROLL_BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Things that one token may enrol: a batch of devices. Each use is a row that stays.
pub const ENROLL_TOKEN_USES_MAX: u32 = 10_000;

/// Shortest life of a token, in seconds: a minute to carry it to the device.
pub const ENROLL_TOKEN_S_MIN: u64 = 60;

/// Longest life of a token, in seconds: 30 days. One that lives longer is found by somebody else.
pub const ENROLL_TOKEN_S_MAX: u64 = 30 * 24 * 3_600;

/// Largest body of an operation.
///
/// `message_bytes_max` is what the broker takes as a payload.
pub fn body_bytes_max(service: Service, operation: &str, message_bytes_max: usize) -> usize {
    match (service, operation) {
        (Service::IotData, _) => message_bytes_max,
        // Every byte of a form may be written as three.
        (Service::Sns, _) => 3 * NOTIFICATION_BYTES_MAX + BODY_BYTES_MAX,
        // The code is in JSON in base64, four bytes for three.
        (Service::Lambda, "CreateFunction" | "UpdateFunctionCode") => {
            FUNCTION_ZIP_BYTES_MAX / 3 * 4 + BODY_BYTES_MAX
        }
        (Service::Lambda, "Invoke") => FUNCTION_PAYLOAD_BYTES_MAX,
        (Service::Iot | Service::Lambda | Service::Sts, _) => BODY_BYTES_MAX,
    }
}
