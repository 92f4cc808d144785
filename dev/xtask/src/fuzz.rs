//! `cargo xtask fuzz`: every fuzz target for a few seconds, on the stable toolchain.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::repo::Repo;
use crate::shell::{run as run_command, step, which};

/// How long and what.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzArgs {
    /// Seconds for each target.
    #[arg(long, default_value_t = 5)]
    seconds: u32,

    /// Run only the targets whose name contains this.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

impl Default for FuzzArgs {
    fn default() -> Self {
        Self { seconds: 5, filter: None }
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    bin: Vec<Bin>,
}

#[derive(Deserialize)]
struct Bin {
    name: String,
}

/// Runs the targets one after the other; the first input that breaks one ends the run.
pub(crate) fn run(repo: &Repo, args: &FuzzArgs) -> Result<()> {
    if which("cargo-fuzz").is_none() {
        bail!("cargo-fuzz is missing: `cargo install --locked cargo-fuzz`");
    }
    let mut n_run = 0;
    for dir in crates(repo)? {
        for target in targets(&dir)? {
            if args.filter.as_ref().is_some_and(|filter| !target.contains(filter.as_str())) {
                continue;
            }
            n_run += 1;
            step(&format!("fuzz {target}"), || fuzz(repo, &dir, &target, args.seconds))?;
        }
    }
    println!("{n_run} fuzz targets ran for {} s each", args.seconds);
    Ok(())
}

/// Folders of the fuzz crates: each stands below the crate whose parsers it feeds.
fn crates(repo: &Repo) -> Result<Vec<PathBuf>> {
    let files = repo.files()?;
    let manifests = files.iter().filter(|file| file.ends_with("fuzz/Cargo.toml"));
    Ok(manifests.filter_map(|file| file.parent()).map(|dir| repo.root.join(dir)).collect())
}

fn targets(dir: &Path) -> Result<Vec<String>> {
    let file = dir.join("Cargo.toml");
    let text = fs::read_to_string(&file)?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| format!("`{}` is malformed", file.display()))?;
    Ok(manifest.bin.into_iter().map(|bin| bin.name).collect())
}

fn fuzz(repo: &Repo, dir: &Path, target: &str, seconds: u32) -> Result<()> {
    // New inputs go into the first folder; the small corpus in git is only read.
    let fresh = repo.target.join("fuzz-corpus").join(target);
    fs::create_dir_all(&fresh).with_context(|| format!("cannot make `{}`", fresh.display()))?;
    let kept = dir.join("corpus").join(target);
    // What a fuzzer says is of use only when it found something.
    let log = repo.target.join("fuzz-corpus").join(format!("{target}.log"));
    let file = File::create(&log).with_context(|| format!("cannot write `{}`", log.display()))?;
    // The sanitizers need the nightly toolchain; coverage alone does not, and there is no unsafe
    // code of ours for a sanitizer to find. One build folder for all: they share most crates.
    let result = run_command(
        Command::new("cargo")
            .current_dir(dir)
            .env("CARGO_TARGET_DIR", repo.target.join("fuzz"))
            .args(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir", ".", target])
            .arg(fresh)
            .args(kept.is_dir().then_some(kept))
            .args(["--", "-rss_limit_mb=2048"])
            .arg(format!("-max_total_time={seconds}"))
            .stdout(file.try_clone()?)
            .stderr(file),
    );
    if result.is_err() {
        println!("{}", fs::read_to_string(&log).unwrap_or_default());
    }
    result
}
