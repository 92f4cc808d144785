//! Starting a process of a function, with everything that belongs to it.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use picket_model::{Account, Timestamp};
use rustix::process::Pid;
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use uuid::Uuid;

use super::environment::{Inherited, ProcessFacts, environment};
use super::pipe::LogPipe;
use super::pool::Pool;
use super::process::{Facts, Job, Process, Scratch};
use super::runtime_api::RuntimeApi;
use super::spawn::{Program, Spawner};
use crate::limits::HostLimits;
use crate::ports::{Clock, IssueKeys};

/// What is the same for all processes of a host.
pub(super) struct Launcher {
    pub(super) account: Account,
    pub(super) endpoint_url: String,
    pub(super) ca_bundle: Option<PathBuf>,
    /// Where the homes of processes are made.
    pub(super) scratch: PathBuf,
    pub(super) limits: HostLimits,
    pub(super) inherited: Inherited,
    pub(super) spawner: Spawner,
    pub(super) keys: Arc<dyn IssueKeys>,
    pub(super) clock: Clock,
}

impl Launcher {
    /// Starts a process of a pool's function.
    ///
    /// # Errors
    /// What the system said; nothing is left behind then.
    pub(super) async fn launch(
        &self,
        pool: &Arc<Pool>,
        jobs: mpsc::Receiver<Job>,
        place: OwnedSemaphorePermit,
        is_stopping: watch::Receiver<bool>,
    ) -> io::Result<Process> {
        let function = &pool.revision.function;
        let id = Uuid::new_v4().simple().to_string();
        let scratch = Scratch(self.scratch.join(&id));
        fs::DirBuilder::new().mode(0o700).create(&scratch.0)?;
        let (api, calls) = RuntimeApi::start().await?;
        let (pipe, writer) = LogPipe::new()?;
        let timeout = Duration::from_secs(function.timeout_s.into());
        let (started_at, now) = (Instant::now(), (self.clock)());
        // INVARIANT (keys outlive work): the last event is taken before `process_age_max` and is
        // over within the timeout; a minute for clocks that differ.
        let limits = &self.limits;
        let life =
            limits.process_age_max + limits.start_timeout + timeout + Duration::from_secs(60);
        let until = now.plus_millis(i64::try_from(life.as_millis()).unwrap_or(i64::MAX));
        let keys = self.keys.issue(&function.role_arn, function.name.as_str(), until);
        let environment = environment(
            function,
            &ProcessFacts {
                account: &self.account,
                inherited: &self.inherited,
                runtime_api: api.address,
                endpoint_url: &self.endpoint_url,
                ca_bundle: self.ca_bundle.as_ref(),
                keys: &keys,
                code: pool.revision.code.path(),
                scratch: &scratch.0,
                log_stream: &log_stream(now, &id),
            },
        );
        let program = Program {
            path: pool.revision.program.clone(),
            arguments: pool.revision.arguments.clone(),
            environment: environment.into_iter().collect(),
            folder: pool.revision.code.path().to_owned(),
            log: writer,
        };
        let child = self.spawner.spawn(program).await?;
        let pid = child
            .id()
            .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?))
            .ok_or_else(|| io::Error::other("it ended at once"))?;
        let facts = Facts {
            label: id[..8].to_owned(),
            function_arn: self.account.function_arn(&function.name),
            timeout,
            memory_allowed_bytes: u64::from(function.memory_mib) * 1024 * 1024,
            start_timeout: limits.start_timeout,
            idle_timeout: limits.idle_timeout,
            retire_at: started_at + limits.process_age_max,
            settle_timeout: limits.settle_timeout,
            memory_check_interval: limits.memory_check_interval,
            clock: Arc::clone(&self.clock),
        };
        tracing::debug!(function.name = %function.name, process.id = facts.label, "process started");
        Ok(Process {
            facts,
            child,
            pid,
            api,
            calls,
            jobs,
            pipe,
            log: Arc::clone(&pool.log),
            pool: Arc::clone(pool),
            is_stopping,
            scratch: Some(scratch),
            place,
        })
    }
}

/// The name of a process's log, as Lambda names it: `2026/11/20/[$LATEST]7f..`.
fn log_stream(now: Timestamp, id: &str) -> String {
    let date = now.to_string()[..10].replace('-', "/");
    format!("{date}/[$LATEST]{id}")
}
