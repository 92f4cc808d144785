//! What can go wrong, and how each service spells it.
//!
//! Handlers say what kind of thing went wrong ([`ErrorKind`]) and a sentence; `spelled` is the
//! one table from there to AWS's exception names and statuses, which differ by service. Sources:
//! the error shapes of the service models; "Common errors" in the API references.

use std::error::Error;
use std::fmt;

use axum::http::StatusCode;
use picket_store::{RegistryError, StoreError};
use serde_json::json;

use crate::limits::ERROR_MESSAGE_CHARS_MAX;
use crate::query;
use crate::response::Response;
use crate::service::{Service, Wire};

/// A request that was refused or failed.
#[derive(Debug)]
pub struct ApiError {
    /// What kind of thing went wrong.
    pub kind: ErrorKind,
    /// A sentence for the caller.
    pub message: String,
    /// For the log only: the cause of an internal failure.
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Kinds of refusals and failures, in our words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Something in the request is not as it must be.
    InvalidRequest,
    /// The body is not of the form it says.
    UnreadableBody,
    /// The request is larger than the operation takes.
    TooLarge,
    /// The body did not come in time.
    Slow,
    /// What the request names does not exist.
    NotFound,
    /// What the request makes exists, and is different; or it is in use.
    AlreadyExists,
    /// The task that the request starts exists, and was started by another request.
    TaskAlreadyExists,
    /// The request rests on another version than the one there is.
    VersionConflict,
    /// A precondition of the request does not hold.
    PreconditionFailed,
    /// There are as many as there may be.
    Limit,
    /// More at once than can be done.
    Throttled,
    /// What was sent was not confirmed in time.
    Unconfirmed,
    /// A function's policy is longer than it may be.
    PolicyTooLong,
    /// A function's code cannot be run.
    UnusableCode,
    /// There is nothing here that runs a function's runtime.
    NoRuntime,
    /// A policy has as many versions as it may have.
    VersionsLimit,
    /// What is to be deleted is in use.
    DeleteConflict,
    /// A certificate's state does not allow it.
    CertificateState,
    /// A certificate is not one that can be registered.
    CertificateValidation,
    /// A policy document does not parse.
    MalformedPolicy,
    /// The caller may not do this.
    Forbidden,
    /// Trying again later can help.
    Unavailable,
    /// Our fault.
    Internal,
    /// No operation of the service is meant.
    UnknownOperation,
    /// An operation that is known and not served.
    NotImplemented,
    /// The request is not signed.
    Unsigned,
    /// The signature's form is not right, or something that must be signed is not.
    IncompleteSignature,
    /// The signature is not the one of this request and key.
    SignatureMismatch,
    /// The access key is not known here, or its session token does not belong to it.
    UnknownKey,
    /// The session token's time is over.
    ExpiredToken,
    /// The request was signed too long ago, or in the future.
    StaleSignature,
}

impl ApiError {
    /// An error of a kind, with a sentence for the caller.
    ///
    /// The sentence is cut at [`ERROR_MESSAGE_CHARS_MAX`] characters.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if let Some((end, _)) = message.char_indices().nth(ERROR_MESSAGE_CHARS_MAX) {
            message.truncate(end);
        }
        Self { kind, message, source: None }
    }

    /// Something in the request is not as it must be.
    pub fn invalid(message: impl fmt::Display) -> Self {
        Self::new(ErrorKind::InvalidRequest, message.to_string())
    }

    /// What the request names does not exist.
    pub fn not_found(what: &str, name: impl fmt::Display) -> Self {
        Self::new(ErrorKind::NotFound, format!("{what} `{name}` does not exist"))
    }

    /// No operation of the service is meant.
    pub fn unknown_operation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::UnknownOperation, message)
    }

    /// Our fault; the cause goes to the log, not to the caller.
    pub fn internal(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind: ErrorKind::Internal,
            message: "something failed on our side; the server's log has the reason".to_owned(),
            source: Some(cause.into()),
        }
    }

    /// Trying again later can help; the cause goes to the log.
    pub fn unavailable(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            kind: ErrorKind::Unavailable,
            message: "the service cannot answer at the moment; try again".to_owned(),
            source: Some(cause.into()),
        }
    }

    /// The exception's name as a service spells it.
    pub fn name(&self, service: Service) -> &'static str {
        spelled(self.kind, service).0
    }

    /// The answer that tells the caller.
    pub fn response(&self, service: Service, request_id: &str) -> Response {
        let (name, status) = spelled(self.kind, service);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let is_sender = !status.is_server_error();
        let response = match (service.wire(), service) {
            // Lambda writes its members with capitals; readers of either spelling are served.
            (Wire::RestJson, Service::Lambda) => Response::json(&json!({
                "Type": if is_sender { "User" } else { "Service" },
                "Message": self.message,
                "message": self.message,
            })),
            (Wire::RestJson, _) => Response::json(&json!({ "message": self.message })),
            (Wire::Query, _) => {
                let namespace = query::namespace(service);
                let message = &self.message;
                Response::xml(query::failure(namespace, is_sender, name, message, request_id))
            }
        };
        response.with_status(status).with_header("x-amzn-errortype", name)
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ApiError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match &error {
            // The server is stopping, or its disk is full: both can pass.
            StoreError::Closed | StoreError::Commit(_) => ApiError::unavailable(error),
            StoreError::Open { .. }
            | StoreError::InUse { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::OtherAccount { .. }
            | StoreError::Database(_)
            | StoreError::Unreadable { .. }
            | StoreError::Panicked(_) => ApiError::internal(error),
        }
    }
}

impl From<RegistryError> for ApiError {
    fn from(error: RegistryError) -> Self {
        use RegistryError as R;
        let kind = match error {
            R::NotFound { .. } => ErrorKind::NotFound,
            R::AlreadyExists { .. } => ErrorKind::AlreadyExists,
            R::Invalid(_) => ErrorKind::InvalidRequest,
            R::VersionConflict { .. } => ErrorKind::VersionConflict,
            R::Limit(_) => ErrorKind::Limit,
            R::VersionsLimit { .. } => ErrorKind::VersionsLimit,
            R::DeleteConflict(_) => ErrorKind::DeleteConflict,
            R::CertificateState(_) => ErrorKind::CertificateState,
            R::Store(error) => return error.into(),
        };
        ApiError::new(kind, error.to_string())
    }
}

/// The exception name and HTTP status of a kind of error in a service.
///
/// Where a service has no shape for a kind, the nearest of its own is used.
pub(crate) const fn spelled(kind: ErrorKind, service: Service) -> (&'static str, u16) {
    use ErrorKind as K;
    use Service::{Iot, IotData, Lambda, Sns, Sts};
    match (kind, service) {
        (K::InvalidRequest, Iot | IotData) => ("InvalidRequestException", 400),
        (K::InvalidRequest, Lambda) => ("InvalidParameterValueException", 400),
        (K::InvalidRequest, Sns) => ("InvalidParameter", 400),
        (K::InvalidRequest, Sts) => ("ValidationError", 400),

        (K::UnreadableBody, Iot | IotData) => ("SerializationException", 400),
        (K::UnreadableBody, Lambda) => ("InvalidRequestContentException", 400),
        (K::UnreadableBody, Sns) => ("InvalidParameter", 400),
        (K::UnreadableBody, Sts) => ("ValidationError", 400),

        (K::TooLarge, Iot | IotData) => ("RequestEntityTooLargeException", 413),
        (K::TooLarge, Lambda) => ("RequestTooLargeException", 413),
        (K::TooLarge, Sns) => ("InvalidParameter", 400),
        (K::TooLarge, Sts) => ("ValidationError", 400),

        (K::Slow, _) => ("RequestTimeout", 408),

        (K::NotFound, Iot | IotData | Lambda) => ("ResourceNotFoundException", 404),
        (K::NotFound, Sns) => ("NotFound", 404),
        (K::NotFound, Sts) => ("NoSuchEntity", 404),

        (K::AlreadyExists, Iot) => ("ResourceAlreadyExistsException", 409),
        (K::AlreadyExists, IotData) => ("ConflictException", 409),
        (K::AlreadyExists, Lambda) => ("ResourceConflictException", 409),
        (K::AlreadyExists, Sns) => ("InvalidParameter", 400),
        (K::AlreadyExists, Sts) => ("ValidationError", 400),

        // Only tasks of iot come into being so.
        (K::TaskAlreadyExists, _) => ("TaskAlreadyExistsException", 400),

        (K::VersionConflict, Iot) => ("VersionConflictException", 409),
        (K::VersionConflict, IotData) => ("ConflictException", 409),
        (K::VersionConflict | K::PreconditionFailed, Lambda) => {
            ("PreconditionFailedException", 412)
        }
        (K::VersionConflict, Sns) => ("ConcurrentAccess", 400),
        (K::VersionConflict | K::PreconditionFailed, Sts) => ("ValidationError", 400),

        (K::PreconditionFailed, Iot | IotData) => ("InvalidRequestException", 400),
        (K::PreconditionFailed, Sns) => ("InvalidState", 400),

        (K::Limit, Iot) => ("LimitExceededException", 410),
        (K::Limit, IotData) => ("ThrottlingException", 429),
        (K::Limit, Lambda) => ("CodeStorageExceededException", 400),
        (K::Limit, Sns) => ("TopicLimitExceeded", 403),
        (K::Limit, Sts) => ("ValidationError", 400),

        (K::Throttled, Iot) => ("ThrottlingException", 400),
        (K::Throttled, IotData) => ("ThrottlingException", 429),
        (K::Throttled, Lambda) => ("TooManyRequestsException", 429),
        (K::Throttled, Sns) => ("Throttled", 429),
        (K::Throttled, Sts) => ("Throttling", 400),
        // Only messages of iot-data are confirmed.
        (K::Unconfirmed, _) => ("GatewayTimeoutException", 504),
        (K::UnusableCode, _) => ("InvalidZipFileException", 502),
        (K::NoRuntime, _) => ("InvalidRuntimeException", 502),
        (K::PolicyTooLong, _) => ("PolicyLengthExceededException", 400),

        (K::VersionsLimit, _) => ("VersionsLimitExceededException", 409),
        (K::DeleteConflict, _) => ("DeleteConflictException", 409),
        (K::CertificateState, _) => ("CertificateStateException", 406),
        (K::CertificateValidation, _) => ("CertificateValidationException", 400),
        (K::MalformedPolicy, Sts) => ("MalformedPolicyDocument", 400),
        (K::MalformedPolicy, _) => ("MalformedPolicyException", 400),

        (K::Forbidden, Iot) => ("UnauthorizedException", 401),
        (K::Forbidden, IotData) => ("ForbiddenException", 403),
        (K::Forbidden, Lambda) => ("AccessDeniedException", 403),
        (K::Forbidden, Sns) => ("AuthorizationError", 403),
        (K::Forbidden, Sts) => ("AccessDenied", 403),

        (K::Unavailable, Iot | IotData) => ("ServiceUnavailableException", 503),
        (K::Unavailable, Lambda) => ("ServiceException", 500),
        (K::Unavailable, Sns | Sts) => ("ServiceUnavailable", 503),

        (K::Internal, Iot | IotData) => ("InternalFailureException", 500),
        (K::Internal, Lambda) => ("ServiceException", 500),
        (K::Internal, Sns) => ("InternalError", 500),
        (K::Internal, Sts) => ("InternalFailure", 500),

        (K::UnknownOperation, Iot | IotData | Lambda) => ("UnknownOperationException", 404),
        (K::UnknownOperation, Sns | Sts) => ("InvalidAction", 400),

        (K::NotImplemented, Iot | IotData | Lambda) => ("NotImplementedException", 501),
        (K::NotImplemented, Sns | Sts) => ("NotImplemented", 501),

        (K::Unsigned, Iot | IotData | Lambda) => ("MissingAuthenticationTokenException", 403),
        (K::Unsigned, Sns | Sts) => ("MissingAuthenticationToken", 403),
        (K::IncompleteSignature, Iot | IotData | Lambda) => ("IncompleteSignatureException", 400),
        (K::IncompleteSignature, Sns | Sts) => ("IncompleteSignature", 400),
        (K::SignatureMismatch, Iot | IotData | Lambda) => ("InvalidSignatureException", 403),
        (K::SignatureMismatch, Sns | Sts) => ("SignatureDoesNotMatch", 403),
        (K::UnknownKey, Iot | IotData | Lambda) => ("UnrecognizedClientException", 403),
        (K::UnknownKey, Sns | Sts) => ("InvalidClientTokenId", 403),
        (K::ExpiredToken, Iot | IotData | Lambda) => ("ExpiredTokenException", 403),
        (K::ExpiredToken, Sns | Sts) => ("ExpiredToken", 403),
        // The path-routed services have no name of their own for it: there it is a signature
        // whose time is over.
        (K::StaleSignature, Iot | IotData | Lambda) => ("InvalidSignatureException", 403),
        (K::StaleSignature, Sns | Sts) => ("RequestExpired", 400),
    }
}
