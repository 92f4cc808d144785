//! Requests that are refused, and how that is said: AWS's names and statuses for iot-data.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::json;

use crate::admission;
use crate::metrics::{Posted, Refused};

/// A request that is refused.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Nothing is at its path.
    Unknown,
    /// Its method is not for its path.
    Method(&'static str),
    /// It comes from a web page that is not let in.
    Origin(String),
    /// It is no handshake of a WebSocket that carries MQTT.
    Upgrade(&'static str),
    /// It asks for a version of WebSocket that is not spoken.
    WebSocketVersion,
    /// Who sends it may not publish at all.
    Stranger(admission::Refusal),
    /// Who sent it may publish nothing any more.
    NoRight(String),
    /// The policies deny it.
    Denied(String),
    /// More come than may in a second.
    TooFast,
    /// Whether it may be done cannot be found out.
    Unavailable(String),
    /// Something in it is not as it must be.
    Invalid(String),
    /// Its payload is too large.
    TooLarge {
        /// Bytes allowed.
        max: usize,
    },
    /// Its payload did not come in time.
    Slow,
}

impl Refusal {
    /// What is counted where the client has not introduced itself.
    pub(super) fn reason(&self) -> Refused {
        match self {
            Self::Unknown
            | Self::Method(_)
            | Self::Upgrade(_)
            | Self::WebSocketVersion
            | Self::Invalid(_)
            | Self::TooLarge { .. } => Refused::Request,
            Self::Origin(_) => Refused::Origin,
            Self::Stranger(refusal) => refusal.reason,
            Self::NoRight(_) | Self::Denied(_) | Self::TooFast => Refused::Denied,
            Self::Unavailable(_) => Refused::Unavailable,
            Self::Slow => Refused::Timeout,
        }
    }

    /// What is counted of a message.
    pub(super) fn posted(&self) -> Posted {
        match self {
            Self::Unknown
            | Self::Method(_)
            | Self::Upgrade(_)
            | Self::WebSocketVersion
            | Self::Invalid(_) => Posted::Invalid,
            Self::Origin(_) | Self::NoRight(_) => Posted::Forbidden,
            Self::Stranger(refusal) if refusal.reason == Refused::Unavailable => {
                Posted::Unavailable
            }
            Self::Stranger(_) => Posted::Forbidden,
            Self::Denied(_) => Posted::Denied,
            Self::TooFast => Posted::TooFast,
            Self::Unavailable(_) => Posted::Unavailable,
            Self::TooLarge { .. } => Posted::TooLarge,
            Self::Slow => Posted::Slow,
        }
    }

    /// What is wrong, for the log.
    pub(super) fn detail(&self) -> String {
        match self {
            Self::Unknown => "nothing is at its path".to_owned(),
            Self::Method(what) | Self::Upgrade(what) => (*what).to_owned(),
            Self::Origin(origin) => format!("pages of the origin `{origin}` are not let in"),
            Self::WebSocketVersion => "version 13 of WebSocket is spoken here".to_owned(),
            Self::Stranger(refusal) => refusal.detail.clone(),
            Self::NoRight(what) | Self::Denied(what) => what.clone(),
            Self::TooFast => "it publishes faster than it may".to_owned(),
            Self::Unavailable(what) | Self::Invalid(what) => what.clone(),
            Self::TooLarge { max } => format!("the payload has more than {max} bytes"),
            Self::Slow => "the payload did not come in time".to_owned(),
        }
    }

    /// AWS's status and name. Source: the error shapes of iot-data Publish; a name without one there
    /// is the API's (`edge/api`, `error.rs`).
    fn spelled(&self) -> (StatusCode, &'static str) {
        const UNAVAILABLE: (StatusCode, &str) =
            (StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailableException");
        const FORBIDDEN: (StatusCode, &str) = (StatusCode::FORBIDDEN, "ForbiddenException");
        match self {
            Self::Unknown => (StatusCode::NOT_FOUND, "UnknownOperationException"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowedException"),
            Self::WebSocketVersion => (StatusCode::UPGRADE_REQUIRED, "InvalidRequestException"),
            Self::Upgrade(_) | Self::Invalid(_) => {
                (StatusCode::BAD_REQUEST, "InvalidRequestException")
            }
            Self::Stranger(refusal) if refusal.reason == Refused::Unavailable => UNAVAILABLE,
            Self::Unavailable(_) => UNAVAILABLE,
            Self::Origin(_) | Self::Stranger(_) | Self::NoRight(_) | Self::Denied(_) => FORBIDDEN,
            Self::TooFast => (StatusCode::TOO_MANY_REQUESTS, "ThrottlingException"),
            Self::TooLarge { .. } => {
                (StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLargeException")
            }
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "RequestTimeout"),
        }
    }

    /// The answer. Why somebody may not do something is for the log, not for a stranger.
    pub(super) fn response(&self, id: &str) -> Response<Full<Bytes>> {
        let (status, name) = self.spelled();
        let message = match status {
            StatusCode::FORBIDDEN => "Forbidden".to_owned(),
            StatusCode::SERVICE_UNAVAILABLE => {
                "the service cannot answer at the moment; try again".to_owned()
            }
            _ => self.detail(),
        };
        let mut answer = answer(status, &message, id);
        let headers = answer.headers_mut();
        headers.insert("x-amzn-errortype", HeaderValue::from_static(name));
        if status == StatusCode::UPGRADE_REQUIRED {
            headers.insert("sec-websocket-version", HeaderValue::from_static("13"));
        }
        answer
    }
}

impl From<admission::Refusal> for Refusal {
    fn from(refusal: admission::Refusal) -> Self {
        Self::Stranger(refusal)
    }
}

/// That a message was published.
pub(super) fn ok(id: &str) -> Response<Full<Bytes>> {
    answer(StatusCode::OK, "OK", id)
}

fn answer(status: StatusCode, message: &str, id: &str) -> Response<Full<Bytes>> {
    const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
    let body = json!({ "message": message, "traceId": id }).to_string();
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    answer
}
