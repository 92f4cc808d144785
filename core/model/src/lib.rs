//! The nouns every part of Picket speaks in: things, certificates, groups, policies, security
//! profiles, observations and violations.
//!
//! Types here cannot be wrong: a [`ThingName`] was checked when it was made, a [`Timestamp`] has a
//! unit, a [`Criteria`] carries the value its operator needs. They are parsed once, at the edge.
//!
//! Architecture invariant: nothing in this crate does IO, reads a clock or makes a random number.

pub mod account;
pub mod behavior;
pub mod catalogue;
pub mod certificate;
pub mod change;
pub mod custom_metric;
pub mod datapoint;
pub mod dimension;
pub mod event;
pub mod function;
pub mod group;
pub mod ids;
pub mod limits;
pub mod metric;
pub mod mitigation;
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
pub use behavior::{
    Behavior, Comparison, Confidence, Criteria, CriteriaType, Operator, Percentile, Quantity,
    SetOperator, ValueSet, WindowLen,
};
pub use certificate::{Certificate, CertificateStatus};
pub use change::Change;
pub use custom_metric::{CustomMetric, CustomMetricKind};
pub use datapoint::Datapoint;
pub use dimension::{Dimension, DimensionOperator, MetricDimension};
pub use event::EventType;
pub use function::{Function, FunctionRuntime};
pub use group::{Group, GroupPath};
pub use ids::{
    BehaviorName, CertificateId, ClientId, CustomMetricName, DeviceName, DimensionName,
    FunctionName, GroupName, MitigationActionName, MitigationTaskId, NameError,
    NotificationTopicName, PolicyName, ProfileName, ThingName, ThingTypeName, ViolationId,
};
pub use metric::{Metric, MetricValue};
pub use mitigation::{
    MitigationAction, MitigationActionParams, MitigationExecution, MitigationExecutionStatus,
    MitigationStatistics, MitigationTarget, MitigationTask, MitigationTaskStatus,
};
pub use notification::{NotificationTopic, Protocol, Subscription};
pub use number::Number;
pub use observation::{Denied, DisconnectReason, Fact, Observation, Published, Tripwires};
pub use policy::{Policy, PolicyVersion};
pub use profile::{AlertTarget, MetricsExport, ProfileTarget, RetainedMetric, SecurityProfile};
pub use report::{
    CustomValue, ListeningPort, ListeningPorts, NetworkStats, Report, TcpConnection, TcpConnections,
};
pub use thing::Thing;
pub use time::Timestamp;
pub use violation::{
    Continuation, Evidence, Explanation, Note, NoteKind, VerificationState, Violation,
    ViolationEvent, ViolationEventKind,
};
