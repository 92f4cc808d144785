//! Every Rust file is part of some program: a file that no `mod` names is dead, and nobody notices.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Finding, Texts, has_extension};
use crate::repo::Repo;

pub(super) fn check(repo: &Repo, texts: &Texts) -> Vec<Finding> {
    let targets = repo.crates.iter().flat_map(|krate| &krate.targets);
    let mut roots: Vec<PathBuf> = targets.map(|target| repo.short(&target.src_path)).collect();
    roots.extend(outside_the_workspace(texts));
    dead(texts, roots)
}

/// Programs of crates that are no member of the workspace, as fuzz targets are.
fn outside_the_workspace(texts: &Texts) -> Vec<PathBuf> {
    #[derive(Deserialize)]
    struct Manifest {
        #[serde(default)]
        bin: Vec<Bin>,
    }
    #[derive(Deserialize)]
    struct Bin {
        path: Option<PathBuf>,
    }
    let manifests = texts.iter().filter(|(file, _)| file.ends_with("Cargo.toml"));
    manifests
        .filter_map(|(file, text)| {
            let manifest: Manifest = toml::from_str(text).ok()?;
            let dir = file.parent().unwrap_or(Path::new(""));
            Some(manifest.bin.into_iter().filter_map(|bin| Some(dir.join(bin.path?))))
        })
        .flatten()
        .collect()
}

/// The Rust files that cannot be reached from `roots` by `mod` lines.
fn dead(texts: &Texts, roots: Vec<PathBuf>) -> Vec<Finding> {
    let mut alive: BTreeSet<PathBuf> = BTreeSet::new();
    let mut queue: Vec<(PathBuf, bool)> = roots.into_iter().map(|root| (root, true)).collect();
    while let Some((file, is_root)) = queue.pop() {
        let Some(text) = texts.get(&file) else { continue };
        if !alive.insert(file.clone()) {
            continue;
        }
        let is_mod = file.file_name().is_some_and(|name| name == "mod.rs");
        let dir = if is_root || is_mod {
            file.parent().unwrap_or(Path::new("")).to_owned()
        } else {
            file.with_extension("")
        };
        for module in modules(text) {
            let places = match module {
                Module::Named(name) => {
                    [dir.join(format!("{name}.rs")), dir.join(name).join("mod.rs")]
                }
                Module::At(path) => {
                    let beside = file.parent().unwrap_or(Path::new("")).join(path);
                    [beside.clone(), beside]
                }
            };
            queue.extend(places.map(|place| (place, false)));
        }
    }
    let rust = texts.keys().filter(|file| has_extension(file, "rs"));
    rust.filter(|file| !alive.contains(*file))
        .map(|file| Finding::new(file, 0, "no `mod` names this file: it is never compiled"))
        .collect()
}

#[derive(Debug, PartialEq, Eq)]
enum Module<'a> {
    /// `mod NAME;`
    Named(&'a str),
    /// `#[path = "PATH"]` before it.
    At(&'a str),
}

/// The modules that a file declares and keeps elsewhere.
fn modules(text: &str) -> Vec<Module<'_>> {
    let mut modules = Vec::new();
    let mut path = None;
    for line in text.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("#[path = \"") {
            path = rest.split_once('"').map(|(path, _)| path);
            continue;
        }
        let visible = line.strip_prefix("pub").map_or(line, |rest| {
            let rest = rest.trim_start();
            match rest.strip_prefix('(') {
                Some(inner) => inner.split_once(')').map_or(rest, |(_, rest)| rest),
                None => rest,
            }
        });
        let name = visible.trim_start().strip_prefix("mod ").and_then(|rest| rest.split_once(';'));
        if let Some((name, _)) = name {
            modules.push(path.map_or(Module::Named(name.trim()), Module::At));
        }
        if !line.starts_with("#[") {
            path = None;
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead_files(files: &[(&str, &str)], roots: &[&str]) -> Vec<String> {
        let texts = files.iter().map(|(file, text)| (PathBuf::from(file), (*text).to_owned()));
        let findings = dead(&texts.collect(), roots.iter().map(PathBuf::from).collect());
        findings.iter().map(|finding| finding.file.display().to_string()).collect()
    }

    #[test]
    fn declarations_are_read_in_every_form() {
        let text = "mod a;\npub mod b;\n    pub(crate) mod c; // why\nmod d { }\n#[cfg(test)]\n#[path = \"x.rs\"]\nmod e;\n// mod f;\nmodel();";
        let expected =
            [Module::Named("a"), Module::Named("b"), Module::Named("c"), Module::At("x.rs")];
        assert_eq!(modules(text), expected);
    }

    #[test]
    fn a_file_that_nobody_declares_is_dead() {
        let files = [
            ("c/src/lib.rs", "mod a;\nmod b;"),
            ("c/src/a.rs", "mod deep;"),
            ("c/src/a/deep.rs", ""),
            ("c/src/b/mod.rs", "mod deep;"),
            ("c/src/b/deep.rs", ""),
            ("c/src/deep.rs", ""),
        ];
        assert_eq!(dead_files(&files, &["c/src/lib.rs"]), ["c/src/deep.rs"]);
    }

    #[test]
    fn modules_of_a_root_stand_beside_it_whatever_its_name() {
        let files = [("c/tests/it/main.rs", "mod a;"), ("c/tests/it/a.rs", "")];
        assert_eq!(dead_files(&files, &["c/tests/it/main.rs"]), Vec::<String>::new());
    }
}
