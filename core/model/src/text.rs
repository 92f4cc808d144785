//! Texts that several crates write the same way.

use std::error::Error;

/// Bytes as lower-case hex digits, two for each.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: [u8; 16] = *b"0123456789abcdef";
    let digit = |half: u8| char::from(DIGITS[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Reads what [`hex`] wrote, in either case; `None` for anything else.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// An error with its causes, each behind a colon: what a log line says.
///
/// Our errors leave their cause out of their own words, so that a chain repeats nothing.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += ": ";
        text += &error.to_string();
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use thiserror::Error;

    use super::*;

    #[test]
    fn bytes_are_two_digits_each() {
        assert_eq!(hex(&[]), "");
        assert_eq!(hex(&[0x00, 0x0f, 0xa0, 0xff]), "000fa0ff");
        assert_eq!(from_hex("000fA0ff"), Some(vec![0x00, 0x0f, 0xa0, 0xff]));
        for text in ["0", "0g", "+f", "\u{e4}", "0 "] {
            assert_eq!(from_hex(text), None, "{text}");
        }
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        #[derive(Debug, Error)]
        #[error("the disk is full")]
        struct Full;
        #[derive(Debug, Error)]
        #[error("the database failed")]
        struct Failed(#[source] Full);
        assert_eq!(chain(&Full), "the disk is full");
        assert_eq!(chain(&Failed(Full)), "the database failed: the disk is full");
    }
}
