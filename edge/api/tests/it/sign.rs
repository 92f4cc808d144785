//! Signs requests, written apart from the server's own reading of the rules: it builds the
//! canonical form from the parts of a request instead of taking a request apart.

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// What a request is made of, before it is written down.
pub(crate) struct Unsigned<'a> {
    pub(crate) method: &'a str,
    /// Percent-encoded, as it goes on the wire.
    pub(crate) path: &'a str,
    /// Percent-encoded pairs.
    pub(crate) query: &'a str,
    /// Lower-case names, `host` among them.
    pub(crate) headers: &'a [(String, String)],
    pub(crate) body: &'a [u8],
}

/// With whose key, and for what.
pub(crate) struct Scope<'a> {
    pub(crate) key: &'a str,
    pub(crate) secret: &'a str,
    /// `20270115T080000Z`
    pub(crate) date: &'a str,
    pub(crate) region: &'a str,
    pub(crate) service: &'a str,
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// The value of the `Authorization` header.
pub(crate) fn authorization(request: &Unsigned<'_>, scope: &Scope<'_>) -> String {
    let mut headers = request.headers.to_vec();
    headers.sort();
    let names: Vec<&str> = headers.iter().map(|(name, _)| name.as_str()).collect();
    let names = names.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let mut query: Vec<String> = request
        .query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    query.sort();
    let canonical = [
        request.method,
        // On the wire the path is encoded once; it is signed encoded twice.
        &request.path.replace('%', "%25").replace(':', "%3A"),
        &query.join("&"),
        &lines,
        &names,
        &hex(Sha256::digest(request.body)),
    ]
    .join("\n");
    let day = &scope.date[..8];
    let place = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let text = ["AWS4-HMAC-SHA256", scope.date, &place, &hex(Sha256::digest(canonical))].join("\n");
    let key = hmac(format!("AWS4{}", scope.secret).as_bytes(), day);
    let key = [scope.region, scope.service, "aws4_request"]
        .into_iter()
        .fold(key, |key, part| hmac(&key, part));
    format!(
        "AWS4-HMAC-SHA256 Credential={}/{place}, SignedHeaders={names}, Signature={}",
        scope.key,
        hex(hmac(&key, &text))
    )
}
