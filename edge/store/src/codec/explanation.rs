//! Explanations and evidence as JSON: the store's own form, which nothing else reads.

use std::net::IpAddr;

use picket_model::{Evidence, Explanation, Timestamp, WindowLen};
use rusqlite::Row;
use serde_json::{Value, json};

use crate::codec::column;
use crate::error::StoreError;

/// The stored form of an explanation.
pub(crate) fn to_text(explanation: &Explanation) -> String {
    json!({
        "sentence": explanation.sentence,
        "window_start": explanation.window_start.as_millis(),
        "window_s": explanation.window.as_secs(),
        "early": explanation.early,
        "evidence": evidence_to_json(&explanation.evidence),
    })
    .to_string()
}

/// Reads an explanation from its column.
pub(crate) fn from_row(row: &Row<'_>, column: &'static str) -> Result<Explanation, StoreError> {
    from_json(&column::json(row, column)?)
        .ok_or_else(|| StoreError::Unreadable { column, problem: "no explanation".to_owned() })
}

fn from_json(json: &Value) -> Option<Explanation> {
    Some(Explanation {
        sentence: json["sentence"].as_str()?.to_owned(),
        window_start: time(&json["window_start"])?,
        window: WindowLen::from_secs(u32::try_from(json["window_s"].as_u64()?).ok()?)?,
        early: json["early"].as_bool()?,
        evidence: evidence_from_json(&json["evidence"])?,
    })
}

fn evidence_to_json(evidence: &Evidence) -> Value {
    match evidence {
        Evidence::Messages { count, first_at, last_at, largest_bytes, largest_topic } => json!({
            "kind": "messages",
            "count": count,
            "first_at": first_at.as_millis(),
            "last_at": last_at.as_millis(),
            "largest_bytes": largest_bytes,
            "largest_topic": &**largest_topic,
        }),
        Evidence::Count { count, first_at, last_at } => json!({
            "kind": "count",
            "count": count,
            "first_at": first_at.as_millis(),
            "last_at": last_at.as_millis(),
        }),
        Evidence::Denials { count, first_at, last_at, last_action, last_resource } => json!({
            "kind": "denials",
            "count": count,
            "first_at": first_at.as_millis(),
            "last_at": last_at.as_millis(),
            "last_action": last_action,
            "last_resource": &**last_resource,
        }),
        Evidence::Addresses(addresses) => {
            let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
            json!({ "kind": "addresses", "addresses": texts })
        }
        Evidence::Absence { since } => json!({ "kind": "absence", "since": since.as_millis() }),
        Evidence::Nothing => json!({ "kind": "nothing" }),
    }
}

fn evidence_from_json(json: &Value) -> Option<Evidence> {
    Some(match json["kind"].as_str()? {
        "messages" => Evidence::Messages {
            count: json["count"].as_u64()?,
            first_at: time(&json["first_at"])?,
            last_at: time(&json["last_at"])?,
            largest_bytes: json["largest_bytes"].as_u64()?,
            largest_topic: json["largest_topic"].as_str()?.into(),
        },
        "count" => Evidence::Count {
            count: json["count"].as_u64()?,
            first_at: time(&json["first_at"])?,
            last_at: time(&json["last_at"])?,
        },
        "denials" => Evidence::Denials {
            count: json["count"].as_u64()?,
            first_at: time(&json["first_at"])?,
            last_at: time(&json["last_at"])?,
            last_action: json["last_action"].as_str()?.to_owned(),
            last_resource: json["last_resource"].as_str()?.into(),
        },
        "addresses" => {
            let texts = json["addresses"].as_array()?;
            let parsed: Option<Vec<IpAddr>> =
                texts.iter().map(|text| text.as_str()?.parse().ok()).collect();
            Evidence::Addresses(parsed?)
        }
        "absence" => Evidence::Absence { since: time(&json["since"])? },
        "nothing" => Evidence::Nothing,
        _ => return None,
    })
}

fn time(json: &Value) -> Option<Timestamp> {
    json.as_i64().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let at = Timestamp::from_millis;
        let all = [
            Evidence::Messages {
                count: 9,
                first_at: at(1),
                last_at: at(2),
                largest_bytes: u64::MAX,
                largest_topic: "a/\"b\"".into(),
            },
            Evidence::Count { count: 1, first_at: at(-1), last_at: at(i64::MAX) },
            Evidence::Denials {
                count: 2,
                first_at: at(3),
                last_at: at(4),
                last_action: "iot:Publish".into(),
                last_resource: "x".into(),
            },
            Evidence::Addresses(vec!["192.0.2.1".parse().unwrap(), "::1".parse().unwrap()]),
            Evidence::Absence { since: at(5) },
            Evidence::Nothing,
        ];
        for evidence in all {
            let explanation = Explanation {
                sentence: "3,000 bytes; normal is at most 1,000".to_owned(),
                window_start: at(300_000),
                window: WindowLen::DEFAULT,
                early: true,
                evidence,
            };
            let json = serde_json::from_str(&to_text(&explanation)).unwrap();
            assert_eq!(from_json(&json), Some(explanation));
        }
    }
}
