//! What may stand in a file.

use std::path::Path;

use super::{Finding, Texts, has_extension};
use crate::repo::Repo;

/// A file longer than this is looked at: does it hold two nouns?
const LINES_MAX: usize = 700;

/// What would let the world into the core. `core/clippy.toml` catches calls; this catches names.
const IMPURE: &[(&str, &str)] = &[
    ("tokio", "the core has no runtime"),
    ("std::fs", "the core does no IO"),
    ("std::io::stdin", "the core does no IO"),
    ("std::net::Tcp", "the core does no IO"),
    ("std::net::Udp", "the core does no IO"),
    ("std::process", "the core starts nothing"),
    ("std::thread", "the core has no threads"),
    ("std::env", "configuration is an argument"),
    ("Instant::now", "time is an argument: take `now: Timestamp`"),
    ("SystemTime", "time is an argument: take `now: Timestamp`"),
    ("HashMap", "hash order is not deterministic: use BTreeMap"),
    ("HashSet", "hash order is not deterministic: use BTreeSet"),
];

/// Paths and hosts of one machine. Split, so that this file does not break its own rule.
const OF_ONE_MACHINE: &[&str] = &[
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
    concat!("/private/", "var/"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("registry.npmjs", ".org"),
    concat!("deb.debian", ".org"),
];

/// Words that promise work. Split for the same reason.
const PROMISES: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];

pub(super) fn check(repo: &Repo, texts: &Texts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in texts {
        if file.ends_with("Cargo.lock") {
            continue;
        }
        findings.extend(of_one_machine(file, text));
        findings.extend(promises(file, text));
        if is_core_source(file) {
            findings.extend(impurities(file, text));
        }
    }
    for krate in &repo.crates {
        findings.extend(krate.targets.iter().filter_map(|target| {
            let file = repo.short(&target.src_path);
            let is_documented = texts.get(&file).is_none_or(|text| starts_with_doc(text));
            let needs = target.kind.iter().any(|kind| matches!(kind.as_str(), "lib" | "bin"));
            (needs && !is_documented).then(|| {
                Finding::new(file, 1, "a crate begins with `//!`: why it exists and its characters")
            })
        }));
        let manifest = repo.short(&krate.manifest_path);
        if texts.get(&manifest).is_some_and(|text| !text.contains("[lints]\nworkspace = true")) {
            findings.push(Finding::new(manifest, 0, "a crate takes `[lints] workspace = true`"));
        }
    }
    findings
}

/// Files that are long enough to hold two nouns. Advice, so no finding.
pub(super) fn long_files(texts: &Texts) -> Vec<Finding> {
    let rust = texts.iter().filter(|(file, _)| has_extension(file, "rs"));
    rust.filter_map(|(file, text)| {
        let n_lines = text.lines().count();
        (n_lines > LINES_MAX)
            .then(|| Finding::new(file, 0, format!("{n_lines} lines; does it hold two nouns?")))
    })
    .collect()
}

/// `core/NAME/src/**/*.rs`, without fuzz targets and integration tests, which are programs.
fn is_core_source(file: &Path) -> bool {
    let mut parts = file.iter().filter_map(|part| part.to_str());
    parts.next() == Some("core") && parts.nth(1) == Some("src") && has_extension(file, "rs")
}

/// The part of a line that is code. A `//` inside a text ends it too early, which only ever hides
/// something that clippy still sees.
fn code(line: &str) -> &str {
    line.split_once("//").map_or(line, |(code, _)| code)
}

fn impurities(file: &Path, text: &str) -> Vec<Finding> {
    numbered(text)
        .filter_map(|(n, line)| {
            let (word, why) = IMPURE.iter().find(|(word, _)| code(line).contains(word))?;
            Some(Finding::new(file, n, format!("`{word}`: {why}")))
        })
        .collect()
}

fn of_one_machine(file: &Path, text: &str) -> Vec<Finding> {
    numbered(text)
        .filter_map(|(n, line)| {
            let word = OF_ONE_MACHINE.iter().find(|word| line.contains(*word))?;
            Some(Finding::new(file, n, format!("`{word}` is of one machine or network")))
        })
        .collect()
}

/// A promise names its issue, as in `(#12)` right behind the word.
fn promises(file: &Path, text: &str) -> Vec<Finding> {
    numbered(text)
        .filter_map(|(n, line)| {
            let (word, rest) = PROMISES
                .iter()
                .find_map(|word| line.split_once(word).map(|(_, rest)| (word, rest)))?;
            let number = rest.strip_prefix("(#").and_then(|rest| rest.split_once(')'));
            let has_issue = number.is_some_and(|(digits, _)| digits.parse::<u32>().is_ok());
            (!has_issue)
                .then(|| Finding::new(file, n, format!("`{word}` without an issue: `{word}(#12)`")))
        })
        .collect()
}

fn starts_with_doc(text: &str) -> bool {
    text.lines().find(|line| !line.trim().is_empty()).is_some_and(|line| line.starts_with("//!"))
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(i, line)| (i + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> &'static Path {
        Path::new("core/detect/src/engine.rs")
    }

    #[test]
    fn a_clock_in_the_core_is_found_and_a_comment_about_one_is_not() {
        let text = "// no SystemTime here\nlet now = SystemTime::now();\n";
        let findings = impurities(file(), text);
        assert_eq!(findings.iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn the_core_may_speak_of_addresses() {
        assert_eq!(impurities(file(), "use std::net::IpAddr;"), []);
    }

    #[test]
    fn only_sources_below_core_are_core() {
        for (path, expected) in [
            ("core/detect/src/engine.rs", true),
            ("core/detect/src/engine/window.rs", true),
            ("core/mqtt/fuzz/fuzz_targets/packet.rs", false),
            ("core/detect/tests/it/main.rs", false),
            ("edge/store/src/lib.rs", false),
            ("core/detect/src/proptest-regressions/engine.txt", false),
        ] {
            assert_eq!(is_core_source(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn a_promise_needs_an_issue() {
        let word = PROMISES[0];
        for (line, n_findings) in [
            (format!("// {word}: later"), 1),
            (format!("// {word}(#x): later"), 1),
            (format!("// {word}(#12): later"), 0),
            ("// done".to_owned(), 0),
        ] {
            assert_eq!(promises(file(), &line).len(), n_findings, "{line}");
        }
    }

    #[test]
    fn a_path_of_one_machine_is_found() {
        let line = format!("see {}picket", OF_ONE_MACHINE[0]);
        assert_eq!(of_one_machine(file(), &line).len(), 1);
        assert_eq!(of_one_machine(file(), "see /srv/picket").len(), 0);
    }

    #[test]
    fn a_crate_begins_with_its_reason() {
        assert!(starts_with_doc("\n//! Why.\nuse x;"));
        assert!(!starts_with_doc("use x;\n//! Why."));
    }
}
