//! Certificates: the principals that authenticate.

use std::fmt;

use crate::{CertificateId, Timestamp};

/// A registered client certificate. Its chain need not be trusted: being registered is the trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// SHA-256 of the DER form.
    pub id: CertificateId,
    /// The certificate in PEM form.
    pub pem: String,
    /// Only an active certificate gets in.
    pub status: CertificateStatus,
    /// When it was registered here.
    pub created_at: Timestamp,
    /// When its status last changed.
    pub modified_at: Timestamp,
    /// Start of its validity.
    pub not_before: Timestamp,
    /// End of its validity, inclusive.
    pub not_after: Timestamp,
    /// The certificate authority that signed it, if registered with one.
    pub ca_id: Option<CertificateId>,
}

/// State of a certificate. Source: aws `CertificateStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateStatus {
    /// May authenticate.
    Active,
    /// May not authenticate until it is activated.
    Inactive,
    /// Withdrawn. Kept as a state: it can be undone, and doing so is logged.
    Revoked,
    /// On its way to another account; never authenticates here.
    PendingTransfer,
    /// Registered by its first connection, waiting for a person.
    PendingActivation,
    /// Registered without activation, in the old way.
    RegisterInactive,
}

impl CertificateStatus {
    /// AWS's spelling.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Revoked => "REVOKED",
            Self::PendingTransfer => "PENDING_TRANSFER",
            Self::PendingActivation => "PENDING_ACTIVATION",
            Self::RegisterInactive => "REGISTER_INACTIVE",
        }
    }

    /// Reads AWS's spelling.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Active,
            Self::Inactive,
            Self::Revoked,
            Self::PendingTransfer,
            Self::PendingActivation,
            Self::RegisterInactive,
        ]
        .into_iter()
        .find(|status| status.as_str() == text)
    }
}

impl fmt::Display for CertificateStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
