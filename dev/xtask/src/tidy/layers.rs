//! Who may depend on whom.

use super::Finding;
use crate::repo::{Crate, Repo};

/// The crates of ours that each crate may use. Apps wire everything together and are not limited.
const MAY_USE: &[(&str, &[&str])] = &[
    ("picket-model", &[]),
    ("picket-mqtt", &["picket-model"]),
    ("picket-policy", &["picket-model"]),
    ("picket-report", &["picket-model"]),
    ("picket-detect", &["picket-model"]),
    ("picket-store", &["picket-model"]),
    ("picket-broker", &["picket-model", "picket-mqtt", "picket-policy", "picket-report"]),
    ("picket-respond", &["picket-model", "picket-store"]),
    // Topics and filters that requests name (a dimension's, an export's) are checked by the code
    // that matches messages against them, so that the API takes none that the broker could not use.
    (
        "picket-api",
        &["picket-model", "picket-mqtt", "picket-policy", "picket-store", "picket-respond"],
    ),
    ("picket-bench", &["picket", "picket-api", "picket-detect", "picket-model", "picket-report"]),
    ("xtask", &[]),
];

/// What the core cannot need: each of these brings IO, a clock, threads or randomness.
const NOT_IN_CORE: &[&str] = &[
    "anyhow",
    "axum",
    "getrandom",
    "hyper",
    "jiff",
    "rand",
    "reqwest",
    "rusqlite",
    "rustls",
    "tempfile",
    "tokio",
    "tracing",
    "uuid",
];

pub(super) fn check(repo: &Repo) -> Vec<Finding> {
    let names: Vec<&str> = repo.crates.iter().map(|krate| krate.name.as_str()).collect();
    let is_core = |krate: &Crate| repo.short(&krate.manifest_path).starts_with("core");
    let is_app = |krate: &Crate| repo.short(&krate.manifest_path).starts_with("apps");
    let mut findings = Vec::new();
    for krate in &repo.crates {
        let mut complain =
            |message| findings.push(Finding::new(repo.short(&krate.manifest_path), 0, message));
        let rule = MAY_USE.iter().find(|(name, _)| *name == krate.name).map(|(_, may)| *may);
        if rule.is_none() && !is_app(krate) {
            complain("not in the table of layers (dev/xtask/src/tidy/layers.rs)".to_owned());
        }
        for dependency in &krate.dependencies {
            let name = dependency.name.as_str();
            let is_ours = names.contains(&name);
            if is_ours && rule.is_some_and(|may| !may.contains(&name)) {
                complain(format!("`{}` may not depend on `{name}`: {}", krate.name, allowed(rule)));
            }
            // Tests of the core may write temporary files; the core itself may not.
            if is_core(krate) && dependency.kind.is_none() && NOT_IN_CORE.contains(&name) {
                complain(format!("`{name}` has no place in the core, which is pure"));
            }
        }
    }
    findings
}

fn allowed(rule: Option<&[&str]>) -> String {
    match rule {
        Some([]) => "it stands on no other crate of ours".to_owned(),
        Some(may) => format!("only on {}", may.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::repo::Dependency;

    /// What a crate at `path` with one dependency breaks.
    fn check_one(name: &str, path: &str, dependency: &str, kind: Option<&str>) -> usize {
        let krate = |name: &str, path: &str, dependencies| Crate {
            name: name.to_owned(),
            manifest_path: PathBuf::from("/repo").join(path).join("Cargo.toml"),
            dependencies,
            targets: Vec::new(),
        };
        let dependency = Dependency { name: dependency.to_owned(), kind: kind.map(str::to_owned) };
        let others = ["picket-model", "picket-store", "picket-api"];
        let mut crates: Vec<Crate> =
            others.iter().map(|name| krate(name, "edge/other", Vec::new())).collect();
        crates.push(krate(name, path, vec![dependency]));
        check(&Repo { root: PathBuf::from("/repo"), target: PathBuf::from("/t"), crates }).len()
    }

    #[test]
    fn a_dependency_points_down() {
        assert_eq!(check_one("picket-detect", "core/detect", "picket-model", None), 0);
        assert_eq!(check_one("picket-detect", "core/detect", "picket-store", None), 1);
        assert_eq!(check_one("picket-broker", "edge/broker", "picket-store", None), 1);
        assert_eq!(check_one("picket", "apps/picket", "picket-store", None), 0);
    }

    #[test]
    fn a_test_does_not_make_an_edge_right() {
        assert_eq!(check_one("picket-detect", "core/detect", "picket-store", Some("dev")), 1);
    }

    #[test]
    fn the_core_takes_no_runtime() {
        assert_eq!(check_one("picket-detect", "core/detect", "tokio", None), 1);
        assert_eq!(check_one("picket-detect", "core/detect", "tempfile", Some("dev")), 0);
        assert_eq!(check_one("picket-store", "edge/store", "tokio", None), 0);
    }

    #[test]
    fn a_new_crate_must_say_where_it_stands() {
        assert_eq!(check_one("picket-audit", "core/audit", "serde", None), 1);
    }
}
