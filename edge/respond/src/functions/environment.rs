//! The environment of a function's process: all that it is told, and nothing of the server's own.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use picket_model::{Account, Function, FunctionRuntime};

use crate::ports::Keys;

/// What the server's own environment lends to functions.
#[derive(Clone, Debug)]
pub(super) struct Inherited {
    path: String,
    lang: String,
    tz: String,
}

impl Inherited {
    /// Reads the server's environment; what it lacks is filled in as Lambda has it.
    pub(super) fn from_server() -> Self {
        let or = |name: &str, fallback: &str| {
            std::env::var(name).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| fallback.into())
        };
        Self {
            path: or("PATH", "/usr/local/bin:/usr/bin:/bin"),
            lang: or("LANG", "C.UTF-8"),
            tz: or("TZ", ":UTC"),
        }
    }
}

/// What differs from process to process.
pub(super) struct ProcessFacts<'a> {
    pub(super) account: &'a Account,
    pub(super) inherited: &'a Inherited,
    /// Where the process asks for work.
    pub(super) runtime_api: SocketAddr,
    /// Where it finds this server's API.
    pub(super) endpoint_url: &'a str,
    /// What the API's certificate is checked against, when it has one.
    pub(super) ca_bundle: Option<&'a PathBuf>,
    pub(super) keys: &'a Keys,
    pub(super) code: &'a Path,
    /// A folder of its own, gone when the process is.
    pub(super) scratch: &'a Path,
    pub(super) log_stream: &'a str,
}

/// Whether AWS keeps a variable for itself, so that a function's configuration may not set it.
///
/// Source: AWS Lambda guide, "Defined runtime environment variables", the reserved ones.
pub fn is_reserved(variable: &str) -> bool {
    const RESERVED: [&str; 11] = [
        "_HANDLER",
        "_X_AMZN_TRACE_ID",
        "AWS_DEFAULT_REGION",
        "AWS_REGION",
        "AWS_EXECUTION_ENV",
        "AWS_ACCESS_KEY",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
        "LAMBDA_RUNTIME_DIR",
        "LAMBDA_TASK_ROOT",
    ];
    RESERVED.contains(&variable) || variable.starts_with("AWS_LAMBDA_")
}

/// Everything that a process of `function` finds in its environment.
///
/// What a user set wins over what we suggest (`PATH`, `LANG`, `TZ`, `AWS_ENDPOINT_URL`,
/// `AWS_CA_BUNDLE`); reserved variables and the scratch folder win over what a user set.
pub(super) fn environment(
    function: &Function,
    facts: &ProcessFacts<'_>,
) -> BTreeMap<String, String> {
    let text = |path: &Path| path.display().to_string();
    let mut environment = BTreeMap::from([
        ("PATH".to_owned(), facts.inherited.path.clone()),
        ("LANG".to_owned(), facts.inherited.lang.clone()),
        ("TZ".to_owned(), facts.inherited.tz.clone()),
        ("AWS_ENDPOINT_URL".to_owned(), facts.endpoint_url.to_owned()),
    ]);
    if let Some(ca_bundle) = facts.ca_bundle {
        environment.insert("AWS_CA_BUNDLE".to_owned(), text(ca_bundle));
    }
    environment.extend(
        function
            .environment
            .iter()
            .filter(|(name, _)| !is_reserved(name))
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    let name = function.name.as_str();
    let fixed = [
        // INVARIANT (scratch marks the process): leftovers are found by these two values.
        ("HOME", text(facts.scratch)),
        ("TMPDIR", text(facts.scratch)),
        ("AWS_REGION", facts.account.region.clone()),
        ("AWS_DEFAULT_REGION", facts.account.region.clone()),
        ("AWS_ACCESS_KEY_ID", facts.keys.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", facts.keys.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", facts.keys.session_token.clone()),
        ("AWS_LAMBDA_RUNTIME_API", facts.runtime_api.to_string()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_owned()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", function.memory_mib.to_string()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        ("AWS_LAMBDA_LOG_STREAM_NAME", facts.log_stream.to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("LAMBDA_TASK_ROOT", text(facts.code)),
        ("LAMBDA_RUNTIME_DIR", text(facts.code)),
        ("_HANDLER", function.handler.clone()),
    ];
    environment.extend(fixed.map(|(name, value)| (name.to_owned(), value)));
    if let FunctionRuntime::Python(runtime) = &function.runtime {
        environment.insert("AWS_EXECUTION_ENV".to_owned(), format!("AWS_Lambda_{runtime}"));
    }
    environment
}
