//! What the broker needs from above: the registry, asked for rights, and a place for what sessions
//! are promised.

use std::collections::BTreeSet;
use std::sync::Arc;

use picket_model::{
    Certificate, CertificateId, Change, ClientId, DeviceName, PolicyName, ThingName,
};
use picket_policy::{NamedDocument, ThingFacts};
use thiserror::Error;

pub use crate::journal::{
    Batch, DeliveryChange, Progress, SessionChange, SessionChanges, SessionFacts, StoredOptions,
};
pub use crate::restore::{StoredDelivery, StoredSession, StoredSessions};

/// The registry, as far as admission and rights go.
///
/// Its answers come from the latest committed state. They may block for the time of a read.
pub trait Directory: Send + Sync + 'static {
    /// The certificate as it is registered, `None` if it is unknown.
    ///
    /// # Errors
    /// [`Unavailable`] if the registry cannot be read; the caller then denies.
    fn certificate(&self, id: &CertificateId) -> Result<Option<Certificate>, Unavailable>;

    /// Everything that the rights of a connection follow from, in one consistent state.
    ///
    /// Documents come as shared values: two sessions under one policy get the same `Arc`.
    ///
    /// # Errors
    /// [`Unavailable`] if the registry cannot be read; the caller then denies.
    fn rights(&self, principal: &Principal, client: &ClientId) -> Result<Rights, Unavailable>;

    /// The value of a thing's attribute, `None` if the thing or the attribute does not exist.
    ///
    /// # Errors
    /// [`Unavailable`] if the registry cannot be read; the caller then denies.
    fn attribute(&self, thing: &ThingName, name: &str) -> Result<Option<String>, Unavailable>;
}

/// Who is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principal {
    /// The owner of a certificate: the TLS handshake proved it.
    Certificate(CertificateId),
    /// Anybody who reaches a plain listener, under the policy that the listener names.
    Anonymous {
        /// The listener's policy.
        policy: PolicyName,
    },
}

/// What the rights of one connection follow from.
#[derive(Clone, Debug, PartialEq)]
pub struct Rights {
    /// Whether the principal may be connected at all: its certificate is registered and active.
    /// Always true of an anonymous one.
    pub active: bool,
    /// The policies in force: the principal's own, then those of the thing's groups.
    pub documents: Vec<NamedDocument>,
    /// The thing that the connection speaks for.
    pub thing: Option<ThingFacts>,
    /// Whom Detect counts it for: the thing, or else the client id.
    pub device: DeviceName,
    /// Whether a thing of the device's name exists.
    pub registered: bool,
    /// Whether a thing exists whose name is the client id, be it another than the device.
    pub is_client_registered: bool,
    /// The things that the certificate is attached to: the connection may report for them.
    pub things: Arc<BTreeSet<ThingName>>,
    /// Every noun whose change may change any of this, those included that do not exist (yet).
    pub depends_on: BTreeSet<Change>,
}

/// The registry could not be read just now.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the registry cannot be read: {reason}")]
pub struct Unavailable {
    /// Why, for the log.
    pub reason: String,
}

/// Where sessions are kept that survive the server. Its calls block.
pub trait SessionStore: Send + 'static {
    /// Reads everything. Called once, before anything is committed.
    ///
    /// # Errors
    /// [`StoreFailed`] where that is not possible. What is wrong with a single session is no error.
    fn load(&mut self) -> Result<StoredSessions, StoreFailed>;

    /// Makes a batch durable: all of it is on the disk when this returns.
    ///
    /// # Errors
    /// [`StoreFailed`] if it is not; then the same batch comes again.
    fn commit(&mut self, batch: &Batch) -> Result<(), StoreFailed>;
}

/// The store of sessions failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the store of sessions fails: {reason}")]
pub struct StoreFailed {
    /// Why, for the log.
    pub reason: String,
}
