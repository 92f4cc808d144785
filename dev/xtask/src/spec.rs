//! `cargo xtask spec`: what `specs/aws-operations.toml` says is done, later and never; the page that is
//! written from `specs/metrics.toml`; and the check of MQTT's conformance table.

mod conformance;

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repo::Repo;
use crate::shell::run as run_command;
use crate::{metrics, peers};

/// What to do with the tables.
#[derive(Clone, Copy, Debug, clap::Subcommand)]
pub(crate) enum SpecCommand {
    /// Fail if an operation lacks a reason, or the table no longer matches the service models, or
    /// docs/metrics.md no longer the catalogue of metrics, or if a statement of
    /// docs/conformance.md is said to hold and nothing names it.
    Check,
    /// Write docs/metrics.md anew, and list the operations of the service models anew; status and
    /// reason are kept.
    Refresh,
}

/// The table: service, operation, what becomes of it.
type Table = BTreeMap<String, BTreeMap<String, Operation>>;

#[derive(Debug, Deserialize)]
struct Operation {
    status: Status,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Done,
    Later,
    Never,
}

/// Prints the counts, and checks or refreshes first if asked to.
pub(crate) fn run(repo: &Repo, verb: Option<SpecCommand>) -> Result<()> {
    let file = repo.root.join("specs/aws-operations.toml");
    let models = |args: &[&str]| {
        let peers = peers::ready(repo)?;
        run_command(Command::new(peers.python).arg(repo.root.join("specs/refresh.py")).args(args))
    };
    match verb {
        Some(SpecCommand::Refresh) => {
            metrics::refresh(repo)?;
            models(&[])?;
        }
        Some(SpecCommand::Check) => {
            metrics::check(repo)?;
            conformance::check(repo)?;
            models(&["--check"])?;
        }
        None => {}
    }
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let table: Table =
        toml::from_str(&text).with_context(|| format!("`{}` is malformed", file.display()))?;
    print!("{}", counts(&table));
    let silent = without_reason(&table);
    if !silent.is_empty() {
        bail!("not done and without a reason: {}", silent.join(", "));
    }
    Ok(())
}

/// One line for each service and one for all of them.
fn counts(table: &Table) -> String {
    let row = |name: &str, of: &dyn Fn(Status) -> usize| {
        let [done, later, never] = [Status::Done, Status::Later, Status::Never].map(of);
        format!("{name:<10}{done:>7}{later:>7}{never:>7}\n")
    };
    let count = |operations: &BTreeMap<String, Operation>, status| {
        operations.values().filter(|operation| operation.status == status).count()
    };
    let mut text = format!("{:<10}{:>7}{:>7}{:>7}\n", "service", "done", "later", "never");
    for (service, operations) in table {
        text += &row(service, &|status| count(operations, status));
    }
    text + &row("all", &|status| table.values().map(|service| count(service, status)).sum())
}

/// Operations that are not done and do not say why.
fn without_reason(table: &Table) -> Vec<&str> {
    let operations = table.values().flatten();
    operations
        .filter(|(_, operation)| operation.status != Status::Done && operation.reason.is_empty())
        .map(|(name, _)| name.as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [iot]
        CreateThing = { http = "POST /things/{thingName}", status = "done" }
        CreateJob = { http = "PUT /jobs/{jobId}", status = "never", reason = "another product" }
        [sts]
        GetSessionToken = { http = "POST /", status = "later" }
    "#;

    #[test]
    fn operations_are_counted_by_service_and_in_all() {
        let text = counts(&toml::from_str(TABLE).unwrap());
        let numbers = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(numbers).collect();
        assert_eq!(lines, ["service done later never", "iot 1 0 1", "sts 0 1 0", "all 1 1 1"]);
    }

    #[test]
    fn what_is_not_done_needs_a_reason() {
        assert_eq!(without_reason(&toml::from_str(TABLE).unwrap()), ["GetSessionToken"]);
    }
}
