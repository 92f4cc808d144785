//! Functions: their configuration and code.

use picket_model::{Function, FunctionName, FunctionRuntime};
use picket_respond::functions::code;
use picket_store::{Page, functions};
use serde_json::{Value, json};

use super::configuration::{Code, Settings, function_to_json, tags};
use super::{LATEST, expect_revision, function_name, name, refused};
use crate::error::ApiError;
use crate::input::in_range;
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Lambda, "CreateFunction", create),
    operation!(Lambda, "GetFunction", get),
    operation!(Lambda, "GetFunctionConfiguration", get_configuration),
    operation!(Lambda, "UpdateFunctionCode", update_code),
    operation!(Lambda, "UpdateFunctionConfiguration", update_configuration),
    operation!(Lambda, "DeleteFunction", delete),
    operation!(Lambda, "ListFunctions", list),
];

/// Most functions on one page. Source: aws lambda ListFunctions (50, whatever is asked for).
const PAGE_MAX: u64 = 50;

/// A new revision's id.
fn revision_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// aws: CreateFunction
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let members = request.members()?;
    let (name, qualifier) = name::parse(&state.account, members.required_str("FunctionName")?)
        .map_err(ApiError::invalid)?;
    if qualifier.is_some_and(|qualifier| qualifier != LATEST) {
        return Err(ApiError::invalid("`FunctionName` must not have a qualifier"));
    }
    let settings = Settings::parse(&members).map_err(ApiError::invalid)?;
    let tags = tags(&members).map_err(ApiError::invalid)?;
    let code = Code::parse(&members.required_object("Code")?).map_err(ApiError::invalid)?;
    let function = settings
        .into_function(name, &code, tags, revision_id(), state.now())
        .map_err(ApiError::invalid)?;
    let code = check_code(code, &function.runtime).await?;
    let json = function_to_json(&state.account, &function);
    let (account, runtime) = (state.account.clone(), function.runtime.clone());
    state
        .write(move |tx| {
            functions::create(tx, &function, &code.zip)
                .map_err(|error| refused(&account, &function.name, error))
        })
        .await?;
    state.functions.prepare(&runtime);
    Ok(Response::json(&json).with_status(axum::http::StatusCode::CREATED))
}

/// Looks into a zip as far as running it would, which takes up to a second.
async fn check_code(code: Code, runtime: &FunctionRuntime) -> Result<Code, ApiError> {
    let runtime = runtime.clone();
    let checked = tokio::task::spawn_blocking(move || {
        code::check(&code.zip, &runtime).map_err(|problem| {
            ApiError::invalid(format!("Could not unzip uploaded file: {problem}"))
        })?;
        Ok(code)
    });
    checked.await.map_err(ApiError::internal)?
}

/// The function as it is.
async fn read(state: &ApiState, name: FunctionName) -> Result<Function, ApiError> {
    let account = state.account.clone();
    state
        .read(move |tx| functions::get(tx, &name).map_err(|error| refused(&account, &name, error)))
        .await
}

/// aws: GetFunction
async fn get(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let function = read(state, name).await?;
    // AWS gives a link to the code in its own bucket; there is none here to give.
    let mut json = json!({
        "Configuration": function_to_json(&state.account, &function),
        "Code": {"RepositoryType": "Picket"},
    });
    if !function.tags.is_empty() {
        json["Tags"] = json!(function.tags);
    }
    Ok(Response::json(&json))
}

/// aws: GetFunctionConfiguration
async fn get_configuration(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    Ok(Response::json(&function_to_json(&state.account, &read(state, name).await?)))
}

/// aws: UpdateFunctionCode
async fn update_code(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let members = request.members()?;
    let expected = members.str("RevisionId")?.map(str::to_owned);
    let is_dry_run = members.bool("DryRun")? == Some(true);
    let code = Code::parse(&members).map_err(ApiError::invalid)?;
    let mut function = read(state, name.clone()).await?;
    let code = check_code(code, &function.runtime).await?;
    if is_dry_run {
        expect_revision(&function, expected.as_deref())?;
        function.code_bytes = code.zip.len() as u64;
        function.code_sha256 = code.sha256;
        return Ok(Response::json(&function_to_json(&state.account, &function)));
    }
    change(state, name, expected, move |function| {
        function.code_bytes = code.zip.len() as u64;
        function.code_sha256 = code.sha256;
        Some(code.zip)
    })
    .await
}

/// aws: UpdateFunctionConfiguration
async fn update_configuration(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    let members = request.members()?;
    let expected = members.str("RevisionId")?.map(str::to_owned);
    let settings = Settings::parse(&members).map_err(ApiError::invalid)?;
    change(state, name, expected, move |function| {
        settings.apply(function);
        None
    })
    .await
}

/// Changes a function as `make` does, with new code if it gives some, and answers with what has
/// become of it.
async fn change(
    state: &ApiState,
    name: FunctionName,
    expected: Option<String>,
    make: impl FnOnce(&mut Function) -> Option<Vec<u8>> + Send + 'static,
) -> Result<Response, ApiError> {
    let now = state.now();
    let account = state.account.clone();
    let function = state
        .write(move |tx| {
            let refused = |error| refused(&account, &name, error);
            let mut function = functions::get(tx, &name).map_err(refused)?;
            expect_revision(&function, expected.as_deref())?;
            let code = make(&mut function);
            function.revision_id = revision_id();
            function.modified_at = now;
            match code {
                Some(zip) => functions::update_code(tx, &function, &zip),
                None => functions::update(tx, &function),
            }
            .map_err(refused)?;
            Ok::<_, ApiError>(function)
        })
        .await?;
    Ok(Response::json(&function_to_json(&state.account, &function)))
}

/// aws: DeleteFunction
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = function_name(state, &request)?;
    if request.query("Qualifier").is_some() {
        return Err(ApiError::invalid(
            "$LATEST version cannot be deleted without deleting the function.",
        ));
    }
    let account = state.account.clone();
    state
        .write(move |tx| {
            functions::delete(tx, &name).map_err(|error| refused(&account, &name, error))
        })
        .await?;
    Ok(Response::empty().with_status(axum::http::StatusCode::NO_CONTENT))
}

/// aws: ListFunctions
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let limit = match request.query_u64("MaxItems")? {
        None => PAGE_MAX,
        Some(n) => in_range("maxItems", n, 1, 10_000)?.min(PAGE_MAX),
    };
    let after = request.query("Marker").filter(|marker| !marker.is_empty()).map(str::to_owned);
    // At most 50, checked above.
    let page = Page { limit: limit as usize, after };
    let list = state.read(move |tx| Ok(functions::list(tx, &page)?)).await?;
    let functions: Vec<Value> =
        list.items.iter().map(|function| function_to_json(&state.account, function)).collect();
    let mut json = json!({ "Functions": functions });
    if let Some(next) = list.next {
        json["NextMarker"] = next.into();
    }
    Ok(Response::json(&json))
}
