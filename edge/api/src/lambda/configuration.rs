//! A function's configuration and code as the API takes and gives them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use picket_model::limits::{FUNCTION_ENVIRONMENT_BYTES_MAX, FUNCTION_ZIP_BYTES_MAX};
use picket_model::{Account, Function, FunctionRuntime, Timestamp};
use picket_respond::functions::environment::is_reserved;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::input::Members;

/// Longest description. Source: aws lambda `Description`.
const DESCRIPTION_CHARS_MAX: usize = 256;
/// Longest handler. Source: aws lambda `Handler`.
const HANDLER_BYTES_MAX: usize = 128;
/// Longest role ARN. Source: aws iot `RoleArn`; Lambda's own 10,000 name no role that exists.
const ROLE_BYTES_MAX: usize = 2_048;
/// Tags of one function. Source: AWS Lambda quotas.
const TAGS_MAX: usize = 50;

/// Time for one invocation where the caller does not say, in seconds. Source: aws CreateFunction.
const TIMEOUT_DEFAULT_S: u32 = 3;
/// Memory where the caller does not say, in MiB. Source: aws CreateFunction.
const MEMORY_DEFAULT_MIB: u32 = 128;

/// Members of a request that would change how a function runs and that are not done here:
/// better refused than passed over.
const REFUSED: [(&str, &str); 12] = [
    ("Layers", "layers are not supported; put the libraries into the zip"),
    ("VpcConfig", "functions run on this machine, in no VPC"),
    ("FileSystemConfigs", "file systems are not supported"),
    ("ImageConfig", "container images are not supported; give a zip"),
    ("DeadLetterConfig", "dead letter targets are not supported; failed deliveries are kept here"),
    ("KMSKeyArn", "keys of AWS KMS are not supported"),
    ("CodeSigningConfigArn", "code signing is not supported"),
    ("TenancyConfig", "tenant isolation is not supported"),
    ("CapacityProviderConfig", "capacity providers are not supported"),
    ("DurableConfig", "durable functions are not supported"),
    ("RuntimeConfig", "runtime versions are not supported"),
    ("AcceleratorConfig", "accelerators are not supported"),
];

/// The members of a request that configure a function; `None` was not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) runtime: Option<FunctionRuntime>,
    pub(super) handler: Option<String>,
    pub(super) role_arn: Option<String>,
    pub(super) description: Option<String>,
    pub(super) timeout_s: Option<u32>,
    pub(super) memory_mib: Option<u32>,
    pub(super) environment: Option<BTreeMap<String, String>>,
}

impl Settings {
    /// Reads and checks the members.
    ///
    /// # Errors
    /// A sentence about the first member that is wrong.
    pub(super) fn parse(body: &Members) -> Result<Self, String> {
        for (member, problem) in REFUSED {
            if body.get(member).is_some_and(|value| !is_empty(value)) {
                return Err(format!("`{member}` was given: {problem}"));
            }
        }
        match body.get("PackageType").map(|value| value.as_str()) {
            None | Some(Some("Zip")) => {}
            Some(Some("Image")) => {
                return Err("container images are not supported; give a zip in `Code.ZipFile` \
                            and leave `PackageType` out"
                    .to_owned());
            }
            Some(_) => return Err("`PackageType` must be Zip".to_owned()),
        }
        if let Some(list) = body.get("Architectures") {
            let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
            let known = |name: &Value| matches!(name.as_str(), Some("x86_64" | "arm64"));
            if list.len() != 1 || !list.iter().all(known) {
                return Err("`Architectures` must be one of x86_64 and arm64".to_owned());
            }
        }
        Ok(Self {
            runtime: text(body, "Runtime")?.map(runtime).transpose()?,
            handler: text(body, "Handler")?.map(handler).transpose()?,
            role_arn: text(body, "Role")?.map(role).transpose()?,
            description: text(body, "Description")?.map(description).transpose()?,
            timeout_s: number(body, "Timeout", 1, 900)?,
            memory_mib: number(body, "MemorySize", 128, 10_240)?,
            environment: body.get("Environment").map(environment).transpose()?,
        })
    }

    /// Puts what was given into `function`; the environment as a whole, as AWS does.
    pub(super) fn apply(self, function: &mut Function) {
        fn set<T>(field: &mut T, value: Option<T>) {
            if let Some(value) = value {
                *field = value;
            }
        }
        set(&mut function.runtime, self.runtime);
        set(&mut function.handler, self.handler);
        set(&mut function.role_arn, self.role_arn);
        set(&mut function.description, self.description);
        set(&mut function.timeout_s, self.timeout_s);
        set(&mut function.memory_mib, self.memory_mib);
        set(&mut function.environment, self.environment);
    }

    /// A new function of these settings.
    ///
    /// # Errors
    /// A sentence, if a member that a function needs is missing.
    pub(super) fn into_function(
        self,
        name: picket_model::FunctionName,
        code: &Code,
        tags: BTreeMap<String, String>,
        revision_id: String,
        now: Timestamp,
    ) -> Result<Function, String> {
        Ok(Function {
            name,
            runtime: self.runtime.ok_or("`Runtime` is missing")?,
            handler: self.handler.ok_or("`Handler` is missing")?,
            role_arn: self.role_arn.ok_or("`Role` is missing")?,
            description: self.description.unwrap_or_default(),
            timeout_s: self.timeout_s.unwrap_or(TIMEOUT_DEFAULT_S),
            memory_mib: self.memory_mib.unwrap_or(MEMORY_DEFAULT_MIB),
            environment: self.environment.unwrap_or_default(),
            tags,
            code_sha256: code.sha256.clone(),
            code_bytes: code.zip.len() as u64,
            revision_id,
            modified_at: now,
        })
    }
}

/// A function's zipped code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Code {
    /// The zip.
    pub(super) zip: Vec<u8>,
    /// Its SHA-256 in base64.
    pub(super) sha256: String,
}

impl Code {
    /// Reads `ZipFile` of `Code` (CreateFunction) or of the body itself (UpdateFunctionCode).
    ///
    /// What lies in the zip is checked where it is unpacked.
    ///
    /// # Errors
    /// A sentence: another source than a zip, no base64, no zip, or too large.
    pub(super) fn parse(body: &Members) -> Result<Self, String> {
        for elsewhere in ["S3Bucket", "S3Key", "S3ObjectVersion", "ImageUri"] {
            if body.get(elsewhere).is_some() {
                return Err(format!(
                    "`{elsewhere}` was given: code is taken as a zip in `ZipFile` only; there is \
                     no S3 and no container registry here"
                ));
            }
        }
        let text = text(body, "ZipFile")?.ok_or("`ZipFile` is missing: give the code as a zip")?;
        // Four characters carry three bytes: too long a text is refused before it is decoded.
        if text.len() / 4 * 3 > FUNCTION_ZIP_BYTES_MAX + 3 {
            return Err(too_large(text.len() / 4 * 3));
        }
        let zip = BASE64.decode(text).map_err(|_| "`ZipFile` is not base64".to_owned())?;
        if zip.len() > FUNCTION_ZIP_BYTES_MAX {
            return Err(too_large(zip.len()));
        }
        // A local file header, or the end record of an empty archive.
        if !zip.starts_with(b"PK\x03\x04") && !zip.starts_with(b"PK\x05\x06") {
            return Err("Could not unzip uploaded file: it is not a zip".to_owned());
        }
        let sha256 = BASE64.encode(Sha256::digest(&zip));
        Ok(Self { zip, sha256 })
    }
}

fn too_large(len: usize) -> String {
    format!("the zip has about {len} bytes; at most {FUNCTION_ZIP_BYTES_MAX} are allowed")
}

/// Whether a value says nothing: SDKs and tools send empty lists and objects as a reset.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(is_empty),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn text<'a>(body: &'a Members, member: &str) -> Result<Option<&'a str>, String> {
    body.get(member)
        .map(|value| value.as_str().ok_or_else(|| format!("`{member}` must be a string")))
        .transpose()
}

fn number(body: &Members, member: &str, min: u32, max: u32) -> Result<Option<u32>, String> {
    let Some(value) = body.get(member) else { return Ok(None) };
    value
        .as_u64()
        .and_then(|number| u32::try_from(number).ok())
        .filter(|number| (min..=max).contains(number))
        .map(Some)
        .ok_or_else(|| format!("`{member}` must be a whole number from {min} to {max}"))
}

fn runtime(text: &str) -> Result<FunctionRuntime, String> {
    FunctionRuntime::parse(text).ok_or_else(|| {
        format!(
            "runtime `{}` is not run here; known are python3.* and provided.al2023",
            text.escape_debug()
        )
    })
}

fn handler(text: &str) -> Result<String, String> {
    let right = (1..=HANDLER_BYTES_MAX).contains(&text.len())
        && !text.chars().any(|c| c.is_whitespace() || c.is_control());
    right.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "handler `{}` must be 1 to {HANDLER_BYTES_MAX} characters without white space, like \
             index.lambda_handler",
            text.escape_debug()
        )
    })
}

fn role(text: &str) -> Result<String, String> {
    let is_role = || {
        let resource = text.strip_prefix("arn:aws")?.split_once(":iam::")?.1;
        let (account, role) = resource.split_once(":role/")?;
        let is_account = Account::is_id(account);
        let is_path = !role.is_empty()
            && role.chars().all(|c| c.is_ascii_alphanumeric() || "_+=,.@-/".contains(c));
        (is_account && is_path && text.len() <= ROLE_BYTES_MAX).then_some(())
    };
    is_role().map(|()| text.to_owned()).ok_or_else(|| {
        format!(
            "`{}` is not the ARN of a role (arn:aws:iam::ACCOUNT:role/NAME)",
            text.escape_debug()
        )
    })
}

fn description(text: &str) -> Result<String, String> {
    if text.chars().count() > DESCRIPTION_CHARS_MAX {
        return Err(format!("`Description` is longer than {DESCRIPTION_CHARS_MAX} characters"));
    }
    Ok(text.to_owned())
}

fn environment(json: &Value) -> Result<BTreeMap<String, String>, String> {
    let variables = match json.get("Variables") {
        None | Some(Value::Null) => return Ok(BTreeMap::new()),
        Some(variables) => {
            variables.as_object().ok_or("`Environment.Variables` must be an object")?
        }
    };
    let mut environment = BTreeMap::new();
    let mut bytes = 0;
    for (name, value) in variables {
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.len() >= 2
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_reserved(name) {
            return Err(format!("`Environment.Variables`: `{name}` is set by the runtime itself"));
        }
        if !is_name {
            return Err(format!(
                "`Environment.Variables`: `{}` is not a name; it has at least two letters, digits \
                 or `_`, the first a letter",
                name.escape_debug()
            ));
        }
        // A process could not be started with it.
        let value = value.as_str().filter(|value| !value.contains('\0')).ok_or_else(|| {
            format!("`Environment.Variables`: the value of `{name}` must be a string without NUL")
        })?;
        bytes += name.len() + value.len();
        environment.insert(name.clone(), value.to_owned());
    }
    if bytes > FUNCTION_ENVIRONMENT_BYTES_MAX {
        return Err(format!(
            "`Environment.Variables` has {bytes} bytes; at most {FUNCTION_ENVIRONMENT_BYTES_MAX} \
             are allowed"
        ));
    }
    Ok(environment)
}

/// Reads `Tags`.
///
/// # Errors
/// A sentence about the first that is wrong.
pub(super) fn tags(body: &Members) -> Result<BTreeMap<String, String>, String> {
    let Some(json) = body.get("Tags") else { return Ok(BTreeMap::new()) };
    let tags = json.as_object().ok_or("`Tags` must be an object")?;
    if tags.len() > TAGS_MAX {
        return Err(format!("there are {} tags; at most {TAGS_MAX} are allowed", tags.len()));
    }
    tags.iter()
        .map(|(key, value)| {
            let value = value.as_str().filter(|value| value.chars().count() <= 256);
            let right = (1..=128).contains(&key.chars().count())
                && !key.starts_with("aws:")
                && !key.chars().any(char::is_control);
            match value {
                Some(value) if right && !value.chars().any(char::is_control) => {
                    Ok((key.clone(), value.to_owned()))
                }
                _ => Err(format!(
                    "tag `{}`: a key has 1 to 128 characters and does not begin with `aws:`, a \
                     value at most 256",
                    key.escape_debug()
                )),
            }
        })
        .collect()
}

/// A function as the API gives it: `FunctionConfiguration`.
///
/// There is no time in which a function is being made or changed: waiters see it at once as
/// `Active` and `Successful`.
pub(super) fn function_to_json(account: &Account, function: &Function) -> Value {
    let mut json = json!({
        "FunctionName": function.name.as_str(),
        "FunctionArn": account.function_arn(&function.name),
        "Runtime": function.runtime.as_str(),
        "Role": function.role_arn,
        "Handler": function.handler,
        "CodeSize": function.code_bytes,
        "CodeSha256": function.code_sha256,
        "Description": function.description,
        "Timeout": function.timeout_s,
        "MemorySize": function.memory_mib,
        "LastModified": last_modified(function.modified_at),
        "Version": "$LATEST",
        "RevisionId": function.revision_id,
        "State": "Active",
        "LastUpdateStatus": "Successful",
        "PackageType": "Zip",
        "Architectures": [ARCHITECTURE],
        "TracingConfig": {"Mode": "PassThrough"},
    });
    if !function.environment.is_empty() {
        json["Environment"] = json!({ "Variables": function.environment });
    }
    json
}

/// What functions run on here: this machine.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };

/// Lambda writes a moment as `2026-11-20T10:05:00.000+0000`.
fn last_modified(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}+0000", text.strip_suffix('Z').unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use picket_model::FunctionName;
    use serde_json::Map;

    use super::*;

    fn members(json: &Value) -> Members {
        Members::of(json, "").unwrap()
    }

    fn isolate_device() -> Value {
        json!({
            "FunctionName": "IsolateDevice",
            "Runtime": "python3.12",
            "Role": "arn:aws:iam::123456789012:role/IsolateDevice",
            "Handler": "index.lambda_handler",
            "Timeout": 5,
            "Environment": {"Variables": {"ThingGroupName": "IsolatedDevices"}},
        })
    }

    fn settings(json: &Value) -> Result<Settings, String> {
        Settings::parse(&members(json))
    }

    #[track_caller]
    fn check_refused(member: &str, value: Value, expected: &str) {
        let mut json = isolate_device();
        json[member] = value;
        let error = settings(&json).unwrap_err();
        assert!(error.contains(expected), "{error}\nshould contain\n{expected}");
    }

    fn code(zip: &[u8]) -> Result<Code, String> {
        Code::parse(&members(&json!({"ZipFile": BASE64.encode(zip)})))
    }

    const EMPTY_ZIP: &[u8] = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    #[test]
    fn a_function_is_described_as_the_sdks_parse_it() {
        let code = code(EMPTY_ZIP).unwrap();
        let function = settings(&isolate_device())
            .unwrap()
            .into_function(
                FunctionName::parse("IsolateDevice").unwrap(),
                &code,
                BTreeMap::new(),
                "revision-1".into(),
                Timestamp::from_millis(1_573_786_836_527),
            )
            .unwrap();
        let mut json = function_to_json(&Account::default(), &function);
        json["Architectures"] = json!(["this machine's"]);
        insta::assert_snapshot!(serde_json::to_string_pretty(&json).unwrap());
    }

    #[test]
    fn settings_that_are_not_given_leave_a_function_as_it_is() {
        let mut function = settings(&isolate_device())
            .unwrap()
            .into_function(
                FunctionName::parse("F").unwrap(),
                &code(EMPTY_ZIP).unwrap(),
                BTreeMap::new(),
                "r".into(),
                Timestamp::EPOCH,
            )
            .unwrap();
        let before = function.clone();
        settings(&json!({})).unwrap().apply(&mut function);
        assert_eq!(function, before);
        // The environment is replaced as a whole.
        settings(&json!({"Timeout": 9, "Environment": {"Variables": {"Other": "x"}}}))
            .unwrap()
            .apply(&mut function);
        assert_eq!(function.timeout_s, 9);
        assert_eq!(function.environment, BTreeMap::from([("Other".into(), "x".into())]));
        settings(&json!({"Environment": {}})).unwrap().apply(&mut function);
        assert!(function.environment.is_empty());
    }

    #[test]
    fn a_member_that_is_wrong_says_so() {
        check_refused("Runtime", json!("nodejs20.x"), "runtime `nodejs20.x` is not run here");
        check_refused("Handler", json!("a b"), "without white space");
        check_refused("Handler", json!(""), "must be 1 to 128");
        check_refused("Role", json!("arn:aws:iam::1:role/x"), "is not the ARN of a role");
        check_refused("Timeout", json!(0), "`Timeout` must be a whole number from 1 to 900");
        check_refused("Timeout", json!(901), "from 1 to 900");
        check_refused("Timeout", json!("5"), "whole number");
        check_refused("MemorySize", json!(64), "from 128 to 10240");
        check_refused("Description", json!("x".repeat(257)), "longer than 256");
        check_refused("PackageType", json!("Image"), "container images are not supported");
        check_refused("Layers", json!(["arn:aws:lambda:x"]), "put the libraries into the zip");
        check_refused("VpcConfig", json!({"SubnetIds": ["subnet-1"]}), "in no VPC");
        check_refused("Architectures", json!(["riscv"]), "x86_64 and arm64");
        let variables = |variables: Value| json!({ "Variables": variables });
        check_refused("Environment", variables(json!({"AWS_REGION": "x"})), "set by the runtime");
        check_refused("Environment", variables(json!({"1a": "x"})), "`1a` is not a name");
        check_refused("Environment", variables(json!({"a=b": "x"})), "`a=b` is not a name");
        check_refused("Environment", variables(json!({"ab": "x\0y"})), "without NUL");
        check_refused("Environment", variables(json!({"ab": 1})), "must be a string");
        check_refused("Environment", variables(json!({"ab": "x".repeat(4_096)})), "4098 bytes");
    }

    #[test]
    fn an_empty_member_of_a_kind_that_is_not_supported_is_passed_over() {
        let mut json = isolate_device();
        json["Layers"] = json!([]);
        json["VpcConfig"] = json!({"SubnetIds": [], "SecurityGroupIds": []});
        json["Publish"] = json!(true);
        assert!(settings(&json).is_ok());
    }

    #[test]
    fn a_function_needs_its_runtime_handler_and_role() {
        for member in ["Runtime", "Handler", "Role"] {
            let mut json = isolate_device();
            json.as_object_mut().unwrap().remove(member);
            let error = settings(&json)
                .unwrap()
                .into_function(
                    FunctionName::parse("F").unwrap(),
                    &code(EMPTY_ZIP).unwrap(),
                    BTreeMap::new(),
                    String::new(),
                    Timestamp::EPOCH,
                )
                .unwrap_err();
            assert_eq!(error, format!("`{member}` is missing"));
        }
    }

    #[test]
    fn code_is_a_zip_in_base64_and_nothing_else() {
        assert_eq!(code(EMPTY_ZIP).unwrap().sha256.len(), 44);
        assert_eq!(
            code(b"#!/bin/sh").unwrap_err(),
            "Could not unzip uploaded file: it is not a zip"
        );
        let parse = |json: Value| Code::parse(&members(&json)).unwrap_err();
        assert!(parse(json!({})).contains("`ZipFile` is missing"));
        assert_eq!(parse(json!({"ZipFile": "%%%"})), "`ZipFile` is not base64");
        assert_eq!(parse(json!({"ZipFile": [1]})), "`ZipFile` must be a string");
        assert!(parse(json!({"S3Bucket": "b", "S3Key": "k"})).contains("there is no S3"));
        assert!(parse(json!({"ImageUri": "x"})).contains("no container registry"));
    }

    #[test]
    fn code_that_is_too_large_is_refused_before_it_is_decoded() {
        let text = "A".repeat((FUNCTION_ZIP_BYTES_MAX + 9) / 3 * 4);
        let error = Code::parse(&members(&json!({ "ZipFile": text }))).unwrap_err();
        assert!(error.contains("at most 52428800 are allowed"), "{error}");
    }

    #[test]
    fn tags_are_checked() {
        let parse = |json: Value| tags(&members(&json!({ "Tags": json })));
        assert_eq!(parse(json!({"a": "b"})).unwrap().len(), 1);
        for json in [json!([]), json!({"aws:x": ""}), json!({"": ""}), json!({"a": 1})] {
            assert!(parse(json.clone()).is_err(), "{json}");
        }
        let many: Map<String, Value> = (0..51).map(|n| (n.to_string(), json!(""))).collect();
        assert!(parse(many.into()).unwrap_err().contains("at most 50"));
    }
}
