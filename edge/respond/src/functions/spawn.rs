//! Starting processes so that they end with the server, and ending what a killed server left.
//!
//! A server that stops in order ends its processes itself. One that is killed cannot, so the
//! system is asked to: each process is started through `setpriv --pdeathsig KILL` where that
//! program can do it (util-linux 2.33; setting the signal ourselves would need unsafe code in the
//! child). What slips through, the children of such processes above all, is found by the next
//! start of the server: every process of a function has a home folder below ours.

use std::io::{self, PipeWriter};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use rustix::process::{Pid, Signal};
use tokio::process::Child;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::proc_fs;

/// What is to be started.
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
    pub(super) folder: PathBuf,
    /// Gets stdout and stderr.
    pub(super) log: PipeWriter,
}

type Order = (Program, oneshot::Sender<io::Result<Child>>);

/// A thread that starts processes and lives as long as they do.
///
/// The death signal is sent when the *thread* that started a process ends, not the process; the
/// runtime's own threads may come and go.
#[derive(Clone)]
pub(super) struct Spawner {
    orders: mpsc::Sender<Order>,
}

impl Spawner {
    /// Starts the thread. Must be called inside a runtime.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start() -> io::Result<Self> {
        let (orders, receiver) = mpsc::channel::<Order>();
        let runtime = Handle::current();
        thread::Builder::new().name("picket-spawner".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            let setpriv = find_setpriv();
            if setpriv.is_none() {
                tracing::info!(
                    "no `setpriv --pdeathsig` here: should the server be killed, the processes of \
                     functions are ended by its next start"
                );
            }
            for (program, reply) in receiver {
                // Whoever asked may be gone: the child is killed when it is dropped.
                let _ = reply.send(spawn(program, setpriv.as_deref()));
            }
        })?;
        Ok(Self { orders })
    }

    /// Starts a program as the leader of a process group of its own.
    ///
    /// # Errors
    /// What the system said. A program that `setpriv` cannot run ends at once instead.
    pub(super) async fn spawn(&self, program: Program) -> io::Result<Child> {
        let (reply, child) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts processes is gone");
        self.orders.send((program, reply)).map_err(|_| gone())?;
        child.await.map_err(|_| gone())?
    }
}

fn spawn(program: Program, setpriv: Option<&Path>) -> io::Result<Child> {
    let mut command = match setpriv {
        Some(setpriv) => {
            let mut command = std::process::Command::new(setpriv);
            command.args(["--pdeathsig", "KILL", "--"]).arg(&program.path);
            command
        }
        None => std::process::Command::new(&program.path),
    };
    command
        .args(program.arguments)
        .env_clear()
        .envs(program.environment)
        .current_dir(program.folder)
        .stdin(Stdio::null())
        .stderr(program.log.try_clone()?)
        .stdout(program.log);
    let mut command = tokio::process::Command::from(command);
    // The command holds our copies of the pipe's writing end, and drops them with itself.
    command.process_group(0).kill_on_drop(true).spawn()
}

/// The absolute path of a `setpriv` that knows death signals.
fn find_setpriv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join("setpriv")).find(|setpriv| {
        setpriv.is_absolute()
            && std::process::Command::new(setpriv)
                .args(["--pdeathsig", "KILL", "--", "true"])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
    })
}

/// Kills a process group. One that is gone already is fine.
pub(super) fn kill_group(leader: Pid) {
    let _ = rustix::process::kill_process_group(leader, Signal::KILL);
}

/// Kills every process that has its home in or below `folder`, and says how many there were.
///
/// Looks again until none is left, because what is being killed may fork; gives up after ten
/// times.
pub(super) fn kill_living_in(folder: &Path) -> usize {
    let mut n_killed = 0;
    for _ in 0..10 {
        let living = proc_fs::living_in(folder);
        if living.is_empty() {
            break;
        }
        for pid in living {
            if rustix::process::kill_process(pid, Signal::KILL).is_ok() {
                n_killed += 1;
            }
        }
        thread::yield_now();
    }
    n_killed
}
