//! How a report is written: its format and its spelling.

/// The format of a report and of the answer to it, which the topic's last level names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// JSON, RFC 8259.
    Json,
    /// CBOR, RFC 8949.
    Cbor,
}

impl Format {
    /// Both of them.
    pub const ALL: [Format; 2] = [Format::Json, Format::Cbor];

    /// Reads a topic's last level, `json` or `cbor`.
    pub fn parse(level: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str() == level)
    }

    /// The topic's last level.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Cbor => "cbor",
        }
    }
}

/// Which names the members of a report have when it is written. Both are read, each by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `listening_tcp_ports`.
    Long,
    /// `tp`.
    Short,
}
