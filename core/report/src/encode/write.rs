//! The two formats, as places to write values to one after the other.

use std::convert::Infallible;

use minicbor::encode::{Encoder, Error};
use serde::Serialize;

/// Takes the parts of a document in their order. Lengths are said beforehand, as CBOR wants them.
pub(crate) trait Writer {
    fn begin_object(&mut self, n_members: usize);
    fn end_object(&mut self);
    fn begin_list(&mut self, n_items: usize);
    fn end_list(&mut self);
    fn key(&mut self, name: &str);
    fn whole(&mut self, value: u64);
    fn text(&mut self, value: &str);
    /// The bytes written.
    fn into_bytes(self) -> Vec<u8>;

    fn float(&mut self, value: f64);
    fn negative(&mut self, value: i64);

    /// Writes a finite number: as a whole one where it is, which is shorter and reads the same.
    fn number(&mut self, value: f64) {
        /// Up to here every whole number is an `f64` of its own.
        const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
        if value.fract() != 0.0 || value.abs() > EXACT_MAX {
            self.float(value);
        } else if value < 0.0 {
            self.negative(value as i64);
        } else {
            self.whole(value as u64);
        }
    }
}

/// Writes JSON without white space.
#[derive(Default)]
pub(crate) struct JsonWriter {
    bytes: Vec<u8>,
    /// Whether the next value or name stands behind another.
    needs_comma: bool,
}

impl JsonWriter {
    fn comma(&mut self) {
        if std::mem::replace(&mut self.needs_comma, true) {
            self.bytes.push(b',');
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) {
        self.comma();
        // Numbers and texts have a JSON form, and a vector takes it: there is no error to see.
        let _ = serde_json::to_writer(&mut self.bytes, value);
    }

    fn begin(&mut self, bracket: u8) {
        self.comma();
        self.bytes.push(bracket);
        self.needs_comma = false;
    }

    fn end(&mut self, bracket: u8) {
        self.bytes.push(bracket);
        self.needs_comma = true;
    }
}

impl Writer for JsonWriter {
    fn begin_object(&mut self, _: usize) {
        self.begin(b'{');
    }

    fn end_object(&mut self) {
        self.end(b'}');
    }

    fn begin_list(&mut self, _: usize) {
        self.begin(b'[');
    }

    fn end_list(&mut self) {
        self.end(b']');
    }

    fn key(&mut self, name: &str) {
        self.value(name);
        self.bytes.push(b':');
        self.needs_comma = false;
    }

    fn whole(&mut self, value: u64) {
        self.value(&value);
    }

    fn text(&mut self, value: &str) {
        self.value(value);
    }

    fn float(&mut self, value: f64) {
        self.value(&value);
    }

    fn negative(&mut self, value: i64) {
        self.value(&value);
    }

    fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Writes CBOR with definite lengths.
#[derive(Default)]
pub(crate) struct CborWriter {
    bytes: Vec<u8>,
}

impl CborWriter {
    fn item(
        &mut self,
        write: impl FnOnce(&mut Encoder<&mut Vec<u8>>) -> Result<(), Error<Infallible>>,
    ) {
        // A vector takes every byte: there is no error to see.
        let _ = write(&mut Encoder::new(&mut self.bytes));
    }
}

impl Writer for CborWriter {
    fn begin_object(&mut self, n_members: usize) {
        self.item(|cbor| cbor.map(n_members as u64).map(|_| ()));
    }

    fn end_object(&mut self) {}

    fn begin_list(&mut self, n_items: usize) {
        self.item(|cbor| cbor.array(n_items as u64).map(|_| ()));
    }

    fn end_list(&mut self) {}

    fn key(&mut self, name: &str) {
        self.text(name);
    }

    fn whole(&mut self, value: u64) {
        self.item(|cbor| cbor.u64(value).map(|_| ()));
    }

    fn text(&mut self, value: &str) {
        self.item(|cbor| cbor.str(value).map(|_| ()));
    }

    fn float(&mut self, value: f64) {
        self.item(|cbor| cbor.f64(value).map(|_| ()));
    }

    fn negative(&mut self, value: i64) {
        self.item(|cbor| cbor.i64(value).map(|_| ()));
    }

    fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
