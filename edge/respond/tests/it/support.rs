//! A host with a store in a folder of its own, and functions written in a line or two.

use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use picket_model::{Account, Function, FunctionName, FunctionRuntime, Timestamp};
use picket_respond::functions::FunctionHostConfig;
use picket_respond::limits::HostLimits;
use picket_respond::{
    Clock, FunctionHost, Invocation, InvokeError, IssueKeys, Keys, Metrics, python,
};
use picket_store::{RegistryError, Store, functions};
use serde_json::Value;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Keys that tell whom they were issued for.
struct TestKeys;

impl IssueKeys for TestKeys {
    fn issue(&self, role_arn: &str, session: &str, until: Timestamp) -> Keys {
        Keys {
            access_key_id: format!("ASIA{session}"),
            secret_access_key: "secret".to_owned(),
            session_token: format!("{role_arn} until {until}"),
        }
    }
}

pub(crate) fn clock() -> Clock {
    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
    })
}

/// The Python that has awslambdaric and boto3.
pub(crate) fn test_python() -> PathBuf {
    match std::env::var_os("PICKET_TEST_PYTHON") {
        Some(path) => path.into(),
        None => panic!(
            "PICKET_TEST_PYTHON is not set; run the tests by `cargo xtask test`, which makes the \
             Python environment that they need, or set it to a Python that has awslambdaric and \
             boto3"
        ),
    }
}

pub(crate) struct Scene {
    pub(crate) host: FunctionHost,
    pub(crate) store: Store,
    pub(crate) folder: tempfile::TempDir,
}

/// Patient, as a busy machine asks for, and watchful.
pub(crate) fn limits() -> HostLimits {
    HostLimits {
        memory_check_interval: Duration::from_millis(10),
        settle_timeout: Duration::from_secs(20),
        ..HostLimits::default()
    }
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(limits(), "http://127.0.0.1:1")
    }

    pub(crate) fn with(limits: HostLimits, endpoint_url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), Account::default()).unwrap();
        let host = host(&folder.path().join("functions"), &store, limits, endpoint_url);
        Self { host, store, folder }
    }

    /// Makes a function of one Python file; `timeout_s` and the like are changed by `change`.
    pub(crate) async fn python(&self, name: &str, code: &str) -> FunctionName {
        let zip = zip_of(&[("index.py", code)]);
        self.create(name, "python3.12", &zip, |_| ()).await
    }

    /// Makes a function of one shell script.
    pub(crate) async fn script(&self, name: &str, code: &str) -> FunctionName {
        let zip = zip_of(&[("bootstrap", &format!("#!/bin/bash\n{code}\n"))]);
        self.create(name, "provided.al2023", &zip, |_| ()).await
    }

    pub(crate) async fn create(
        &self,
        name: &str,
        runtime: &str,
        zip: &[u8],
        change: impl FnOnce(&mut Function),
    ) -> FunctionName {
        if runtime.starts_with("python") {
            test_python();
        }
        let name = FunctionName::parse(name).unwrap();
        let mut function = Function {
            name: name.clone(),
            runtime: FunctionRuntime::parse(runtime).unwrap(),
            handler: "index.lambda_handler".to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/isolate".to_owned(),
            description: String::new(),
            timeout_s: 30,
            memory_mib: 256,
            environment: BTreeMap::new(),
            tags: BTreeMap::new(),
            code_sha256: String::new(),
            code_bytes: zip.len() as u64,
            revision_id: "1".to_owned(),
            modified_at: Timestamp::EPOCH,
        };
        change(&mut function);
        let zip = zip.to_vec();
        let made = self.store.write(move |tx| functions::create(tx, &function, &zip));
        made.await.unwrap();
        name
    }

    /// Changes a function's configuration, as UpdateFunctionConfiguration does.
    pub(crate) async fn change(&self, name: &FunctionName, change: fn(&mut Function)) {
        let name = name.clone();
        let changed = self.store.write(move |tx| {
            let mut function = functions::get(tx, &name)?;
            change(&mut function);
            function.revision_id += "'";
            functions::update(tx, &function)?;
            Ok::<_, RegistryError>(())
        });
        changed.await.unwrap();
    }

    pub(crate) async fn invoke(&self, name: &FunctionName, event: &str) -> Invocation {
        self.try_invoke(name, event).await.unwrap()
    }

    pub(crate) async fn try_invoke(
        &self,
        name: &FunctionName,
        event: &str,
    ) -> Result<Invocation, InvokeError> {
        self.host.invoke(name, event.to_owned().into()).await
    }

    /// The function's answer; panics if it failed.
    pub(crate) async fn answer(&self, name: &FunctionName, event: &str) -> Value {
        let invocation = self.invoke(name, event).await;
        assert_eq!(invocation.failure(), None, "log: {}", invocation.log_tail);
        serde_json::from_slice(&invocation.payload).unwrap()
    }

    pub(crate) fn log(&self, name: &FunctionName) -> String {
        std::fs::read_to_string(self.host.log_path(name)).unwrap_or_default()
    }
}

pub(crate) fn host(
    folder: &std::path::Path,
    store: &Store,
    limits: HostLimits,
    endpoint_url: &str,
) -> FunctionHost {
    let python = std::env::var_os("PICKET_TEST_PYTHON").unwrap_or_default().into();
    let config = FunctionHostConfig {
        folder: folder.to_owned(),
        account: Account::default(),
        endpoint_url: endpoint_url.to_owned(),
        ca_bundle: None,
        python: python::Choice::Given(python),
        limits,
    };
    FunctionHost::new(config, store.clone(), Arc::new(TestKeys), clock(), Metrics::default())
        .unwrap()
}

/// A zip of text files, with the mode that `zip` gives them.
pub(crate) fn zip_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .unix_permissions(0o644);
    for (name, text) in files {
        zip.start_file(*name, options).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// Waits until something is so. Panics when it takes longer than any machine needs.
pub(crate) async fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let all = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all)
        .await
        .unwrap_or_else(|_| panic!("waited in vain for: {what}"));
}

/// Whether a process of that id is there and not a corpse.
pub(crate) fn is_alive(pid: u64) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().starts_with(" Z"))
}
