//! `cargo xtask ci`: everything a change has to pass, to the end even if an early part fails.

use anyhow::{Result, bail};

use crate::repo::{Repo, cargo};
use crate::shell::{run as run_command, step};
use crate::{fuzz, spec, test, tidy};

/// Runs every part and names those that failed.
pub(crate) fn run(repo: &Repo) -> Result<()> {
    let cargo_with = |args: &[&str]| run_command(cargo().current_dir(&repo.root).args(args));
    let parts: [(&str, &dyn Fn() -> Result<()>); 6] = [
        ("test", &|| test::run(repo, &test::TestArgs::default())),
        ("format", &|| cargo_with(&["fmt", "--all", "--check"])),
        ("clippy", &|| {
            cargo_with(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])
        }),
        ("tidy", &|| tidy::run(repo)),
        ("specs", &|| spec::run(repo, Some(spec::SpecCommand::Check))),
        ("fuzz", &|| fuzz::run(repo, &fuzz::FuzzArgs::default())),
    ];
    let mut failed = Vec::new();
    for (name, part) in parts {
        if let Err(error) = step(name, part) {
            println!("{error:#}");
            failed.push(name);
        }
    }
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}
