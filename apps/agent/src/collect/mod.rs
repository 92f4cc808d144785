//! What this machine's network looks like at one moment.
//!
//! [`Collector`] asks the [`kernel`] by [`netlink`] or, where that is forbidden, reads the files of
//! [`proc_net`]; a [`tally`](tally::Tally) takes one [`Socket`](socket::Socket) after the other and
//! keeps what a report needs of them, so that memory does not grow with the sockets. [`interface`]
//! makes increments of counters. What could not be seen is said: [`Unseen`].

mod collector;
pub mod interface;
mod kernel;
pub mod netlink;
pub mod proc_net;
pub mod sample;
pub mod socket;
pub mod tally;
mod unseen;

pub use collector::{Collected, Collector, CollectorOptions, SocketSource};
pub(crate) use kernel::lines;
pub use unseen::Unseen;
