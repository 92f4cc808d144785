//! What there is to train the models of ML behaviors with: how many datapoints, since when.
//!
//! The behaviors follow the profiles by themselves; the counts come from the engine.

use picket_model::{Behavior, BehaviorName, Comparison, ProfileName, SecurityProfile, Timestamp};
use serde_json::{Value, json};

use crate::codec::column;
use crate::error::{RegistryError, StoreError};
use crate::limits::TRAINING_MS;
use crate::page::{Page, Paged};
use crate::tx::{ReadTx, WriteTx};

const LISTING: &str = "model-training";
const HOUR_MS: i64 = 3_600_000;

/// What there is to train a behavior's model with. Source: aws `BehaviorModelTrainingSummary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainingSummary {
    /// The security profile.
    pub profile: ProfileName,
    /// The behavior.
    pub behavior: BehaviorName,
    /// The name of the metric that is learned.
    pub metric: String,
    /// When the behavior began to be learned, or began anew with another metric or dimension.
    pub started_at: Timestamp,
    /// Datapoints of the last 14 days, in whole hours of the clock.
    pub datapoints: u64,
}

/// What a model would be about; another one begins anew.
fn subject(behavior: &Behavior) -> String {
    let dimension =
        behavior.dimension.as_ref().map(|d| json!([d.name.as_str(), d.operator.as_str()]));
    json!([behavior.metric.as_str(), dimension]).to_string()
}

/// Brings the behaviors that are learned in line with a profile that was just written.
pub(crate) fn follow(tx: &mut WriteTx, profile: &SecurityProfile) -> Result<(), StoreError> {
    let learned: Vec<(&Behavior, String)> = profile
        .behaviors
        .iter()
        .filter(|behavior| matches!(behavior.criteria.comparison, Comparison::Learned(_)))
        .map(|behavior| (behavior, subject(behavior)))
        .collect();
    let kept: Vec<Value> = learned
        .iter()
        .map(|(behavior, subject)| json!([behavior.name.as_str(), subject]))
        .collect();
    tx.execute(
        "DELETE FROM model_training WHERE profile = ?1 AND NOT EXISTS ( \
             SELECT 1 FROM json_each(?2) AS kept \
             WHERE kept.value ->> 0 = behavior AND kept.value ->> 1 = subject)",
        (profile.name.as_str(), Value::Array(kept).to_string()),
    )?;
    for (behavior, subject) in learned {
        tx.execute(
            "INSERT INTO model_training (profile, behavior, metric, subject, started_at) \
             VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
            (
                profile.name.as_str(),
                behavior.name.as_str(),
                behavior.metric.as_str(),
                subject,
                profile.modified_at.as_millis(),
            ),
        )?;
    }
    Ok(())
}

/// Counts datapoints, at `now`, for behaviors that are learned; those of others are not counted.
/// Forgets the counts that are too old to train with.
pub fn add(
    tx: &mut WriteTx,
    counts: &[(ProfileName, BehaviorName, u64)],
    now: Timestamp,
) -> Result<(), StoreError> {
    for (profile, behavior, count) in counts {
        tx.execute(
            "INSERT INTO model_training_hours (profile, behavior, hour, datapoints) \
             SELECT profile, behavior, ?3, ?4 FROM model_training \
             WHERE profile = ?1 AND behavior = ?2 \
             ON CONFLICT (profile, behavior, hour) \
                 DO UPDATE SET datapoints = datapoints + excluded.datapoints",
            (
                profile.as_str(),
                behavior.as_str(),
                hour(now),
                i64::try_from(*count).unwrap_or(i64::MAX),
            ),
        )?;
        tx.execute(
            "DELETE FROM model_training_hours WHERE profile = ?1 AND behavior = ?2 AND hour <= ?3",
            (profile.as_str(), behavior.as_str(), hour(now - TRAINING_MS)),
        )?;
    }
    Ok(())
}

fn hour(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR_MS)
}

/// Lists what there is to train with, as of `now`, by profile and behavior; with `profile` of that
/// one alone.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: GetBehaviorModelTrainingSummaries
pub fn summaries(
    tx: &ReadTx,
    profile: Option<&ProfileName>,
    now: Timestamp,
    page: &Page,
) -> Result<Paged<TrainingSummary>, RegistryError> {
    let [after_profile, after_behavior] = page.key::<2>(LISTING)?.unwrap_or_default();
    let summaries = tx.rows(
        "SELECT profile, behavior, metric, started_at, \
                (SELECT coalesce(sum(datapoints), 0) FROM model_training_hours AS hours \
                 WHERE hours.profile = training.profile AND hours.behavior = training.behavior \
                   AND hour > ?4) AS datapoints \
         FROM model_training AS training \
         WHERE (profile, behavior) > (?1, ?2) AND (?3 IS NULL OR profile = ?3) \
         ORDER BY profile, behavior LIMIT ?5",
        (
            after_profile,
            after_behavior,
            profile.map(ProfileName::as_str),
            hour(now - TRAINING_MS),
            page.rows_max(),
        ),
        |row| {
            Ok::<_, StoreError>(TrainingSummary {
                profile: column::name(row, "profile", ProfileName::parse)?,
                behavior: column::name(row, "behavior", BehaviorName::parse)?,
                metric: row.get("metric")?,
                started_at: column::time(row, "started_at")?,
                datapoints: column::count(row, "datapoints")?,
            })
        },
    )?;
    Ok(Paged::cut(summaries, page, LISTING, |summary| {
        [summary.profile.to_string(), summary.behavior.to_string()]
    }))
}
