//! Certificates.

use picket_model::{Account, Certificate, CertificateStatus};
use picket_store::certificates::{self, NewCertificate};
use serde_json::{Value, json};

use super::names;
use crate::error::{ApiError, ErrorKind};
use crate::input::{invalid_value, one_of, seconds};
use crate::issuer::{CertificateInfo, IssuerError, read_certificate};
use crate::operation::{Operation, operation};
use crate::paging::{PageRequest, with_next};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(crate) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateKeysAndCertificate", create_keys),
    operation!(Iot, "CreateCertificateFromCsr", create_from_csr),
    operation!(Iot, "RegisterCertificateWithoutCA", register_without_ca),
    operation!(Iot, "DescribeCertificate", describe),
    operation!(Iot, "UpdateCertificate", update),
    operation!(Iot, "DeleteCertificate", delete),
    operation!(Iot, "ListCertificates", list),
];

/// Source: aws `CertificateStatus`.
const STATUSES: [(&str, CertificateStatus); 6] = {
    use CertificateStatus as S;
    [
        (S::Active.as_str(), S::Active),
        (S::Inactive.as_str(), S::Inactive),
        (S::Revoked.as_str(), S::Revoked),
        (S::PendingTransfer.as_str(), S::PendingTransfer),
        (S::RegisterInactive.as_str(), S::RegisterInactive),
        (S::PendingActivation.as_str(), S::PendingActivation),
    ]
};

impl From<IssuerError> for ApiError {
    fn from(error: IssuerError) -> Self {
        match &error {
            IssuerError::Request(_) => ApiError::invalid(error),
            IssuerError::Certificate(_) => {
                ApiError::new(ErrorKind::CertificateValidation, error.to_string())
            }
            IssuerError::Key(_)
            | IssuerError::Name { .. }
            | IssuerError::Crypto(_)
            | IssuerError::NoRandomness => ApiError::internal(error),
        }
    }
}

/// Registers a certificate that was made or read, and names it.
async fn register(
    state: &ApiState,
    info: CertificateInfo,
    status: CertificateStatus,
) -> Result<Value, ApiError> {
    let now = state.now();
    let new = NewCertificate {
        id: info.id,
        pem: info.pem,
        status,
        not_before: info.not_before,
        not_after: info.not_after,
        ca_id: None,
    };
    let certificate = state.write(move |tx| Ok(certificates::register(tx, &new, now)?)).await?;
    Ok(json!({
        "certificateArn": state.account.certificate_arn(&certificate.id),
        "certificateId": certificate.id.as_str(),
    }))
}

fn active_or_not(request: &Request) -> Result<CertificateStatus, ApiError> {
    Ok(match request.query_bool("setAsActive")? {
        Some(true) => CertificateStatus::Active,
        Some(false) | None => CertificateStatus::Inactive,
    })
}

/// aws: CreateKeysAndCertificate. The private key is given out once and kept nowhere.
async fn create_keys(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let status = active_or_not(&request)?;
    let (issuer, now) = (state.issuer.clone(), state.now());
    let made = tokio::task::spawn_blocking(move || issuer.device_certificate(now))
        .await
        .map_err(ApiError::internal)??;
    let pem = made.certificate.pem.clone();
    let mut answer = register(state, made.certificate, status).await?;
    answer["certificatePem"] = json!(pem);
    answer["keyPair"] =
        json!({ "PublicKey": made.public_key_pem, "PrivateKey": made.private_key_pem });
    Ok(Response::json(&answer))
}

/// aws: CreateCertificateFromCsr
async fn create_from_csr(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let status = active_or_not(&request)?;
    let members = request.members()?;
    let csr = members.required_str("certificateSigningRequest")?;
    let made = state.issuer.sign_request(csr, state.now())?;
    let pem = made.pem.clone();
    let mut answer = register(state, made, status).await?;
    answer["certificatePem"] = json!(pem);
    Ok(Response::json(&answer))
}

/// aws: RegisterCertificateWithoutCA. Being registered is the trust: no chain is asked for.
async fn register_without_ca(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let status = match members.str("status")? {
        None => CertificateStatus::Inactive,
        Some(text) => one_of("status", text, &STATUSES)?,
    };
    if !matches!(
        status,
        CertificateStatus::Active | CertificateStatus::Inactive | CertificateStatus::Revoked
    ) {
        let rule = "Member must be ACTIVE, INACTIVE or REVOKED at registration";
        return Err(invalid_value(status.as_str(), "status", rule));
    }
    let info = read_certificate(members.required_str("certificatePem")?)?;
    let now = state.now();
    if now < info.not_before || now > info.not_after {
        let sentence = format!(
            "the certificate is valid from {} until {}; it is {now} now",
            info.not_before, info.not_after
        );
        return Err(ApiError::new(ErrorKind::CertificateValidation, sentence));
    }
    Ok(Response::json(&register(state, info, status).await?))
}

/// aws: DescribeCertificate
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = names::certificate_id("certificateId", request.label("certificateId")?)?;
    let certificate = state.read(move |tx| Ok(certificates::get(tx, &id)?)).await?;
    let mut description = summary(&state.account, &certificate);
    description["certificatePem"] = json!(certificate.pem);
    description["ownedBy"] = json!(state.account.id);
    description["lastModifiedDate"] = seconds(certificate.modified_at);
    description["customerVersion"] = json!(1);
    description["generationId"] = json!(certificate.modified_at.as_millis().to_string());
    description["validity"] = json!({
        "notBefore": seconds(certificate.not_before),
        "notAfter": seconds(certificate.not_after),
    });
    if let Some(ca) = &certificate.ca_id {
        description["caCertificateId"] = json!(ca.as_str());
    }
    Ok(Response::json(&json!({ "certificateDescription": description })))
}

/// What ListCertificates says of a certificate.
fn summary(account: &Account, certificate: &Certificate) -> Value {
    json!({
        "certificateArn": account.certificate_arn(&certificate.id),
        "certificateId": certificate.id.as_str(),
        "status": certificate.status.as_str(),
        "certificateMode": if certificate.ca_id.is_some() { "DEFAULT" } else { "SNI_ONLY" },
        "creationDate": seconds(certificate.created_at),
    })
}

/// aws: UpdateCertificate
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = names::certificate_id("certificateId", request.label("certificateId")?)?;
    let status = one_of("newStatus", request.query_required("newStatus")?, &STATUSES)?;
    let now = state.now();
    state.write(move |tx| Ok(certificates::set_status(tx, &id, status, now)?)).await?;
    Ok(Response::empty())
}

/// aws: DeleteCertificate
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let id = names::certificate_id("certificateId", request.label("certificateId")?)?;
    let force = request.query_bool("forceDelete")?.unwrap_or(false);
    state.write(move |tx| Ok(certificates::delete(tx, &id, force)?)).await?;
    Ok(Response::empty())
}

/// aws: ListCertificates
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let ascending = request.query_bool("isAscendingOrder")?.unwrap_or(false);
    let page = PageRequest::marker(&request)?.of_store();
    let found = state.read(move |tx| Ok(certificates::list(tx, ascending, &page)?)).await?;
    let list: Vec<Value> = found.items.iter().map(|it| summary(&state.account, it)).collect();
    Ok(Response::json(&with_next(json!({ "certificates": list }), "nextMarker", found.next)))
}
