//! One process of a function: a task that owns it from its start to its end.
//!
//! The process says what it does over the Runtime API; this task decides what may be said when,
//! keeps the deadline and the memory limit, collects the log, and ends the process group when it
//! must. Its states:
//!
//! ```text
//! Starting ──next──> Idle ──job──> Working ──answer──> Answered ──next──> Idle
//!     │ init error, exit, too slow │ exit, deadline, memory │ exit, deadline
//!     └────────────────────────────┴────────────────────────┴──> end: group killed, log drained
//! ```

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use picket_model::Timestamp;
use picket_model::limits::FUNCTION_PAYLOAD_BYTES_MAX;
use rustix::process::Pid;
use tokio::process::Child;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio::time::Instant;

use super::code;
use super::invocation::{Failure, Outcome};
use super::log::{FunctionLog, InvocationLog, LineBuffer};
use super::pipe::LogPipe;
use super::pool::Pool;
use super::proc_fs;
use super::runtime_api::{Call, Refusal, RuntimeApi, Work};
use super::spawn;
use crate::ports::Clock;

/// Between two looks at the memory of a process that is idle.
const IDLE_MEMORY_CHECK: Duration = Duration::from_secs(1);

/// An event for a process, and whom to tell.
pub(super) struct Job {
    pub(super) request_id: String,
    pub(super) event: Bytes,
    pub(super) reply: oneshot::Sender<Result<Finished, NotTaken>>,
    /// The function's right to work on one more event; free again when the process is.
    pub(super) slot: OwnedSemaphorePermit,
    /// Goes back to the pool when the process is ready again.
    pub(super) handle: ProcessHandle,
}

/// The process ended before it saw the event: another one may have it.
pub(super) struct NotTaken {
    pub(super) slot: OwnedSemaphorePermit,
}

/// A run that is over.
pub(super) struct Finished {
    pub(super) outcome: Outcome,
    pub(super) log_tail: String,
    pub(super) duration: Duration,
    pub(super) memory_max_bytes: u64,
}

/// Whoever holds it may send the process a job. A process whose handles are all gone ends.
#[derive(Clone)]
pub(super) struct ProcessHandle {
    jobs: mpsc::Sender<Job>,
}

impl ProcessHandle {
    /// A handle and where its jobs come out.
    pub(super) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, receiver) = mpsc::channel(1);
        (Self { jobs }, receiver)
    }

    /// Whether the process has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.jobs.is_closed()
    }

    /// Hands over a job; gives it back if the process has ended.
    pub(super) fn send(&self, job: Job) -> Result<(), Job> {
        self.jobs.try_send(job).map_err(|error| error.into_inner())
    }
}

/// What a process's task needs to know.
pub(super) struct Facts {
    /// Eight hex digits for the log.
    pub(super) label: String,
    pub(super) function_arn: String,
    pub(super) timeout: Duration,
    pub(super) memory_allowed_bytes: u64,
    pub(super) start_timeout: Duration,
    pub(super) idle_timeout: Duration,
    /// INVARIANT (keys outlive work): no job is taken after this; the keys are good for longer.
    pub(super) retire_at: Instant,
    pub(super) settle_timeout: Duration,
    pub(super) memory_check_interval: Duration,
    pub(super) clock: Clock,
}

/// The home folder of a process. Whatever still lives in it is killed, and it is removed, when
/// this is dropped, which waits for the disk.
pub(super) struct Scratch(pub(super) PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let n_killed = spawn::kill_living_in(&self.0);
        if n_killed > 0 {
            tracing::info!("killed {n_killed} processes that a function had left behind");
        }
        code::remove_folder(&self.0);
    }
}

/// A started process with everything that belongs to it.
pub(super) struct Process {
    pub(super) facts: Facts,
    pub(super) child: Child,
    pub(super) pid: Pid,
    pub(super) api: RuntimeApi,
    pub(super) calls: mpsc::Receiver<Call>,
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) pipe: LogPipe,
    pub(super) log: Arc<FunctionLog>,
    pub(super) pool: Arc<Pool>,
    pub(super) is_stopping: watch::Receiver<bool>,
    /// Gone, in a thread that may wait, when the process is; `None` only after that.
    pub(super) scratch: Option<Scratch>,
    /// Its place among all processes of the host.
    pub(super) place: OwnedSemaphorePermit,
}

/// Runs a process until it ends. `first` is the job that it was started for.
pub(super) async fn run(process: Process, first: Job) {
    let now = Instant::now();
    let until = now + process.facts.start_timeout;
    let mut task = Task {
        state: State::Starting { job: first },
        until,
        started_at: now,
        has_asked: false,
        init: None,
        lines: LineBuffer::default(),
        log: InvocationLog::default(),
        memory_max_bytes: 0,
        process,
    };
    let end = task.live().await;
    task.end(end).await;
}

enum State {
    /// It did not ask for work yet, or hung up while it waited for some.
    Starting { job: Job },
    /// It waits for work.
    Idle { poll: oneshot::Sender<Result<Work, Refusal>> },
    /// It works.
    Working { job: Job, started_at: Instant },
    /// It answered and did not ask for more work yet. The caller waits for that a while.
    Answered { job: AnsweredJob, deadline: Instant },
    /// Between two states, inside of one function.
    Moving,
}

/// A job whose outcome is known.
struct AnsweredJob {
    waiting: Waiting,
    slot: OwnedSemaphorePermit,
    handle: ProcessHandle,
}

/// Whoever waits for an outcome, and the outcome; `None` when it has been told.
type Waiting = Option<(oneshot::Sender<Result<Finished, NotTaken>>, Finished)>;

fn tell(waiting: Waiting) {
    if let Some((reply, finished)) = waiting {
        let _ = reply.send(Ok(finished));
    }
}

/// Why a process's life is over.
enum End {
    Exited(Option<ExitStatus>),
    TimedOut,
    NotReady,
    OutOfMemory {
        held_bytes: u64,
    },
    InitError {
        body: Bytes,
    },
    /// Idle for too long, of another revision, or the server stops.
    NotNeeded,
}

struct Task {
    process: Process,
    state: State,
    /// When the present state has lasted too long.
    until: Instant,
    started_at: Instant,
    /// Whether it has asked for work at all.
    has_asked: bool,
    /// How long it took until it asked for work, until a REPORT line has said so.
    init: Option<Duration>,
    lines: LineBuffer,
    /// Of the run that is going on, or of the last one; the start counts as part of the first.
    log: InvocationLog,
    /// Of the run that is going on, or of the last one.
    memory_max_bytes: u64,
}

impl Task {
    async fn live(&mut self) -> End {
        let mut buffer = vec![0; 64 * 1024];
        let mut memory_checked_at = Instant::now();
        loop {
            let is_idle = matches!(self.state, State::Idle { .. });
            let memory_check_after =
                if is_idle { IDLE_MEMORY_CHECK } else { self.process.facts.memory_check_interval };
            let end = tokio::select! {
                call = self.process.calls.recv() => match call {
                    Some(call) => self.on_call(call),
                    // Its server is gone; without it the process is of no use.
                    None => Some(End::NotNeeded),
                },
                job = self.process.jobs.recv(), if is_idle => match job {
                    Some(job) => self.take(job),
                    None => Some(End::NotNeeded),
                },
                len = self.process.pipe.read(&mut buffer), if self.process.pipe.is_open() => {
                    self.on_output(&buffer[..len]);
                    None
                }
                status = self.process.child.wait() => Some(End::Exited(status.ok())),
                () = tokio::time::sleep_until(self.until) => self.on_too_late(),
                () = tokio::time::sleep_until(memory_checked_at + memory_check_after) => {
                    memory_checked_at = Instant::now();
                    self.check_memory()
                }
                () = stopping(&mut self.process.is_stopping) => Some(End::NotNeeded),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    fn on_call(&mut self, call: Call) -> Option<End> {
        match call {
            Call::Next(poll) => return self.on_next(poll),
            Call::Answer { request_id, body, reply } => {
                let outcome = match body {
                    Some(body) => Outcome::Answer(body),
                    None => Outcome::Failed(Failure::AnswerTooLarge {
                        max_bytes: FUNCTION_PAYLOAD_BYTES_MAX,
                    }),
                };
                let is_too_large = matches!(outcome, Outcome::Failed(_));
                let granted = self.on_outcome(&request_id, outcome);
                let _ = reply.send(match granted {
                    Ok(()) if is_too_large => Err(Refusal::TooLarge),
                    granted => granted,
                });
            }
            Call::Error { request_id, body, reply } => {
                let _ = reply.send(self.on_outcome(&request_id, Outcome::Reported(body)));
            }
            Call::InitError { body, reply } => {
                if matches!(self.state, State::Starting { .. }) {
                    let _ = reply.send(Ok(()));
                    return Some(End::InitError { body });
                }
                let _ = reply.send(Err(Refusal::WrongState));
            }
        }
        None
    }

    fn on_next(&mut self, poll: oneshot::Sender<Result<Work, Refusal>>) -> Option<End> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Starting { job } => {
                self.drain();
                if !self.has_asked {
                    self.has_asked = true;
                    self.init = Some(self.started_at.elapsed());
                }
                self.start(job, poll)
            }
            State::Answered { job, .. } => {
                self.drain();
                // Who hears of the answer may call again at once, and is to find the process warm:
                // handle and slot go back first.
                let is_wanted = self.is_young() && self.process.pool.give_back(job.handle);
                drop(job.slot);
                tell(job.waiting);
                if !is_wanted {
                    let _ = poll.send(Err(Refusal::Ending));
                    return Some(End::NotNeeded);
                }
                self.idle(poll)
            }
            // A poll that was dropped is replaced; two at once are one too many.
            State::Idle { poll: old } if old.is_closed() => self.idle(poll),
            state @ (State::Idle { .. } | State::Working { .. } | State::Moving) => {
                self.state = state;
                let _ = poll.send(Err(Refusal::WrongState));
                None
            }
        }
    }

    fn idle(&mut self, poll: oneshot::Sender<Result<Work, Refusal>>) -> Option<End> {
        self.until =
            self.process.facts.retire_at.min(Instant::now() + self.process.facts.idle_timeout);
        self.state = State::Idle { poll };
        None
    }

    fn is_young(&self) -> bool {
        Instant::now() < self.process.facts.retire_at
    }

    /// An idle process gets a job.
    fn take(&mut self, job: Job) -> Option<End> {
        match std::mem::replace(&mut self.state, State::Moving) {
            State::Idle { poll } => {
                self.drain();
                self.report_dropped();
                self.log = InvocationLog::default();
                self.start(job, poll)
            }
            state => {
                self.state = state;
                let _ = job.reply.send(Err(NotTaken { slot: job.slot }));
                None
            }
        }
    }

    /// Hands an event to a process that waits for one.
    fn start(&mut self, job: Job, poll: oneshot::Sender<Result<Work, Refusal>>) -> Option<End> {
        let facts = &self.process.facts;
        let now = Instant::now();
        let wall: Timestamp = (facts.clock)();
        let timeout_ms = i64::try_from(facts.timeout.as_millis()).unwrap_or(i64::MAX);
        let work = Work {
            request_id: job.request_id.clone(),
            event: job.event.clone(),
            deadline: wall.plus_millis(timeout_ms),
            function_arn: facts.function_arn.clone(),
            trace_id: trace_id(wall),
        };
        if poll.send(Ok(work)).is_err() {
            // It hung up. If it asks again in time it may have the event.
            self.until = now + facts.start_timeout;
            self.state = State::Starting { job };
            return None;
        }
        self.until = now + facts.timeout;
        self.memory_max_bytes = 0;
        self.write(&format!("START RequestId: {} Version: $LATEST", job.request_id));
        self.state = State::Working { job, started_at: now };
        None
    }

    /// The process says how its run ended.
    fn on_outcome(&mut self, request_id: &str, outcome: Outcome) -> Result<(), Refusal> {
        match &self.state {
            State::Working { job, .. } if job.request_id == request_id => {}
            State::Working { .. } => return Err(Refusal::UnknownRequest),
            _ => return Err(Refusal::WrongState),
        }
        self.drain();
        let State::Working { job, started_at } = std::mem::replace(&mut self.state, State::Moving)
        else {
            return Err(Refusal::WrongState);
        };
        let finished = self.finish(&job.request_id, started_at, outcome);
        let deadline = self.until;
        self.until = deadline.min(Instant::now() + self.process.facts.settle_timeout);
        let Job { reply, slot, handle, .. } = job;
        let job = AnsweredJob { waiting: Some((reply, finished)), slot, handle };
        self.state = State::Answered { job, deadline };
        Ok(())
    }

    /// Closes the log of a run.
    fn finish(&mut self, request_id: &str, started_at: Instant, outcome: Outcome) -> Finished {
        let duration = started_at.elapsed();
        // A run may be over before memory was looked at for the first time.
        if self.memory_max_bytes == 0 {
            self.memory_max_bytes = self.memory_now();
        }
        self.report_dropped();
        if let Outcome::Failed(failure) = &outcome {
            self.write(&format!("RequestId: {request_id} Error: {}", failure.in_words()));
        }
        self.write(&format!("END RequestId: {request_id}"));
        let report = self.report(request_id, duration);
        self.write(&report);
        Finished {
            outcome,
            log_tail: self.log.tail(),
            duration,
            memory_max_bytes: self.memory_max_bytes,
        }
    }

    /// The REPORT line, as AWS writes it. Nothing is billed here; the member stays for scripts.
    fn report(&mut self, request_id: &str, duration: Duration) -> String {
        let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
        let millis = duration.as_secs_f64() * 1000.0;
        let mut report = format!(
            "REPORT RequestId: {request_id}\tDuration: {millis:.2} ms\tBilled Duration: {:.0} ms\t\
             Memory Size: {} MB\tMax Memory Used: {} MB",
            millis.ceil(),
            mib(self.process.facts.memory_allowed_bytes),
            mib(self.memory_max_bytes),
        );
        if let Some(init) = self.init.take() {
            report += &format!("\tInit Duration: {:.2} ms", init.as_secs_f64() * 1000.0);
        }
        report
    }

    /// Tells a caller how the run of a process that has ended came out.
    fn tell(&mut self, job: Job, started_at: Instant, outcome: Outcome) {
        let finished = self.finish(&job.request_id, started_at, outcome);
        let Job { reply, slot, handle, .. } = job;
        drop((slot, handle));
        let _ = reply.send(Ok(finished));
    }

    fn on_too_late(&mut self) -> Option<End> {
        match &mut self.state {
            State::Starting { .. } => Some(End::NotReady),
            State::Idle { .. } => Some(End::NotNeeded),
            State::Working { .. } => Some(End::TimedOut),
            State::Answered { job, deadline } => {
                if job.waiting.is_none() {
                    return Some(End::TimedOut);
                }
                // The caller has waited for it to settle long enough; the process has the rest of
                // its time to get ready.
                tell(job.waiting.take());
                self.until = *deadline;
                None
            }
            State::Moving => None,
        }
    }

    fn memory_now(&self) -> u64 {
        proc_fs::memory_bytes(self.process.pid, self.process.facts.memory_allowed_bytes)
    }

    fn check_memory(&mut self) -> Option<End> {
        let held_bytes = self.memory_now();
        self.memory_max_bytes = self.memory_max_bytes.max(held_bytes);
        (held_bytes > self.process.facts.memory_allowed_bytes)
            .then_some(End::OutOfMemory { held_bytes })
    }

    /// Says how many lines were not written since this was last said.
    fn report_dropped(&mut self) {
        if let Some(dropped) = self.log.take_dropped() {
            self.write(&dropped);
        }
    }

    /// Writes a line of the host.
    fn write(&mut self, line: &str) {
        self.log.append_tail(line);
        self.process.log.write(&self.process.facts.label, line);
    }

    /// Takes what the process wrote. What it writes between two runs counts for the one before.
    fn on_output(&mut self, bytes: &[u8]) {
        let (label, file, log) = (&self.process.facts.label, &self.process.log, &mut self.log);
        self.lines.push(bytes, |line| {
            if log.admit(line) {
                file.write(label, line);
            }
        });
    }

    /// Takes all that lies in the pipe. A process that writes without end is not waited for: two
    /// pipes full is more than it can have written before it answered.
    fn drain(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        for _ in 0..32 {
            match self.process.pipe.read_now(&mut buffer) {
                0 => break,
                len => self.on_output(&buffer[..len]),
            }
        }
    }

    /// Ends the process and tells whoever waits for it.
    async fn end(mut self, end: End) {
        spawn::kill_group(self.process.pid);
        let status = self.process.child.wait().await.ok();
        // What left its group on purpose is found by its home.
        let scratch = self.process.scratch.take();
        let _ = tokio::task::spawn_blocking(move || drop(scratch)).await;
        self.drain();
        // A line that was begun is a line.
        self.on_output(b"\n");
        let facts = &self.process.facts;
        let outcome = match end {
            End::TimedOut => Outcome::Failed(Failure::TimedOut { after: facts.timeout }),
            End::NotReady => Outcome::Failed(Failure::NotReady { after: facts.start_timeout }),
            End::OutOfMemory { held_bytes } => Outcome::Failed(Failure::OutOfMemory {
                held_bytes,
                allowed_bytes: facts.memory_allowed_bytes,
            }),
            End::InitError { body } => Outcome::Reported(body),
            End::Exited(exited) => {
                Outcome::Failed(Failure::Exited { how: in_words(exited.or(status)) })
            }
            End::NotNeeded => {
                Outcome::Failed(Failure::Exited { how: "the server ended the process".to_owned() })
            }
        };
        match std::mem::replace(&mut self.state, State::Moving) {
            // It was ready once and hung up before it saw the event: another one may have it.
            State::Starting { job } if self.has_asked => {
                let Job { reply, slot, handle, .. } = job;
                drop(handle);
                let _ = reply.send(Err(NotTaken { slot }));
            }
            State::Starting { job } => {
                self.write(&format!("START RequestId: {} Version: $LATEST", job.request_id));
                self.tell(job, self.started_at, outcome);
            }
            State::Working { job, started_at } => self.tell(job, started_at, outcome),
            State::Answered { job, .. } => tell(job.waiting),
            State::Idle { .. } | State::Moving => {}
        }
        self.report_dropped();
        // A job that arrived in the meantime has not been seen by the process.
        self.process.jobs.close();
        while let Some(job) = self.process.jobs.recv().await {
            let _ = job.reply.send(Err(NotTaken { slot: job.slot }));
        }
        let label = &self.process.facts.label;
        let address = self.process.api.address;
        tracing::debug!(process.id = label, process.address = %address, "process ended");
        drop(self.process.place);
    }
}

/// Waits until the host stops.
async fn stopping(is_stopping: &mut watch::Receiver<bool>) {
    // An error means that the host is gone.
    let _ = is_stopping.wait_for(|&is_stopping| is_stopping).await;
}

/// How a process ended, in AWS's words.
fn in_words(status: Option<ExitStatus>) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.map(|status| (status.code(), status.signal())) {
        Some((Some(code), _)) => format!("exit status {code}"),
        Some((None, Some(9))) => "signal: killed".to_owned(),
        Some((None, Some(signal))) => format!("signal {signal}"),
        Some((None, None)) | None => "the process is gone".to_owned(),
    }
}

/// A trace id in X-Ray's form. Nothing is traced; clients put it into an environment variable.
fn trace_id(now: Timestamp) -> String {
    let seconds = now.as_millis().max(0) / 1000;
    let random = uuid::Uuid::new_v4().simple().to_string();
    let parent = uuid::Uuid::new_v4().simple().to_string();
    format!("Root=1-{seconds:08x}-{};Parent={};Sampled=0", &random[..24], &parent[..16])
}
