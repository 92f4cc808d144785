//! How far the training of models for learned behaviors is.

use picket_model::ProfileName;
use picket_store::model_training::{self, TrainingSummary};
use picket_store::profiles;
use serde_json::{Value, json};

use super::listed;
use crate::error::ApiError;
use crate::input::{parsed, seconds};
use crate::operation::{Operation, operation};
use crate::paging::PageRequest;
use crate::request::Request;
use crate::response::Response;
use crate::state::ApiState;

pub(super) const OPERATIONS: &[Operation] =
    &[operation!(Iot, "GetBehaviorModelTrainingSummaries", list)];

/// Largest page, and the usual one. Source: aws `TinyMaxResults`.
const PAGE_MAX: usize = 10;

/// Datapoints of the trailing 14 days that a model needs. Source: AWS guide "ML Detect".
const DATAPOINTS_NEEDED: u64 = 25_000;

/// aws: GetBehaviorModelTrainingSummaries
async fn list(state: &ApiState, request: Request) -> Result<Response, ApiError> {
    let profile = request
        .query("securityProfileName")
        .map(|text| parsed("securityProfileName", text, ProfileName::parse))
        .transpose()?;
    let page = PageRequest::next_token_up_to(&request, PAGE_MAX)?.of_store();
    let now = state.now();
    let list = state
        .read(move |tx| {
            if let Some(profile) = &profile {
                profiles::get(tx, profile)?;
            }
            Ok(model_training::summaries(tx, profile.as_ref(), now, &page)?)
        })
        .await?;
    Ok(listed("summaries", list.items.iter().map(to_json).collect(), list.next))
}

/// A summary. No model is built yet, so none is active and none has a date of its last refresh.
fn to_json(summary: &TrainingSummary) -> Value {
    json!({
        "securityProfileName": summary.profile.as_str(),
        "behaviorName": summary.behavior.as_str(),
        "trainingDataCollectionStartDate": seconds(summary.started_at),
        "modelStatus": "PENDING_BUILD",
        "datapointsCollectionPercentage": percentage(summary.datapoints),
    })
}

/// How much of what a model needs is there, in percent.
fn percentage(datapoints: u64) -> f64 {
    // Both far below 2^53, where whole numbers stop being exact.
    datapoints.min(DATAPOINTS_NEEDED) as f64 * 100.0 / DATAPOINTS_NEEDED as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_ends_at_a_hundred() {
        let of = [0, 1, 12_500, 24_999, 25_000, u64::MAX].map(percentage);
        assert_eq!(of, [0.0, 0.004, 50.0, 99.996, 100.0, 100.0]);
    }
}
