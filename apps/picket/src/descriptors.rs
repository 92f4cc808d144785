//! Who may hold how many of the process's file descriptors.
//!
//! Every connection is one. Without shares, whoever opens enough of them, which takes no key,
//! leaves none to the API, to the store's readers and to functions: the quarantine itself would
//! fail.

use anyhow::{Result, bail};
use picket_model::limits::MqttLimits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{debug, info, warn};

use crate::limits::HTTP_CONNECTIONS_MAX;

/// Descriptors that everything but devices' connections gets by, where the limit is that high: two
/// HTTP listeners with 512 connections each, 48 processes of functions with about ten each, and
/// the store's readers.
const RESERVED: usize = 2_048;

/// Shares of the descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Connections of devices.
    pub(crate) devices: usize,
    /// Connections of each HTTP listener.
    pub(crate) http: usize,
}

impl Shares {
    /// Shares `descriptors` out. With few of them, devices get half and each HTTP listener a
    /// sixteenth.
    fn of(descriptors: usize) -> Self {
        Self {
            devices: descriptors - RESERVED.min(descriptors / 2),
            http: HTTP_CONNECTIONS_MAX.min(descriptors / 16),
        }
    }

    /// How many devices may be connected: as many as are asked for. Fewer only where the default is
    /// more than there are descriptors for.
    ///
    /// # Errors
    /// An operator asks for more.
    pub(crate) fn connections_max(&self, asked: usize) -> Result<usize> {
        if asked <= self.devices {
            return Ok(asked);
        }
        if asked == MqttLimits::default().connections_max {
            info!("at most {} devices may be connected: the limit of open files", self.devices);
            return Ok(self.devices);
        }
        bail!(
            "`mqtt.limits.connections_max` is {asked}, and the limit of open files leaves {} \
             connections to devices; raise the one (`LimitNOFILE=`, `ulimit -Hn`) or lower the other",
            self.devices
        )
    }

    /// Raises the process's limit as far as it may be, and shares out what there is.
    pub(crate) fn claim() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = Rlimit { current: maximum, maximum };
        let current = match setrlimit(Resource::Nofile, raised) {
            Ok(()) => maximum,
            Err(error) => {
                warn!(%error, "the limit of open files stays what it is");
                current
            }
        };
        debug!(files.limit = current, "limit of open files");
        // No limit is what `None` says.
        let descriptors = current.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
        Self::of(descriptors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(descriptors: usize, devices: usize, http: usize) {
        assert_eq!(Shares::of(descriptors), Shares { devices, http });
    }

    #[test]
    fn many_descriptors_leave_what_the_rest_needs() {
        check(1_048_576, 1_046_528, 512);
        check(20_000, 17_952, 512);
        check(usize::MAX, usize::MAX - 2_048, 512);
    }

    #[test]
    fn what_an_operator_asks_for_and_cannot_have_is_an_error() {
        let shares = Shares::of(20_000);
        assert_eq!(shares.connections_max(17_952).unwrap(), 17_952);
        assert_eq!(shares.connections_max(100_000).unwrap(), 17_952, "the default");
        assert_eq!(
            shares.connections_max(17_953).unwrap_err().to_string(),
            "`mqtt.limits.connections_max` is 17953, and the limit of open files leaves 17952 \
             connections to devices; raise the one (`LimitNOFILE=`, `ulimit -Hn`) or lower the other"
        );
    }

    #[test]
    fn few_descriptors_are_halved() {
        check(4_096, 2_048, 256);
        check(1_024, 512, 64);
        check(256, 128, 16);
    }
}
