//! Violations: the alarms that are on, and what happened to alarms.

use std::sync::Arc;

use picket_model::{
    Continuation, CriteriaType, DeviceName, ProfileName, Timestamp, VerificationState, Violation,
    ViolationEvent, ViolationEventKind, ViolationId,
};
use rusqlite::types::ValueRef;
use rusqlite::{Row, params_from_iter};

use crate::codec::{column, explanation};
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::query::Query;
use crate::tx::{ReadTx, WriteTx};

const WHAT: &str = "violation";
const ACTIVE_LISTING: &str = "active-violations";
const EVENTS_LISTING: &str = "violation-events";

/// Which violations or events are listed; all, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViolationFilter {
    /// Only of this device.
    pub device: Option<DeviceName>,
    /// Only of this security profile.
    pub profile: Option<ProfileName>,
    /// Only of behaviors whose criteria is of this type.
    pub criteria_type: Option<CriteriaType>,
    /// Only of behaviors whose alerts are, or are not, suppressed.
    pub suppressed: Option<bool>,
    /// Only with this judgement of a person.
    pub verification: Option<VerificationState>,
}

fn read_active(row: &Row<'_>) -> Result<Violation, StoreError> {
    Ok(Violation {
        id: column::name(row, "id", ViolationId::parse)?,
        device: column::name(row, "device", DeviceName::parse)?,
        profile: column::name(row, "profile", ProfileName::parse)?,
        behavior: Arc::new(column::behavior(row, "behavior")?),
        started_at: column::time(row, "started_at")?,
        last_violated_at: column::time(row, "last_violated_at")?,
        last_value: column::metric_value(row, "last_value")?,
        explanation: explanation::from_row(row, "explanation")?,
        verification: column::word(row, "verification", VerificationState::parse)?,
        verification_description: row.get("verification_description")?,
    })
}

fn read_event(row: &Row<'_>) -> Result<ViolationEvent, StoreError> {
    let has_value = row.get_ref("value")? != ValueRef::Null;
    Ok(ViolationEvent {
        violation: column::name(row, "violation", ViolationId::parse)?,
        kind: column::word(row, "kind", ViolationEventKind::parse)?,
        at: column::time(row, "at")?,
        device: column::name(row, "device", DeviceName::parse)?,
        profile: column::name(row, "profile", ProfileName::parse)?,
        behavior: Arc::new(column::behavior(row, "behavior")?),
        value: has_value.then(|| column::metric_value(row, "value")).transpose()?,
        explanation: explanation::from_row(row, "explanation")?,
    })
}

/// Stores an event, and opens or closes its violation. `false` if the event is there already:
/// applying it again changes nothing, so no alarm is doubled.
///
/// # Errors
/// [`StoreError::Unreadable`] for an `in-alarm` event without a value, which no engine makes.
pub fn apply(tx: &mut WriteTx, event: &ViolationEvent) -> Result<bool, StoreError> {
    let behavior = column::from_behavior(&event.behavior);
    let value = event.value.as_ref().map(column::from_metric_value);
    let explanation = explanation::to_text(&event.explanation);
    let added = tx.execute(
        "INSERT INTO violation_events (violation, kind, at, device, profile, behavior_name, \
             criteria_type, suppressed, behavior, value, explanation) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
         ON CONFLICT (violation, kind) DO NOTHING",
        (
            event.violation.as_str(),
            event.kind.as_str(),
            event.at.as_millis(),
            event.device.as_str(),
            event.profile.as_str(),
            event.behavior.name.as_str(),
            event.behavior.criteria.criteria_type().as_str(),
            event.behavior.suppress_alerts,
            &behavior,
            &value,
            &explanation,
        ),
    )?;
    if added == 0 {
        return Ok(false);
    }
    match event.kind {
        ViolationEventKind::InAlarm => {
            let value = value.ok_or_else(|| StoreError::Unreadable {
                column: "value",
                problem: format!("violation {} is in alarm without a value", event.violation),
            })?;
            tx.execute(
                "INSERT INTO active_violations (id, device, profile, behavior_name, \
                     criteria_type, suppressed, behavior, started_at, last_violated_at, \
                     last_value, explanation) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, ?9, ?10)",
                (
                    event.violation.as_str(),
                    event.device.as_str(),
                    event.profile.as_str(),
                    event.behavior.name.as_str(),
                    event.behavior.criteria.criteria_type().as_str(),
                    event.behavior.suppress_alerts,
                    behavior,
                    event.at.as_millis(),
                    value,
                    explanation,
                ),
            )?;
        }
        ViolationEventKind::Cleared | ViolationEventKind::Invalidated => {
            tx.execute("DELETE FROM active_violations WHERE id = ?1", [event.violation.as_str()])?;
        }
    }
    Ok(true)
}

/// Brings an active violation up to its last violating datapoint; what a person said of it stays.
/// `false` if it is not active.
pub fn continued(tx: &mut WriteTx, continuation: &Continuation) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE active_violations SET behavior = ?2, suppressed = ?3, last_violated_at = ?4, \
             last_value = ?5, explanation = ?6, criteria_type = ?7 WHERE id = ?1",
        (
            continuation.violation.as_str(),
            column::from_behavior(&continuation.behavior),
            continuation.behavior.suppress_alerts,
            continuation.last_violated_at.as_millis(),
            column::from_metric_value(&continuation.last_value),
            explanation::to_text(&continuation.explanation),
            continuation.behavior.criteria.criteria_type().as_str(),
        ),
    )?;
    Ok(changed > 0)
}

/// The active violation of that id.
///
/// # Errors
/// [`RegistryError::NotFound`], also for one that is no longer active.
pub fn get_active(tx: &ReadTx, id: &ViolationId) -> Result<Violation, RegistryError> {
    tx.row(
        "SELECT active_violations.*, coalesce(state, 'UNKNOWN') AS verification, \
                verifications.description AS verification_description \
         FROM active_violations LEFT JOIN verifications ON violation = id WHERE id = ?1",
        [id.as_str()],
        read_active,
    )?
    .ok_or_else(|| RegistryError::not_found(WHAT, id))
}

/// Lists active violations, the latest raised first.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListActiveViolations
pub fn list_active(
    tx: &ReadTx,
    filter: &ViolationFilter,
    page: &Page,
) -> Result<Paged<Violation>, RegistryError> {
    let (at, id) = page.time_key(ACTIVE_LISTING, (i64::MAX, String::new()))?;
    let mut query = Query::new(
        "SELECT rows.*, coalesce(state, 'UNKNOWN') AS verification, \
                verifications.description AS verification_description \
         FROM active_violations AS rows LEFT JOIN verifications ON violation = id",
    );
    query.and("(started_at, id) < (?, ?)", [at.into(), id.into()]);
    and_filter(&mut query, filter);
    query.end("ORDER BY started_at DESC, id DESC LIMIT ?", page.rows_max());
    let violations = tx.rows(&query.sql, params_from_iter(query.values), read_active)?;
    Ok(Paged::cut(violations, page, ACTIVE_LISTING, |violation| {
        [violation.started_at.as_millis().to_string(), violation.id.to_string()]
    }))
}

/// A violation event with what a person made of its violation.
pub type JudgedEvent = (ViolationEvent, VerificationState, Option<String>);

/// Lists violation events with `from <= at < until`, the latest first.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListViolationEvents
pub fn list_events(
    tx: &ReadTx,
    from: Timestamp,
    until: Timestamp,
    filter: &ViolationFilter,
    page: &Page,
) -> Result<Paged<JudgedEvent>, RegistryError> {
    let (at, number) = page.time_key(EVENTS_LISTING, (i64::MAX, i64::MAX))?;
    let mut query = Query::new(
        "SELECT rows.*, coalesce(state, 'UNKNOWN') AS verification, \
                verifications.description AS verification_description \
         FROM violation_events AS rows LEFT JOIN verifications USING (violation)",
    );
    query.and("(at, row) < (?, ?)", [at.into(), number.into()]);
    query.and("at >= ?", [from.as_millis().into()]);
    query.and("at < ?", [until.as_millis().into()]);
    and_filter(&mut query, filter);
    query.end("ORDER BY at DESC, row DESC LIMIT ?", page.rows_max());
    let events = tx.rows(&query.sql, params_from_iter(query.values), |row| {
        let event = read_event(row)?;
        let key = [event.at.as_millis().to_string(), row.get::<_, i64>("row")?.to_string()];
        let verification = column::word(row, "verification", VerificationState::parse)?;
        let description: Option<String> = row.get("verification_description")?;
        Ok::<_, StoreError>(((event, verification, description), key))
    })?;
    let page = Paged::cut(events, page, EVENTS_LISTING, |(_, key)| key.clone());
    Ok(page.map(|(event, _)| event))
}

fn and_filter(query: &mut Query, filter: &ViolationFilter) {
    if let Some(device) = &filter.device {
        query.and("device = ?", [device.to_string().into()]);
    }
    if let Some(profile) = &filter.profile {
        query.and("profile = ?", [profile.to_string().into()]);
    }
    if let Some(criteria_type) = filter.criteria_type {
        query.and("criteria_type = ?", [criteria_type.as_str().to_owned().into()]);
    }
    if let Some(suppressed) = filter.suppressed {
        query.and("suppressed = ?", [suppressed.into()]);
    }
    if let Some(state) = filter.verification {
        query.and("coalesce(state, 'UNKNOWN') = ?", [state.as_str().to_owned().into()]);
    }
}

/// Writes down what a person made of a violation, active or over.
///
/// # Errors
/// [`RegistryError::NotFound`] if neither the violation nor an event of it is kept.
// aws: PutVerificationStateOnViolation
pub fn set_verification(
    tx: &mut WriteTx,
    id: &ViolationId,
    state: VerificationState,
    description: Option<&str>,
) -> Result<(), RegistryError> {
    let exists = tx.exists(
        "SELECT 1 FROM active_violations WHERE id = ?1 \
         UNION ALL SELECT 1 FROM violation_events WHERE violation = ?1",
        [id.as_str()],
    )?;
    if !exists {
        return Err(RegistryError::not_found(WHAT, id));
    }
    tx.execute(
        "INSERT INTO verifications (violation, state, description) VALUES (?1, ?2, ?3) \
         ON CONFLICT (violation) DO UPDATE \
             SET state = excluded.state, description = excluded.description",
        (id.as_str(), state.as_str(), description),
    )?;
    Ok(())
}

/// Deletes at most `limit` events that happened before `before`, oldest first, with what people
/// said of violations that nothing is left of. Gives the number of events deleted: fewer than
/// `limit` when done.
pub fn delete_older_than(
    tx: &mut WriteTx,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let ids = tx.rows(
        "SELECT violation FROM violation_events WHERE at < ?1 ORDER BY at, row LIMIT ?2",
        (before.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)),
        |row| column::name(row, "violation", ViolationId::parse),
    )?;
    let deleted = tx.execute(
        "DELETE FROM violation_events WHERE row IN ( \
             SELECT row FROM violation_events WHERE at < ?1 ORDER BY at, row LIMIT ?2)",
        (before.as_millis(), i64::try_from(limit).unwrap_or(i64::MAX)),
    )?;
    for id in ids {
        tx.execute(
            "DELETE FROM verifications WHERE violation = ?1 \
               AND NOT EXISTS (SELECT 1 FROM violation_events AS kept WHERE kept.violation = ?1) \
               AND NOT EXISTS (SELECT 1 FROM active_violations WHERE id = ?1)",
            [id.as_str()],
        )?;
    }
    Ok(deleted)
}
