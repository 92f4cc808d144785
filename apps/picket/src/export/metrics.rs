//! What the export counts.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What the export counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExportMetrics {
    values: Family<ValueLabels, Counter>,
    pub(super) messages: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ValueLabels {
    end: &'static str,
}

/// What became of a value that was to be exported. All but the first are drops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Published.
    Published,
    /// As many waited as there is room for.
    NoRoom,
    /// The profile was deleted, or exports no more.
    ProfileGone,
    /// It alone is larger than a message may be.
    TooLarge,
    /// The broker does not publish to that topic, or the topic could not be read.
    Refused,
}

impl End {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::NoRoom => "no_room",
            Self::ProfileGone => "profile_gone",
            Self::TooLarge => "too_large",
            Self::Refused => "refused",
        }
    }
}

impl ExportMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "picket_export_values",
            "Values of exported metrics by what became of them",
            metrics.values.clone(),
        );
        registry.register(
            "picket_export_messages",
            "Messages with exported metrics that were published",
            metrics.messages.clone(),
        );
        metrics
    }

    pub(super) fn count(&self, end: End, n: usize) {
        if n > 0 {
            self.values.get_or_create(&ValueLabels { end: end.as_str() }).inc_by(n as u64);
        }
    }

    #[cfg(test)]
    pub(super) fn counted(&self, end: End) -> u64 {
        self.values.get_or_create(&ValueLabels { end: end.as_str() }).get()
    }
}
