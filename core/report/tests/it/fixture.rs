//! Reports as texts, in both formats.

use minicbor::Encoder;
use picket_model::Report;
use picket_report::{Format, Refusal, decode};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A JSON value as CBOR: whole numbers as integers, others as doubles.
pub(crate) fn to_cbor(json: &Value) -> Vec<u8> {
    fn write(cbor: &mut Encoder<Vec<u8>>, json: &Value) {
        match json {
            Value::Null => drop(cbor.null().unwrap()),
            Value::Bool(value) => drop(cbor.bool(*value).unwrap()),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(n), _) => drop(cbor.u64(n).unwrap()),
                (None, Some(n)) => drop(cbor.i64(n).unwrap()),
                (None, None) => drop(cbor.f64(number.as_f64().unwrap()).unwrap()),
            },
            Value::String(text) => drop(cbor.str(text).unwrap()),
            Value::Array(list) => {
                cbor.array(list.len() as u64).unwrap();
                list.iter().for_each(|item| write(cbor, item));
            }
            Value::Object(members) => {
                cbor.map(members.len() as u64).unwrap();
                for (name, value) in members {
                    cbor.str(name).unwrap();
                    write(cbor, value);
                }
            }
        }
    }
    let mut cbor = Encoder::new(Vec::new());
    write(&mut cbor, json);
    cbor.into_writer()
}

/// JSON as CBOR with indefinite lengths: members keep their order, and may come twice.
fn transcode(json: &str) -> Vec<u8> {
    struct Write<'a>(&'a mut Encoder<Vec<u8>>);

    impl<'de> DeserializeSeed<'de> for Write<'_> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
            from.deserialize_any(self)
        }
    }

    impl<'de> Visitor<'de> for Write<'_> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("JSON")
        }
        fn visit_unit<E>(self) -> Result<(), E> {
            self.0.null().unwrap();
            Ok(())
        }
        fn visit_bool<E>(self, value: bool) -> Result<(), E> {
            self.0.bool(value).unwrap();
            Ok(())
        }
        fn visit_u64<E>(self, value: u64) -> Result<(), E> {
            self.0.u64(value).unwrap();
            Ok(())
        }
        fn visit_i64<E>(self, value: i64) -> Result<(), E> {
            self.0.i64(value).unwrap();
            Ok(())
        }
        fn visit_f64<E>(self, value: f64) -> Result<(), E> {
            self.0.f64(value).unwrap();
            Ok(())
        }
        fn visit_str<E>(self, value: &str) -> Result<(), E> {
            self.0.str(value).unwrap();
            Ok(())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
            self.0.begin_array().unwrap();
            while items.next_element_seed(Write(self.0))?.is_some() {}
            self.0.end().unwrap();
            Ok(())
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
            self.0.begin_map().unwrap();
            while members.next_key_seed(Write(self.0))?.is_some() {
                members.next_value_seed(Write(self.0))?;
            }
            self.0.end().unwrap();
            Ok(())
        }
    }

    let mut cbor = Encoder::new(Vec::new());
    Write(&mut cbor).deserialize(&mut serde_json::Deserializer::from_str(json)).unwrap();
    cbor.into_writer()
}

/// Reads a report that is given as JSON, in both formats: they must agree.
pub(crate) fn read(text: &str) -> Result<Report, Refusal> {
    let json = decode(Format::Json, text.as_bytes());
    let cbor = decode(Format::Cbor, &transcode(text));
    assert_eq!(json, cbor, "{text}");
    json
}

/// A report with this `metrics` object.
pub(crate) fn with_metrics(metrics: &str) -> String {
    format!(r#"{{"header":{{"report_id":7,"version":"1.0"}},"metrics":{metrics}}}"#)
}

/// A report with this `custom_metrics` object.
pub(crate) fn with_custom(custom: &str) -> String {
    format!(r#"{{"header":{{"report_id":7,"version":"1.0"}},"custom_metrics":{custom}}}"#)
}

/// Bytes that are written as hex digits; spaces are for the reader.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    picket_model::text::from_hex(&text.replace(' ', "")).unwrap()
}
