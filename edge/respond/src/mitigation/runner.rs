//! Runs the tasks that are at work.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use picket_model::text::chain;
use picket_model::{
    Change, DeviceName, MitigationAction, MitigationExecution, MitigationExecutionStatus,
    MitigationTask, MitigationTaskId, MitigationTaskStatus, ViolationId,
};
use picket_store::mitigation_tasks::{self, ExecutionFilter};
use picket_store::{Page, ReadTx, RegistryError, Store, StoreError, WriteTx};
use tokio::sync::broadcast;
use tracing::{error, info};

use super::actions::{self, Failure};
use super::steps::{self, Step};
use crate::limits::{MITIGATION_TASKS_AT_ONCE, VIOLATIONS_AT_ONCE};
use crate::metrics::{ExecutionEnd, Metrics, TaskEnd};
use crate::ports::Clock;

/// How long to wait before a store that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// What [`run`] works with.
pub struct Runner {
    /// Where tasks, violations and groups are.
    pub store: Store,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
}

/// Runs every task that is at work, those of before a restart too, until `stop` resolves or the
/// store is closed.
///
/// Tasks take turns, a violation each, so that a large one does not hold up a small one. Each
/// execution waits for its own commit, and the store's writer takes others' writes in between.
/// When the store fails it is tried again, once a second.
pub async fn run(runner: Runner, stop: impl Future<Output = ()> + Send) {
    let mut changes = runner.store.changes();
    let work = async {
        let mut works = VecDeque::new();
        let mut is_more = true;
        loop {
            if is_more {
                match runner.take_up(&mut works).await {
                    Ok(()) => is_more = false,
                    Err(StoreError::Closed) => return,
                    Err(error) => pause(&error).await,
                }
            }
            if works.is_empty() && !is_more {
                tasks_changed(&mut changes).await;
                is_more = true;
            }
            for _ in 0..works.len() {
                let Some(mut work) = works.pop_front() else { break };
                match runner.go_on(&mut work).await {
                    Ok(Progress::GoesOn) => works.push_back(work),
                    // Another may have waited for its place.
                    Ok(Progress::Ended) => is_more = true,
                    Err(StoreError::Closed) => return,
                    Err(error) => {
                        works.push_back(work);
                        pause(&error).await;
                    }
                }
            }
            is_more |= have_tasks_changed(&mut changes);
        }
    };
    tokio::select! {
        () = work => {}
        () = stop => {}
    }
}

async fn pause(error: &StoreError) {
    error!(error = %chain(error), "mitigation tasks cannot go on; trying again");
    tokio::time::sleep(RETRY).await;
}

/// Waits until a task was started or canceled, or may have been.
async fn tasks_changed(changes: &mut broadcast::Receiver<Arc<[Change]>>) {
    loop {
        match changes.recv().await {
            Ok(changes) if !changes.contains(&Change::MitigationTask) => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The store is gone; whoever looks at it next is told so.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

/// Whether a task was started or canceled since it was last asked, or may have been.
fn have_tasks_changed(changes: &mut broadcast::Receiver<Arc<[Change]>>) -> bool {
    let mut have = false;
    loop {
        match changes.try_recv() {
            Ok(changes) => have |= changes.contains(&Change::MitigationTask),
            Err(broadcast::error::TryRecvError::Lagged(_)) => have = true,
            Err(_) => return have,
        }
    }
}

/// A task at work, and how far it is.
struct Work {
    id: MitigationTaskId,
    /// Violations that come next, with their devices.
    waiting: VecDeque<(ViolationId, DeviceName)>,
    /// The last that was read; none before the first.
    last_read: Option<ViolationId>,
}

/// Whether there is more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    GoesOn,
    Ended,
}

impl Runner {
    /// Takes up tasks that are at work, the oldest first, as many as there is room for.
    async fn take_up(&self, works: &mut VecDeque<Work>) -> Result<(), StoreError> {
        if works.len() >= MITIGATION_TASKS_AT_ONCE {
            return Ok(());
        }
        for task in self.read(mitigation_tasks::unfinished).await? {
            if works.len() >= MITIGATION_TASKS_AT_ONCE {
                break;
            }
            if !works.iter().any(|work| work.id == task.id) {
                info!(task.id = %task.id, "runs mitigation task `{}`", task.id);
                works.push_back(Work { id: task.id, waiting: VecDeque::new(), last_read: None });
            }
        }
        Ok(())
    }

    /// Does everything for the next violation of a task; ends the task behind the last.
    async fn go_on(&self, work: &mut Work) -> Result<Progress, StoreError> {
        if work.waiting.is_empty() {
            let (id, after) = (work.id.clone(), work.last_read.clone());
            let next = self.read(move |tx| next_violations(tx, &id, after.as_ref())).await?;
            match next.last() {
                Some((last, _)) => work.last_read = Some(last.clone()),
                None => return self.finish(work).await.map(|()| Progress::Ended),
            }
            work.waiting.extend(next);
        }
        while let Some((violation, device)) = work.waiting.front() {
            match self.step(&work.id, violation, device).await? {
                Done::One(end) => self.metrics.count_execution(end),
                Done::Nothing => {
                    work.waiting.pop_front();
                    break;
                }
                Done::TaskEnded => {
                    self.metrics.count_task(TaskEnd::Canceled);
                    info!(task.id = %work.id, "mitigation task `{}` was canceled", work.id);
                    return Ok(Progress::Ended);
                }
            }
        }
        Ok(Progress::GoesOn)
    }

    /// Does the next thing for a violation, in one transaction. If the action is refused, what it
    /// did is undone, and the refusal recorded in another one.
    async fn step(
        &self,
        task: &MitigationTaskId,
        violation: &ViolationId,
        device: &DeviceName,
    ) -> Result<Done, StoreError> {
        let step = Execution {
            task: task.clone(),
            violation: violation.clone(),
            device: device.clone(),
            clock: Arc::clone(&self.clock),
        };
        let tried = step.clone();
        let failure = match self.store.write(move |tx| tried.execute(tx)).await {
            Ok(done) => return Ok(done),
            // It will not get better by being tried again, and must not hold up the others.
            Err(RegistryError::Store(
                error @ (StoreError::Panicked(_) | StoreError::Unreadable { .. }),
            )) => {
                error!(
                    task.id = %task, violation.id = %violation, error = %chain(&error),
                    "a mitigation action failed for an inner reason"
                );
                Failure::of(&RegistryError::Store(error))
            }
            Err(RegistryError::Store(error)) => return Err(error),
            Err(refused) => Failure::of(&refused),
        };
        match self.store.write(move |tx| step.record_failure(tx, failure)).await {
            Ok(done) => Ok(done),
            Err(error) => Err(failed(error)),
        }
    }

    /// Ends a task that has nothing left to do.
    async fn finish(&self, work: &Work) -> Result<(), StoreError> {
        let (id, clock) = (work.id.clone(), Arc::clone(&self.clock));
        let ended = self.store.write(move |tx| {
            let task = mitigation_tasks::get(tx, &id)?;
            let status = match task.statistics.failed {
                0 => MitigationTaskStatus::Successful,
                _ => MitigationTaskStatus::Failed,
            };
            mitigation_tasks::finish(tx, &id, status, clock())
        });
        let MitigationTask { id, status, statistics, .. } = ended.await.map_err(failed)?;
        let end = match status {
            MitigationTaskStatus::Successful => TaskEnd::Successful,
            MitigationTaskStatus::Failed => TaskEnd::Failed,
            MitigationTaskStatus::Canceled | MitigationTaskStatus::InProgress => TaskEnd::Canceled,
        };
        self.metrics.count_task(end);
        info!(
            task.id = %id,
            "mitigation task `{id}` ended: {} executed, {} skipped, {} failed",
            statistics.executed, statistics.skipped, statistics.failed
        );
        Ok(())
    }

    /// Reads off the async workers.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&ReadTx) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || store.read(read));
        read.await.map_err(|panic| StoreError::Panicked(panic.to_string()))?
    }
}

fn next_violations(
    tx: &ReadTx,
    task: &MitigationTaskId,
    after: Option<&ViolationId>,
) -> Result<Vec<(ViolationId, DeviceName)>, StoreError> {
    let task = mitigation_tasks::get(tx, task).map_err(failed)?;
    mitigation_tasks::violations(tx, &task, after, VIOLATIONS_AT_ONCE)
}

/// What is left of an error where nothing is asked for that the registry could refuse: a task that
/// is at work is there.
fn failed(error: RegistryError) -> StoreError {
    match error {
        RegistryError::Store(error) => error,
        refused => {
            StoreError::Unreadable { column: "mitigation_tasks", problem: refused.to_string() }
        }
    }
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// One execution, which ended so.
    One(ExecutionEnd),
    /// Nothing is left to do for the violation.
    Nothing,
    /// The task is no longer at work.
    TaskEnded,
}

/// The next execution for a violation.
#[derive(Clone)]
struct Execution {
    task: MitigationTaskId,
    violation: ViolationId,
    device: DeviceName,
    clock: Clock,
}

impl Execution {
    /// Does the next step and records it.
    fn execute(&self, tx: &mut WriteTx) -> Result<Done, RegistryError> {
        self.do_next(tx, |tx, action| {
            actions::execute(tx, action, &self.device)?;
            Ok(None)
        })
    }

    /// Records that the next step failed.
    fn record_failure(&self, tx: &mut WriteTx, failure: Failure) -> Result<Done, RegistryError> {
        self.do_next(tx, |_, _| Ok(Some(failure)))
    }

    /// Runs the next action by `run`, which says whether it failed, and records what came of it.
    fn do_next(
        &self,
        tx: &mut WriteTx,
        run: impl FnOnce(&mut WriteTx, &MitigationAction) -> Result<Option<Failure>, RegistryError>,
    ) -> Result<Done, RegistryError> {
        let task = mitigation_tasks::get(tx, &self.task)?;
        // INVARIANT (canceled is canceled).
        if task.status != MitigationTaskStatus::InProgress {
            return Ok(Done::TaskEnded);
        }
        let filter = ExecutionFilter {
            task: Some(self.task.clone()),
            violation: Some(self.violation.clone()),
            ..ExecutionFilter::default()
        };
        let page = Page::first(task.actions.len().max(1));
        let recorded = mitigation_tasks::executions(tx, &filter, &page)?.items;
        // INVARIANT (an execution happens once).
        let Some(step) = steps::next(&task.actions, &recorded) else { return Ok(Done::Nothing) };
        let started_at = (self.clock)();
        let (action, status, failure) = match step {
            Step::Run(action) => match run(tx, action)? {
                None => (action, MitigationExecutionStatus::Successful, None),
                failure => (action, MitigationExecutionStatus::Failed, failure),
            },
            Step::Skip(action, failed) => {
                let message = format!("action `{failed}` failed before it");
                let why = Failure { code: "", message };
                (action, MitigationExecutionStatus::Skipped, Some(why))
            }
        };
        let (code, message) = failure.map(|it| (it.code, it.message)).unzip();
        mitigation_tasks::record(
            tx,
            &MitigationExecution {
                task: self.task.clone(),
                violation: self.violation.clone(),
                action: action.name.clone(),
                device: self.device.clone(),
                started_at,
                ended_at: Some((self.clock)()),
                status,
                error_code: code.filter(|code| !code.is_empty()).map(str::to_owned),
                message,
            },
        )?;
        Ok(Done::One(match status {
            MitigationExecutionStatus::Successful | MitigationExecutionStatus::InProgress => {
                ExecutionEnd::Successful
            }
            MitigationExecutionStatus::Failed => ExecutionEnd::Failed,
            MitigationExecutionStatus::Skipped => ExecutionEnd::Skipped,
        }))
    }
}
