//! Topic names and topic filters of MQTT. Source: mqtt-3.1.1 and mqtt-5 section 4.7.

use std::fmt;
use std::sync::Arc;

use picket_model::limits::MqttLimits;
use thiserror::Error;

/// How long and how deep topics may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicLimits {
    /// Longest name or filter, in bytes.
    pub bytes_max: usize,
    /// Levels of a name or filter.
    pub levels_max: usize,
}

impl From<&MqttLimits> for TopicLimits {
    fn from(limits: &MqttLimits) -> Self {
        Self { bytes_max: limits.topic_bytes_max, levels_max: limits.topic_levels_max }
    }
}

/// Why a text is not a topic name or not a topic filter.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// The text is empty. Source: [MQTT-4.7.3-1].
    #[error("it is empty")]
    Empty,
    /// The text is too long.
    #[error("{bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        max: usize,
    },
    /// The text has too many levels.
    #[error("{levels} levels; at most {max} are allowed")]
    TooDeep {
        /// Its levels.
        levels: usize,
        /// The limit.
        max: usize,
    },
    /// The text contains a control character.
    #[error("`{text}` contains the control character `{found}`")]
    Control {
        /// The text, escaped.
        text: String,
        /// The character, escaped.
        found: String,
    },
    /// A name contains a wildcard. Source: [MQTT-3.3.2-2].
    #[error("`{text}` contains a wildcard")]
    WildcardInName {
        /// The text.
        text: String,
    },
    /// `#` is not the last level, or a wildcard does not fill its level. Source: mqtt-3.1.1
    /// [MQTT-4.7.1-2] [MQTT-4.7.1-3], mqtt-5 [MQTT-4.7.1-1] [MQTT-4.7.1-2].
    #[error("`{text}` has a wildcard where none can be")]
    MisplacedWildcard {
        /// The text.
        text: String,
    },
    /// The topic begins with `$` and is not one that clients may use. Found by the broker, not here:
    /// MQTT leaves it to the server. Source: mqtt-3.1.1 and mqtt-5 section 4.7.2.
    #[error("`{text}` is reserved for the server")]
    Reserved {
        /// The text.
        text: String,
    },
    /// A shared filter has no group, or a group with a wildcard, or no filter behind it. Source:
    /// mqtt-5 [MQTT-4.8.2-1], [MQTT-4.8.2-2].
    #[error("`{text}` is not of the form $share/GROUP/FILTER")]
    Share {
        /// The text.
        text: String,
    },
}

/// Where a message goes: no wildcards, no control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// Checks the text and makes the name.
    ///
    /// # Errors
    /// [`TopicError`] says which rule the text breaks.
    pub fn parse(text: &str, limits: &TopicLimits) -> Result<Self, TopicError> {
        check_text(text, limits)?;
        if text.contains(['+', '#']) {
            return Err(TopicError::WildcardInName { text: text.to_owned() });
        }
        Ok(Self(text.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels, left to right; there is at least one, and any may be empty.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// Whether leading wildcards do not match it. Source: [MQTT-4.7.2-1].
    pub fn is_hidden(&self) -> bool {
        self.0.starts_with('$')
    }

    /// The text, shared.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

/// What a client subscribes to: a filter, perhaps shared among a group. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter {
    text: Arc<str>,
    /// Where the filter begins; 0 where it is not shared.
    filter_at: usize,
}

const SHARE: &str = "$share/";

impl TopicFilter {
    /// Checks the text and makes the filter.
    ///
    /// # Errors
    /// [`TopicError`] says which rule the text breaks.
    pub fn parse(text: &str, limits: &TopicLimits) -> Result<Self, TopicError> {
        check_text(text, limits)?;
        let misplaced = || TopicError::MisplacedWildcard { text: text.to_owned() };
        let filter_at = match text.strip_prefix(SHARE) {
            None => 0,
            Some(rest) => rest
                .split_once('/')
                .filter(|(group, filter)| {
                    !group.is_empty() && !group.contains(['+', '#']) && !filter.is_empty()
                })
                .map(|(group, _)| SHARE.len() + group.len() + 1)
                .ok_or_else(|| TopicError::Share { text: text.to_owned() })?,
        };
        let mut levels = text[filter_at..].split('/').peekable();
        while let Some(level) = levels.next() {
            let is_last = levels.peek().is_none();
            match level {
                "#" if !is_last => return Err(misplaced()),
                "#" | "+" => {}
                _ if level.contains(['+', '#']) => return Err(misplaced()),
                _ => {}
            }
        }
        Ok(Self { text: text.into(), filter_at })
    }

    /// The whole text, with `$share/GROUP/` where it is shared.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The filter without `$share/GROUP/`: what policies and matching look at.
    pub fn filter(&self) -> &str {
        &self.text[self.filter_at..]
    }

    /// The group that shares it.
    pub fn share_group(&self) -> Option<&str> {
        let end = self.filter_at.checked_sub(1)?;
        Some(&self.text[SHARE.len()..end])
    }

    /// The levels of [`TopicFilter::filter`], left to right.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.filter().split('/')
    }

    /// Whether it can match more than one name.
    pub fn has_wildcards(&self) -> bool {
        self.filter().contains(['+', '#'])
    }

    /// Whether a name matches.
    ///
    /// `#` stands for any number of levels, none too, so `sensor/#` matches `sensor`. AWS IoT
    /// differs there; this is MQTT's rule. Source: mqtt-3.1.1 and mqtt-5 section 4.7.1.2.
    pub fn matches(&self, name: &TopicName) -> bool {
        self.matches_with(name, true)
    }

    /// As [`TopicFilter::matches`], where `parent_matches` says whether `a/#` matches `a`: at AWS IoT
    /// it does not. Source: AWS guide "MQTT topics", "Topic filters".
    pub fn matches_with(&self, name: &TopicName, parent_matches: bool) -> bool {
        // [MQTT-4.7.2-1]
        if name.is_hidden() && self.filter().starts_with(['+', '#']) {
            return false;
        }
        let mut levels = name.levels();
        for wanted in self.levels() {
            if wanted == "#" {
                return parent_matches || levels.next().is_some();
            }
            match levels.next() {
                Some(level) if wanted == "+" || wanted == level => {}
                _ => return false,
            }
        }
        levels.next().is_none()
    }
}

/// What holds for names and filters alike.
fn check_text(text: &str, limits: &TopicLimits) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > limits.bytes_max {
        return Err(TopicError::TooLong { bytes: text.len(), max: limits.bytes_max });
    }
    let levels = text.split('/').count();
    if levels > limits.levels_max {
        return Err(TopicError::TooDeep { levels, max: limits.levels_max });
    }
    // U+0000 is forbidden ([MQTT-4.7.3-2]), the others a server may refuse (mqtt-5 section 1.5.4):
    // they have no honest use in a topic and deceive whoever reads a log.
    if let Some(found) = text.chars().find(|c| c.is_control()) {
        return Err(TopicError::Control {
            text: text.escape_debug().to_string(),
            found: found.escape_debug().to_string(),
        });
    }
    Ok(())
}

macro_rules! shows_its_text {
    ($type:ty) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }
    };
}

shows_its_text!(TopicName);
shows_its_text!(TopicFilter);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: TopicLimits = TopicLimits { bytes_max: 24, levels_max: 4 };

    fn check_name(text: &str, expected: &str) {
        let found = TopicName::parse(text, &LIMITS).map(|name| name.to_string());
        assert_eq!(found.unwrap_or_else(|error| error.to_string()), expected, "{text:?}");
    }

    fn check_filter(text: &str, expected: &str) {
        let found = TopicFilter::parse(text, &LIMITS).map(|filter| {
            format!("{} of {}", filter.filter(), filter.share_group().unwrap_or("-"))
        });
        assert_eq!(found.unwrap_or_else(|error| error.to_string()), expected, "{text:?}");
    }

    /// mqtt-3.1.1 [MQTT-3.3.2-2] [MQTT-4.7.1-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2], mqtt-5
    /// [MQTT-3.3.2-2] [MQTT-4.7.0-1] [MQTT-4.7.3-1] [MQTT-4.7.3-2]
    #[test]
    fn a_name_has_no_wildcards_and_no_control_characters() {
        check_name("a/b", "a/b");
        check_name("/", "/");
        check_name("über/größe", "über/größe");
        check_name("", "it is empty");
        check_name("a/+", "`a/+` contains a wildcard");
        check_name("a#", "`a#` contains a wildcard");
        check_name("a\u{7}", "`a\\u{7}` contains the control character `\\u{7}`");
        check_name("a\u{0}", "`a\\0` contains the control character `\\0`");
        check_name("a\u{9b}", "`a\\u{9b}` contains the control character `\\u{9b}`");
        check_name("a/b/c/d/e", "5 levels; at most 4 are allowed");
        check_name(&"x".repeat(25), "25 bytes; at most 24 are allowed");
    }

    /// mqtt-3.1.1 [MQTT-4.7.1-2] [MQTT-4.7.1-3], mqtt-5 [MQTT-4.7.1-1] [MQTT-4.7.1-2]
    #[test]
    fn a_wildcard_fills_its_level_and_a_number_sign_is_last() {
        check_filter("#", "# of -");
        check_filter("+/a/+", "+/a/+ of -");
        check_filter("a/#", "a/# of -");
        check_filter("a/#/b", "`a/#/b` has a wildcard where none can be");
        check_filter("a+/b", "`a+/b` has a wildcard where none can be");
        check_filter("a/b#", "`a/b#` has a wildcard where none can be");
        check_filter("", "it is empty");
    }

    #[test]
    fn a_shared_filter_has_a_group_and_a_filter() {
        check_filter("$share/g/a/+", "a/+ of g");
        check_filter("$share/g/#", "# of g");
        for text in ["$share/g", "$share//a", "$share/g/", "$share/+/a", "$share/#/a"] {
            check_filter(text, &format!("`{text}` is not of the form $share/GROUP/FILTER"));
        }
        check_filter("$shared/g/a", "$shared/g/a of -");
    }

    fn check_match(filter: &str, name: &str, expected: bool) {
        let filter = TopicFilter::parse(filter, &LIMITS).unwrap();
        let name = TopicName::parse(name, &LIMITS).unwrap();
        assert_eq!(filter.matches(&name), expected, "{filter} {name}");
    }

    /// The examples of section 4.7 of both standards.
    #[test]
    fn a_filter_matches_as_the_standard_says() {
        check_match("sport/tennis/#", "sport/tennis", true);
        check_match("sport/tennis/#", "sport/tennis/p1/rank", true);
        check_match("sport/#", "sport", true);
        check_match("#", "a", true);
        check_match("sport/+", "sport", false);
        check_match("sport/+", "sport/", true);
        check_match("sport/+", "sport/a/b", false);
        check_match("+/+", "/finance", true);
        check_match("/+", "/finance", true);
        check_match("+", "/finance", false);
        check_match("ACCOUNTS", "Accounts", false);
        check_match("$share/g/a/+", "a/b", true);
    }

    #[test]
    fn a_filter_need_not_match_its_parent_level() {
        for (filter, name, expected) in [
            ("sensor/#", "sensor", false),
            ("sensor/#", "sensor/", true),
            ("sensor/#", "sensor/a/b", true),
            ("sensor/+/#", "sensor/a", false),
            ("#", "sensor", true),
            ("sensor", "sensor", true),
        ] {
            let filter = TopicFilter::parse(filter, &LIMITS).unwrap();
            let name = TopicName::parse(name, &LIMITS).unwrap();
            assert_eq!(filter.matches_with(&name, false), expected, "{filter} {name}");
        }
    }

    /// mqtt-3.1.1 and mqtt-5 [MQTT-4.7.2-1]
    #[test]
    fn a_leading_wildcard_does_not_match_a_hidden_topic() {
        check_match("#", "$SYS/a", false);
        check_match("+/a", "$SYS/a", false);
        check_match("$SYS/#", "$SYS/a", true);
        check_match("$SYS/+", "$SYS/a", true);
        check_match("$share/g/#", "$SYS/a", false);
    }
}
