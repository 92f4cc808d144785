//! One request, from the socket to the answer: authenticate, route, read the body within its
//! bound, verify, answer.

use std::convert::Infallible;
use std::error::Error as _;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use picket_model::text::chain;
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::{debug, error, info, warn};

use crate::credentials::KeyError;
use crate::error::{ApiError, ErrorKind};
use crate::limits::{
    BODY_STALL_TIMEOUT, BODY_TIMEOUT, DRAIN_TIMEOUT, DRAINED_BYTES_MAX, LARGE_BODIES_AT_ONCE,
    LARGE_BODY_BYTES, body_bytes_max,
};
use crate::metrics::Answered;
use crate::request::Request;
use crate::response::Response;
use crate::routes::{Route, by_action, by_path};
use crate::service::{Service, Wire};
use crate::sigv4::{Authorization, SignatureError, query_parameters};
use crate::spec::Status;
use crate::state::ApiState;

/// The API on one port: AWS SDKs, the AWS CLI and functions call it with this server as endpoint.
pub fn router(state: ApiState) -> axum::Router {
    let shared = Shared { state, large_bodies: Semaphore::new(LARGE_BODIES_AT_ONCE) };
    axum::Router::new().fallback(answer).with_state(Arc::new(shared))
}

struct Shared {
    state: ApiState,
    large_bodies: Semaphore,
}

/// What is known of a request while it is worked on, for the answer's form, the log and the count.
struct Progress {
    service: Option<Service>,
    operation: Option<&'static str>,
    /// Whether the body says that it is a form, which tells how to write an error before the
    /// service is known.
    is_form: bool,
    caller: Option<String>,
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    request: axum::extract::Request,
) -> Result<axum::response::Response, Infallible> {
    let id = uuid::Uuid::new_v4().to_string();
    let (parts, mut body) = request.into_parts();
    let is_form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|it| it.as_bytes().starts_with(b"application/x-www-form-urlencoded"));
    let mut progress = Progress { service: None, operation: None, is_form, caller: None };
    let result = work(&shared, &parts, &mut body, &id, &mut progress).await;
    if !body.is_end_stream() {
        tokio::spawn(drain(body));
    }
    let response = match result {
        Ok(response) => response,
        Err(error) => {
            log_refusal(&error, &id, &progress);
            error.response(progress.wire_service(), &id)
        }
    };
    let labels = Answered {
        service: progress.service.map_or("none", Service::scope),
        operation: progress.operation.unwrap_or("none"),
        status: response.status.as_u16(),
    };
    shared.state.metrics.requests.get_or_create(&labels).inc();
    debug!(
        request.id = %id,
        operation.name = labels.operation,
        http.status = labels.status,
        "answered"
    );

    let mut answer = axum::response::Response::new(Body::from(response.body));
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    if let Ok(id) = HeaderValue::from_str(&id) {
        answer.headers_mut().insert("x-amzn-requestid", id);
    }
    Ok(answer)
}

impl Progress {
    /// The service whose spelling an error gets.
    fn wire_service(&self) -> Service {
        match (self.service, self.is_form) {
            (Some(service), _) => service,
            (None, true) => Service::Sts,
            (None, false) => Service::Iot,
        }
    }
}

async fn work(
    shared: &Shared,
    parts: &Parts,
    body: &mut Body,
    id: &str,
    progress: &mut Progress,
) -> Result<Response, ApiError> {
    let state = &shared.state;
    let now = state.now();
    let authorization = Authorization::read(parts, now)?;
    let service = Service::from_scope(&authorization.service).ok_or_else(|| {
        let served: Vec<&str> = Service::ALL.into_iter().map(Service::scope).collect();
        ApiError::new(
            ErrorKind::NotImplemented,
            format!(
                "the service `{}` is not served here; served are {}",
                authorization.service,
                served.join(", ")
            ),
        )
    })?;
    progress.service = Some(service);
    let (secret, caller) = state.credentials.look_up(
        &authorization.access_key_id,
        authorization.session_token.as_deref(),
        now,
    )?;

    let query = query_parameters(parts.uri.query().unwrap_or_default())?;
    let by_path = match service.wire() {
        Wire::RestJson => Some(by_path(service, parts.method.as_str(), parts.uri.path(), &query)),
        Wire::Query => None,
    };
    let expected = match &by_path {
        Some(Ok((route, _))) => route.spec.name.as_str(),
        Some(Err(_)) | None => "",
    };
    let bytes_max = body_bytes_max(service, expected, state.message_bytes_max);
    let (body, _permit) = read_body(shared, parts, body, bytes_max).await?;
    authorization.verify(parts, &body, &secret)?;
    // Not before: a key's id is no secret, and the log must not name who did not call.
    progress.caller = Some(caller.arn(&state.account));

    let (route, labels) = match by_path {
        Some(found) => found?,
        None => (by_form(service, parts, &body)?, Vec::new()),
    };
    progress.operation = Some(&route.spec.name);
    let handler = route.handler.ok_or_else(|| not_done(route))?;
    let request = Request {
        service,
        operation: &route.spec.name,
        id: id.to_owned(),
        caller,
        region: authorization.region,
        headers: parts.headers.clone(),
        body,
        labels,
        query,
    };
    handler(state, request).await
}

/// The route of a query-protocol request: `POST /` with an `Action` in the form.
fn by_form(service: Service, parts: &Parts, body: &[u8]) -> Result<&'static Route, ApiError> {
    if parts.uri.path() != "/" || parts.method != "POST" {
        return Err(ApiError::unknown_operation(format!("{service} takes requests as `POST /`")));
    }
    let action = form_urlencoded::parse(body).find(|(key, _)| key == "Action");
    let (_, action) = action.ok_or_else(|| {
        ApiError::unknown_operation(format!("the form has no `Action`; {service} needs one"))
    })?;
    by_action(service, &action)
}

/// The answer to an operation that is known and not served.
fn not_done(route: &Route) -> ApiError {
    let spec = route.spec;
    let when = match spec.status {
        Status::Done | Status::Later => "not served yet",
        Status::Never => "not served",
    };
    ApiError::new(
        ErrorKind::NotImplemented,
        format!("{} of {} is {when}: {}", spec.name, spec.service, spec.reason),
    )
}

/// The whole body, within `bytes_max`, [`BODY_TIMEOUT`] and [`BODY_STALL_TIMEOUT`], and for a large
/// one the permit to hold it in memory.
async fn read_body<'s>(
    shared: &'s Shared,
    parts: &Parts,
    body: &mut Body,
    bytes_max: usize,
) -> Result<(Bytes, Option<SemaphorePermit<'s>>), ApiError> {
    let too_large = || {
        let message = format!("the body is too large; at most {bytes_max} bytes are allowed");
        ApiError::new(ErrorKind::TooLarge, message)
    };
    let too_slow = || ApiError::new(ErrorKind::Slow, "the body did not arrive in time");
    let announced = parts
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|it| it.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|len| len > bytes_max) {
        return Err(too_large());
    }
    let read = async {
        let mut body = Limited::new(body, bytes_max);
        let mut taken = Vec::new();
        let mut permit = None;
        loop {
            let frame = tokio::time::timeout(BODY_STALL_TIMEOUT, body.frame()).await;
            let data = match frame.map_err(|_| too_slow())? {
                None => return Ok((Bytes::from(taken), permit)),
                Some(Ok(frame)) => frame.into_data().unwrap_or_default(),
                Some(Err(error)) if error.is::<LengthLimitError>() => return Err(too_large()),
                Some(Err(error)) => {
                    let message = format!("the body broke off: {error}");
                    return Err(ApiError::new(ErrorKind::UnreadableBody, message));
                }
            };
            // What is announced and does not come takes no place.
            if permit.is_none() && taken.len() + data.len() > LARGE_BODY_BYTES {
                permit = Some(shared.large_bodies.acquire().await.map_err(ApiError::internal)?);
                taken.reserve(announced.unwrap_or_default().saturating_sub(taken.len()));
            }
            taken.extend_from_slice(&data);
        }
    };
    match tokio::time::timeout(BODY_TIMEOUT, read).await {
        Ok(result) => result,
        Err(_) => Err(too_slow()),
    }
}

/// Takes in and forgets the rest of a body that was refused. A client that sends its whole request
/// before it reads would otherwise see a broken connection instead of the answer.
async fn drain(body: Body) {
    let mut body = Limited::new(body, DRAINED_BYTES_MAX);
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever is slower, or sends more, does see the connection break.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, drained).await;
}

/// Logs a refusal once, with its cause if it is ours.
fn log_refusal(error: &ApiError, id: &str, progress: &Progress) {
    let operation = progress.operation.unwrap_or("none");
    let caller = progress.caller.as_deref().unwrap_or("nobody");
    let message = error.message.escape_debug();
    match error.kind {
        ErrorKind::Internal => {
            let causes = causes(error);
            error!(
                request.id = id,
                operation.name = operation,
                caller.arn = caller,
                "a request failed: {causes}"
            );
        }
        ErrorKind::Unavailable => {
            let causes = causes(error);
            warn!(
                request.id = id,
                operation.name = operation,
                caller.arn = caller,
                "a request could not be answered: {causes}"
            );
        }
        ErrorKind::Unsigned
        | ErrorKind::IncompleteSignature
        | ErrorKind::SignatureMismatch
        | ErrorKind::UnknownKey
        | ErrorKind::ExpiredToken
        | ErrorKind::StaleSignature => {
            info!(request.id = id, caller.arn = caller, "a request was turned away: {message}");
        }
        _ => debug!(
            request.id = id,
            operation.name = operation,
            caller.arn = caller,
            "a request was refused: {message}"
        ),
    }
}

/// The causes of an error, in one line.
fn causes(error: &ApiError) -> String {
    error.source().map(chain).unwrap_or_default().escape_debug().to_string()
}

impl From<SignatureError> for ApiError {
    fn from(error: SignatureError) -> Self {
        let kind = match &error {
            SignatureError::Missing => ErrorKind::Unsigned,
            SignatureError::InQuery
            | SignatureError::Incomplete(_)
            | SignatureError::UnsignedHeader(_) => ErrorKind::IncompleteSignature,
            SignatureError::Payload | SignatureError::Mismatch(_) => ErrorKind::SignatureMismatch,
            SignatureError::Skew { .. } => ErrorKind::StaleSignature,
        };
        ApiError::new(kind, error.to_string())
    }
}

impl From<KeyError> for ApiError {
    fn from(error: KeyError) -> Self {
        let kind = match &error {
            KeyError::Unknown(_) | KeyError::Token(_) => ErrorKind::UnknownKey,
            KeyError::Expired { .. } => ErrorKind::ExpiredToken,
        };
        ApiError::new(kind, error.to_string())
    }
}
