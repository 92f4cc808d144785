//! Holds `docs/conformance.md` against the source: a statement that is said to hold is named by a
//! test or by the code that makes it hold, and nothing names a statement that there is not.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::repo::Repo;

/// The table.
const DOCUMENT: &str = "docs/conformance.md";

/// Where statements are named.
const SOURCES: [&str; 2] = ["core/mqtt/", "edge/broker/"];

/// A version of the standard, as comments name it, and its heading in the table.
const VERSIONS: [(&str, &str); 2] = [("mqtt-3.1.1", "## MQTT 3.1.1"), ("mqtt-5", "## MQTT 5")];

/// What comments mean that name a statement and no version.
const DEFAULT_VERSION: &str = VERSIONS[0].0;

/// A statement: the version of the standard, and the id in its brackets.
type Statement = (&'static str, String);

/// What is said of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Holds,
    Client,
    Absent,
    Deviates,
}

impl State {
    fn read(word: &str) -> Option<Self> {
        match word {
            "holds" => Some(Self::Holds),
            "client" => Some(Self::Client),
            "absent" => Some(Self::Absent),
            "deviates" => Some(Self::Deviates),
            _ => None,
        }
    }
}

/// Checks the table and prints how many statements hold.
pub(super) fn check(repo: &Repo) -> Result<()> {
    let file = repo.root.join(DOCUMENT);
    let text =
        fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?;
    let (table, mut problems) = read(&text);
    let mut named = BTreeMap::new();
    for path in repo.files()? {
        if is_source(&path) {
            let text = fs::read_to_string(repo.root.join(&path))?;
            for statement in statements(&text) {
                named.entry(statement).or_insert_with(|| path.clone());
            }
        }
    }
    problems.extend(compare(&table, &named));
    for (version, heading) in VERSIONS {
        let count = |state| {
            table.iter().filter(|((it, _), found)| it == &version && **found == state).count()
        };
        let [holds, deviates] = [State::Holds, State::Deviates].map(count);
        let [client, absent] = [State::Client, State::Absent].map(count);
        let name = heading.trim_start_matches("## ");
        println!(
            "{name}: {holds} hold, {deviates} deviate, {client} are the client's, {absent} absent"
        );
    }
    if !problems.is_empty() {
        bail!("{DOCUMENT}:\n{}", problems.join("\n"));
    }
    Ok(())
}

fn is_source(path: &Path) -> bool {
    let is_within = SOURCES.iter().any(|folder| path.starts_with(folder));
    is_within && path.extension().is_some_and(|it| it == "rs")
}

/// The rows of the table, and what is wrong with them.
fn read(document: &str) -> (BTreeMap<Statement, State>, Vec<String>) {
    let (mut table, mut problems) = (BTreeMap::new(), Vec::new());
    let mut version = None;
    for line in document.lines() {
        if line.starts_with("## ") {
            let of_heading = VERSIONS.iter().find(|(_, heading)| *heading == line);
            version = of_heading.map(|(version, _)| *version);
        }
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let ["", id, _, word, why, ""] = cells[..] else { continue };
        let Some(id) = id.strip_prefix("MQTT-") else { continue };
        let (Some(version), Some(state)) = (version, State::read(word)) else {
            problems.push(format!("MQTT-{id}: `{word}` is no state, or no version is above it"));
            continue;
        };
        if why.is_empty() && matches!(state, State::Absent | State::Deviates) {
            problems.push(format!("{version} MQTT-{id} {word} without a reason"));
        }
        if table.insert((version, id.to_owned()), state).is_some() {
            problems.push(format!("{version} MQTT-{id} is there twice"));
        }
    }
    (table, problems)
}

/// Where the table and the source disagree.
fn compare(
    table: &BTreeMap<Statement, State>,
    named: &BTreeMap<Statement, std::path::PathBuf>,
) -> Vec<String> {
    let holds = table.iter().filter(|(_, state)| **state == State::Holds);
    let unnamed = holds.filter(|(statement, _)| !named.contains_key(statement));
    let unnamed = unnamed.map(|((version, id), _)| {
        format!("{version} [MQTT-{id}] holds, and no test and no line of code names it")
    });
    let unknown = named.iter().filter(|(statement, _)| !table.contains_key(statement));
    let unknown = unknown.map(|((version, id), path)| {
        format!("{} names {version} [MQTT-{id}], which there is not", path.display())
    });
    unnamed.chain(unknown).collect()
}

/// The statements that the comments of a source file name.
///
/// `mqtt-5` in a comment says of which version those behind it are, to the end of the comment or up
/// to the next such word; `mqtt-3.1.1 and mqtt-5` means both.
fn statements(source: &str) -> BTreeSet<Statement> {
    let mut found = BTreeSet::new();
    let mut versions = vec![DEFAULT_VERSION];
    let mut was_comment = false;
    for line in source.lines() {
        let Some((_, comment)) = line.split_once("//") else {
            was_comment = false;
            continue;
        };
        if !was_comment || !line.trim_start().starts_with("//") {
            versions = vec![DEFAULT_VERSION];
        }
        was_comment = true;
        let mut rest = comment;
        let mut is_after_and = false;
        while let Some(at) = rest.find(['m', '[', 'a']) {
            rest = &rest[at..];
            if let Some((version, _)) = VERSIONS.iter().find(|(it, _)| rest.starts_with(it)) {
                if !std::mem::take(&mut is_after_and) {
                    versions.clear();
                }
                versions.push(version);
                rest = &rest[version.len()..];
                is_after_and = rest.starts_with(" and mqtt-");
            } else if let Some((id, behind)) =
                rest.strip_prefix("[MQTT-").and_then(|it| it.split_once(']'))
            {
                found.extend(versions.iter().map(|version| (*version, id.to_owned())));
                rest = behind;
            } else {
                rest = &rest[1..];
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_named(source: &str, expected: &[&str]) {
        let found: Vec<_> =
            statements(source).into_iter().map(|(version, id)| format!("{version} {id}")).collect();
        assert_eq!(found, expected, "{source}");
    }

    #[test]
    fn a_statement_is_of_the_version_before_it() {
        check_named("/// [MQTT-1-1]", &["mqtt-3.1.1 1-1"]);
        check_named(
            "// mqtt-3.1.1 [MQTT-1-1] [MQTT-1-2], mqtt-5 [MQTT-1-3]",
            &["mqtt-3.1.1 1-1", "mqtt-3.1.1 1-2", "mqtt-5 1-3"],
        );
        check_named("// mqtt-3.1.1 and mqtt-5 [MQTT-1-1]", &["mqtt-3.1.1 1-1", "mqtt-5 1-1"]);
        check_named("/// Source: mqtt-5\n/// [MQTT-1-1]", &["mqtt-5 1-1"]);
        check_named(
            "// mqtt-5 [MQTT-1-1]\nlet x;\n// [MQTT-1-2]",
            &["mqtt-3.1.1 1-2", "mqtt-5 1-1"],
        );
        check_named(
            "let a = 1; // mqtt-5 [MQTT-1-1]\nlet b = 1; // [MQTT-1-2]",
            &["mqtt-3.1.1 1-2", "mqtt-5 1-1"],
        );
        check_named("let text = \"[MQTT-1-1]\";", &[]);
    }

    const TABLE: &str = "## MQTT 3.1.1\n| id | statement | state | why |\n|---|---|---|---|\n\
        | MQTT-1-1 | one | holds | |\n| MQTT-1-2 | two | client | |\n\
        ## MQTT 5\n| MQTT-1-1 | one | deviates | so |\n";

    fn check_table(table: &str, source: &str, expected: &[&str]) {
        let (table, mut problems) = read(table);
        let named = statements(source).into_iter().map(|it| (it, "a.rs".into())).collect();
        problems.extend(compare(&table, &named));
        assert_eq!(problems, expected);
    }

    #[test]
    fn what_holds_is_named_and_what_is_named_is_there() {
        check_table(TABLE, "// [MQTT-1-1]", &[]);
        check_table(
            TABLE,
            "// mqtt-5 [MQTT-1-1]",
            &["mqtt-3.1.1 [MQTT-1-1] holds, and no test and no line of code names it"],
        );
        check_table(
            TABLE,
            "// [MQTT-1-1] [MQTT-9-9]",
            &["a.rs names mqtt-3.1.1 [MQTT-9-9], which there is not"],
        );
    }

    #[test]
    fn every_row_has_a_state_a_version_and_perhaps_a_reason() {
        let row = "| MQTT-1-1 | one | absent | |\n";
        check_table(&format!("## MQTT 5\n{row}"), "", &["mqtt-5 MQTT-1-1 absent without a reason"]);
        check_table(row, "", &["MQTT-1-1: `absent` is no state, or no version is above it"]);
        let row = "| MQTT-1-1 | one | client | |\n";
        check_table(&format!("## MQTT 5\n{row}{row}"), "", &["mqtt-5 MQTT-1-1 is there twice"]);
        check_table(
            "## MQTT 5\n| MQTT-1-1 | one | maybe | |\n",
            "",
            &["MQTT-1-1: `maybe` is no state, or no version is above it"],
        );
    }
}
