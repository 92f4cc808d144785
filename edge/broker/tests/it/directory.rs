//! A registry in memory, as plain as can be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use picket_broker::ports::{Directory, Principal, Rights, Unavailable};
use picket_model::{
    Certificate, CertificateId, CertificateStatus, Change, ClientId, DeviceName, PolicyName,
    ThingName, Timestamp,
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
    /// With their attributes.
    things: BTreeMap<ThingName, BTreeMap<String, String>>,
    owned: BTreeMap<CertificateId, BTreeSet<ThingName>>,
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

    /// Registers a thing, or changes what its attribute says.
    pub(crate) fn set_thing(&self, name: &str, attribute: Option<(&str, &str)>) -> Change {
        let name = ThingName::parse(name).unwrap();
        let attributes = attribute.into_iter();
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value.to_owned()));
        self.inner.lock().unwrap().things.insert(name.clone(), attributes.collect());
        Change::Thing(name)
    }

    /// Attaches a certificate to a thing.
    pub(crate) fn own(&self, id: &CertificateId, thing: &str) -> Change {
        let mut inner = self.inner.lock().unwrap();
        inner.owned.entry(id.clone()).or_default().insert(ThingName::parse(thing).unwrap());
        Change::Certificate(id.clone())
    }

    /// Detaches a certificate from all its things.
    pub(crate) fn disown(&self, id: &CertificateId) -> Change {
        self.inner.lock().unwrap().owned.remove(id);
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
        let things = match principal {
            Principal::Certificate(id) => inner.owned.get(id).cloned().unwrap_or_default(),
            Principal::Anonymous { .. } => BTreeSet::new(),
        };
        depends_on.extend(ThingName::parse(client.as_str()).ok().map(Change::Thing));
        let thing = things.get(client.as_str()).or(match things.len() {
            1 => things.first(),
            _ => None,
        });
        let device = thing.map_or(DeviceName::from(client), DeviceName::from);
        let documents = names.into_iter().filter_map(|policy| {
            let (version, document) = inner.policies.get(&policy).cloned()?;
            Some(NamedDocument { policy, version, document })
        });
        Ok(Rights {
            active,
            documents: documents.collect(),
            thing: None,
            registered: inner.things.contains_key(device.as_str()),
            is_client_registered: inner.things.contains_key(client.as_str()),
            device,
            things: Arc::new(things),
            depends_on,
        })
    }

    fn attribute(&self, thing: &ThingName, name: &str) -> Result<Option<String>, Unavailable> {
        let inner = self.inner.lock().unwrap();
        inner.check()?;
        Ok(inner.things.get(thing).and_then(|attributes| attributes.get(name)).cloned())
    }
}
