//! From a request line to an operation.
//!
//! Routing is on the path as it was sent: a label may hold an encoded `/`, so a path is split
//! before it is decoded.

use std::sync::LazyLock;

use percent_encoding::percent_decode_str;

use crate::error::ApiError;
use crate::operation::{Handler, operations};
use crate::request::Labels;
use crate::service::{Service, Wire};
use crate::spec::{OperationSpec, table};

/// An operation as it is reached.
pub(crate) struct Route {
    /// What it is.
    pub(crate) spec: &'static OperationSpec,
    /// Who answers; none if it is not done.
    pub(crate) handler: Option<Handler>,
    segments: Vec<Segment>,
    /// Query parameters that must be there with these values.
    query: Vec<(&'static str, &'static str)>,
}

/// A piece of a path template. The order is the order of trying: what is fixed comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(&'static str),
    Label(&'static str),
    /// Takes the rest of the path, slashes and all.
    Rest(&'static str),
}

impl Segment {
    fn parse(text: &'static str) -> Self {
        match text.strip_prefix('{').and_then(|text| text.strip_suffix('}')) {
            None => Segment::Literal(text),
            Some(label) => match label.strip_suffix('+') {
                None => Segment::Label(label),
                Some(label) => Segment::Rest(label),
            },
        }
    }
}

static ROUTES: LazyLock<Vec<Route>> = LazyLock::new(|| {
    let mut routes: Vec<Route> = table()
        .iter()
        .map(|spec| {
            let (path, query) = spec.path.split_once('?').unwrap_or((&spec.path, ""));
            Route {
                spec,
                handler: operations()
                    .find(|it| it.service == spec.service && it.name == spec.name)
                    .map(|it| it.handler),
                segments: split(path).map(Segment::parse).collect(),
                query: query.split('&').filter_map(|pair| pair.split_once('=')).collect(),
            }
        })
        .collect();
    // A template with a fixed query comes before the same template without.
    routes.sort_by(|a, b| a.segments.cmp(&b.segments).then(b.query.len().cmp(&a.query.len())));
    routes
});

/// The pieces of a path between its slashes; a slash at the end is no piece.
fn split(path: &str) -> impl Iterator<Item = &str> {
    let path = path.strip_prefix('/').unwrap_or(path);
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').filter(move |_| !path.is_empty())
}

impl Route {
    /// The labels as they were sent, if the path is one of this template's.
    fn labels<'p>(&self, path: &'p str) -> Option<Vec<(&'static str, &'p str)>> {
        let mut labels = Vec::new();
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        let mut pieces = split(path);
        for segment in &self.segments {
            let piece = match segment {
                Segment::Rest(label) => {
                    labels.push((*label, rest));
                    return (!rest.is_empty()).then_some(labels);
                }
                Segment::Literal(_) | Segment::Label(_) => pieces.next()?,
            };
            rest = rest.get(piece.len() + 1..).unwrap_or_default();
            match segment {
                Segment::Literal(text) if *text == piece => {}
                Segment::Label(label) if !piece.is_empty() => labels.push((*label, piece)),
                Segment::Literal(_) | Segment::Label(_) | Segment::Rest(_) => return None,
            }
        }
        pieces.next().is_none().then_some(labels)
    }
}

/// The operation that a request of a path-routed service asks for, with its labels decoded.
///
/// # Errors
/// Unknown operation, if no template of the service fits; invalid request, if a label is no UTF-8.
pub(crate) fn by_path(
    service: Service,
    method: &str,
    path: &str,
    query: &[(String, String)],
) -> Result<(&'static Route, Labels), ApiError> {
    debug_assert_eq!(service.wire(), Wire::RestJson);
    let has = |(key, value): &(&str, &str)| query.iter().any(|(k, v)| k == key && v == value);
    let found = ROUTES
        .iter()
        .filter(|route| route.spec.service == service && route.spec.method == method)
        .filter(|route| route.query.iter().all(has))
        .find_map(|route| Some((route, route.labels(path)?)));
    let Some((route, labels)) = found else {
        let shown = path.escape_debug().to_string();
        return Err(ApiError::unknown_operation(format!(
            "no operation of {service} is `{method} {shown}`"
        )));
    };
    let labels = labels
        .into_iter()
        .map(|(label, text)| match percent_decode_str(text).decode_utf8() {
            Ok(value) => Ok((label, value.into_owned())),
            Err(_) => Err(ApiError::invalid(format!("`{label}` in the path is not UTF-8"))),
        })
        .collect::<Result<_, _>>()?;
    Ok((route, labels))
}

/// The operation of a query-protocol service with the name `action`.
///
/// # Errors
/// Unknown operation.
pub(crate) fn by_action(service: Service, action: &str) -> Result<&'static Route, ApiError> {
    ROUTES
        .iter()
        .find(|route| route.spec.service == service && route.spec.name == action)
        .ok_or_else(|| {
            let shown: String = action.chars().take(100).collect();
            ApiError::unknown_operation(format!(
                "{service} has no action `{}`",
                shown.escape_debug()
            ))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(service: Service, line: &str, expected: &str) {
        let (method, target) = line.split_once(' ').unwrap();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let query: Vec<_> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let found = match by_path(service, method, path, &query) {
            Ok((route, labels)) => {
                let labels: Vec<String> = labels.iter().map(|(k, v)| format!(" {k}={v}")).collect();
                format!("{}{}", route.spec.name, labels.concat())
            }
            Err(error) => error.to_string(),
        };
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn a_request_line_finds_its_operation_and_labels() {
        use Service::{Iot, IotData, Lambda};
        check(Iot, "POST /things/pump-7", "CreateThing thingName=pump-7");
        check(Iot, "GET /things", "ListThings");
        check(Iot, "GET /things/", "ListThings");
        check(Iot, "GET /things/a%3Ab/principals", "ListThingPrincipals thingName=a:b");
        check(Iot, "PUT /thing-groups/addThingToThingGroup", "AddThingToThingGroup");
        check(
            Iot,
            "PATCH /thing-groups/addThingToThingGroup",
            "UpdateThingGroup thingGroupName=addThingToThingGroup",
        );
        check(
            Iot,
            "POST /attached-policies/arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Athinggroup%2FIsolated",
            "ListAttachedPolicies target=arn:aws:iot:us-east-1:123456789012:thinggroup/Isolated",
        );
        check(IotData, "POST /topics/a%2Fb%20c", "Publish topic=a/b c");
        check(IotData, "POST /topics/%24aws%2Fx", "Publish topic=$aws/x");
        check(Lambda, "GET /2018-10-31/layers?find=LayerVersion", "GetLayerVersionByArn");
        check(Lambda, "GET /2018-10-31/layers?find=Other", "ListLayers");
        check(Lambda, "POST /2015-03-31/functions/", "CreateFunction");
        check(Iot, "GET /destinations/arn:aws:x/y/z", "GetTopicRuleDestination arn=arn:aws:x/y/z");
    }

    #[test]
    fn what_fits_no_template_is_an_unknown_operation() {
        use Service::{Iot, IotData};
        check(Iot, "GET /", "no operation of iot is `GET /`");
        check(Iot, "GET /thing", "no operation of iot is `GET /thing`");
        check(Iot, "PUT /things/a", "no operation of iot is `PUT /things/a`");
        check(Iot, "GET /things//principals", "no operation of iot is `GET /things//principals`");
        check(Iot, "GET /things/a/b/c", "no operation of iot is `GET /things/a/b/c`");
        check(IotData, "POST /topics/a/b", "no operation of iotdata is `POST /topics/a/b`");
        check(IotData, "POST /topics/%ff", "`topic` in the path is not UTF-8");
    }

    #[test]
    fn a_fixed_path_is_tried_before_one_with_labels() {
        let label_first = ROUTES.windows(2).find(|pair| {
            matches!(
                (pair[0].segments.first(), pair[1].segments.first()),
                (Some(Segment::Label(_) | Segment::Rest(_)), Some(Segment::Literal(_)))
            )
        });
        assert!(label_first.is_none());
    }
}
