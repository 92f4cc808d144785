//! The nouns every part of Picket speaks in: things, certificates, groups, policies, security
//! profiles, observations and violations.
//!
//! Types here cannot be wrong: a [`ThingName`] was checked when it was made, a [`Timestamp`] has a
//! unit, a [`Criteria`] carries the value its operator needs. They are parsed once, at the edge.
//!
//! Architecture invariant: nothing in this crate does IO, reads a clock or makes a random number.

pub mod account;
pub mod behavior;
pub mod certificate;
pub mod change;
pub mod datapoint;
pub mod function;
pub mod group;
pub mod ids;
pub mod limits;
pub mod metric;
pub mod notification;
pub mod number;
pub mod observation;
pub mod policy;
pub mod profile;
pub mod report;
pub mod text;
pub mod thing;
pub mod time;
pub mod violation;
pub mod wire;

pub use account::{Account, ArnError, PolicyTarget};
pub use behavior::{Behavior, Comparison, Criteria, WindowLen};
pub use certificate::{Certificate, CertificateStatus};
pub use change::Change;
pub use datapoint::Datapoint;
pub use function::{Function, FunctionRuntime};
pub use group::{Group, GroupPath};
pub use ids::{
    BehaviorName, CertificateId, ClientId, CustomMetricName, DeviceName, DimensionName,
    FunctionName, GroupName, MitigationActionName, MitigationTaskId, NameError,
    NotificationTopicName, PolicyName, ProfileName, ThingName, ThingTypeName, ViolationId,
};
pub use metric::{Metric, MetricValue};
pub use notification::{NotificationTopic, Protocol, Subscription};
pub use number::Number;
pub use observation::{Denied, DisconnectReason, Fact, Observation, Published, Tripwires};
pub use policy::{Policy, PolicyVersion};
pub use profile::{AlertTarget, ProfileTarget, SecurityProfile};
pub use report::{
    CustomValue, ListeningPort, ListeningPorts, NetworkStats, Report, TcpConnection, TcpConnections,
};
pub use thing::Thing;
pub use time::Timestamp;
pub use violation::{
    Continuation, Evidence, Explanation, VerificationState, Violation, ViolationEvent,
    ViolationEventKind,
};
