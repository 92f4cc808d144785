//! Why connections end, and what follows from it.

use picket_model::{ClientId, DisconnectReason};
use picket_mqtt::packet::Disconnect;
use picket_mqtt::session::End;
use picket_mqtt::{DecodeError, ProtocolError, ReasonCode};
use tracing::info;

use crate::broker::Shared;
use crate::metrics::Broken;
use crate::operate::Dismissal;
use crate::sessions::Kick;

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum Close {
    /// The client said DISCONNECT.
    Goodbye(Disconnect),
    /// The network connection is gone.
    Lost(String),
    /// The client broke the protocol or a limit.
    ProtocolError(ProtocolError),
    /// A request was denied, and no packet could say so.
    RequestDenied,
    /// It publishes faster than it may, and no packet could say so.
    TooFast,
    /// It may not stay.
    NoRight(DisconnectReason, String),
    /// Somebody wants it gone.
    Kicked(Kick),
}

/// A close, judged.
pub(super) struct Ended {
    pub(super) reason: DisconnectReason,
    /// What an MQTT 5 client is told.
    pub(super) farewell: Option<ReasonCode>,
    /// The same in words, where they are about what the client itself sent.
    pub(super) words: Option<String>,
    pub(super) end: End,
    pub(super) dismissal: Dismissal,
}

impl Close {
    /// Says what follows from it, and writes it to the log and the counters.
    pub(super) fn judge(self, shared: &Shared, client: &ClientId) -> Ended {
        let is_own_fault = matches!(self, Self::ProtocolError(_));
        let dismissal = if let Self::Kicked(Kick::Operator(dismissal)) = &self {
            *dismissal
        } else {
            Dismissal::default()
        };
        let (reason, farewell, end, why) = match self {
            Self::Goodbye(disconnect) => {
                (DisconnectReason::ClientInitiated, None, End::Goodbye(disconnect), String::new())
            }
            Self::Lost(why) => (DisconnectReason::ConnectionLost, None, End::Abnormal, why),
            Self::ProtocolError(error) => {
                shared.metrics.count_protocol_error(broken(&error));
                let reason = match error {
                    ProtocolError::KeepAlive { .. } => DisconnectReason::KeepAliveTimeout,
                    _ => DisconnectReason::ClientError,
                };
                (reason, Some(error.reason()), End::Abnormal, error.to_string())
            }
            Self::RequestDenied => {
                let code = ReasonCode::NOT_AUTHORIZED;
                let why = "a request was denied".to_owned();
                (DisconnectReason::Forbidden, Some(code), End::Abnormal, why)
            }
            Self::TooFast => {
                let code = ReasonCode::QUOTA_EXCEEDED;
                let why = "it publishes faster than it may".to_owned();
                (DisconnectReason::Throttled, Some(code), End::Abnormal, why)
            }
            Self::NoRight(reason, why) => {
                (reason, Some(ReasonCode::NOT_AUTHORIZED), End::Denied, why)
            }
            Self::Kicked(kick) => {
                let (reason, code) = match kick {
                    Kick::TakenOver => {
                        (DisconnectReason::DuplicateClientId, ReasonCode::SESSION_TAKEN_OVER)
                    }
                    Kick::Stopping => {
                        (DisconnectReason::ServerInitiated, ReasonCode::SERVER_SHUTTING_DOWN)
                    }
                    Kick::Operator(_) => {
                        (DisconnectReason::ApiInitiated, ReasonCode::ADMINISTRATIVE_ACTION)
                    }
                };
                (reason, Some(code), End::Abnormal, String::new())
            }
        };
        info!(client.id = %client.as_str().escape_debug(), reason = reason.as_str(), detail = why, "disconnected");
        let words = is_own_fault.then_some(why);
        Ended { reason, farewell, words, end, dismissal }
    }
}

const fn broken(error: &ProtocolError) -> Broken {
    match error {
        ProtocolError::Decode(DecodeError::TooLarge { .. })
        | ProtocolError::PayloadTooLarge { .. } => Broken::TooLarge,
        ProtocolError::Decode(_) => Broken::Malformed,
        ProtocolError::Protocol(_) => Broken::Protocol,
        ProtocolError::TopicName(_) => Broken::TopicName,
        ProtocolError::TopicAlias { .. } => Broken::TopicAlias,
        ProtocolError::ReceiveMaximum { .. } => Broken::ReceiveMaximum,
        ProtocolError::Qos { .. } => Broken::Qos,
        ProtocolError::KeepAlive { .. } => Broken::KeepAlive,
    }
}
