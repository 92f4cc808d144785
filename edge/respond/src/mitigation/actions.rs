//! What an action does to the device of a violation.

use picket_model::{DeviceName, MitigationAction, MitigationActionParams, ThingName};
use picket_store::{RegistryError, WriteTx, groups};

/// Why an action could not be done. The words end up in the execution's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// AWS's name of what went wrong.
    pub(super) code: &'static str,
    /// What went wrong, in a sentence.
    pub(super) message: String,
}

/// Runs an action for a device, in the caller's transaction. What was done before an error must be
/// undone by the caller.
///
/// # Errors
/// [`RegistryError::NotFound`] for a device that is no registered thing, or a group that is not
/// there; what else AddThingToThingGroup refuses; [`RegistryError::Invalid`] for an action that is
/// not for Detect.
pub(super) fn execute(
    tx: &mut WriteTx,
    action: &MitigationAction,
    device: &DeviceName,
) -> Result<(), RegistryError> {
    match &action.params {
        // Static groups never give way to dynamic ones, so there is nothing to override.
        MitigationActionParams::AddThingsToThingGroup { groups, override_dynamic_groups: _ } => {
            let thing = ThingName::parse(device.as_str()).map_err(|_| RegistryError::NotFound {
                what: "thing",
                name: device.as_str().escape_debug().to_string(),
            })?;
            groups.iter().try_for_each(|group| groups::add_thing(tx, &thing, group))
        }
        MitigationActionParams::UpdateDeviceCertificate
        | MitigationActionParams::UpdateCaCertificate
        | MitigationActionParams::ReplaceDefaultPolicyVersion
        | MitigationActionParams::EnableIotLogging { .. }
        | MitigationActionParams::PublishFindingToSns { .. } => {
            Err(RegistryError::Invalid(format!(
                "action `{}` of type {} is for audit findings; violations take \
                 ADD_THINGS_TO_THING_GROUP alone",
                action.name,
                action.params.action_type()
            )))
        }
    }
}

impl Failure {
    /// What is recorded of a refusal.
    pub(super) fn of(error: &RegistryError) -> Self {
        let code = match error {
            RegistryError::NotFound { .. } => "ResourceNotFoundException",
            RegistryError::Invalid(_) => "InvalidRequestException",
            RegistryError::Limit(_) | RegistryError::VersionsLimit { .. } => {
                "LimitExceededException"
            }
            RegistryError::AlreadyExists { .. } => "ResourceAlreadyExistsException",
            RegistryError::VersionConflict { .. } => "VersionConflictException",
            RegistryError::DeleteConflict(_) => "DeleteConflictException",
            RegistryError::CertificateState(_) => "CertificateStateException",
            RegistryError::Store(_) => "InternalFailureException",
        };
        Self { code, message: error.to_string() }
    }
}
