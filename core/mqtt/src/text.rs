//! MQTT's UTF-8 strings.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// A string as MQTT carries it: at most 65,535 bytes of UTF-8 without U+0000. Cheap to clone.
///
/// Source: mqtt-3.1.1 [MQTT-1.5.3-2] [MQTT-4.7.3-3], mqtt-5 [MQTT-1.5.4-2] [MQTT-4.7.3-3].
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Arc<str>);

impl Text {
    /// Takes a text; `None` if it is too long for the wire or holds U+0000.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() <= usize::from(u16::MAX) && !text.contains('\0');
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Text {
    fn default() -> Self {
        Self("".into())
    }
}

impl Deref for Text {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl fmt::Display for Text {
    /// Writes the text with control characters escaped: it came from outside.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_debug().fmt(f)
    }
}
