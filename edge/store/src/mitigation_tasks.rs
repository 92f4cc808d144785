//! Tasks that run mitigation actions for violations, and what each execution came to.

use picket_model::{
    BehaviorName, Change, DeviceName, MitigationActionName, MitigationExecution,
    MitigationExecutionStatus, MitigationStatistics, MitigationTarget, MitigationTask,
    MitigationTaskId, MitigationTaskStatus, ProfileName, Timestamp, ViolationEventKind,
    ViolationId,
};
use rusqlite::{Row, params, params_from_iter};
use serde_json::Value;

use crate::codec::{column, mitigation};
use crate::error::{RegistryError, StoreError};
use crate::page::{Page, Paged};
use crate::query::Query;
use crate::tx::{ReadTx, WriteTx};

/// As AWS's TaskAlreadyExistsException calls it.
const WHAT: &str = "task";
const LISTING: &str = "mitigation-tasks";
const EXECUTIONS_LISTING: &str = "mitigation-executions";

fn read_task(row: &Row<'_>) -> Result<MitigationTask, StoreError> {
    let occurred =
        (column::time_opt(row, "occurred_from")?, column::time_opt(row, "occurred_until")?);
    Ok(MitigationTask {
        id: column::name(row, "id", MitigationTaskId::parse)?,
        client_token: row.get("client_token")?,
        status: column::word(row, "status", MitigationTaskStatus::parse)?,
        started_at: column::time(row, "started_at")?,
        ended_at: column::time_opt(row, "ended_at")?,
        target: match column::name_opt(row, "profile", ProfileName::parse)? {
            Some(profile) => MitigationTarget::Profile(
                profile,
                column::name_opt(row, "behavior_name", BehaviorName::parse)?,
            ),
            None => MitigationTarget::Violations(column::list(row, "violations", |id| {
                let id = id.as_str().and_then(|id| ViolationId::parse(id).ok());
                id.ok_or_else(|| "no violation id".to_owned())
            })?),
        },
        occurred: occurred.0.zip(occurred.1),
        only_active: row.get("only_active")?,
        include_suppressed: row.get("include_suppressed")?,
        actions: column::list(row, "actions", |action| {
            mitigation::action_from_json(action).ok_or_else(|| "no mitigation action".to_owned())
        })?,
        statistics: MitigationStatistics {
            executed: column::count(row, "executed")?,
            skipped: column::count(row, "skipped")?,
            failed: column::count(row, "failed")?,
        },
    })
}

fn find(tx: &ReadTx, id: &MitigationTaskId) -> Result<Option<MitigationTask>, StoreError> {
    tx.row("SELECT * FROM mitigation_tasks WHERE id = ?1", [id.as_str()], read_task)
}

/// The task.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: DescribeDetectMitigationActionsTask
pub fn get(tx: &ReadTx, id: &MitigationTaskId) -> Result<MitigationTask, RegistryError> {
    find(tx, id)?.ok_or_else(|| RegistryError::not_found(WHAT, id))
}

/// Writes a task down as given, for the runner to take up. The same id again with the same client
/// token changes nothing and gives the one that is there.
///
/// # Errors
/// [`RegistryError::AlreadyExists`] if it was started with another token.
// aws: StartDetectMitigationActionsTask
pub fn start(tx: &mut WriteTx, task: &MitigationTask) -> Result<MitigationTask, RegistryError> {
    if let Some(found) = find(tx, &task.id)? {
        if found.client_token == task.client_token {
            return Ok(found);
        }
        return Err(RegistryError::already_exists(WHAT, &task.id));
    }
    let (violations, profile, behavior) = match &task.target {
        MitigationTarget::Violations(ids) => {
            let ids: Vec<&str> = ids.iter().map(ViolationId::as_str).collect();
            (Some(Value::from(ids).to_string()), None, None)
        }
        MitigationTarget::Profile(profile, behavior) => {
            (None, Some(profile.as_str()), behavior.as_ref().map(BehaviorName::as_str))
        }
    };
    let actions: Vec<Value> = task.actions.iter().map(mitigation::action_to_json).collect();
    tx.execute(
        "INSERT INTO mitigation_tasks (id, client_token, status, started_at, ended_at, \
             violations, profile, behavior_name, occurred_from, occurred_until, only_active, \
             include_suppressed, actions, executed, skipped, failed) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        params![
            task.id.as_str(),
            task.client_token,
            task.status.as_str(),
            task.started_at.as_millis(),
            task.ended_at.map(Timestamp::as_millis),
            violations,
            profile,
            behavior,
            task.occurred.map(|(from, _)| from.as_millis()),
            task.occurred.map(|(_, until)| until.as_millis()),
            task.only_active,
            task.include_suppressed,
            Value::Array(actions).to_string(),
            stored_count(task.statistics.executed),
            stored_count(task.statistics.skipped),
            stored_count(task.statistics.failed),
        ],
    )?;
    tx.changed(Change::MitigationTask);
    get(tx, &task.id)
}

fn stored_count(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Lists tasks that were started in `from <= started_at <= until`, the latest first.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListDetectMitigationActionsTasks
pub fn list(
    tx: &ReadTx,
    from: Timestamp,
    until: Timestamp,
    page: &Page,
) -> Result<Paged<MitigationTask>, RegistryError> {
    // No id sorts behind this one: none holds a character beyond ASCII.
    let start = (i64::MAX, char::MAX.to_string());
    let (at, id) = page.time_key(LISTING, start)?;
    let tasks = tx.rows(
        "SELECT * FROM mitigation_tasks \
         WHERE (started_at, id) < (?1, ?2) AND started_at BETWEEN ?3 AND ?4 \
         ORDER BY started_at DESC, id DESC LIMIT ?5",
        (at, id, from.as_millis(), until.as_millis(), page.rows_max()),
        read_task,
    )?;
    Ok(Paged::cut(tasks, page, LISTING, |task| {
        [task.started_at.as_millis().to_string(), task.id.to_string()]
    }))
}

/// Cancels a task that is at work; what was done stays done. One that has ended stays as it is.
///
/// # Errors
/// [`RegistryError::NotFound`].
// aws: CancelDetectMitigationActionsTask
pub fn cancel(
    tx: &mut WriteTx,
    id: &MitigationTaskId,
    now: Timestamp,
) -> Result<MitigationTask, RegistryError> {
    if end(tx, id, MitigationTaskStatus::Canceled, now)? {
        tx.changed(Change::MitigationTask);
    }
    get(tx, id)
}

/// Ends a task. One that has ended before, a canceled one among others, stays as it is.
///
/// # Errors
/// [`RegistryError::NotFound`].
pub fn finish(
    tx: &mut WriteTx,
    id: &MitigationTaskId,
    status: MitigationTaskStatus,
    now: Timestamp,
) -> Result<MitigationTask, RegistryError> {
    end(tx, id, status, now)?;
    get(tx, id)
}

fn end(
    tx: &mut WriteTx,
    id: &MitigationTaskId,
    status: MitigationTaskStatus,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let changed = tx.execute(
        "UPDATE mitigation_tasks SET status = ?2, ended_at = ?3 \
         WHERE id = ?1 AND status = 'IN_PROGRESS'",
        (id.as_str(), status.as_str(), now.as_millis()),
    )?;
    Ok(changed > 0)
}

/// The tasks that are at work, the oldest first.
pub fn unfinished(tx: &ReadTx) -> Result<Vec<MitigationTask>, StoreError> {
    tx.rows(
        "SELECT * FROM mitigation_tasks WHERE status = 'IN_PROGRESS' ORDER BY started_at, id",
        [],
        read_task,
    )
}

/// At most `limit` of the violations that a task is for, with their devices, in the order of
/// their ids, behind `after`.
///
/// What a task is for: the violations that it names, or those of its profile (and behavior) that
/// began by the time it started; of those, the ones that its conditions hold for. One that was
/// executed already is among them. A violation is known as long as it is active or an event of it
/// is kept.
pub fn violations(
    tx: &ReadTx,
    task: &MitigationTask,
    after: Option<&ViolationId>,
    limit: usize,
) -> Result<Vec<(ViolationId, DeviceName)>, StoreError> {
    let mut found = Vec::new();
    let mut after = after.cloned();
    while found.len() < limit {
        let candidates = candidates(tx, task, after.as_ref())?;
        let Some(last) = candidates.last() else { break };
        after = Some(last.clone());
        for id in candidates {
            if let Some(known) = Known::read(tx, &id)?
                && known.is_meant_by(task)
            {
                found.push((id, known.device));
                if found.len() == limit {
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// Ids that may be meant, ascending: at most [`CANDIDATES`], none at the end.
fn candidates(
    tx: &ReadTx,
    task: &MitigationTask,
    after: Option<&ViolationId>,
) -> Result<Vec<ViolationId>, StoreError> {
    match &task.target {
        MitigationTarget::Violations(ids) => {
            let mut ids: Vec<ViolationId> =
                ids.iter().filter(|id| after.is_none_or(|after| *id > after)).cloned().collect();
            ids.sort();
            ids.dedup();
            Ok(ids)
        }
        // Both sides are read from an index in the order of ids and merged.
        MitigationTarget::Profile(profile, behavior) => tx.rows(
            "SELECT violation FROM violation_events \
             WHERE profile = ?1 AND violation > ?2 AND (?3 IS NULL OR behavior_name = ?3) \
             UNION \
             SELECT id FROM active_violations \
             WHERE profile = ?1 AND id > ?2 AND (?3 IS NULL OR behavior_name = ?3) \
             ORDER BY 1 LIMIT ?4",
            (
                profile.as_str(),
                after.map_or("", ViolationId::as_str),
                behavior.as_ref().map(BehaviorName::as_str),
                CANDIDATES,
            ),
            |row| column::name(row, "violation", ViolationId::parse),
        ),
    }
}

/// Candidates that are looked at together.
const CANDIDATES: i64 = 256;

/// What is kept of a violation.
struct Known {
    device: DeviceName,
    /// Of its latest judgement.
    suppressed: bool,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Known {
    fn read(tx: &ReadTx, id: &ViolationId) -> Result<Option<Self>, StoreError> {
        let active = tx.row(
            "SELECT device, suppressed, started_at FROM active_violations WHERE id = ?1",
            [id.as_str()],
            |row| {
                Ok::<_, StoreError>(Self {
                    device: column::name(row, "device", DeviceName::parse)?,
                    suppressed: row.get("suppressed")?,
                    started_at: Some(column::time(row, "started_at")?),
                    ended_at: None,
                })
            },
        )?;
        if active.is_some() {
            return Ok(active);
        }
        let events = tx.rows(
            "SELECT kind, at, device, suppressed FROM violation_events WHERE violation = ?1 \
             ORDER BY at, row",
            [id.as_str()],
            |row| {
                Ok::<_, StoreError>((
                    column::word(row, "kind", ViolationEventKind::parse)?,
                    column::time(row, "at")?,
                    column::name(row, "device", DeviceName::parse)?,
                    row.get::<_, bool>("suppressed")?,
                ))
            },
        )?;
        let at_of = |is_start: bool| {
            let mut of_kind =
                events.iter().filter(|event| (event.0 == ViolationEventKind::InAlarm) == is_start);
            of_kind.next().map(|event| event.1)
        };
        Ok(events.last().map(|(_, _, device, suppressed)| Self {
            device: device.clone(),
            suppressed: *suppressed,
            started_at: at_of(true),
            ended_at: at_of(false),
        }))
    }

    fn is_meant_by(&self, task: &MitigationTask) -> bool {
        // An alarm whose beginning is no longer kept began long ago.
        let began = self.started_at.is_none_or(|at| at <= task.started_at);
        let is_target = match task.target {
            MitigationTarget::Violations(_) => true,
            MitigationTarget::Profile(..) => began,
        };
        let was_on = began && self.ended_at.is_none_or(|at| at > task.started_at);
        let mut events = self.started_at.into_iter().chain(self.ended_at);
        is_target
            && (task.include_suppressed || !self.suppressed)
            && (!task.only_active || was_on)
            && task.occurred.is_none_or(|(from, until)| events.any(|at| from <= at && at <= until))
    }
}

/// Writes down how an execution of a task's action for a violation stands, instead of what was
/// written of it before. The task's statistics count it once.
///
/// # Errors
/// [`RegistryError::NotFound`] for the task.
pub fn record(tx: &mut WriteTx, execution: &MitigationExecution) -> Result<(), RegistryError> {
    let before = tx.row(
        "SELECT status FROM mitigation_executions \
         WHERE task = ?1 AND violation = ?2 AND action = ?3",
        (execution.task.as_str(), execution.violation.as_str(), execution.action.as_str()),
        |row| column::word(row, "status", MitigationExecutionStatus::parse),
    )?;
    let change = |status: MitigationExecutionStatus| {
        i64::from(execution.status == status) - i64::from(before == Some(status))
    };
    let counted = tx.execute(
        "UPDATE mitigation_tasks SET executed = executed + ?2, skipped = skipped + ?3, \
             failed = failed + ?4 WHERE id = ?1",
        (
            execution.task.as_str(),
            change(MitigationExecutionStatus::Successful),
            change(MitigationExecutionStatus::Skipped),
            change(MitigationExecutionStatus::Failed),
        ),
    )?;
    if counted == 0 {
        return Err(RegistryError::not_found(WHAT, &execution.task));
    }
    tx.execute(
        "INSERT INTO mitigation_executions (task, violation, action, device, started_at, \
             ended_at, status, error_code, message) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
         ON CONFLICT (task, violation, action) DO UPDATE SET device = excluded.device, \
             started_at = excluded.started_at, ended_at = excluded.ended_at, \
             status = excluded.status, error_code = excluded.error_code, \
             message = excluded.message",
        (
            execution.task.as_str(),
            execution.violation.as_str(),
            execution.action.as_str(),
            execution.device.as_str(),
            execution.started_at.as_millis(),
            execution.ended_at.map(Timestamp::as_millis),
            execution.status.as_str(),
            &execution.error_code,
            &execution.message,
        ),
    )?;
    Ok(())
}

/// Which executions are listed; all, by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionFilter {
    /// Only of this task.
    pub task: Option<MitigationTaskId>,
    /// Only for this violation.
    pub violation: Option<ViolationId>,
    /// Only for violations of this device.
    pub device: Option<DeviceName>,
    /// Only executions that began at this moment or later.
    pub from: Option<Timestamp>,
    /// Only executions that began at this moment or earlier.
    pub until: Option<Timestamp>,
}

fn read_execution(row: &Row<'_>) -> Result<MitigationExecution, StoreError> {
    Ok(MitigationExecution {
        task: column::name(row, "task", MitigationTaskId::parse)?,
        violation: column::name(row, "violation", ViolationId::parse)?,
        action: column::name(row, "action", MitigationActionName::parse)?,
        device: column::name(row, "device", DeviceName::parse)?,
        started_at: column::time(row, "started_at")?,
        ended_at: column::time_opt(row, "ended_at")?,
        status: column::word(row, "status", MitigationExecutionStatus::parse)?,
        error_code: row.get("error_code")?,
        message: row.get("message")?,
    })
}

/// Lists executions, the latest first.
///
/// # Errors
/// [`RegistryError::Invalid`] for a token that this listing did not give.
// aws: ListDetectMitigationActionsExecutions
pub fn executions(
    tx: &ReadTx,
    filter: &ExecutionFilter,
    page: &Page,
) -> Result<Paged<MitigationExecution>, RegistryError> {
    let (at, number) = page.time_key(EXECUTIONS_LISTING, (i64::MAX, i64::MAX))?;
    let mut query = Query::new("SELECT * FROM mitigation_executions");
    query.and("(started_at, row) < (?, ?)", [at.into(), number.into()]);
    if let Some(task) = &filter.task {
        query.and("task = ?", [task.to_string().into()]);
    }
    if let Some(violation) = &filter.violation {
        query.and("violation = ?", [violation.to_string().into()]);
    }
    if let Some(device) = &filter.device {
        query.and("device = ?", [device.to_string().into()]);
    }
    if let Some(from) = filter.from {
        query.and("started_at >= ?", [from.as_millis().into()]);
    }
    if let Some(until) = filter.until {
        query.and("started_at <= ?", [until.as_millis().into()]);
    }
    query.end("ORDER BY started_at DESC, row DESC LIMIT ?", page.rows_max());
    let found = tx.rows(&query.sql, params_from_iter(query.values), |row| {
        let execution = read_execution(row)?;
        let number: i64 = row.get("row")?;
        Ok::<_, StoreError>((execution, number))
    })?;
    let page = Paged::cut(found, page, EXECUTIONS_LISTING, |(execution, number)| {
        [execution.started_at.as_millis().to_string(), number.to_string()]
    });
    Ok(page.map(|(execution, _)| execution))
}

/// Deletes at most `limit` rows of tasks that ended before `before`: their executions, and then
/// the tasks. Gives the number of rows deleted: fewer than `limit` when done.
pub fn delete_older_than(
    tx: &mut WriteTx,
    before: Timestamp,
    limit: usize,
) -> Result<usize, StoreError> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let executions = tx.execute(
        "DELETE FROM mitigation_executions WHERE row IN ( \
             SELECT row FROM mitigation_tasks AS old \
             JOIN mitigation_executions AS of_it ON of_it.task = old.id \
             WHERE old.ended_at < ?1 LIMIT ?2)",
        (before.as_millis(), limit),
    )?;
    let left = limit - i64::try_from(executions).unwrap_or(limit);
    let tasks = tx.execute(
        "DELETE FROM mitigation_tasks WHERE id IN ( \
             SELECT id FROM mitigation_tasks AS old WHERE ended_at < ?1 AND NOT EXISTS ( \
                 SELECT 1 FROM mitigation_executions AS of_it WHERE of_it.task = old.id) \
             LIMIT ?2)",
        (before.as_millis(), left),
    )?;
    Ok(executions + tasks)
}
