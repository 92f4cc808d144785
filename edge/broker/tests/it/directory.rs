//! A registry in memory, as plain as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use picket_broker::ports::{Directory, Principal, Rights, Unavailable};
use picket_model::{
    Certificate, CertificateId, CertificateStatus, Change, ClientId, DeviceName, PolicyName,
    Timestamp,
};
use picket_policy::{Document, NamedDocument};

/// Certificates with their policies.
#[derive(Default)]
pub(crate) struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    certificates: BTreeMap<CertificateId, Certificate>,
    /// The version in force.
    policies: BTreeMap<PolicyName, (u32, Arc<Document>)>,
    attached: BTreeMap<CertificateId, BTreeSet<PolicyName>>,
    is_down: bool,
}

pub(crate) fn policy_name(name: &str) -> PolicyName {
    PolicyName::parse(name).unwrap()
}

impl Registry {
    /// Registers a certificate, or changes its status.
    pub(crate) fn set_certificate(&self, id: &CertificateId, status: CertificateStatus) -> Change {
        let certificate = Certificate {
            id: id.clone(),
            pem: String::new(),
            status,
            created_at: Timestamp::EPOCH,
            modified_at: Timestamp::EPOCH,
            not_before: Timestamp::EPOCH,
            not_after: Timestamp::from_secs(4_000_000_000),
            ca_id: None,
        };
        self.inner.lock().unwrap().certificates.insert(id.clone(), certificate);
        Change::Certificate(id.clone())
    }

    /// Makes a new version of a policy the one in force.
    pub(crate) fn set_policy(&self, name: &str, document: &str) -> Change {
        let name = policy_name(name);
        let document = Arc::new(Document::parse(document).unwrap());
        let mut inner = self.inner.lock().unwrap();
        let version = inner.policies.get(&name).map_or(1, |(version, _)| version + 1);
        inner.policies.insert(name.clone(), (version, document));
        Change::Policy(name)
    }

    /// Attaches a policy to a certificate.
    pub(crate) fn attach(&self, policy: &str, id: &CertificateId) -> Change {
        let mut inner = self.inner.lock().unwrap();
        inner.attached.entry(id.clone()).or_default().insert(policy_name(policy));
        Change::Certificate(id.clone())
    }

    /// Lets every read fail from now on, or no more.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.inner.lock().unwrap().is_down = is_down;
    }
}

impl Inner {
    fn check(&self) -> Result<(), Unavailable> {
        match self.is_down {
            true => Err(Unavailable { reason: "it is down for a test".to_owned() }),
            false => Ok(()),
        }
    }
}

impl Directory for Registry {
    fn certificate(&self, id: &CertificateId) -> Result<Option<Certificate>, Unavailable> {
        let inner = self.inner.lock().unwrap();
        inner.check()?;
        Ok(inner.certificates.get(id).cloned())
    }

    fn rights(&self, principal: &Principal, client: &ClientId) -> Result<Rights, Unavailable> {
        let inner = self.inner.lock().unwrap();
        inner.check()?;
        let mut depends_on = BTreeSet::new();
        let (active, names) = match principal {
            Principal::Anonymous { policy } => (true, BTreeSet::from([policy.clone()])),
            Principal::Certificate(id) => {
                depends_on.insert(Change::Certificate(id.clone()));
                let certificate = inner.certificates.get(id);
                let active = certificate.is_some_and(|it| it.status == CertificateStatus::Active);
                (active, inner.attached.get(id).cloned().unwrap_or_default())
            }
        };
        depends_on.extend(names.iter().cloned().map(Change::Policy));
        let documents = names.into_iter().filter_map(|policy| {
            let (version, document) = inner.policies.get(&policy).cloned()?;
            Some(NamedDocument { policy, version, document })
        });
        Ok(Rights {
            active,
            documents: documents.collect(),
            thing: None,
            device: DeviceName::from(client),
            registered: false,
            depends_on,
        })
    }
}
