//! The AWS services that are spoken here.

use std::fmt;

/// One of the services; a request says which in its signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The registry, policies, certificates and Device Defender.
    Iot,
    /// Messages to and from devices over HTTP.
    IotData,
    /// Notification topics.
    Sns,
    /// Functions.
    Lambda,
    /// Who am I, and keys for a while.
    Sts,
}

/// How a service writes requests and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    /// Path, query and JSON body; JSON answers.
    RestJson,
    /// A form with an `Action`; XML answers. Source: botocore `query` protocol.
    Query,
}

impl Service {
    /// All of them.
    pub const ALL: [Service; 5] =
        [Service::Iot, Service::IotData, Service::Sns, Service::Lambda, Service::Sts];

    /// The name in a SigV4 credential scope; also the section of `specs/aws-operations.toml`.
    pub const fn scope(self) -> &'static str {
        match self {
            Service::Iot => "iot",
            Service::IotData => "iotdata",
            Service::Sns => "sns",
            Service::Lambda => "lambda",
            Service::Sts => "sts",
        }
    }

    /// The service of a credential scope, if it is spoken here.
    pub fn from_scope(name: &str) -> Option<Service> {
        // SDKs before 2018 signed iot-data as `iotdata`; tools that sign by endpoint prefix use
        // the prefix. Both mean the same service.
        if name == "data.iot" || name == "data-ats.iot" || name == "iotdevicegateway" {
            return Some(Service::IotData);
        }
        Service::ALL.into_iter().find(|service| service.scope() == name)
    }

    /// How it writes.
    pub const fn wire(self) -> Wire {
        match self {
            Service::Iot | Service::IotData | Service::Lambda => Wire::RestJson,
            Service::Sns | Service::Sts => Wire::Query,
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.scope())
    }
}
