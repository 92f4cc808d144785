//! What the handlers work with.

use std::sync::Arc;

use picket_model::{Account, Certificate, Timestamp};
use picket_policy::CertificateFacts;
use picket_respond::FunctionHost;
use picket_store::{ReadTx, Store, WriteTx};

use crate::credentials::Credentials;
use crate::detect::ProfileRules;
use crate::error::ApiError;
use crate::issuer::Issuer;
use crate::metrics::ApiMetrics;
use crate::ports::{Clock, Connections, Messages, RetainedMessages};

/// Reads what policies can say of a certificate; none if it cannot be read. The broker reads
/// certificates in the handshake and has this.
pub type ReadCertificateFacts =
    Arc<dyn Fn(&Certificate) -> Option<Arc<CertificateFacts>> + Send + Sync>;

/// Everything that the API needs; cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    /// The one account.
    pub account: Account,
    /// Everything that lasts.
    pub store: Store,
    /// Wall time.
    pub clock: Clock,
    /// Whose keys open the door.
    pub credentials: Arc<Credentials>,
    /// Signs device certificates.
    pub issuer: Arc<Issuer>,
    /// What policies can say of a certificate, for TestAuthorization.
    pub certificate_facts: ReadCertificateFacts,
    /// Runs functions.
    pub functions: FunctionHost,
    /// The way into the broker.
    pub messages: Arc<dyn Messages>,
    /// The broker's clients.
    pub connections: Arc<dyn Connections>,
    /// The broker's retained messages.
    pub retained: Arc<dyn RetainedMessages>,
    /// Largest payload that the broker takes, in bytes.
    pub message_bytes_max: usize,
    /// What DescribeEndpoint answers: a host name without a port.
    pub endpoint_host: String,
    /// Refuse window lengths that AWS does not know (`[detect] aws_durations_only`).
    pub aws_durations_only: bool,
    /// Counters.
    pub metrics: ApiMetrics,
}

impl ApiState {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Reads from one consistent view of the store, off the async workers.
    ///
    /// # Errors
    /// The closure's.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTx) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || store.read(read)).await.map_err(ApiError::internal)?
    }

    /// Changes the store in a transaction; resolves when it is on disk.
    ///
    /// # Errors
    /// The closure's; then nothing was changed.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl FnOnce(&mut WriteTx) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        self.store.write(write).await
    }

    /// What a security profile may say.
    pub(crate) fn profile_rules(&self) -> ProfileRules {
        ProfileRules { aws_durations_only: self.aws_durations_only }
    }
}
