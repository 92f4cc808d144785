//! Which certificates are attached to which things.

use picket_model::{CertificateId, ThingName};
use picket_store::{ReadTx, certificates, things};
use serde_json::{Value, json};

use super::names;
use crate::error::ApiError;
use crate::input::one_of;
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "AttachThingPrincipal", attach),
    operation!(Iot, "DetachThingPrincipal", detach),
    operation!(Iot, "ListThingPrincipals", list_principals),
    operation!(Iot, "ListThingPrincipalsV2", list_principals_v2),
    operation!(Iot, "ListPrincipalThings", list_things),
    operation!(Iot, "ListPrincipalThingsV2", list_things_v2),
];

/// The header that carries the principal.
const PRINCIPAL: &str = "x-amzn-principal";

/// Source: aws `ThingPrincipalType`. Whether a certificate is bound to one thing.
const TYPES: [(&str, bool); 2] = [("EXCLUSIVE_THING", true), ("NON_EXCLUSIVE_THING", false)];

const fn type_name(is_exclusive: bool) -> &'static str {
    if is_exclusive { TYPES[0].0 } else { TYPES[1].0 }
}

fn principal(state: &ApiState, request: &Request) -> Result<CertificateId, ApiError> {
    names::principal(&state.account, "principal", request.header_required(PRINCIPAL, "principal")?)
}

fn wanted_type(request: &Request) -> Result<Option<bool>, ApiError> {
    let text = request.query("thingPrincipalType");
    text.map(|text| one_of("thingPrincipalType", text, &TYPES)).transpose()
}

/// aws: AttachThingPrincipal
async fn attach(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let thing = names::thing("thingName", request.label("thingName")?)?;
    let certificate = principal(state, &request)?;
    let exclusive = wanted_type(&request)?.unwrap_or(false);
    state
        .write(move |tx| Ok(certificates::attach_thing(tx, &certificate, &thing, exclusive)?))
        .await?;
    Ok(Response::empty())
}

/// aws: DetachThingPrincipal
async fn detach(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let thing = names::thing("thingName", request.label("thingName")?)?;
    let certificate = principal(state, &request)?;
    state.write(move |tx| Ok(certificates::detach_thing(tx, &certificate, &thing)?)).await?;
    Ok(Response::empty())
}

/// Certificates of a thing, each with whether it is bound to it.
fn principals(
    tx: &ReadTx,
    thing: &ThingName,
    wanted: Option<bool>,
) -> Result<Vec<(CertificateId, bool)>, ApiError> {
    things::get(tx, thing)?;
    let mut found = Vec::new();
    for certificate in certificates::principals_of(tx, thing)? {
        let is_exclusive = certificates::exclusivity(tx, &certificate, thing)?.unwrap_or(false);
        if wanted.is_none_or(|wanted| wanted == is_exclusive) {
            found.push((certificate, is_exclusive));
        }
    }
    Ok(found)
}

/// Things of a certificate, each with whether it is bound to it.
fn things_of(
    tx: &ReadTx,
    certificate: &CertificateId,
    wanted: Option<bool>,
) -> Result<Vec<(ThingName, bool)>, ApiError> {
    certificates::get(tx, certificate)?;
    let mut found = Vec::new();
    for thing in certificates::things_of(tx, certificate)? {
        let is_exclusive = certificates::exclusivity(tx, certificate, &thing)?.unwrap_or(false);
        if wanted.is_none_or(|wanted| wanted == is_exclusive) {
            found.push((thing, is_exclusive));
        }
    }
    Ok(found)
}

async fn page_of_principals(
    state: &ApiState,
    request: &Request,
    member: &str,
    show: impl Fn(String, bool) -> Value,
) -> Result<Response, ApiError> {
    let thing = names::thing("thingName", request.label("thingName")?)?;
    let (page, wanted) = (PageRequest::next_token(request)?, wanted_type(request)?);
    let found = state.read(move |tx| principals(tx, &thing, wanted)).await?;
    let (found, next) = page.cut(found, |(certificate, _)| certificate.to_string())?;
    let show = |(id, is_exclusive): &(CertificateId, bool)| {
        show(state.account.certificate_arn(id), *is_exclusive)
    };
    let list: Vec<Value> = found.iter().map(show).collect();
    Ok(Response::json(&with_next(json!({ member: list }), "nextToken", next)))
}

async fn page_of_things(
    state: &ApiState,
    request: &Request,
    member: &str,
    show: impl Fn(&ThingName, bool) -> Value,
) -> Result<Response, ApiError> {
    let certificate = principal(state, request)?;
    let (page, wanted) = (PageRequest::next_token(request)?, wanted_type(request)?);
    let found = state.read(move |tx| things_of(tx, &certificate, wanted)).await?;
    let (found, next) = page.cut(found, |(thing, _)| thing.to_string())?;
    let list: Vec<Value> = found.iter().map(|(thing, it)| show(thing, *it)).collect();
    Ok(Response::json(&with_next(json!({ member: list }), "nextToken", next)))
}

/// aws: ListThingPrincipals
async fn list_principals(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    page_of_principals(state, &request, "principals", |arn, _| json!(arn)).await
}

/// aws: ListThingPrincipalsV2
async fn list_principals_v2(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let show = |arn: String, is_exclusive| json!({ "principal": arn, "thingPrincipalType": type_name(is_exclusive) });
    page_of_principals(state, &request, "thingPrincipalObjects", show).await
}

/// aws: ListPrincipalThings
async fn list_things(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    page_of_things(state, &request, "things", |thing, _| json!(thing.as_str())).await
}

/// aws: ListPrincipalThingsV2
async fn list_things_v2(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let show = |thing: &ThingName, is_exclusive| json!({ "thingName": thing.as_str(), "thingPrincipalType": type_name(is_exclusive) });
    page_of_things(state, &request, "principalThingObjects", show).await
}
