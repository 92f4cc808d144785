//! The payload of a request, within its bounds.

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_LENGTH;
use hyper::http::request::Parts;
use picket_model::limits::MqttLimits;

use super::refusal::Refusal;
use crate::limits::{HTTP_BODY_TIMEOUT, HTTP_DRAIN_TIMEOUT, HTTP_DRAINED_BYTES_MAX};

/// Takes the whole body in.
///
/// # Errors
/// [`Refusal`] if it is too large, too slow, or breaks off.
pub(super) async fn read(
    request: Request<Incoming>,
    limits: &MqttLimits,
) -> Result<(Parts, Bytes), Refusal> {
    let (head, mut body) = request.into_parts();
    let max = limits.payload_bytes_max;
    let announced = head.headers.get(CONTENT_LENGTH).and_then(|it| it.to_str().ok()?.parse().ok());
    if announced.is_some_and(|bytes: u64| bytes > max as u64) {
        drain(body).await;
        return Err(Refusal::TooLarge { max });
    }
    let read = tokio::time::timeout(HTTP_BODY_TIMEOUT, Limited::new(&mut body, max).collect());
    match read.await {
        Ok(Ok(whole)) => Ok((head, whole.to_bytes())),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            drain(body).await;
            Err(Refusal::TooLarge { max })
        }
        Ok(Err(error)) => Err(Refusal::Invalid(format!("the body broke off: {error}"))),
        Err(_) => Err(Refusal::Slow),
    }
}

/// Takes in and forgets what is left of a body.
async fn drain(body: Incoming) {
    let mut body = Limited::new(body, HTTP_DRAINED_BYTES_MAX);
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    // Whoever is slower, or sends more, sees the connection break.
    let _ = tokio::time::timeout(HTTP_DRAIN_TIMEOUT, drained).await;
}
