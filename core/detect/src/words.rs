//! Words: numbers, moments and lists as people read them.

use std::fmt::Write;

use picket_model::{Number, Quantity, Timestamp};

/// Elements that a sentence names before it says how many more there are.
const NAMED_MAX: usize = 5;

/// "no messages", "1 message", "1,234 messages".
pub(crate) fn counted(count: u64, one: &str, many: &str) -> String {
    match count {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        count => format!("{} {many}", number(count)),
    }
}

/// "once", "2 times".
pub(crate) fn times(count: u64) -> String {
    if count == 1 { "once".to_owned() } else { format!("{} times", number(count)) }
}

/// "0 bytes", "1 byte", "3,000 bytes".
pub(crate) fn amount(count: u64, unit: &str) -> String {
    let unit = if count == 1 { unit.strip_suffix('s').unwrap_or(unit) } else { unit };
    format!("{} {unit}", number(count))
}

/// Digits in groups of three: "3,000".
pub(crate) fn number(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// "a", "a or b", "a, b, c, d, e and 3 more".
pub(crate) fn list(items: &[impl ToString], last: &str) -> String {
    let mut text = String::new();
    for (place, item) in items.iter().take(NAMED_MAX).enumerate() {
        let is_last = place > 0 && place + 1 == items.len();
        let between = match place {
            0 => String::new(),
            _ if is_last => format!(" {last} "),
            _ => ", ".to_owned(),
        };
        text.push_str(&between);
        text.push_str(&item.to_string());
    }
    if items.len() > NAMED_MAX {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", items.len() - NAMED_MAX);
    }
    text
}

/// Time of day in UTC, milliseconds only where there are some: "10:05:07.120Z", "10:05:00Z".
pub(crate) fn clock(at: Timestamp) -> String {
    let text = at.to_string();
    let time = text.split_once('T').map_or(text.as_str(), |(_, time)| time);
    time.strip_suffix(".000Z").map_or_else(|| time.to_owned(), |whole| format!("{whole}Z"))
}

/// A long time in whole days or hours, a short one in minutes: "2 days", "1 hour", "5 minutes".
pub(crate) fn period(millis: i64) -> String {
    let minutes = millis.unsigned_abs() / 60_000;
    if minutes >= 2 * 24 * 60 {
        counted(minutes / (24 * 60), "day", "days")
    } else if minutes >= 60 {
        counted(minutes / 60, "hour", "hours")
    } else {
        counted(minutes, "minute", "minutes")
    }
}

/// A device's name, a topic or the like, without characters that would garble a log or a mail.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if garbles(c) { '\u{FFFD}' } else { c }).collect()
}

/// Whether a character changes how the text around it looks, and has no looks of its own: who
/// chooses a client id or a topic must not write the rest of the sentence.
fn garbles(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks, embeddings, overrides and isolates of direction, and what ends them. Source:
            // Unicode, annex 9.
            '\u{061C}' | '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}'
            | '\u{2066}'..='\u{2069}'
            // Ends of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // What takes no room: two names that look the same would be different ones.
            | '\u{00AD}' | '\u{200B}'..='\u{200D}' | '\u{2060}'..='\u{2065}'
            | '\u{206A}'..='\u{206F}' | '\u{FEFF}' | '\u{E0000}'..='\u{E007F}')
}

/// A count in groups of three digits, another number as it is: "3,000", "-1.5".
pub(crate) fn quantity(quantity: Quantity) -> String {
    match quantity {
        Quantity::Count(count) => number(count),
        Quantity::Number(number) => fraction(number),
    }
}

/// A number with a fraction, in groups of three digits where it is a whole one: "1,000", "-1.5".
pub(crate) fn fraction(fraction: Number) -> String {
    let text = fraction.to_string();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.as_str()),
    };
    match digits.parse() {
        Ok(whole) => format!("{sign}{}", number(whole)),
        Err(_) => text,
    }
}

/// A quantity with its unit, if it has one: "3,000 bytes", "1.5".
pub(crate) fn measure(amount_of: Quantity, unit: &str) -> String {
    match (amount_of, unit) {
        (_, "") => quantity(amount_of),
        (Quantity::Count(count), unit) => amount(count, unit),
        (Quantity::Number(_), unit) => format!("{} {unit}", quantity(amount_of)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_lists_end() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        let fractions = [0.5, -1.5, 1000.0, -12345.0, 1e21];
        let texts = fractions.map(|it| fraction(Number::new(it).unwrap()));
        assert_eq!(texts, ["0.5", "-1.5", "1,000", "-12,345", "1000000000000000000000"]);
        assert_eq!(measure(Quantity::Count(1), "bytes"), "1 byte");
        assert_eq!(list(&[1, 2, 3], "or"), "1, 2 or 3");
        assert_eq!(list(&[1, 2, 3, 4, 5, 6, 7], "or"), "1, 2, 3, 4, 5 and 2 more");
        assert_eq!(printable("a\nb"), "a\u{FFFD}b");
        assert_eq!(printable("a\u{202E}b\u{2028}c\u{200B}"), "a\u{FFFD}b\u{FFFD}c\u{FFFD}");
        assert_eq!(printable("\u{fc}ber / \u{5d0}\u{5d1}"), "\u{fc}ber / \u{5d0}\u{5d1}");
    }
}
