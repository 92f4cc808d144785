//! Who may report for whom.

use std::collections::BTreeSet;
use std::fmt;

use picket_model::{ClientId, DeviceName, ThingName};

/// The attribute of a thing that names who else may report for it: a thing, or the client id of an
/// unregistered device.
pub const REPORTED_BY: &str = "reportedBy";

/// A connection that gives a report, as far as its identity goes.
#[derive(Clone, Copy, Debug)]
pub struct Reporter<'a> {
    /// The client id that it chose.
    pub client: &'a ClientId,
    /// Whether a thing is registered whose name is the client id.
    pub is_client_registered: bool,
    /// The things that its certificate is attached to.
    pub things: &'a BTreeSet<ThingName>,
}

/// Why a connection may report for a device, or that it may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Its certificate is attached to the thing.
    AttachedThing,
    /// It is the device, which is not registered.
    UnregisteredItself,
    /// The configuration names it as a delegate.
    Delegate,
    /// The thing's attribute [`REPORTED_BY`] names it.
    NamedByThing,
    /// Nothing says so.
    None,
}

impl Reporter<'_> {
    /// Why the connection is the device called `name`, if it is.
    ///
    /// A client id proves nothing about a registered device: anybody may choose it. Only a
    /// certificate does.
    fn is(&self, name: &str) -> Authority {
        if self.things.contains(name) {
            Authority::AttachedThing
        } else if self.client.as_str() == name && !self.is_client_registered {
            Authority::UnregisteredItself
        } else {
            Authority::None
        }
    }
}

impl Authority {
    /// Whether the report is taken.
    pub const fn is_given(self) -> bool {
        match self {
            Self::AttachedThing
            | Self::UnregisteredItself
            | Self::Delegate
            | Self::NamedByThing => true,
            Self::None => false,
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AttachedThing => "its certificate is attached to the thing",
            Self::UnregisteredItself => "it is the device, which is not registered",
            Self::Delegate => "the configuration names it as a delegate",
            Self::NamedByThing => "the thing's attribute `reportedBy` names it",
            Self::None => {
                "its certificate is not attached to the thing, and nothing names it as a delegate"
            }
        })
    }
}

/// Decides whether a connection may report for the device `named`, to whose topic its policies let
/// it publish.
///
/// `delegates` may report for every device. `reported_by` is the value of the device's attribute
/// [`REPORTED_BY`]; who leaves it out at first saves a look into the registry where that is not
/// needed.
pub fn may_report(
    reporter: &Reporter<'_>,
    named: &DeviceName,
    delegates: &[DeviceName],
    reported_by: Option<&str>,
) -> Authority {
    let itself = reporter.is(named.as_str());
    if itself.is_given() {
        return itself;
    }
    if delegates.iter().any(|delegate| reporter.is(delegate.as_str()).is_given()) {
        return Authority::Delegate;
    }
    if reported_by.is_some_and(|name| reporter.is(name).is_given()) {
        return Authority::NamedByThing;
    }
    Authority::None
}
