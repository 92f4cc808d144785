//! The table of all operations of the services, done or not: `specs/aws-operations.toml`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;

use crate::service::Service;

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Status {
    /// Served.
    Done,
    /// Fits, and is not served yet.
    Later,
    /// Not Picket's job.
    Never,
}

/// One operation of a service model.
#[derive(Clone, Debug)]
pub(crate) struct OperationSpec {
    /// Whose.
    pub(crate) service: Service,
    /// AWS's name.
    pub(crate) name: String,
    /// HTTP method.
    pub(crate) method: String,
    /// Path template, with `{labels}`, and a fixed query where one tells operations apart.
    pub(crate) path: String,
    /// Whether it is served.
    pub(crate) status: Status,
    /// Why it is not.
    pub(crate) reason: String,
}

#[derive(Deserialize)]
struct Line {
    http: String,
    status: Status,
    #[serde(default)]
    reason: String,
}

static TABLE: LazyLock<Vec<OperationSpec>> = LazyLock::new(|| {
    let text = include_str!("../../../specs/aws-operations.toml");
    #[expect(clippy::expect_used, reason = "the file is part of the program, and a test reads it")]
    let sections: BTreeMap<String, BTreeMap<String, Line>> =
        toml::from_str(text).expect("specs/aws-operations.toml is well-formed");
    let mut table = Vec::new();
    for (scope, lines) in sections {
        #[expect(clippy::expect_used, reason = "as above")]
        let service = Service::from_scope(&scope).expect("a section is named for a service");
        table.extend(lines.into_iter().map(|(name, line)| {
            let (method, path) = line.http.split_once(' ').unwrap_or(("", &line.http));
            OperationSpec {
                service,
                name,
                method: method.to_owned(),
                path: path.to_owned(),
                status: line.status,
                reason: line.reason,
            }
        }));
    }
    table
});

/// Every operation of every service.
pub(crate) fn table() -> &'static [OperationSpec] {
    &TABLE
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::operation::operations;

    #[test]
    fn what_is_listed_as_done_has_a_handler_and_nothing_else_has() {
        let listed: BTreeSet<_> = table()
            .iter()
            .filter(|spec| spec.status == Status::Done)
            .map(|spec| (spec.service, spec.name.as_str()))
            .collect();
        let served: Vec<_> = operations().map(|it| (it.service, it.name)).collect();
        assert_eq!(served.iter().copied().collect::<BTreeSet<_>>(), listed);
        assert_eq!(served.len(), listed.len(), "an operation has two handlers");
    }

    #[test]
    fn what_is_not_done_says_why() {
        let silent =
            table().iter().find(|spec| (spec.status == Status::Done) != spec.reason.is_empty());
        assert!(silent.is_none(), "{silent:?}");
    }

    #[test]
    fn every_service_has_operations_with_a_method_and_a_path() {
        for service in Service::ALL {
            assert!(table().iter().filter(|spec| spec.service == service).count() > 10);
        }
        for spec in table() {
            assert!(
                ["GET", "PUT", "POST", "PATCH", "DELETE"].contains(&spec.method.as_str()),
                "{spec:?}"
            );
            assert!(spec.path.starts_with('/'), "{spec:?}");
        }
    }
}
