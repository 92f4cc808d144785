//! The MQTT edge: every packet of a device is admitted, decided, counted and bounded here.
//!
//! The cast, along the way of a message. [`tls`] and `listener` take a connection in, `http` and
//! `websocket` where it does not begin with MQTT; `greeting` reads its CONNECT and `admission` judges
//! it; `sessions` gives it the hold on its client id. From there
//! on `connection` serves it, one task for each: `authorize` decides what it asks and remembers,
//! `tally` counts it for Detect, whole and by `slices`, `router` and `retained` carry its messages to
//! the `mailbox`es of others, `journal` keeps what must survive the server and `restore` takes it up
//! again, `reports` takes what devices say of themselves. [`access`] wakes it when its rights change.
//! `presence` and `lifecycle` tell others that it is there; [`broker`] and `operate` are how its owner
//! looks in.
//!
//! Architecture invariant: nothing is routed without a `PublishPermit`, which only a decision (or the
//! server itself) can make, and nothing leaves a mailbox without a decision of that moment.

pub mod access;
mod admission;
mod asks;
mod authorize;
mod bell;
mod bringing;
pub mod broker;
mod budget;
pub mod certificate;
mod clients;
mod clock;
mod connection;
mod greeting;
mod half_open;
mod http;
mod journal;
mod lanes;
mod lifecycle;
mod limits;
mod listener;
mod mailbox;
mod metrics;
mod operate;
pub mod ports;
mod presence;
mod reports;
mod restore;
mod retained;
pub mod revocation;
mod router;
mod sessions;
mod slices;
mod subscriptions;
mod tally;
pub mod tls;
pub mod tripwires;
mod websocket;
mod will;
mod wire;

pub use broker::{Broker, BrokerConfig, InternalPublish, PublishError, SessionCount};
pub use clients::{ConnectionDetails, ConnectionRecord, ConnectionStatus, Farewell};
pub use clock::Clock;
pub use listener::{Entrance, Proof};
pub use operate::{AskError, Dismissal, RetainedMessage, SendError};
pub use reports::ReportConfig;
pub use slices::Slice;
