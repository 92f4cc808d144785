//! The documents: links lead somewhere, the list of decisions is whole, the README begins with the
//! two commands.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use super::{Finding, Texts, has_extension};

/// What the README's first code blocks say, and all that they say.
const README_COMMANDS: [&str; 2] = ["cargo run --release -- demo", "cargo xtask test"];

const ADR_DIR: &str = "docs/adr";

pub(super) fn check(texts: &Texts) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (file, text) in texts.iter().filter(|(file, _)| has_extension(file, "md")) {
        findings.extend(broken_links(texts, file, text));
    }
    for (file, text) in texts.iter().filter(|(file, _)| has_extension(file, "rs")) {
        findings.extend(gone_documents(texts, file, text));
    }
    findings.extend(decisions(texts));
    findings.extend(readme(texts));
    findings
}

/// Comments that send a reader to a document that is not there.
fn gone_documents(texts: &Texts, file: &Path, text: &str) -> Vec<Finding> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '/' | '.');
    let comments = text
        .lines()
        .enumerate()
        .filter_map(|(i, line)| line.split_once("//").map(|(_, comment)| (i + 1, comment)));
    comments
        .filter_map(|(n, comment)| {
            let rest = comment.split_once("docs/").filter(|(before, _)| !before.ends_with('/'))?.1;
            let name = rest.split(|c| !is_name(c)).next().unwrap_or_default();
            let name = name.trim_end_matches('.');
            let is_gone =
                name.ends_with(".md") && !texts.contains_key(&Path::new("docs").join(name));
            is_gone.then(|| Finding::new(file, n, format!("there is no `docs/{name}`")))
        })
        .collect()
}

/// Links to files and headings of the repository that are not there.
fn broken_links(texts: &Texts, file: &Path, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (n, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, heading) = target.split_once('#').unwrap_or((target, ""));
        let dir = file.parent().unwrap_or(Path::new(""));
        let wanted = if path.is_empty() { file.to_owned() } else { resolve(&dir.join(path)) };
        let is_folder = texts.keys().any(|file| file.starts_with(&wanted) && *file != wanted);
        match texts.get(&wanted) {
            None if is_folder => {}
            None => {
                findings.push(Finding::new(file, n, format!("the link `{target}` leads nowhere")))
            }
            Some(there) if !heading.is_empty() && !anchors(there).contains(heading) => {
                findings.push(Finding::new(file, n, format!("no heading gives `{target}`")));
            }
            Some(_) => {}
        }
    }
    findings
}

/// Lines outside of code blocks, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    text.lines().enumerate().filter_map(move |(i, line)| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        (!in_code && !is_fence).then_some((i + 1, line))
    })
}

/// The targets of `[text](target)`, with their lines.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (n, line) in prose(text) {
        // Every second part of a line split at backticks is code.
        for words in line.split('`').step_by(2) {
            let targets = words.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            links.extend(targets.map(|(target, _)| (n, target.trim())));
        }
    }
    // A link's text may hold code, which the split above takes apart: `[`x`](y)`.
    for (n, line) in prose(text) {
        let targets = line.split("`](").skip(1).filter_map(|rest| rest.split_once(')'));
        links.extend(targets.map(|(target, _)| (n, target.trim())));
    }
    links.sort_unstable();
    links.dedup();
    links
}

/// A path without `.` and `..`.
fn resolve(path: &Path) -> PathBuf {
    let mut resolved = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                resolved.pop();
            }
            Component::Normal(name) => resolved.push(name),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    resolved
}

/// What the headings of a document can be linked by.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings
        .map(|(_, line)| {
            let words = line.trim_start_matches('#').trim().to_lowercase();
            let kept =
                words.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

/// Decision records are numbered without a gap, and the index names each by its title.
fn decisions(texts: &Texts) -> Vec<Finding> {
    let index_file = Path::new(ADR_DIR).join("README.md");
    let index = texts.get(&index_file).map(String::as_str).unwrap_or_default();
    let records = texts
        .iter()
        .filter(|(file, _)| file.parent() == Some(Path::new(ADR_DIR)) && **file != index_file);
    let mut findings = Vec::new();
    for (i, (file, text)) in records.enumerate() {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let number = format!("{:04}", i + 1);
        if !name.starts_with(&format!("{number}-")) {
            findings.push(Finding::new(file, 0, format!("the next decision is number {number}")));
            break;
        }
        let title = text.lines().next().unwrap_or_default().trim_start_matches('#').trim();
        if !index.contains(&format!("[{title}]({name})")) {
            let row = format!("{} lacks `[{title}]({name})`", index_file.display());
            findings.push(Finding::new(file, 1, row));
        }
    }
    findings
}

/// Before its first section the README names the two commands, and no other.
fn readme(texts: &Texts) -> Vec<Finding> {
    let file = Path::new("README.md");
    let Some(text) = texts.get(file) else {
        return vec![Finding::new(file, 0, "it is missing")];
    };
    let top = text.split("\n## ").next().unwrap_or_default();
    let mut in_code = false;
    let mut commands = Vec::new();
    for line in top.lines() {
        if line.starts_with("```") {
            in_code = !in_code;
        } else if in_code {
            commands.push(line.split('#').next().unwrap_or_default().trim());
        }
    }
    if commands == README_COMMANDS {
        return Vec::new();
    }
    let message = format!("its top names these two commands and no other: {README_COMMANDS:?}");
    vec![Finding::new(file, 1, message)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(files: &[(&str, &str)]) -> Texts {
        files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned())).collect()
    }

    const README: &str = "# Picket\n```sh\ncargo run --release -- demo   # see it\n```\nand\n```sh\ncargo xtask test\n```\n## More\n```\nls\n```\n";

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        let mut all = texts(files);
        all.entry(PathBuf::from("README.md")).or_insert_with(|| README.to_owned());
        check(&all).iter().map(Finding::to_string).collect()
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_is_found() {
        let found = messages(&[
            ("docs/a.md", "x\n[b](b.md) [c](../docs/c.md#two)"),
            ("docs/c.md", "# One\n## Two"),
        ]);
        assert_eq!(found, ["docs/a.md:2: the link `b.md` leads nowhere"]);
    }

    #[test]
    fn a_link_to_a_heading_that_is_not_there_is_found() {
        let found = messages(&[("docs/a.md", "[`x`](#why-so) [b](#gone)\n# Why, so?")]);
        assert_eq!(found, ["docs/a.md:1: no heading gives `#gone`"]);
    }

    #[test]
    fn code_and_the_web_are_no_links_of_ours() {
        let text = "`[a](b.md)`\n```\n[a](b.md)\n```\n[w](https://example.org/x)";
        assert_eq!(messages(&[("docs/a.md", text)]), Vec::<String>::new());
    }

    #[test]
    fn a_folder_can_be_linked() {
        assert_eq!(messages(&[("a.md", "[c](core/)"), ("core/x.md", "")]), Vec::<String>::new());
    }

    #[test]
    fn a_comment_that_sends_to_a_document_that_is_gone_is_found() {
        // Put together here, so that this file does not break its own rule.
        let comment = |text: &str| format!("{}{text}\n", "/".repeat(2));
        let text = comment(" see docs/here.md.") + &comment("! and `docs/gone.md`, too") + "docs/";
        let found = messages(&[("docs/here.md", ""), ("core/a.rs", &text)]);
        assert_eq!(found, ["core/a.rs:2: there is no `docs/gone.md`"]);
    }

    #[test]
    fn the_index_names_every_decision_by_its_title() {
        let found = messages(&[
            ("docs/adr/README.md", "[1. One](0001-one.md)"),
            ("docs/adr/0001-one.md", "# 1. One"),
            ("docs/adr/0002-two.md", "# 2. Two"),
        ]);
        assert_eq!(
            found,
            ["docs/adr/0002-two.md:1: docs/adr/README.md lacks `[2. Two](0002-two.md)`"]
        );
    }

    #[test]
    fn decisions_are_numbered_without_a_gap() {
        let found = messages(&[
            ("docs/adr/README.md", "[1. One](0001-one.md)"),
            ("docs/adr/0001-one.md", "# 1. One"),
            ("docs/adr/0003-three.md", "# 3. Three"),
        ]);
        assert_eq!(found, ["docs/adr/0003-three.md: the next decision is number 0002"]);
    }

    #[test]
    fn the_readme_begins_with_the_two_commands_and_no_other() {
        assert_eq!(messages(&[("README.md", README)]), Vec::<String>::new());
        let third = README.replace("\nand\n", "\n```\nmake\n```\n");
        assert_eq!(messages(&[("README.md", &third)]).len(), 1);
        assert_eq!(messages(&[("README.md", "# Picket")]).len(), 1);
    }
}
