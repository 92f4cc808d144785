//! An operation: a name of a service, and the function that answers it.

use std::future::Future;
use std::pin::Pin;

use crate::error::ApiError;
use crate::request::Request;
use crate::response::Response;
use crate::service::Service;
use crate::state::ApiState;

/// What a handler gives back when it is called.
pub(crate) type Answer<'a> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'a>>;

/// A function that answers one operation.
pub(crate) type Handler = for<'a> fn(&'a ApiState, Request) -> Answer<'a>;

/// One operation that is served. Its method and path stand in `specs/aws-operations.toml`.
#[derive(Clone, Copy)]
pub(crate) struct Operation {
    /// Whose.
    pub(crate) service: Service,
    /// AWS's name.
    pub(crate) name: &'static str,
    /// Answers it.
    pub(crate) handler: Handler,
}

/// An [`Operation`] from a service, AWS's name and an
/// `async fn(&ApiState, Request) -> Result<Response, ApiError>`.
macro_rules! operation {
    ($service:ident, $name:literal, $handler:path) => {
        $crate::operation::Operation {
            service: $crate::service::Service::$service,
            name: $name,
            handler: |state, request| Box::pin($handler(state, request)),
        }
    };
}
pub(crate) use operation;

/// Every operation that is served. One line for each module that has some.
pub(crate) fn operations() -> impl Iterator<Item = Operation> {
    [
        crate::iot::OPERATIONS,
        crate::iotdata::OPERATIONS,
        crate::detect::OPERATIONS,
        crate::mitigation::OPERATIONS,
        crate::sns::OPERATIONS,
        crate::lambda::OPERATIONS,
        crate::sts::OPERATIONS,
    ]
    .into_iter()
    .flatten()
    .flat_map(|list| *list)
    .copied()
}
