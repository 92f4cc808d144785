//! A request as a handler sees it: signed, routed, decoded, bounded.

use axum::body::Bytes;
use axum::http::HeaderMap;

use crate::credentials::Caller;
use crate::error::ApiError;
use crate::input::{Members, invalid_value};
use crate::service::Service;

/// Path labels and their decoded values.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A request whose signature was verified.
#[derive(Clone, Debug)]
pub struct Request {
    /// The service it is for.
    pub service: Service,
    /// The operation's name.
    pub operation: &'static str,
    /// Given back in every answer and in the log.
    pub id: String,
    /// Who signed it.
    pub caller: Caller,
    /// The region that it was signed for. All regions see the same resources.
    pub region: String,
    /// Headers as they came.
    pub headers: HeaderMap,
    /// The whole body, within the operation's bound.
    pub body: Bytes,
    pub(crate) labels: Labels,
    pub(crate) query: Vec<(String, String)>,
}

impl Request {
    /// A label of the path, percent-decoded.
    ///
    /// # Errors
    /// Internal failure if the operation's path has no such label: the table and the handler do
    /// not agree.
    pub fn label(&self, name: &str) -> Result<&str, ApiError> {
        self.labels
            .iter()
            .find(|(label, _)| *label == name)
            .map(|(_, value)| value.as_str())
            .ok_or_else(|| ApiError::internal(format!("{} has no label `{name}`", self.operation)))
    }

    /// A parameter of the query, percent-decoded; the first if it is there twice.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter of the query.
    pub fn query_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.query.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// Invalid request.
    pub fn query_required(&self, name: &str) -> Result<&str, ApiError> {
        self.query(name).ok_or_else(|| crate::input::missing(name))
    }

    /// A parameter that is `true` or `false`.
    ///
    /// # Errors
    /// Invalid request if it is something else.
    pub fn query_bool(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.query(name) {
            None => Ok(None),
            Some("true" | "True" | "TRUE") => Ok(Some(true)),
            Some("false" | "False" | "FALSE") => Ok(Some(false)),
            Some(other) => Err(invalid_value(other, name, "Member must be true or false")),
        }
    }

    /// A parameter that is a whole number.
    ///
    /// # Errors
    /// Invalid request if it is something else.
    pub fn query_u64(&self, name: &str) -> Result<Option<u64>, ApiError> {
        self.query(name)
            .map(|text| {
                text.parse().map_err(|_| invalid_value(text, name, "Member must be a whole number"))
            })
            .transpose()
    }

    /// A header's value as text; headers that are no text count as absent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// A header that must be there; `member` is what the service model calls it.
    ///
    /// # Errors
    /// Invalid request.
    pub fn header_required(&self, name: &str, member: &str) -> Result<&str, ApiError> {
        self.header(name)
            .filter(|value| !value.is_empty())
            .ok_or_else(|| crate::input::missing(member))
    }

    /// The body as a JSON object. An empty body is an empty object.
    ///
    /// # Errors
    /// Serialization error if it is no JSON, invalid request if it is no object.
    pub fn members(&self) -> Result<Members, ApiError> {
        Members::parse(&self.body)
    }
}
