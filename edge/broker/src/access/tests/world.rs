//! A registry in memory: who owns what, what is attached where, and deeds that change it.

use std::collections::BTreeMap;

use picket_model::{Certificate, CertificateId, GroupName, PolicyName};
use picket_policy::{Document, NamedDocument, ThingFacts};

use super::super::*;

/// The registry as far as rights go. Names only; every noun is what a test says it is.
#[derive(Clone, Default)]
pub(super) struct World {
    /// Policy to (version, document).
    policies: BTreeMap<&'static str, (u32, Arc<Document>)>,
    active: BTreeSet<&'static str>,
    /// (certificate or group, policy)
    attached: BTreeSet<(&'static str, &'static str)>,
    /// (certificate, thing)
    owned: BTreeSet<(&'static str, &'static str)>,
    /// (thing, group)
    members: BTreeSet<(&'static str, &'static str)>,
    /// Thing to its floor.
    things: BTreeMap<&'static str, &'static str>,
    pub(super) is_unavailable: bool,
}

pub(super) fn certificate(name: &str) -> CertificateId {
    CertificateId::from_sha256([name.bytes().map(u64::from).sum::<u64>() as u8; 32])
}

pub(super) fn change(kind: &str, name: &str) -> Change {
    match kind {
        "certificate" => Change::Certificate(certificate(name)),
        "thing" => Change::Thing(ThingName::parse(name).unwrap()),
        "group" => Change::Group(GroupName::parse(name).unwrap()),
        "policy" => Change::Policy(PolicyName::parse(name).unwrap()),
        kind => panic!("no kind `{kind}`"),
    }
}

/// A document that allows to connect and to publish to some topics, and denies others.
pub(super) fn document(allow: &[&str], deny: &[&str]) -> Arc<Document> {
    let arn = |resource: &&str| match *resource {
        "*" => "\"*\"".to_owned(),
        resource => format!("\"{}\"", Account::default().iot_arn(resource)),
    };
    let statement = |effect: &str, resources: &[&str]| {
        let resources = resources.iter().map(arn).collect::<Vec<_>>().join(",");
        format!(r#"{{"Effect":"{effect}","Action":"iot:*","Resource":[{resources}]}}"#)
    };
    let mut statements = Vec::new();
    if !allow.is_empty() {
        statements.push(statement("Allow", allow));
    }
    if !deny.is_empty() {
        statements.push(statement("Deny", deny));
    }
    let text = format!(r#"{{"Statement":[{}]}}"#, statements.join(","));
    Arc::new(Document::parse(&text).unwrap())
}

impl World {
    /// Certificates A, B and C; A owns pump-1 in group floor, B owns pump-2, C owns nothing.
    fn new() -> Self {
        Self {
            policies: BTreeMap::from([
                ("Base", (1, document(&["client/*", "topic/data/*"], &[]))),
                ("Extra", (1, document(&["topic/extra"], &[]))),
                ("Isolate", (1, document(&[], &["*"]))),
                ("Floor", (1, document(&["topic/${iot:Connection.Thing.Attributes[floor]}"], &[]))),
            ]),
            active: BTreeSet::from(["A", "B", "C"]),
            attached: BTreeSet::from([
                ("A", "Base"),
                ("B", "Base"),
                ("C", "Base"),
                ("B", "Extra"),
                ("floor", "Floor"),
            ]),
            owned: BTreeSet::from([("A", "pump-1"), ("B", "pump-2")]),
            members: BTreeSet::from([("pump-1", "floor")]),
            things: BTreeMap::from([("pump-1", "1"), ("pump-2", "2")]),
            is_unavailable: false,
        }
    }

    fn rights(&self, name: &'static str, client: &str) -> Rights {
        let owned: Vec<&str> =
            self.owned.iter().filter(|(c, _)| *c == name).map(|(_, thing)| *thing).collect();
        let thing = if self.things.contains_key(client) {
            owned.iter().copied().find(|thing| *thing == client)
        } else if let [only] = owned[..] {
            Some(only)
        } else {
            None
        };
        let mut holders = vec![name];
        let mut depends_on = BTreeSet::from([change("certificate", name), change("thing", client)]);
        depends_on.extend(owned.iter().map(|thing| change("thing", thing)));
        if let Some(thing) = thing {
            for (_, group) in self.members.iter().filter(|(member, _)| *member == thing) {
                holders.push(group);
                depends_on.insert(change("group", group));
            }
        }
        let mut documents = Vec::new();
        for (_, policy) in self.attached.iter().filter(|(holder, _)| holders.contains(holder)) {
            depends_on.insert(change("policy", policy));
            let (version, document) = &self.policies[policy];
            documents.push(NamedDocument {
                policy: PolicyName::parse(*policy).unwrap(),
                version: *version,
                document: Arc::clone(document),
            });
        }
        let thing = thing.map(|thing| ThingFacts {
            name: ThingName::parse(thing).unwrap(),
            thing_type: None,
            attributes: BTreeMap::from([("floor".to_owned(), self.things[thing].to_owned())]),
            is_attached: true,
        });
        let device = thing.as_ref().map_or(client.to_owned(), |thing| thing.name.to_string());
        Rights {
            active: self.active.contains(name),
            documents,
            thing,
            is_client_registered: self.things.contains_key(client),
            things: Arc::new(owned.iter().map(|it| ThingName::parse(*it).unwrap()).collect()),
            registered: self.things.contains_key(device.as_str()),
            device: DeviceName::parse(device).unwrap(),
            depends_on,
        }
    }

    /// Does one of the deeds and says what it touched.
    fn take(&mut self, deed: &str) -> Vec<Change> {
        let words: Vec<&'static str> =
            deed.split(' ').map(|word| &*Box::leak(word.to_owned().into_boxed_str())).collect();
        match words[..] {
            ["policy", name, verdict] => {
                let document = match verdict {
                    "denies-all" => document(&[], &["*"]),
                    "allows-more" => document(&["client/*", "topic/*"], &[]),
                    "allows-nothing-but-connect" => document(&["client/*"], &[]),
                    "denies-data" => document(&["client/*", "topic/*"], &["topic/data/*"]),
                    verdict => panic!("no verdict `{verdict}`"),
                };
                let version = self.policies.get(name).map_or(1, |(version, _)| version + 1);
                self.policies.insert(name, (version, document));
                vec![change("policy", name)]
            }
            ["attach", policy, kind, holder] => {
                self.attached.insert((holder, policy));
                vec![change(kind, holder)]
            }
            ["detach", policy, kind, holder] => {
                self.attached.remove(&(holder, policy));
                vec![change(kind, holder)]
            }
            ["join", thing, group] => {
                self.members.insert((thing, group));
                vec![change("thing", thing)]
            }
            ["leave", thing, group] => {
                self.members.remove(&(thing, group));
                vec![change("thing", thing)]
            }
            ["deactivate", name] => {
                self.active.remove(name);
                vec![change("certificate", name)]
            }
            ["activate", name] => {
                self.active.insert(name);
                vec![change("certificate", name)]
            }
            ["move", thing, floor] => {
                self.things.insert(thing, floor);
                vec![change("thing", thing)]
            }
            ["create", thing] => {
                self.things.entry(thing).or_insert("0");
                vec![change("thing", thing)]
            }
            ["own", name, thing] => {
                self.owned.insert((name, thing));
                vec![change("certificate", name), change("thing", thing)]
            }
            ["disown", name, thing] => {
                self.owned.remove(&(name, thing));
                vec![change("certificate", name), change("thing", thing)]
            }
            _ => panic!("no deed `{deed}`"),
        }
    }
}

/// The world behind a lock, with a hook between reading an answer and giving it.
#[derive(Default)]
pub(super) struct Registry {
    pub(super) world: Mutex<World>,
    pub(super) reads: Mutex<usize>,
    pub(super) hook: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Registry {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { world: Mutex::new(World::new()), ..Self::default() })
    }

    pub(super) fn take(&self, deed: &str) -> Vec<Change> {
        lock(&self.world).take(deed)
    }
}

impl Directory for Registry {
    fn certificate(&self, _id: &CertificateId) -> Result<Option<Certificate>, Unavailable> {
        Err(Unavailable { reason: "not asked here".to_owned() })
    }

    fn rights(&self, principal: &Principal, client: &ClientId) -> Result<Rights, Unavailable> {
        *lock(&self.reads) += 1;
        let rights = {
            let world = lock(&self.world);
            let name = ["A", "B", "C"]
                .into_iter()
                .find(|name| *principal == Principal::Certificate(certificate(name)));
            if world.is_unavailable {
                Err(Unavailable { reason: "the disk is on holiday".to_owned() })
            } else {
                Ok(world.rights(name.unwrap(), client.as_str()))
            }
        };
        let hook = lock(&self.hook).take();
        if let Some(hook) = hook {
            hook();
        }
        rights
    }

    fn attribute(&self, _: &ThingName, _: &str) -> Result<Option<String>, Unavailable> {
        Err(Unavailable { reason: "not asked here".to_owned() })
    }
}
