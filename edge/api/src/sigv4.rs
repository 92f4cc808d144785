//! Verifies AWS Signature Version 4 of requests signed in the `Authorization` header.
//!
//! In two steps, so that nobody can make the server read a body without naming a key that exists:
//! [`Authorization`] is read and judged from the headers alone, [`Authorization::verify`] then
//! compares with the body at hand. Signed query strings (presigned URLs) are refused: no operation
//! here needs them.
//!
//! Source: AWS General Reference, "Signature Version 4 signing process"; where that is silent,
//! what botocore does.

use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use picket_model::Timestamp;
use picket_model::text::{from_hex, hex};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::credentials::{is_mac, mac};
use crate::limits::{
    AUTHORIZATION_BYTES_MAX, CLOCK_SKEW_MS_MAX, QUERY_PARAMETERS_MAX, SIGNED_HEADERS_MAX,
};

/// Everything but the characters that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The same for a path, whose slashes stay.
const ENCODED_PATH: &AsciiSet = &ENCODED.remove(b'/');

/// Why a request's signature is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// There is none.
    #[error(
        "the request is not signed; sign it with AWS Signature Version 4 (every AWS SDK and the AWS CLI do) and the keys that `picket env` prints"
    )]
    Missing,
    /// It is in the query.
    #[error("the request is signed in its query; sign it in the Authorization header instead")]
    InQuery,
    /// It is not of the form it must be.
    #[error("the Authorization header is not complete: {0}")]
    Incomplete(String),
    /// A header that carries meaning is outside the signature.
    #[error("header `{0}` is not signed; add it to SignedHeaders")]
    UnsignedHeader(String),
    /// The body is outside the signature.
    #[error("x-amz-content-sha256 is not the SHA-256 of the body; sign the payload")]
    Payload,
    /// Signed too long ago, or in the future.
    #[error(
        "the request was signed at {signed_at} and it is {now} here; more than 5 minutes apart: set the caller's clock"
    )]
    Skew {
        /// The time in the signature.
        signed_at: Timestamp,
        /// The time here.
        now: Timestamp,
    },
    /// It is not the one of this request and this key.
    #[error(
        "the signature is not the one of this request and access key `{0}`; check the secret key, and that nothing between here and there changes the request"
    )]
    Mismatch(String),
}

/// What the headers say about who signed the request, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// Whose key.
    pub access_key_id: String,
    /// For which region.
    pub region: String,
    /// For which service.
    pub service: String,
    /// The session token, for keys for a while.
    pub session_token: Option<String>,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// `x-amz-date` as sent.
    amz_date: String,
    /// Lower case, in order.
    signed_headers: Vec<String>,
    signature: [u8; 32],
}

impl Authorization {
    /// Reads and judges what the headers say; the body is not needed yet.
    ///
    /// # Errors
    /// [`SignatureError`], but neither `Payload` nor `Mismatch`.
    pub fn read(parts: &Parts, now: Timestamp) -> Result<Self, SignatureError> {
        let headers = &parts.headers;
        let Some(text) = single(headers, "authorization")? else {
            let query = parts.uri.query().unwrap_or_default();
            let is_presigned = query.split('&').any(|pair| {
                pair.split('=')
                    .next()
                    .is_some_and(|key| key.eq_ignore_ascii_case("x-amz-signature"))
            });
            return Err(if is_presigned {
                SignatureError::InQuery
            } else {
                SignatureError::Missing
            });
        };
        if text.len() > AUTHORIZATION_BYTES_MAX {
            return Err(incomplete("it is too long"));
        }
        let fields = text
            .strip_prefix("AWS4-HMAC-SHA256")
            .filter(|rest| rest.starts_with([' ', '\t']))
            .ok_or_else(|| incomplete("it does not begin with AWS4-HMAC-SHA256"))?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').unwrap_or((field.trim(), ""));
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => {
                    return Err(incomplete(
                        "it has a field besides Credential, SignedHeaders and Signature",
                    ));
                }
            };
            if slot.replace(value).is_some() {
                return Err(incomplete(&format!("{name} is given twice")));
            }
        }
        let missing = |name: &str| incomplete(&format!("{name} is missing"));
        let credential = credential.ok_or_else(|| missing("Credential"))?;
        let signed_headers = signed_headers.ok_or_else(|| missing("SignedHeaders"))?;
        let signature = signature.ok_or_else(|| missing("Signature"))?;

        let scope: Vec<&str> = credential.split('/').collect();
        let [access_key_id, date, region, service, "aws4_request"] = scope[..] else {
            return Err(incomplete("Credential is not KEY/DATE/REGION/SERVICE/aws4_request"));
        };
        let is_plain = |text: &str, max: usize| {
            (1..=max).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        };
        if !is_plain(access_key_id, 128) || !is_plain(region, 64) || !is_plain(service, 64) {
            return Err(incomplete(
                "Credential has a part that is empty, too long, or has odd characters",
            ));
        }

        let amz_date = single(headers, "x-amz-date")?
            .ok_or_else(|| incomplete("header x-amz-date is missing"))?;
        let signed_at = parse_amz_date(amz_date)
            .ok_or_else(|| incomplete("x-amz-date is not of the form 20261120T100500Z"))?;
        if amz_date.get(..8) != Some(date) {
            return Err(incomplete("the date in Credential is not the one of x-amz-date"));
        }
        if now.millis_since(signed_at).saturating_abs() > CLOCK_SKEW_MS_MAX {
            return Err(SignatureError::Skew { signed_at, now });
        }

        let signed_headers: Vec<String> = signed_headers.split(';').map(str::to_owned).collect();
        if signed_headers.len() > SIGNED_HEADERS_MAX {
            return Err(incomplete("SignedHeaders has too many headers"));
        }
        if !signed_headers.is_sorted() {
            return Err(incomplete("SignedHeaders is not in order"));
        }
        let has_host = headers.contains_key(header::HOST) || parts.uri.authority().is_some();
        let is_there = |name: &str| headers.contains_key(name) || (name == "host" && has_host);
        if let Some(name) = signed_headers.iter().find(|name| !is_there(name)) {
            let name: String = name.chars().take(100).collect();
            return Err(incomplete(&format!(
                "signed header `{}` is not there",
                name.escape_debug()
            )));
        }
        // Whatever these headers say, nobody on the way may change it. x-amzn-trace-id is set by
        // load balancers, and SDKs leave it out.
        let must_be_signed = headers
            .keys()
            .map(|name| name.as_str())
            .filter(|name| name.starts_with("x-amz-") || name.starts_with("x-amzn-"))
            .filter(|name| *name != "x-amzn-trace-id")
            .chain(["host"])
            .find(|name| !signed_headers.iter().any(|signed| signed == name));
        if let Some(name) = must_be_signed {
            return Err(SignatureError::UnsignedHeader(name.to_owned()));
        }

        Ok(Self {
            access_key_id: access_key_id.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            session_token: single(headers, "x-amz-security-token")?.map(str::to_owned),
            signed_at,
            amz_date: amz_date.to_owned(),
            signed_headers,
            signature: from_hex(signature)
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| incomplete("Signature is not 64 hex digits"))?,
        })
    }

    /// Compares the signature with the one that `secret` gives for this request.
    ///
    /// The comparison takes the same time wherever the difference lies.
    ///
    /// # Errors
    /// [`SignatureError`].
    pub fn verify(&self, parts: &Parts, body: &[u8], secret: &str) -> Result<(), SignatureError> {
        let payload = hex(&Sha256::digest(body));
        if single(&parts.headers, "x-amz-content-sha256")?.is_some_and(|claimed| claimed != payload)
        {
            return Err(SignatureError::Payload);
        }
        let key = self.signing_key(secret);
        if is_mac(&key, &[self.text_to_sign(parts, &payload)?.as_bytes()], &self.signature) {
            Ok(())
        } else {
            Err(SignatureError::Mismatch(self.access_key_id.clone()))
        }
    }

    /// The day of the signature, `20261120`.
    fn date(&self) -> &str {
        self.amz_date.get(..8).unwrap_or_default()
    }

    /// What the signature is a MAC of.
    fn text_to_sign(&self, parts: &Parts, payload: &str) -> Result<String, SignatureError> {
        let canonical = self.canonical_request(parts, payload)?;
        let scope = format!("{}/{}/{}/aws4_request", self.date(), self.region, self.service);
        let digest = hex(&Sha256::digest(canonical.as_bytes()));
        Ok(format!("AWS4-HMAC-SHA256\n{}\n{scope}\n{digest}", self.amz_date))
    }

    /// The key of the MAC: good for one day, region and service.
    fn signing_key(&self, secret: &str) -> [u8; 32] {
        let key = mac(format!("AWS4{secret}").as_bytes(), &[self.date().as_bytes()]);
        let key = mac(&key, &[self.region.as_bytes()]);
        let key = mac(&key, &[self.service.as_bytes()]);
        mac(&key, &[b"aws4_request"])
    }

    /// The text that is signed, in its canonical form.
    fn canonical_request(&self, parts: &Parts, payload: &str) -> Result<String, SignatureError> {
        let mut text = format!(
            "{}\n{}\n{}\n",
            parts.method,
            canonical_path(parts.uri.path()),
            canonical_query(parts.uri.query().unwrap_or_default())
        );
        for name in &self.signed_headers {
            text.push_str(name);
            text.push(':');
            text.push_str(&canonical_header(parts, name)?);
            text.push('\n');
        }
        text.push('\n');
        text.push_str(&self.signed_headers.join(";"));
        text.push('\n');
        text.push_str(payload);
        Ok(text)
    }
}

/// Parameters of a query, percent-decoded. A `+` is a plus: SDKs write a space as `%20`.
///
/// # Errors
/// [`SignatureError::Incomplete`] if there are too many.
pub fn query_parameters(query: &str) -> Result<Vec<(String, String)>, SignatureError> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .take(QUERY_PARAMETERS_MAX + 1)
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (decode(key), decode(value)))
        .collect();
    if pairs.len() > QUERY_PARAMETERS_MAX {
        return Err(incomplete("the query has too many parameters"));
    }
    Ok(pairs)
}

/// The path as sent, without `.`, `..` and empty segments, encoded once more.
///
/// All services but S3 sign the path twice encoded, once on the wire and once here.
fn canonical_path(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    let mut normal = format!("/{}", segments.join("/"));
    if normal.len() > 1 && path.ends_with('/') {
        normal.push('/');
    }
    utf8_percent_encode(&normal, ENCODED_PATH).to_string()
}

/// The query's parameters, decoded, encoded in the one canonical way, and sorted.
fn canonical_query(query: &str) -> String {
    let normal = |text: &str| -> String {
        percent_encoding::percent_encode(&percent_decode_str(text).collect::<Vec<u8>>(), ENCODED)
            .to_string()
    };
    let mut pairs: Vec<(String, String)> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(key, value)| (normal(key), normal(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<String> =
        pairs.into_iter().map(|(key, value)| format!("{key}={value}")).collect();
    pairs.join("&")
}

/// All values of a header, in their order, runs of white space made one space.
fn canonical_header(parts: &Parts, name: &str) -> Result<String, SignatureError> {
    let mut values = Vec::new();
    for value in parts.headers.get_all(name) {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| incomplete(&format!("signed header `{name}` is not UTF-8")))?;
        values.push(text.split_ascii_whitespace().collect::<Vec<_>>().join(" "));
    }
    // HTTP/2 has the host in the request line.
    if values.is_empty()
        && let Some(authority) = parts.uri.authority()
    {
        values.push(authority.to_string());
    }
    Ok(values.join(","))
}

/// A header that may be there once, as text.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, SignatureError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(incomplete(&format!("header {name} is there twice")));
    }
    value
        .to_str()
        .map(|text| Some(text.trim()))
        .map_err(|_| incomplete(&format!("header {name} is not text")))
}

fn incomplete(reason: &str) -> SignatureError {
    SignatureError::Incomplete(reason.to_owned())
}

/// `20261120T100500Z`.
fn parse_amz_date(text: &str) -> Option<Timestamp> {
    let is_shaped = text.len() == 16
        && text.bytes().enumerate().all(|(n, byte)| match n {
            8 => byte == b'T',
            15 => byte == b'Z',
            _ => byte.is_ascii_digit(),
        });
    if !is_shaped {
        return None;
    }
    let at = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let at = at.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp::from_millis(at.timestamp().as_millisecond()))
}

mod sign;

pub use sign::Signer;

#[cfg(test)]
mod tests;
