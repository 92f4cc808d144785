//! Explanations and evidence as JSON: the store's own form, which nothing else reads.

use std::net::{IpAddr, SocketAddr};

use picket_model::wire::{metric_value_from_json, quantity_to_json};
use picket_model::{
    Evidence, Explanation, MetricValue, Note, NoteKind, Percentile, Quantity, Timestamp, WindowLen,
};
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
        "notes": explanation.notes.iter().map(note_to_json).collect::<Vec<_>>(),
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
        notes: match json.get("notes") {
            // Before there were notes nothing was written.
            None => Vec::new(),
            Some(notes) => notes.as_array()?.iter().map(note_from_json).collect::<Option<_>>()?,
        },
    })
}

fn note_to_json(note: &Note) -> Value {
    json!({ "kind": note.kind.as_str(), "sentence": note.sentence })
}

fn note_from_json(json: &Value) -> Option<Note> {
    Some(Note {
        kind: NoteKind::parse(json["kind"].as_str()?)?,
        sentence: json["sentence"].as_str()?.to_owned(),
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
        Evidence::Reports { count, first_at, last_at, last_id } => json!({
            "kind": "reports",
            "count": count,
            "first_at": first_at.as_millis(),
            "last_at": last_at.as_millis(),
            "last_id": last_id,
        }),
        Evidence::ListeningPorts(ports) => {
            let ports: Vec<Value> =
                ports.iter().map(|(port, interface)| json!([port, interface])).collect();
            json!({ "kind": "listening-ports", "ports": ports })
        }
        Evidence::Destinations(remotes) => {
            let texts: Vec<String> = remotes.iter().map(SocketAddr::to_string).collect();
            json!({ "kind": "destinations", "remotes": texts })
        }
        Evidence::Fleet { value, percentile, limit, devices } => json!({
            "kind": "fleet",
            "value": quantity_to_json(*value),
            "percentile": percentile.as_str(),
            "limit": quantity_to_json(*limit),
            "devices": devices,
        }),
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
        "reports" => Evidence::Reports {
            count: json["count"].as_u64()?,
            first_at: time(&json["first_at"])?,
            last_at: time(&json["last_at"])?,
            last_id: json["last_id"].as_u64()?,
        },
        "listening-ports" => {
            let ports = json["ports"].as_array()?.iter().map(listening_port_from_json);
            Evidence::ListeningPorts(ports.collect::<Option<_>>()?)
        }
        "destinations" => {
            let texts = json["remotes"].as_array()?;
            let parsed: Option<Vec<SocketAddr>> =
                texts.iter().map(|text| text.as_str()?.parse().ok()).collect();
            Evidence::Destinations(parsed?)
        }
        "fleet" => Evidence::Fleet {
            value: quantity(&json["value"])?,
            percentile: Percentile::parse(json["percentile"].as_str()?)?,
            limit: quantity(&json["limit"])?,
            devices: json["devices"].as_u64()?,
        },
        "nothing" => Evidence::Nothing,
        _ => return None,
    })
}

fn listening_port_from_json(json: &Value) -> Option<(u16, Option<Box<str>>)> {
    let [port, interface] = json.as_array()?.as_slice() else { return None };
    let interface = match interface {
        Value::Null => None,
        other => Some(other.as_str()?.into()),
    };
    Some((u16::try_from(port.as_u64()?).ok()?, interface))
}

fn quantity(json: &Value) -> Option<Quantity> {
    match metric_value_from_json(json)? {
        MetricValue::Count(count) => Some(Quantity::Count(count)),
        MetricValue::Number(number) => Some(Quantity::Number(number)),
        MetricValue::Addresses(_)
        | MetricValue::Ports(_)
        | MetricValue::Numbers(_)
        | MetricValue::Strings(_) => None,
    }
}

fn time(json: &Value) -> Option<Timestamp> {
    json.as_i64().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use picket_model::Number;

    use super::*;

    fn explanation(evidence: Evidence, notes: Vec<Note>) -> Explanation {
        Explanation {
            sentence: "3,000 bytes; normal is at most 1,000".to_owned(),
            window_start: Timestamp::from_millis(300_000),
            window: WindowLen::DEFAULT,
            early: true,
            evidence,
            notes,
        }
    }

    fn read(text: &str) -> Option<Explanation> {
        from_json(&serde_json::from_str(text).unwrap())
    }

    #[test]
    fn what_is_written_is_read() {
        let at = Timestamp::from_millis;
        let number = |number| Quantity::Number(Number::new(number).unwrap());
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
            Evidence::Reports { count: 3, first_at: at(6), last_at: at(7), last_id: u64::MAX },
            Evidence::ListeningPorts(vec![(22, Some("eth0".into())), (65_535, None)]),
            Evidence::Destinations(vec![
                "192.0.2.1:443".parse().unwrap(),
                "[2001:db8::1]:1".parse().unwrap(),
            ]),
            Evidence::Fleet {
                value: Quantity::Count(u64::MAX),
                percentile: Percentile::P99_99,
                limit: Quantity::Count(0),
                devices: 10_000,
            },
            Evidence::Fleet {
                value: number(-1.5),
                percentile: Percentile::P0,
                limit: number(3.0),
                devices: 1,
            },
            Evidence::Nothing,
        ];
        for evidence in all {
            let explanation = explanation(evidence, Vec::new());
            assert_eq!(read(&to_text(&explanation)), Some(explanation));
        }
    }

    #[test]
    fn every_kind_of_note_is_kept_in_its_order() {
        let note = |kind: NoteKind| Note { kind, sentence: format!("it is `{}`", kind.as_str()) };
        let explanation = explanation(Evidence::Nothing, NoteKind::ALL.map(note).to_vec());
        assert_eq!(read(&to_text(&explanation)), Some(explanation));
    }

    #[test]
    fn an_explanation_from_before_there_were_notes_has_none() {
        let text = r#"{"sentence":"3,000 bytes; normal is at most 1,000","window_start":300000,
            "window_s":300,"early":true,"evidence":{"kind":"nothing"}}"#;
        assert_eq!(read(text), Some(explanation(Evidence::Nothing, Vec::new())));
    }

    #[test]
    fn anything_else_is_no_explanation() {
        let whole: Value = serde_json::from_str(&to_text(&explanation(
            Evidence::Fleet {
                value: Quantity::Count(1),
                percentile: Percentile::P50,
                limit: Quantity::Count(2),
                devices: 3,
            },
            vec![Note { kind: NoteKind::ReportIdFell, sentence: "fell".to_owned() }],
        )))
        .unwrap();
        let check = |pointer: &str, bad: Value| {
            let mut json = whole.clone();
            *json.pointer_mut(pointer).unwrap() = bad;
            assert_eq!(from_json(&json), None, "{json}");
        };
        check("/window_s", json!(7));
        check("/sentence", json!(null));
        check("/evidence", json!({ "kind": "other" }));
        check("/evidence", json!({ "kind": "listening-ports", "ports": [[22]] }));
        check("/evidence", json!({ "kind": "listening-ports", "ports": [[65_536, null]] }));
        check("/evidence", json!({ "kind": "destinations", "remotes": ["192.0.2.1"] }));
        check("/evidence/limit", json!({ "ports": [1] }));
        check("/evidence/percentile", json!("p51"));
        check("/notes", json!(null));
        check("/notes/0/kind", json!("other"));
    }
}
