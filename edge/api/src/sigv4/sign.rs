//! Signs requests, for this program's own calls of the API: the demo, functions that are an
//! executable of ours, the benchmark.

use axum::http::HeaderValue;
use axum::http::request::Parts;
use picket_model::Timestamp;
use picket_model::text::hex;
use sha2::{Digest, Sha256};

use super::{Authorization, SignatureError, incomplete};
use crate::credentials::mac;

/// Keys, and what they sign for.
#[derive(Clone)]
pub struct Signer {
    /// Whose key.
    pub access_key_id: String,
    /// The secret that belongs to it.
    pub secret_access_key: String,
    /// The session token, for keys for a while.
    pub session_token: Option<String>,
    /// For which region.
    pub region: String,
}

impl Signer {
    /// Signs a request to `service` and adds the headers that say so.
    ///
    /// `parts` must have its `host` header, and every header that is to be signed.
    ///
    /// # Errors
    /// [`SignatureError::Incomplete`] if a header is not text.
    pub fn sign(
        &self,
        parts: &mut Parts,
        body: &[u8],
        service: &str,
        now: Timestamp,
    ) -> Result<(), SignatureError> {
        let amz_date: String =
            now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).take(15).collect();
        let amz_date = format!("{amz_date}Z");
        insert(parts, "x-amz-date", &amz_date)?;
        if let Some(token) = &self.session_token {
            insert(parts, "x-amz-security-token", token)?;
        }
        let mut signed_headers: Vec<String> =
            parts.headers.keys().map(|name| name.as_str().to_owned()).collect();
        signed_headers.sort();
        let mut authorization = Authorization {
            access_key_id: self.access_key_id.clone(),
            region: self.region.clone(),
            service: service.to_owned(),
            session_token: self.session_token.clone(),
            signed_at: now,
            amz_date,
            signed_headers,
            signature: [0; 32],
        };
        let payload = hex(&Sha256::digest(body));
        authorization.signature = mac(
            &authorization.signing_key(&self.secret_access_key),
            &[authorization.text_to_sign(parts, &payload)?.as_bytes()],
        );
        let header = format!(
            "AWS4-HMAC-SHA256 Credential={}/{}/{}/{service}/aws4_request, SignedHeaders={}, \
             Signature={}",
            self.access_key_id,
            authorization.date(),
            self.region,
            authorization.signed_headers.join(";"),
            hex(&authorization.signature)
        );
        insert(parts, "authorization", &header)
    }
}

fn insert(parts: &mut Parts, name: &'static str, value: &str) -> Result<(), SignatureError> {
    let value = HeaderValue::from_str(value)
        .map_err(|_| incomplete(&format!("header {name} cannot hold its value")))?;
    parts.headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    #[test]
    fn what_is_signed_here_is_verified_here_and_nothing_else() {
        let now = Timestamp::from_secs(1_795_169_100);
        let signer = Signer {
            access_key_id: "AKIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "secret".to_owned(),
            session_token: Some("token".to_owned()),
            region: "eu-west-1".to_owned(),
        };
        let request = Request::post("/topics/a%2Fb?qos=1&x=%20").header("host", "localhost:8080");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        signer.sign(&mut parts, b"body", "iotdata", now).unwrap();

        let read = Authorization::read(&parts, now + 60_000).unwrap();
        assert_eq!((read.service.as_str(), read.region.as_str()), ("iotdata", "eu-west-1"));
        assert_eq!(read.verify(&parts, b"body", "secret"), Ok(()));
        assert!(read.verify(&parts, b"other", "secret").is_err());
        assert!(read.verify(&parts, b"body", "other").is_err());
    }
}
