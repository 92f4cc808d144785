//! Values of metrics, for people to look at.

use picket_model::DeviceName;
use picket_model::wire::{metric_named, metric_value_to_json};
use picket_store::datapoints;
use serde_json::{Value, json};

use super::violations::period;
use super::{listed, page};
use crate::error::ApiError;
use crate::input::{one_of, parsed};
use crate::operation::{Operation, operation};
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] = &[operation!(Iot, "ListMetricValues", list)];

/// aws: ListMetricValues
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let device = parsed("thingName", request.query_required("thingName")?, DeviceName::parse)?;
    let metric = parsed("metricName", request.query_required("metricName")?, metric_named)?;
    let (from, until) = period(&request)?;
    if let Some(operator) = request.query("dimensionValueOperator") {
        one_of("dimensionValueOperator", operator, &[("IN", ()), ("NOT_IN", ())])?;
    }
    if let Some(dimension) = request.query("dimensionName") {
        return Err(ApiError::not_found("dimension", dimension.escape_debug()));
    }
    let page = page(&request)?;
    let list = state
        .read(move |tx| Ok(datapoints::list(tx, &device, metric, from, until, &page)?))
        .await?;
    let items: Vec<Value> = list
        .items
        .iter()
        .map(|(at, value)| {
            json!({"timestamp": at.as_secs_f64(), "value": metric_value_to_json(value)})
        })
        .collect();
    Ok(listed("metricDatumList", items, list.next))
}
