//! Mitigation actions, and the tasks that run them for violations.

use crate::{
    BehaviorName, DeviceName, GroupName, MitigationActionName, MitigationTaskId, ProfileName,
    Timestamp, ViolationId,
};

/// A named remedy. Source: aws CreateMitigationAction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MitigationAction {
    /// Unchangeable name.
    pub name: MitigationActionName,
    /// Made when the action was; a UUID.
    pub id: String,
    /// Kept and given back; there are no roles to assume here.
    pub role_arn: String,
    /// What it does.
    pub params: MitigationActionParams,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it last changed.
    pub modified_at: Timestamp,
}

/// What a mitigation action does. Source: aws `MitigationActionParams`; exactly one of its members.
///
/// Only [`MitigationActionParams::AddThingsToThingGroup`] serves Detect; the others are for audit
/// findings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MitigationActionParams {
    /// Deactivates a device's certificate.
    UpdateDeviceCertificate,
    /// Deactivates a CA certificate.
    UpdateCaCertificate,
    /// Puts the thing into groups.
    AddThingsToThingGroup {
        /// 1 to 10 groups.
        groups: Vec<GroupName>,
        /// Kept and given back: whether dynamic groups give way where a thing is in too many.
        override_dynamic_groups: bool,
    },
    /// Replaces a policy by a blank one.
    ReplaceDefaultPolicyVersion,
    /// Switches logging on.
    EnableIotLogging {
        /// The role that logs.
        role_arn: String,
        /// `DEBUG`, `INFO`, `ERROR` or `WARN`.
        log_level: String,
    },
    /// Tells a notification topic.
    PublishFindingToSns {
        /// The topic.
        topic_arn: String,
    },
}

impl MitigationActionParams {
    /// AWS's spelling of the kind of action. Source: aws `MitigationActionType`.
    pub const fn action_type(&self) -> &'static str {
        match self {
            Self::UpdateDeviceCertificate => "UPDATE_DEVICE_CERTIFICATE",
            Self::UpdateCaCertificate => "UPDATE_CA_CERTIFICATE",
            Self::AddThingsToThingGroup { .. } => "ADD_THINGS_TO_THING_GROUP",
            Self::ReplaceDefaultPolicyVersion => "REPLACE_DEFAULT_POLICY_VERSION",
            Self::EnableIotLogging { .. } => "ENABLE_IOT_LOGGING",
            Self::PublishFindingToSns { .. } => "PUBLISH_FINDING_TO_SNS",
        }
    }
}

/// Runs mitigation actions for violations. Source: aws StartDetectMitigationActionsTask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MitigationTask {
    /// The caller's id.
    pub id: MitigationTaskId,
    /// The caller's token: the same request again starts nothing.
    pub client_token: String,
    /// How far it is.
    pub status: MitigationTaskStatus,
    /// When it was started.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// For which violations.
    pub target: MitigationTarget,
    /// Only violations with an event in this time, the end included.
    pub occurred: Option<(Timestamp, Timestamp)>,
    /// Only violations that were on when the task started.
    pub only_active: bool,
    /// Also violations of behaviors whose alerts are suppressed.
    pub include_suppressed: bool,
    /// The actions as they were when the task started, 1 to 5, in the order in which they run.
    pub actions: Vec<MitigationAction>,
    /// What its executions came to so far.
    pub statistics: MitigationStatistics,
}

/// For which violations a task runs. Source: aws `DetectMitigationActionsTaskTarget`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MitigationTarget {
    /// These, 1 to 25.
    Violations(Vec<ViolationId>),
    /// All of a security profile, or of one behavior of it.
    Profile(ProfileName, Option<BehaviorName>),
}

/// How far a task is. Source: aws `DetectMitigationActionsTaskStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MitigationTaskStatus {
    /// At work, also over a restart.
    InProgress,
    /// Every execution succeeded or was skipped.
    Successful,
    /// An execution failed.
    Failed,
    /// Stopped by CancelDetectMitigationActionsTask; what was done stays done.
    Canceled,
}

impl MitigationTaskStatus {
    /// All of them.
    pub const ALL: [MitigationTaskStatus; 4] = [
        MitigationTaskStatus::InProgress,
        MitigationTaskStatus::Successful,
        MitigationTaskStatus::Failed,
        MitigationTaskStatus::Canceled,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Canceled => "CANCELED",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// What a task's executions came to. Source: aws `DetectMitigationActionsTaskStatistics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MitigationStatistics {
    /// Executions that succeeded.
    pub executed: u64,
    /// Executions that were not tried.
    pub skipped: u64,
    /// Executions that failed.
    pub failed: u64,
}

/// One action of a task for one violation. Source: aws `DetectMitigationActionExecution`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MitigationExecution {
    /// Of which task.
    pub task: MitigationTaskId,
    /// For which violation.
    pub violation: ViolationId,
    /// Which action.
    pub action: MitigationActionName,
    /// Whose violation it is.
    pub device: DeviceName,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What it came to.
    pub status: MitigationExecutionStatus,
    /// AWS's name of what went wrong.
    pub error_code: Option<String>,
    /// What went wrong, or why it was skipped, in a sentence.
    pub message: Option<String>,
}

/// What an execution came to. Source: aws `DetectMitigationActionExecutionStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MitigationExecutionStatus {
    /// Begun.
    InProgress,
    /// Done.
    Successful,
    /// Tried in vain.
    Failed,
    /// Not tried, because an action before it failed or the task was canceled.
    Skipped,
}

impl MitigationExecutionStatus {
    /// All of them.
    pub const ALL: [MitigationExecutionStatus; 4] = [
        MitigationExecutionStatus::InProgress,
        MitigationExecutionStatus::Successful,
        MitigationExecutionStatus::Failed,
        MitigationExecutionStatus::Skipped,
    ];

    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Successful => "SUCCESSFUL",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}
