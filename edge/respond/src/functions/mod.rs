//! Functions: user code, run on an event as AWS Lambda runs it.
//!
//! Dramatis personae:
//!
//! - [`FunctionHost`] (`host`) takes events. For each function it has a *pool* (`pool`) of the processes of
//!   the function's present revision, whose code it has unpacked (`code`).
//! - A *process* (`process`) is launched (`launch`) with an environment of its own (`environment`) by the
//!   *spawner* (`spawn`), which sees to it that it ends with the server. It asks for work over the
//!   *Runtime API* (`runtime_api`), works on one event at a time and stays warm for the next.
//! - What it prints becomes the function's *log* (`log`, through a `pipe`); the memory it holds is
//!   read from `/proc` (`proc_fs`).
//!
//! A process whose function has changed is never given another event: every invocation reads the
//! function's revision from the store. That changed functions are also listened for only ends
//! their idle processes sooner.
//!
//! Functions are a way to run code on events, not a sandbox: their processes have the rights of the
//! server's user.

pub mod code;
pub mod environment;
mod host;
mod invocation;
mod launch;
mod log;
mod pipe;
mod pool;
mod proc_fs;
mod process;
mod runtime_api;
mod spawn;

pub use self::code::CodeError;
pub use self::host::{FunctionHost, FunctionHostConfig, HostError};
pub use self::invocation::{Invocation, InvokeError};
