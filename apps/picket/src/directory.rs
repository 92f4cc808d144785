//! The registry as the broker asks it: certificates and rights, read from the store.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use picket_broker::ports::{Directory, Principal, Rights, Unavailable};
use picket_model::text::chain;
use picket_model::{
    Certificate, CertificateId, CertificateStatus, Change, ClientId, PolicyName, ThingName,
};
use picket_policy::{Document, NamedDocument, ThingFacts};
use picket_store::{Store, StoreError};
use tracing::error;

use crate::limits::DOCUMENTS_MAX;

/// The store behind the broker's port.
pub(crate) struct StoreDirectory {
    store: Store,
    /// By their text, so that no version can be taken for another.
    documents: Mutex<HashMap<String, Arc<Document>>>,
}

impl StoreDirectory {
    pub(crate) fn new(store: Store) -> Self {
        Self { store, documents: Mutex::default() }
    }

    /// The parsed document; a text that does not parse (which no operation stores) denies.
    fn document(&self, policy: &PolicyName, text: &str) -> Result<Arc<Document>, Unavailable> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = documents.get(text) {
            return Ok(Arc::clone(document));
        }
        let document = Document::parse(text).map_err(|source| {
            error!(policy.name = %policy, error = %source, "stored policy `{policy}` does not parse");
            Unavailable { reason: format!("policy `{policy}` does not parse: {source}") }
        })?;
        if documents.len() >= DOCUMENTS_MAX {
            documents.retain(|_, document| Arc::strong_count(document) > 1);
        }
        let document = Arc::new(document);
        documents.insert(text.to_owned(), Arc::clone(&document));
        Ok(document)
    }

    fn named(
        &self,
        policy: PolicyName,
        version: u32,
        text: &str,
    ) -> Result<NamedDocument, Unavailable> {
        let document = self.document(&policy, text)?;
        Ok(NamedDocument { policy, version, document })
    }
}

impl Directory for StoreDirectory {
    fn certificate(&self, id: &CertificateId) -> Result<Option<Certificate>, Unavailable> {
        self.store.read(|tx| picket_store::certificates::find(tx, id)).map_err(unavailable)
    }

    fn rights(&self, principal: &Principal, client: &ClientId) -> Result<Rights, Unavailable> {
        let certificate = match principal {
            Principal::Certificate(id) => Some(id),
            Principal::Anonymous { .. } => None,
        };
        let (mut facts, named) = self
            .store
            .read(|tx| {
                let named = match principal {
                    Principal::Certificate(_) => None,
                    Principal::Anonymous { policy } => picket_store::policies::find(tx, policy)?,
                };
                Ok((picket_store::access::rights(tx, certificate, client)?, named))
            })
            .map_err(unavailable)?;
        let mut documents = Vec::with_capacity(facts.policies.len() + 1);
        for (_, policy, version) in facts.policies {
            documents.push(self.named(policy, version.id, &version.document)?);
        }
        if let Principal::Anonymous { policy } = principal {
            facts.depends_on.insert(Change::Policy(policy.clone()));
        }
        if let Some(policy) = named {
            let version = policy.default_version;
            documents.push(self.named(policy.name, version.id, &version.document)?);
        }
        let active = match certificate {
            None => true,
            Some(_) => facts.certificate.is_some_and(|it| it.status == CertificateStatus::Active),
        };
        Ok(Rights {
            active,
            documents,
            thing: facts.thing.map(|thing| ThingFacts {
                name: thing.name,
                thing_type: thing.thing_type,
                attributes: thing.attributes,
                is_attached: facts.is_named,
            }),
            device: facts.device,
            registered: facts.registered,
            is_client_registered: facts.is_client_registered,
            things: Arc::new(facts.things),
            depends_on: facts.depends_on,
        })
    }

    fn attribute(&self, thing: &ThingName, name: &str) -> Result<Option<String>, Unavailable> {
        let thing = self.store.read(|tx| picket_store::things::find(tx, thing));
        let thing = thing.map_err(unavailable)?;
        Ok(thing.and_then(|mut thing| thing.attributes.remove(name)))
    }
}

fn unavailable(error: StoreError) -> Unavailable {
    Unavailable { reason: chain(&error) }
}
