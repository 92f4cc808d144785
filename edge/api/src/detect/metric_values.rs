//! Values of metrics, for people to look at.

use picket_model::wire::metric_value_to_json;
use picket_model::{DeviceName, DimensionName, DimensionOperator, Metric, MetricDimension};
use picket_store::{ReadTx, custom_metrics, datapoints, dimensions};
use serde_json::{Value, json};

use super::retained::NamedMetric;
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
    let metric = request.query_required("metricName")?.to_owned();
    let (from, until) = period(&request)?;
    let dimension = dimension(&request)?;
    let page = page(&request)?;
    let list = state
        .read(move |tx| {
            let metric = metric_named(tx, &metric)?;
            if let Some(dimension) = &dimension {
                dimensions::get(tx, &dimension.name)?;
                if !metric.allows_dimension() {
                    return Err(ApiError::invalid(format!(
                        "{metric} takes no dimension, so it has no values in one; leave \
                         `dimensionName` out"
                    )));
                }
            }
            let metric = metric.as_str();
            Ok(datapoints::list(tx, &device, metric, dimension.as_ref(), from, until, &page)?)
        })
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

/// The metric of a name, built in or one of the account's.
fn metric_named(tx: &ReadTx, name: &str) -> Result<Metric, ApiError> {
    let unknown = || ApiError::not_found("metric", name.escape_debug());
    if let Some(metric) = Metric::parse(name) {
        return Ok(metric);
    }
    match NamedMetric::parse(name) {
        Ok(NamedMetric::Custom(custom)) => {
            let kind = custom_metrics::find(tx, &custom)?.ok_or_else(unknown)?.kind;
            Ok(Metric::Custom(custom, kind))
        }
        Ok(NamedMetric::BuiltIn(metric)) => Ok(metric),
        Err(_) => Err(unknown()),
    }
}

/// Which part of the metric is asked for; without an operator, what lies in the dimension.
fn dimension(request: &Request) -> Result<Option<MetricDimension>, ApiError> {
    let operators = DimensionOperator::ALL.map(|operator| (operator.as_str(), operator));
    let operator = request
        .query("dimensionValueOperator")
        .map(|text| one_of("dimensionValueOperator", text, &operators))
        .transpose()?;
    let Some(name) = request.query("dimensionName") else {
        return match operator {
            None => Ok(None),
            Some(_) => Err(ApiError::invalid(
                "`dimensionValueOperator` says which side of a dimension is meant; give \
                 `dimensionName` too",
            )),
        };
    };
    let name = parsed("dimensionName", name, DimensionName::parse)?;
    Ok(Some(MetricDimension { name, operator: operator.unwrap_or_default() }))
}
