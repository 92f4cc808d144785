//! Enrolment: a device without a certificate gets one, against a token. Picket's own; AWS calls its
//! like "fleet provisioning by claim".
//!
//! `POST /picket/enroll` is the one request that nobody signs: the token is what it is believed by.
//! `POST` and `GET /picket/enroll-tokens` make and list tokens, signed by the administrator as every
//! other request is.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::http::request::Parts;
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http_body_util::{BodyExt, Limited};
use picket_model::text::{chain, hex};
use picket_model::{CertificateId, CertificateStatus, GroupName, ThingName, Timestamp};
use picket_store::certificates::NewCertificate;
use picket_store::enrollment::{Enrollment, EnrollmentToken, TokenError, TokenHash};
use picket_store::things::NewThing;
use picket_store::{WriteTx, certificates, enrollment, groups, things};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tracing::{error, info};
use x509_parser::oid_registry::OID_X509_COMMON_NAME;
use x509_parser::pem::parse_x509_pem;

use crate::credentials::{Caller, NoRandomness};
use crate::error::{ApiError, ErrorKind};
use crate::input::{in_range, parsed};
use crate::issuer::CertificateInfo;
use crate::limits::{
    ENROLL_BODY_BYTES_MAX, ENROLL_BODY_TIMEOUT, ENROLL_TOKEN_S_MAX, ENROLL_TOKEN_S_MIN,
    ENROLL_TOKEN_USES_MAX,
};
use crate::response::Response;
use crate::service::Service;
use crate::sigv4::Authorization;
use crate::state::ApiState;

/// Random bytes in a token: nobody guesses one, however often it is tried.
const TOKEN_BYTES: usize = 32;

/// What enrolment works with.
#[derive(Clone)]
pub struct Enroll {
    /// What every handler works with.
    pub state: ApiState,
    /// Where devices connect, `HOST:PORT`.
    pub endpoint: String,
    /// Whom they trust to have signed the server's certificate there, in PEM form.
    pub authority_pem: String,
}

/// The routes of enrolment, beside those of [`crate::router`].
pub fn router(enroll: Enroll) -> axum::Router {
    axum::Router::new()
        .route("/picket/enroll", post(enroll_device))
        .route("/picket/enroll-tokens", post(create_token).get(list_tokens))
        .with_state(Arc::new(enroll))
}

async fn enroll_device(
    State(enroll): State<Arc<Enroll>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (_, body) = request.into_parts();
    answered(work(&enroll, body).await)
}

async fn create_token(
    State(enroll): State<Arc<Enroll>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    answered(new_token(&enroll.state, &parts, body).await)
}

async fn list_tokens(
    State(enroll): State<Arc<Enroll>>,
    request: axum::extract::Request,
) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    answered(tokens(&enroll.state, &parts, body).await)
}

/// What a device sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnrollRequest {
    token: String,
    thing_name: String,
    certificate_signing_request: String,
}

/// Makes thing and certificate in one transaction with the token's use, or none of it.
async fn work(enroll: &Enroll, body: Body) -> Result<Response, ApiError> {
    let state = &enroll.state;
    let request: EnrollRequest = read(&read_body(body).await?)?;
    let hash = hash(&request.token);
    let thing = parsed("thingName", &request.thing_name, ThingName::parse)?;
    let now = state.now();
    // Looked at before anything is signed: whoever has no token costs one read.
    state.read(move |tx| enrollment::usable(tx, hash, now).map_err(Into::into)).await?;
    let certificate = state.issuer.sign_request(&request.certificate_signing_request, now)?;
    check_subject(&certificate, &thing)?;
    let answer = json!({
        "thingName": thing.as_str(),
        "certificateArn": state.account.certificate_arn(&certificate.id),
        "certificateId": certificate.id.as_str(),
        "certificatePem": certificate.pem,
        "caPem": enroll.authority_pem,
        "endpoint": enroll.endpoint,
    });
    let id = certificate.id.clone();
    let name = thing.clone();
    let group = state.write(move |tx| admit(tx, hash, &name, certificate, now)).await?;
    info!(
        thing.name = %thing,
        certificate.id = %id,
        token.id = %shown(hash),
        "enrolled `{thing}` into group `{group}`"
    );
    Ok(Response::json(&answer))
}

/// Lets a certificate say nothing but the thing's name: policies may speak of its subject
/// (`${iot:Certificate.Subject.CommonName}`), and a token is no leave to be somebody else.
fn check_subject(certificate: &CertificateInfo, thing: &ThingName) -> Result<(), ApiError> {
    let (_, pem) = parse_x509_pem(certificate.pem.as_bytes()).map_err(ApiError::internal)?;
    let parsed = pem.parse_x509().map_err(ApiError::internal)?;
    let mut names = parsed.subject().iter_attributes();
    let is_thing = names.next().is_some_and(|name| {
        *name.attr_type() == OID_X509_COMMON_NAME && name.as_str() == Ok(thing.as_str())
    });
    if is_thing && names.next().is_none() {
        return Ok(());
    }
    Err(ApiError::invalid(format!(
        "the certificate signing request must have the subject `CN={thing}` and nothing else in it"
    )))
}

/// Spends the token; makes the thing, its certificate, and the bonds between them and the group.
fn admit(
    tx: &mut WriteTx,
    hash: TokenHash,
    thing: &ThingName,
    certificate: CertificateInfo,
    now: Timestamp,
) -> Result<GroupName, ApiError> {
    let id: CertificateId = certificate.id.clone();
    let enrollment = Enrollment { thing: thing.clone(), certificate: id.clone(), at: now };
    let token = enrollment::spend(tx, hash, &enrollment)?;
    let new = NewThing { name: thing.clone(), thing_type: None, attributes: Default::default() };
    things::create(tx, &new, &uuid::Uuid::new_v4().to_string(), now)?;
    let new = NewCertificate {
        id: id.clone(),
        pem: certificate.pem,
        status: CertificateStatus::Active,
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        ca_id: None,
    };
    certificates::register(tx, &new, now)?;
    certificates::attach_thing(tx, &id, thing, false)?;
    groups::add_thing(tx, thing, &token.group)?;
    Ok(token.group)
}

/// What `picket enroll token create` sends.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    thing_group_name: String,
    uses: u64,
    expires_in_seconds: u64,
}

/// Makes a token and gives it out, this once.
async fn new_token(state: &ApiState, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    administrator(state, parts, &body)?;
    let request: TokenRequest = read(&body)?;
    let parse = |name| GroupName::parse(name);
    let group = parsed("thingGroupName", request.thing_group_name.as_str(), parse)?;
    let uses = in_range("uses", request.uses, 1, ENROLL_TOKEN_USES_MAX.into())?;
    let seconds = in_range(
        "expiresInSeconds",
        request.expires_in_seconds,
        ENROLL_TOKEN_S_MIN,
        ENROLL_TOKEN_S_MAX,
    )?;
    let mut bytes = [0; TOKEN_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| ApiError::internal(NoRandomness))?;
    let text = URL_SAFE_NO_PAD.encode(bytes);
    let now = state.now();
    let token = EnrollmentToken {
        hash: hash(&text),
        group,
        uses_max: u32::try_from(uses).unwrap_or(ENROLL_TOKEN_USES_MAX),
        created_at: now,
        expires_at: now.plus_millis(i64::try_from(seconds).unwrap_or(0) * 1_000),
    };
    let mut answer = described(&token, &[]);
    let (id, group) = (shown(token.hash), token.group.clone());
    state.write(move |tx| Ok(enrollment::create(tx, &token)?)).await?;
    info!(token.id = %id, "made an enrollment token for group `{group}`");
    answer["token"] = json!(text);
    Ok(Response::json(&answer))
}

/// Every token that is kept, with its uses.
async fn tokens(state: &ApiState, parts: &Parts, body: Body) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    administrator(state, parts, &body)?;
    let read = state.read(|tx| {
        let tokens = enrollment::list(tx)?.into_iter();
        let with_uses = tokens.map(|token| {
            let uses = enrollment::uses(tx, token.hash)?;
            Ok(described(&token, &uses))
        });
        with_uses.collect::<Result<Vec<Value>, ApiError>>()
    });
    Ok(Response::json(&json!({ "tokens": read.await? })))
}

fn described(token: &EnrollmentToken, uses: &[Enrollment]) -> Value {
    let uses = uses.iter().map(|it| {
        json!({
            "thingName": it.thing.as_str(),
            "certificateId": it.certificate.as_str(),
            "at": it.at.to_string(),
        })
    });
    json!({
        "tokenId": shown(token.hash),
        "thingGroupName": token.group.as_str(),
        "usesMax": token.uses_max,
        "createdAt": token.created_at.to_string(),
        "expiresAt": token.expires_at.to_string(),
        "uses": uses.collect::<Vec<Value>>(),
    })
}

/// Lets nobody through but the administrator: a function's keys must not make devices.
fn administrator(state: &ApiState, parts: &Parts, body: &[u8]) -> Result<(), ApiError> {
    let now = state.now();
    let authorization = Authorization::read(parts, now)?;
    let (secret, caller) = state.credentials.look_up(
        &authorization.access_key_id,
        authorization.session_token.as_deref(),
        now,
    )?;
    authorization.verify(parts, body, &secret)?;
    match caller {
        Caller::Administrator { .. } => Ok(()),
        Caller::Role { .. } => Err(ApiError::new(
            ErrorKind::Forbidden,
            "enrollment tokens are made with the administrator's key",
        )),
    }
}

async fn read_body(body: Body) -> Result<Bytes, ApiError> {
    let read = Limited::new(body, ENROLL_BODY_BYTES_MAX).collect();
    let slow = || ApiError::new(ErrorKind::Slow, "the body did not arrive in time");
    let body = tokio::time::timeout(ENROLL_BODY_TIMEOUT, read).await.map_err(|_| slow())?;
    let bad = || {
        let sentence =
            format!("the body broke off, or is longer than {ENROLL_BODY_BYTES_MAX} bytes");
        ApiError::new(ErrorKind::TooLarge, sentence)
    };
    Ok(body.map_err(|_| bad())?.to_bytes())
}

fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        // The parser's own sentence repeats values, but for this one; a value may be a token.
        let sentence = error.to_string();
        let what =
            if sentence.starts_with("missing field") { &sentence } else { "not as it must be" };
        let at = format!("line {} column {}", error.line(), error.column());
        let what = what.split(" at line").next().unwrap_or_default();
        ApiError::new(ErrorKind::UnreadableBody, format!("the body at {at}: {what}"))
    })
}

fn hash(token: &str) -> TokenHash {
    TokenHash(Sha256::digest(token.as_bytes()).into())
}

/// The beginning of a token's hash: enough to tell tokens apart, and nothing to enrol with.
fn shown(hash: TokenHash) -> String {
    hash.0.get(..4).map(hex).unwrap_or_default()
}

/// The answer; a refusal is logged once, here.
fn answered(result: Result<Response, ApiError>) -> axum::response::Response {
    let id = uuid::Uuid::new_v4().to_string();
    let response = result.unwrap_or_else(|refusal| {
        let message = refusal.message.escape_debug();
        match refusal.kind {
            ErrorKind::Internal | ErrorKind::Unavailable => {
                error!(request.id = %id, "enrolment failed: {}", chain(&refusal));
            }
            _ => info!(request.id = %id, "enrolment was refused: {message}"),
        }
        refusal.response(Service::Iot, &id)
    });
    let mut answer = axum::response::Response::new(Body::from(response.body));
    *answer.status_mut() = response.status;
    *answer.headers_mut() = response.headers;
    // A token and a certificate are for the one who asked.
    answer
        .headers_mut()
        .insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    answer
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Unknown | TokenError::Expired(_) | TokenError::UsedUp(_) => {
                Self::new(ErrorKind::Forbidden, error.to_string())
            }
            TokenError::Registry(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests;
