//! The page of metrics: `docs/metrics.md`, written from `specs/metrics.toml`.

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repo::Repo;

/// The catalogue, from the root.
const CATALOGUE: &str = "specs/metrics.toml";

/// The page, from the root.
const PAGE: &str = "docs/metrics.md";

/// Fails if the page is not what the catalogue says.
pub(crate) fn check(repo: &Repo) -> Result<()> {
    let found = fs::read_to_string(repo.root.join(PAGE)).unwrap_or_default();
    if found != written(repo)? {
        bail!("`{PAGE}` is not what `{CATALOGUE}` says: run `cargo xtask spec refresh`");
    }
    Ok(())
}

/// Writes the page anew.
pub(crate) fn refresh(repo: &Repo) -> Result<()> {
    fs::write(repo.root.join(PAGE), written(repo)?)
        .with_context(|| format!("cannot write `{PAGE}`"))
}

fn written(repo: &Repo) -> Result<String> {
    let text = fs::read_to_string(repo.root.join(CATALOGUE))
        .with_context(|| format!("cannot read `{CATALOGUE}`"))?;
    let catalogue: Catalogue =
        toml::from_str(&text).with_context(|| format!("`{CATALOGUE}` is malformed"))?;
    Ok(page(&catalogue.metric))
}

#[derive(Deserialize)]
struct Catalogue {
    metric: Vec<Entry>,
}

/// What the page says of a metric; the words of the table are told in its head.
#[derive(Deserialize)]
struct Entry {
    name: String,
    unit: String,
    source: String,
    operators: String,
    window: String,
    statistical: bool,
    learned: bool,
    dimension: bool,
    field: Option<String>,
    about: String,
}

/// Sections by the source of their metrics: its word in the catalogue, heading, introduction.
const SECTIONS: [(&str, &str, &str); 3] = [
    (
        "cloud",
        "Cloud-side metrics",
        "The broker measures these, so a device cannot lie about them.\n\
         Their values belong to windows of the clock.",
    ),
    (
        "device",
        "Device-side metrics",
        "The device says these of itself, in its reports.\n\
         They are judged as a report arrives.",
    ),
    (
        "evidence",
        "Evidence",
        "Picket's own: what the broker saw, held against what the device says of itself.\n\
         AWS has no metrics like these.",
    ),
];

const HEAD: &str = "\
<!-- Written by `cargo xtask spec refresh` from specs/metrics.toml: change it there. -->

# Metrics

What a behavior can judge, and what its criteria may say.
How each is judged, and when, is told in [detect.md](detect.md); custom metrics are [there too](detect.md#custom-metrics).

| Column | Means |
|---|---|
| Criteria | what an absolute criteria compares with: *a number* (`less-than`, `less-than-equals`, `greater-than`, `greater-than-equals`), *an upper limit* (the first two), *address ranges* (`in-cidr-set`, `not-in-cidr-set`) or *ports* (`in-port-set`, `not-in-port-set`) |
| `durationSeconds` | whether an absolute criteria says it; a percentile always does |
| Percentile | whether a percentile of the fleet can be the criteria |
| ML | whether a learned model can |
| Dimension | whether a dimension can narrow it to topics |
";

/// The page's text.
fn page(entries: &[Entry]) -> String {
    let mut text = HEAD.to_owned();
    for (source, heading, introduction) in SECTIONS {
        let entries: Vec<_> = entries.iter().filter(|entry| entry.source == source).collect();
        let has_fields = entries.iter().any(|entry| entry.field.is_some());
        // Writing to a string cannot fail.
        let _ = write!(text, "\n## {heading}\n\n{introduction}\n\n");
        text += if has_fields {
            "| Metric | What it is | Unit | Field of the report |\n|---|---|---|---|\n"
        } else {
            "| Metric | What it is | Unit |\n|---|---|---|\n"
        };
        for entry in &entries {
            let unit = if entry.unit.is_empty() { "a list" } else { &entry.unit };
            let _ = write!(text, "| `{}` | {} | {unit} |", entry.name, entry.about);
            if let Some(field) = &entry.field {
                let _ = write!(text, " `{field}` |");
            }
            text.push('\n');
        }
        text += "\n| Metric | Criteria | `durationSeconds` | Percentile | ML | Dimension |\n\
                 |---|---|---|---|---|---|\n";
        for entry in &entries {
            let [percentile, learned, dimension] =
                [entry.statistical, entry.learned, entry.dimension].map(yes);
            let criteria = criteria(&entry.operators);
            let (name, window) = (&entry.name, &entry.window);
            let _ = writeln!(
                text,
                "| `{name}` | {criteria} | {window} | {percentile} | {learned} | {dimension} |"
            );
        }
    }
    text
}

fn criteria(operators: &str) -> &str {
    match operators {
        "numbers" => "a number",
        "upper" => "an upper limit",
        "cidrs" => "address ranges",
        other => other,
    }
}

const fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CATALOGUE: &str = r#"
        [[metric]]
        name = "aws:all-bytes-out"
        code = 9
        words = "bytes out"
        unit = "bytes"
        source = "device"
        kind = "increment"
        operators = "numbers"
        window = "required"
        statistical = true
        learned = true
        dimension = false
        field = "metrics.network_stats.bytes_out"
        about = "Bytes out."

        [[metric]]
        name = "aws:source-ip-address"
        unit = ""
        source = "cloud"
        operators = "cidrs"
        window = "optional"
        statistical = false
        learned = false
        dimension = true
        about = "Addresses."
    "#;

    #[test]
    fn a_metric_stands_in_the_tables_of_its_source() {
        let page = page(&toml::from_str::<Catalogue>(CATALOGUE).unwrap().metric);
        let section = |heading: &str| {
            let after = page.split_once(&format!("## {heading}\n")).unwrap().1;
            let rows = after.split("\n## ").next().unwrap().lines();
            rows.filter(|line| line.starts_with("| `aws")).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(
            section("Cloud-side metrics"),
            "| `aws:source-ip-address` | Addresses. | a list |\n\
             | `aws:source-ip-address` | address ranges | optional | no | no | yes |"
        );
        assert_eq!(
            section("Device-side metrics"),
            "| `aws:all-bytes-out` | Bytes out. | bytes | `metrics.network_stats.bytes_out` |\n\
             | `aws:all-bytes-out` | a number | required | yes | yes | no |"
        );
        assert_eq!(section("Evidence"), "");
    }

    #[test]
    fn the_page_is_what_the_catalogue_says() {
        check(&Repo::find().unwrap()).unwrap();
    }
}
