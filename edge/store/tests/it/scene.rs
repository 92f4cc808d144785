//! A store in a temporary directory, and a small language to fill it with.

use std::collections::BTreeMap;
use std::sync::Arc;

use picket_model::wire::behavior_from_json;
use picket_model::{
    Account, Behavior, CertificateId, CertificateStatus, Change, ClientId, CustomMetric,
    CustomMetricKind, CustomMetricName, DeviceName, Dimension, DimensionName, Function,
    FunctionName, FunctionRuntime, GroupName, Metric, NotificationTopicName, PolicyName,
    PolicyTarget, ProfileName, ProfileTarget, Protocol, RetainedMetric, SecurityProfile,
    Subscription, ThingName, ThingTypeName, Timestamp,
};
use picket_store::certificates::NewCertificate;
use picket_store::groups::{GroupUpdate, NewGroup};
use picket_store::thing_types::NewThingType;
use picket_store::things::{NewThing, ThingUpdate};
use picket_store::{
    OutboxEntry, ReadTx, RegistryError, Store, StoreError, WriteTx, certificates, custom_metrics,
    dimensions, functions, groups, outbox, policies, profiles, subscriptions, thing_types, things,
    topics,
};
use serde_json::json;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::broadcast::Receiver;

/// The moment at which everything in these tests happens, unless they say another one.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

pub(crate) struct Scene {
    // Dropped in this order: the store lets go of the directory before it is deleted.
    pub(crate) store: Store,
    pub(crate) runtime: Runtime,
    pub(crate) dir: TempDir,
}

impl Scene {
    pub(crate) fn new() -> Self {
        // In memory where there is such a place: a store of its own for each of thousands of cases
        // would make the disk the slowest part. `crash` is on the disk.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
        let store = Store::open(dir.path(), Account::default()).unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        Self { store, runtime, dir }
    }

    /// A scene in which a script has run.
    pub(crate) fn with(script: &str) -> Self {
        let scene = Self::new();
        scene.run(script);
        scene
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(self) -> Self {
        let Self { store, runtime, dir } = self;
        runtime.block_on(store.close());
        drop(store);
        let store = Store::open(dir.path(), Account::default()).unwrap();
        Self { store, runtime, dir }
    }

    pub(crate) fn write<T, E>(
        &self,
        f: impl FnOnce(&mut WriteTx) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        self.runtime.block_on(self.store.write(f))
    }

    pub(crate) fn read<T>(&self, f: impl FnOnce(&ReadTx) -> Result<T, RegistryError>) -> T {
        self.store.read(f).unwrap()
    }

    /// The message that a read is refused with.
    pub(crate) fn refused<T: std::fmt::Debug>(
        &self,
        f: impl FnOnce(&ReadTx) -> Result<T, RegistryError>,
    ) -> String {
        self.store.read(f).unwrap_err().to_string()
    }

    /// Runs the commands of a script, each in a transaction of its own.
    pub(crate) fn run(&self, script: &str) {
        for command in commands(script) {
            if let Err(error) = self.try_run(command) {
                panic!("`{command}`: {error}");
            }
        }
    }

    /// Runs one command.
    pub(crate) fn try_run(&self, command: &str) -> Result<(), RegistryError> {
        let command = command.to_owned();
        self.write(move |tx| run(tx, &command))
    }

    /// Runs one command, which has to fail, and gives the kind of error with its message.
    pub(crate) fn fails(&self, command: &str) -> String {
        match self.try_run(command) {
            Ok(()) => panic!("`{command}` should fail"),
            Err(error) => format!("{}: {error}", kind(&error)),
        }
    }

    /// Runs one command and gives what it changed, in words.
    pub(crate) fn changes(&self, command: &str) -> String {
        let mut changes = self.store.changes();
        self.run(command);
        in_words(&received(&mut changes))
    }
}

/// Everything that a receiver holds by now.
pub(crate) fn received(changes: &mut Receiver<Arc<[Change]>>) -> Vec<Change> {
    std::iter::from_fn(|| changes.try_recv().ok()).flat_map(|group| group.to_vec()).collect()
}

pub(crate) fn in_words(changes: &[Change]) -> String {
    let words: Vec<String> = changes
        .iter()
        .map(|change| match change {
            Change::Certificate(id) => format!("certificate {}", number(id)),
            Change::Thing(name) => format!("thing {name}"),
            Change::Group(name) => format!("group {name}"),
            Change::Policy(name) => format!("policy {name}"),
            Change::Profile(name) => format!("profile {name}"),
            Change::Dimension(name) => format!("dimension {name}"),
            Change::MitigationTask => "mitigation task".to_owned(),
            Change::Function(name) => format!("function {name}"),
            Change::Outbox => "outbox".to_owned(),
            Change::RegistryEvent => "registry event".to_owned(),
        })
        .collect();
    words.join(", ")
}

pub(crate) fn kind(error: &RegistryError) -> &'static str {
    match error {
        RegistryError::NotFound { .. } => "not found",
        RegistryError::AlreadyExists { .. } => "already exists",
        RegistryError::Invalid(_) => "invalid",
        RegistryError::VersionConflict { .. } => "version conflict",
        RegistryError::Limit(_) => "limit",
        RegistryError::VersionsLimit { .. } => "versions limit",
        RegistryError::DeleteConflict(_) => "delete conflict",
        RegistryError::CertificateState(_) => "certificate state",
        RegistryError::Store(_) => "store",
    }
}

pub(crate) fn thing(name: &str) -> ThingName {
    ThingName::parse(name).unwrap()
}

pub(crate) fn group(name: &str) -> GroupName {
    GroupName::parse(name).unwrap()
}

pub(crate) fn policy(name: &str) -> PolicyName {
    PolicyName::parse(name).unwrap()
}

pub(crate) fn profile(name: &str) -> ProfileName {
    ProfileName::parse(name).unwrap()
}

pub(crate) fn device(name: &str) -> DeviceName {
    DeviceName::parse(name).unwrap()
}

pub(crate) fn client(name: &str) -> ClientId {
    ClientId::parse(name).unwrap()
}

pub(crate) fn topic(name: &str) -> NotificationTopicName {
    NotificationTopicName::parse(name).unwrap()
}

pub(crate) fn function(name: &str) -> FunctionName {
    FunctionName::parse(name).unwrap()
}

/// The certificate of a number: its id is the number with zeros before it.
pub(crate) fn cert(number: u32) -> CertificateId {
    CertificateId::parse(format!("{number:064}")).unwrap()
}

fn number(id: &CertificateId) -> u32 {
    id.as_str().parse().unwrap()
}

/// A digit names a certificate, anything else a group.
pub(crate) fn target(word: &str) -> PolicyTarget {
    match word.parse() {
        Ok(number) => PolicyTarget::Certificate(cert(number)),
        Err(_) => PolicyTarget::Group(group(word)),
    }
}

fn profile_target(word: &str) -> ProfileTarget {
    match word {
        "all" => ProfileTarget::AllThings,
        "registered" => ProfileTarget::RegisteredThings,
        "unregistered" => ProfileTarget::UnregisteredThings,
        name => ProfileTarget::Group(group(name)),
    }
}

/// The document of a version of a policy in these tests.
pub(crate) fn document(policy: &str, version: u32) -> String {
    format!("{{\"policy\": \"{policy}\", \"version\": {version}}}")
}

pub(crate) fn behavior(name: &str, metric: Metric, suppressed: bool) -> Behavior {
    let json = json!({
        "name": name,
        "metric": metric.as_str(),
        "criteria": {
            "comparisonOperator": "less-than-equals",
            "value": {"count": 1000},
            "durationSeconds": 300,
        },
        "suppressAlerts": suppressed,
    });
    behavior_from_json(&json, 1).unwrap()
}

/// A behavior of the API's form: the criteria beside the numbers of datapoints.
pub(crate) fn behavior_of(name: &str, metric: &str, criteria: serde_json::Value) -> Behavior {
    behavior_from_json(&json!({"name": name, "metric": metric, "criteria": criteria}), 1).unwrap()
}

pub(crate) fn new_profile(name: &str, metric: Metric) -> SecurityProfile {
    SecurityProfile {
        name: profile(name),
        description: Some("what is normal".to_owned()),
        behaviors: vec![behavior("B", metric, false)],
        alert_targets: vec![picket_model::AlertTarget {
            topic_arn: "arn:aws:sns:us-east-1:123456789012:Alerts".to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/Alerts".to_owned(),
        }],
        retained_metrics: vec![retained(Metric::SourceIpAddress)],
        export: None,
        version: 1,
        created_at: NOW,
        modified_at: NOW,
    }
}

pub(crate) fn retained(metric: Metric) -> RetainedMetric {
    RetainedMetric { metric, dimension: None, export: false }
}

pub(crate) fn custom_metric(name: &str, kind: CustomMetricKind) -> CustomMetric {
    CustomMetric {
        name: CustomMetricName::parse(name).unwrap(),
        kind,
        display_name: None,
        created_at: NOW,
        modified_at: NOW,
    }
}

pub(crate) fn dimension(name: &str, filters: &[&str]) -> Dimension {
    Dimension {
        name: DimensionName::parse(name).unwrap(),
        filters: filters.iter().map(|filter| (*filter).to_owned()).collect(),
        created_at: NOW,
        modified_at: NOW,
    }
}

pub(crate) fn new_function(name: &str) -> Function {
    Function {
        name: function(name),
        runtime: FunctionRuntime::parse("python3.12").unwrap(),
        handler: "index.lambda_handler".to_owned(),
        role_arn: "arn:aws:iam::123456789012:role/R".to_owned(),
        description: String::new(),
        timeout_s: 5,
        memory_mib: 128,
        environment: BTreeMap::from([("ThingGroupName".to_owned(), "Isolated".to_owned())]),
        tags: BTreeMap::new(),
        code_sha256: "digest".to_owned(),
        code_bytes: 3,
        revision_id: "1".to_owned(),
        modified_at: NOW,
    }
}

pub(crate) fn subscription(topic_name: &str, endpoint: &str) -> Subscription {
    let topic = topic(topic_name);
    Subscription {
        arn: format!("{}:{endpoint}", Account::default().notification_topic_arn(&topic)),
        topic,
        protocol: Protocol::Lambda,
        endpoint: endpoint.to_owned(),
        attributes: BTreeMap::new(),
        created_at: NOW,
    }
}

pub(crate) fn entry(id: &str, topic_name: &str) -> OutboxEntry {
    OutboxEntry {
        id: id.to_owned(),
        topic_arn: Account::default().notification_topic_arn(&topic(topic_name)),
        subject: None,
        message: format!("message {id}"),
        attributes: BTreeMap::new(),
        at: NOW,
    }
}

fn commands(script: &str) -> impl Iterator<Item = &str> {
    script.split([';', '\n']).map(str::trim).filter(|command| !command.is_empty())
}

/// `a=1 b=` as attributes, and whatever is not of that form.
fn attributes<'a>(words: &[&'a str]) -> (BTreeMap<String, String>, Vec<&'a str>) {
    let mut map = BTreeMap::new();
    let mut rest = Vec::new();
    for word in words {
        match word.split_once('=') {
            Some((name, value)) => drop(map.insert(name.to_owned(), value.to_owned())),
            None => rest.push(*word),
        }
    }
    (map, rest)
}

/// The number behind `at`, if the words say one: an expected version.
fn expected(words: &[&str]) -> Option<u64> {
    match words {
        ["at", version] => Some(version.parse().unwrap()),
        _ => None,
    }
}

/// Runs one command. Things are `T`, certificates are numbers, everything else is named.
pub(crate) fn run(tx: &mut WriteTx, command: &str) -> Result<(), RegistryError> {
    let words: Vec<&str> = command.split_whitespace().collect();
    match words.as_slice() {
        ["type", name] => {
            let new = NewThingType {
                name: ThingTypeName::parse(*name).unwrap(),
                description: None,
                searchable: Vec::new(),
            };
            thing_types::create(tx, &new, "id", NOW).map(drop)
        }
        ["deprecate", name] => {
            thing_types::deprecate(tx, &ThingTypeName::parse(*name).unwrap(), false, NOW)
        }
        ["undeprecate", name] => {
            thing_types::deprecate(tx, &ThingTypeName::parse(*name).unwrap(), true, NOW)
        }
        ["delete-type", name, "after", ms] => {
            let now = NOW + ms.parse::<i64>().unwrap();
            thing_types::delete(tx, &ThingTypeName::parse(*name).unwrap(), now)
        }
        ["thing", name, rest @ ..] => {
            let (attributes, rest) = attributes(rest);
            let thing_type = match rest.as_slice() {
                ["of", name] => Some(ThingTypeName::parse(*name).unwrap()),
                _ => None,
            };
            let new = NewThing { name: thing(name), thing_type, attributes };
            things::create(tx, &new, &format!("id-{name}"), NOW).map(drop)
        }
        ["update-thing", name, rest @ ..] => {
            let (attributes, rest) = attributes(rest);
            let mut update = ThingUpdate {
                attributes: (!attributes.is_empty()).then_some(attributes),
                ..ThingUpdate::default()
            };
            match rest.as_slice() {
                ["merge"] => update.merge = true,
                ["of", name] => update.thing_type = Some(ThingTypeName::parse(*name).unwrap()),
                ["untyped"] => update.remove_type = true,
                ["clear"] => update.attributes = Some(BTreeMap::new()),
                other => update.expected_version = expected(other),
            }
            things::update(tx, &thing(name), &update).map(drop)
        }
        ["delete-thing", name, rest @ ..] => things::delete(tx, &thing(name), expected(rest)),
        ["group", name, rest @ ..] => {
            let (attributes, rest) = attributes(rest);
            let parent = match rest.as_slice() {
                ["in", parent] => Some(group(parent)),
                _ => None,
            };
            let new = NewGroup { name: group(name), parent, description: None, attributes };
            groups::create(tx, &new, &format!("id-{name}"), NOW).map(drop)
        }
        ["update-group", name, rest @ ..] => {
            let (attributes, rest) = attributes(rest);
            let update = GroupUpdate {
                attributes: (!attributes.is_empty()).then_some(attributes),
                expected_version: expected(&rest),
                ..GroupUpdate::default()
            };
            groups::update(tx, &group(name), &update).map(drop)
        }
        ["delete-group", name, rest @ ..] => groups::delete(tx, &group(name), expected(rest)),
        ["add", name, into] => groups::add_thing(tx, &thing(name), &group(into)),
        ["remove", name, from] => groups::remove_thing(tx, &thing(name), &group(from)),
        ["cert", n, rest @ ..] => {
            let new = NewCertificate {
                id: cert(n.parse().unwrap()),
                pem: format!("pem {n}"),
                status: rest
                    .first()
                    .map_or(CertificateStatus::Active, |s| CertificateStatus::parse(s).unwrap()),
                not_before: NOW,
                not_after: NOW + 1,
                ca_id: None,
            };
            certificates::register(tx, &new, NOW).map(drop)
        }
        ["status", n, status] => {
            let status = CertificateStatus::parse(status).unwrap();
            certificates::set_status(tx, &cert(n.parse().unwrap()), status, NOW + 1)
        }
        ["delete-cert", n, rest @ ..] => {
            certificates::delete(tx, &cert(n.parse().unwrap()), *rest == ["force"])
        }
        ["bind", n, name, rest @ ..] => {
            let exclusive = *rest == ["alone"];
            certificates::attach_thing(tx, &cert(n.parse().unwrap()), &thing(name), exclusive)
        }
        ["unbind", n, name] => {
            certificates::detach_thing(tx, &cert(n.parse().unwrap()), &thing(name))
        }
        ["policy", name] => policies::create(tx, &policy(name), &document(name, 1), NOW).map(drop),
        ["version", name, n, rest @ ..] => {
            let document = document(name, n.parse().unwrap());
            let in_force = *rest == ["in-force"];
            policies::create_version(tx, &policy(name), &document, in_force, NOW + 1).map(drop)
        }
        ["in-force", name, n] => {
            policies::set_default(tx, &policy(name), n.parse().unwrap(), NOW + 2)
        }
        ["delete-version", name, n] => {
            policies::delete_version(tx, &policy(name), n.parse().unwrap())
        }
        ["delete-policy", name] => policies::delete(tx, &policy(name)),
        ["attach", name, to] => policies::attach(tx, &policy(name), &target(to)),
        ["detach", name, from] => policies::detach(tx, &policy(name), &target(from)),
        ["profile", name] => {
            profiles::create(tx, &new_profile(name, Metric::MessagesSent)).map(drop)
        }
        ["update-profile", name, rest @ ..] => {
            let changed = new_profile(name, Metric::Disconnects);
            profiles::update(tx, &changed, expected(rest)).map(drop)
        }
        // Its token is its kind: the same command again is the same request.
        ["metric", name, kind] => {
            let metric = custom_metric(name, CustomMetricKind::parse(kind).unwrap());
            custom_metrics::create(tx, &metric, kind).map(drop)
        }
        ["rename-metric", name, words] => {
            let name = CustomMetricName::parse(*name).unwrap();
            custom_metrics::set_display_name(tx, &name, words, NOW + 1).map(drop)
        }
        ["delete-metric", name] => {
            custom_metrics::delete(tx, &CustomMetricName::parse(*name).unwrap())
        }
        // Its token is its first filter.
        ["dimension", name, filters @ ..] => {
            dimensions::create(tx, &dimension(name, filters), filters[0]).map(drop)
        }
        ["update-dimension", name, filters @ ..] => {
            let Dimension { name, filters, .. } = dimension(name, filters);
            dimensions::set_filters(tx, &name, filters, NOW + 1).map(drop)
        }
        ["delete-dimension", name] => dimensions::delete(tx, &DimensionName::parse(*name).unwrap()),
        ["delete-profile", name, rest @ ..] => profiles::delete(tx, &profile(name), expected(rest)),
        ["watch", name, what] => profiles::attach(tx, &profile(name), &profile_target(what)),
        ["unwatch", name, what] => profiles::detach(tx, &profile(name), &profile_target(what)),
        ["function", name] => functions::create(tx, &new_function(name), b"zip"),
        ["update-function", name] => functions::update(tx, &new_function(name)),
        ["update-code", name] => functions::update_code(tx, &new_function(name), b"new zip"),
        ["delete-function", name] => functions::delete(tx, &function(name)),
        ["allow", name, sid] => functions::add_permission(tx, &function(name), sid, "{}"),
        ["disallow", name, sid] => functions::remove_permission(tx, &function(name), sid),
        ["topic", name, rest @ ..] => {
            topics::create(tx, &topic(name), &attributes(rest).0, NOW).map(drop)
        }
        ["delete-topic", name] => topics::delete(tx, &topic(name)),
        ["subscribe", name, endpoint, rest @ ..] => {
            let new =
                Subscription { attributes: attributes(rest).0, ..subscription(name, endpoint) };
            subscriptions::subscribe(tx, &new).map(drop)
        }
        ["unsubscribe", name, endpoint] => {
            subscriptions::unsubscribe(tx, &subscription(name, endpoint).arn)
        }
        ["push", id, name] => Ok(outbox::push(tx, &entry(id, name)).map(drop)?),
        ["expand", id] => Ok(outbox::expand(tx, id, NOW).map(drop)?),
        other => panic!("no such command: {other:?}"),
    }
}
