//! `picket enroll token`: tokens that devices get their first certificate with.

use anyhow::{Context, Result};
use axum::http::Method;
use picket_api::sigv4::Signer;
use serde_json::{Value, json};

use crate::cli::{TokenCommand, TokenCreateArgs};
use crate::client::ApiClient;
use crate::data_dir::DataDir;
use crate::env::EnvError;
use crate::serve::reachable;

/// The service that tokens are signed for; they have no AWS service of their own.
const SERVICE: &str = "iot";

const PATH: &str = "/picket/enroll-tokens";

/// Does what was typed and gives what to print.
///
/// # Errors
/// No server runs on the data directory, or it refuses.
pub(crate) async fn token(command: &TokenCommand) -> Result<String> {
    match command {
        TokenCommand::Create(args) => create(args).await,
        TokenCommand::List { data_dir } => {
            let answer = client(data_dir)?.json(SERVICE, Method::GET, PATH, &Value::Null).await?;
            list(&answer)
        }
    }
}

/// The token alone, for scripts: it is shown this once.
async fn create(args: &TokenCreateArgs) -> Result<String> {
    let body = json!({
        "thingGroupName": args.group,
        "uses": args.uses,
        "expiresInSeconds": args.expires.0,
    });
    let answer = client(&args.data_dir)?.json(SERVICE, Method::POST, PATH, &body).await?;
    let token = answer["token"].as_str().context("the server gave no token")?;
    Ok(format!("{token}\n"))
}

/// One line for each token, and one below it for each use.
fn list(answer: &Value) -> Result<String> {
    let tokens = answer["tokens"].as_array().context("the server gave no list")?;
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let mut lines = String::new();
    for token in tokens {
        let uses = token["uses"].as_array().map_or(&[][..], Vec::as_slice);
        lines += &format!(
            "{}  group {}  used {} of {}  expires {}\n",
            text(&token["tokenId"]),
            text(&token["thingGroupName"]),
            uses.len(),
            token["usesMax"],
            text(&token["expiresAt"]),
        );
        for usage in uses {
            lines += &format!(
                "    {}  {}  certificate {}\n",
                text(&usage["at"]),
                text(&usage["thingName"]),
                text(&usage["certificateId"]),
            );
        }
    }
    Ok(lines)
}

/// A client of the server that runs on a data directory, with the administrator's key.
fn client(data_dir: &std::path::Path) -> Result<ApiClient> {
    let dir = DataDir::at(data_dir);
    let no_server = || EnvError::NoServer { dir: dir.root().to_owned() };
    let endpoints = dir.endpoints()?.ok_or_else(no_server)?;
    let key = dir.administrator()?.ok_or_else(no_server)?;
    let api = endpoints.api.first().ok_or_else(no_server)?;
    Ok(ApiClient::new(
        reachable(*api),
        Signer {
            access_key_id: key.id,
            secret_access_key: key.secret,
            session_token: None,
            region: endpoints.region,
        },
    ))
}

/// A span of time as people type it, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) u64);

/// Reads `90s`, `30m`, `12h`, `7d`.
///
/// # Errors
/// A sentence with an example.
pub(crate) fn parse_seconds(text: &str) -> Result<Seconds, String> {
    let wrong = || "write a number and a unit, such as `90s`, `30m`, `12h` or `7d`".to_owned();
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let digits = text.strip_suffix(unit).unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: Option<u64> = if is_number { digits.parse().ok() } else { None };
    number.and_then(|number| number.checked_mul(factor)).map(Seconds).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_of_time_is_a_number_and_a_unit() {
        for (text, expected) in [
            ("90s", Some(90)),
            ("30m", Some(1_800)),
            ("1h", Some(3_600)),
            ("7d", Some(604_800)),
            ("", None),
            ("h", None),
            ("1", None),
            ("+1h", None),
            ("1.5h", None),
            ("1w", None),
            ("1 h", None),
            ("99999999999999999999h", None),
            ("999999999999999999d", None),
            ("1ä", None),
        ] {
            assert_eq!(parse_seconds(text).ok().map(|s| s.0), expected, "{text}");
        }
    }

    #[test]
    fn tokens_are_listed_with_their_uses() {
        let answer = json!({"tokens": [{
            "tokenId": "01020304", "thingGroupName": "Pumps", "usesMax": 5,
            "createdAt": "t0", "expiresAt": "t1",
            "uses": [{"thingName": "pump-7", "certificateId": "ab", "at": "t2"}],
        }]});
        let expected =
            "01020304  group Pumps  used 1 of 5  expires t1\n    t2  pump-7  certificate ab\n";
        assert_eq!(list(&answer).unwrap(), expected);
    }
}
