//! Custom metrics: what devices may report beside what is built in.

use picket_model::{CustomMetric, CustomMetricKind, CustomMetricName};
use picket_store::custom_metrics;
use serde_json::{Value, json};

use super::profile::plain_text;
use super::{listed, page};
use crate::error::ApiError;
use crate::input::{
    Members, client_request_token, invalid_value, missing, one_of, parsed, seconds,
};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[
    operation!(Iot, "CreateCustomMetric", create),
    operation!(Iot, "DescribeCustomMetric", describe),
    operation!(Iot, "UpdateCustomMetric", update),
    operation!(Iot, "DeleteCustomMetric", delete),
    operation!(Iot, "ListCustomMetrics", list),
];

/// Longest display name, in characters. Source: aws `CustomMetricDisplayName`.
const DISPLAY_NAME_CHARS_MAX: usize = 128;

/// Beginnings of built-in metrics' names. Source: aws CreateCustomMetric, "can't begin with aws:".
const RESERVED_PREFIXES: [&str; 2] = ["aws:", "picket:"];

fn name(request: &Request) -> Result<CustomMetricName, ApiError> {
    parsed("metricName", request.label("metricName")?, CustomMetricName::parse)
}

fn display_name(members: &Members) -> Result<Option<String>, ApiError> {
    let read = |text| plain_text("`displayName`", text, DISPLAY_NAME_CHARS_MAX);
    members.str("displayName")?.map(read).transpose().map_err(ApiError::invalid)
}

fn arn(state: &ApiState, name: &CustomMetricName) -> String {
    state.account.iot_arn(format_args!("custommetric/{name}"))
}

fn to_json(state: &ApiState, metric: &CustomMetric) -> Value {
    let mut json = json!({
        "metricName": metric.name.as_str(),
        "metricArn": arn(state, &metric.name),
        "metricType": metric.kind.as_str(),
        "creationDate": seconds(metric.created_at),
        "lastModifiedDate": seconds(metric.modified_at),
    });
    if let Some(display_name) = &metric.display_name {
        json["displayName"] = display_name.as_str().into();
    }
    json
}

/// aws: CreateCustomMetric. The same again with the same token gives what is there.
async fn create(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    if let Some(prefix) = RESERVED_PREFIXES.iter().find(|it| name.as_str().starts_with(**it)) {
        let rule = format_args!("Member must not begin with {prefix}, as built-in metrics do");
        return Err(invalid_value(name.as_str(), "metricName", rule));
    }
    let members = request.members()?;
    let kinds = CustomMetricKind::ALL.map(|kind| (kind.as_str(), kind));
    let now = state.now();
    let metric = CustomMetric {
        kind: one_of("metricType", members.required_str("metricType")?, &kinds)?,
        display_name: display_name(&members)?,
        name,
        created_at: now,
        modified_at: now,
    };
    let token = client_request_token(&members)?.to_owned();
    let metric = state.write(move |tx| Ok(custom_metrics::create(tx, &metric, &token)?)).await?;
    Ok(Response::json(&json!({
        "metricName": metric.name.as_str(),
        "metricArn": arn(state, &metric.name),
    })))
}

/// aws: DescribeCustomMetric
async fn describe(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let metric = state.read(move |tx| Ok(custom_metrics::get(tx, &name)?)).await?;
    Ok(Response::json(&to_json(state, &metric)))
}

/// aws: UpdateCustomMetric. Name and type stay as they are for ever.
async fn update(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    let display_name = display_name(&request.members()?)?.ok_or_else(|| missing("displayName"))?;
    let now = state.now();
    let metric = state
        .write(move |tx| Ok(custom_metrics::set_display_name(tx, &name, &display_name, now)?))
        .await?;
    Ok(Response::json(&to_json(state, &metric)))
}

/// aws: DeleteCustomMetric. One that does not exist is deleted, too; one that a security profile
/// uses is not.
async fn delete(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let name = name(&request)?;
    state.write(move |tx| Ok(custom_metrics::delete(tx, &name)?)).await?;
    Ok(Response::empty())
}

/// aws: ListCustomMetrics
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let page = page(&request)?;
    let list = state.read(move |tx| Ok(custom_metrics::list(tx, &page)?)).await?;
    let names = list.items.iter().map(|name| name.as_str().into()).collect();
    Ok(listed("metricNames", names, list.next))
}
