//! The opening handshake of a WebSocket. Source: RFC 6455 4.2.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::{HeaderMap, Request, Response, StatusCode, Version};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::refusal::Refusal;

/// The subprotocol. Source: mqtt-3.1.1 [MQTT-6.0.0-3] [MQTT-6.0.0-4], mqtt-5 [MQTT-6.0.0-3]
/// [MQTT-6.0.0-4].
const SUBPROTOCOL: &str = "mqtt";

/// Length of a key, 16 bytes in base64.
const KEY_LEN: usize = 24;

/// The answer to a request that asks for a WebSocket with MQTT in it.
///
/// # Errors
/// [`Refusal`] if it asks for something else.
pub(super) fn switching<B>(request: &Request<B>) -> Result<Response<Full<Bytes>>, Refusal> {
    let headers = request.headers();
    if request.version() != Version::HTTP_11
        || !has_token(headers, UPGRADE, |token| token.eq_ignore_ascii_case("websocket"))
        || !has_token(headers, CONNECTION, |token| token.eq_ignore_ascii_case("upgrade"))
    {
        return Err(Refusal::Upgrade("it does not ask for a WebSocket"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refusal::WebSocketVersion);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == KEY_LEN);
    let key = key.ok_or(Refusal::Upgrade("it has no key of a WebSocket"))?;
    if !has_token(headers, SEC_WEBSOCKET_PROTOCOL, |token| token == SUBPROTOCOL) {
        return Err(Refusal::Upgrade("it does not offer the subprotocol `mqtt`"));
    }
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
    let accept = accept.map_err(|_| Refusal::Upgrade("its key cannot be answered"))?;
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let told = answer.headers_mut();
    told.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    told.insert(UPGRADE, HeaderValue::from_static("websocket"));
    told.insert(SEC_WEBSOCKET_ACCEPT, accept);
    told.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(answer)
}

/// Whether a list, which may stand in several headers, has an element.
fn has_token(
    headers: &HeaderMap,
    name: hyper::header::HeaderName,
    is_it: impl Fn(&str) -> bool,
) -> bool {
    let lists = headers.get_all(name);
    let mut tokens =
        lists.iter().filter_map(|list| list.to_str().ok()).flat_map(|it| it.split(','));
    tokens.any(|token| is_it(token.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455 1.3, with other values for some of its headers.
    fn check(changed: &[(&'static str, &str)], expected: u16) -> Response<Full<Bytes>> {
        let mut request = Request::get("/mqtt").body(()).unwrap();
        let usual = [
            ("upgrade", "websocket"),
            ("connection", "Upgrade"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "mqtt"),
        ];
        for (name, value) in usual.iter().chain(changed) {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let answer = switching(&request).unwrap_or_else(|refusal| refusal.response("id"));
        assert_eq!(answer.status().as_u16(), expected, "{changed:?}");
        answer
    }

    #[test]
    fn the_key_is_answered_and_the_subprotocol_selected() {
        for changed in [
            &[][..],
            &[("connection", "keep-alive, upgrade"), ("upgrade", "WebSocket")],
            // mqtt-3.1.1 [MQTT-6.0.0-4], mqtt-5 [MQTT-6.0.0-4]
            &[("sec-websocket-protocol", "mqttv3.1, mqtt")],
        ] {
            let answer = check(changed, 101);
            assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
            assert_eq!(answer.headers()["sec-websocket-protocol"], "mqtt");
        }
    }

    #[test]
    fn what_is_no_handshake_with_mqtt_is_refused() {
        for (changed, status) in [
            (("upgrade", "h2c"), 400),
            (("connection", "close"), 400),
            (("sec-websocket-key", "short"), 400),
            (("sec-websocket-protocol", "mqttv3.1"), 400),
            (("sec-websocket-protocol", "MQTT"), 400),
            (("sec-websocket-protocol", ""), 400),
            (("sec-websocket-version", "8"), 426),
        ] {
            check(&[changed], status);
        }
        assert_eq!(
            check(&[("sec-websocket-version", "")], 426).headers()["sec-websocket-version"],
            "13"
        );
    }
}
