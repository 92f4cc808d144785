//! `cargo xtask test`: every test there is, with the real peers, and one line of totals.

use std::ops::AddAssign;
use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};

use crate::peers::{self, Peers};
use crate::repo::{Repo, cargo};
use crate::shell::{run as run_command, step, tee};

/// What to run.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct TestArgs {
    /// Also run the tests that take minutes.
    #[arg(long)]
    slow: bool,

    /// Run only the tests whose name contains this.
    #[arg(value_name = "FILTER")]
    filter: Option<String>,
}

/// How many tests went how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Totals {
    passed: u32,
    failed: u32,
    skipped: u32,
}

impl AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

/// Runs the tests. Ends with the line `total: N passed, N failed, N skipped`.
pub(crate) fn run(repo: &Repo, args: &TestArgs) -> Result<()> {
    let peers = step("find the peers", || peers::ready(repo))?;
    let picket = repo.target.join("debug").join(format!("picket{}", std::env::consts::EXE_SUFFIX));
    step("build", || {
        run_command(cargo().current_dir(&repo.root).args(["build", "--workspace", "--all-targets"]))
    })?;
    let mut totals = Totals::default();
    let rust = step("Rust tests", || rust_tests(repo, args, &peers, &picket, &mut totals));
    let real = step("peer tests", || peer_tests(repo, args, &peers, &picket, &mut totals));
    for error in [&rust, &real].into_iter().filter_map(|result| result.as_ref().err()) {
        println!("{error:#}");
    }
    println!(
        "\ntotal: {} passed, {} failed, {} skipped",
        totals.passed, totals.failed, totals.skipped
    );
    if rust.is_err() || real.is_err() || totals.failed > 0 {
        bail!("not every test passed");
    }
    if totals.passed == 0 {
        bail!("no test matches `{}`", args.filter.as_deref().unwrap_or_default());
    }
    Ok(())
}

fn environment(command: &mut Command, args: &TestArgs, peers: &Peers, picket: &Path) {
    command.env("PICKET_TEST_PYTHON", &peers.python).env("PICKET_BIN", picket);
    if args.slow {
        command.env("SLOW", "1");
    }
}

/// How a test is named that is no test but the program that another test starts and kills.
const CHILD: &str = "::child_";

/// Runs the workspace's tests, with nextest where it is installed: it runs them side by side and
/// stops one that hangs.
fn rust_tests(
    repo: &Repo,
    args: &TestArgs,
    peers: &Peers,
    picket: &Path,
    totals: &mut Totals,
) -> Result<()> {
    let has_nextest = cargo()
        .current_dir(&repo.root)
        .args(["nextest", "--version"])
        .output()
        .is_ok_and(|output| output.status.success());
    let mut command = cargo();
    command.current_dir(&repo.root);
    if has_nextest {
        command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--no-tests=pass"]);
    } else {
        println!("cargo-nextest is not installed; `cargo test` does the same, one crate at a time");
        command.args(["test", "--workspace", "--no-fail-fast"]);
    }
    command.args(&args.filter);
    if args.slow && has_nextest {
        let without_children = format!("not test({CHILD})");
        command.args(["--run-ignored", "all", "--filterset", &without_children]);
    } else if args.slow {
        command.args(["--", "--include-ignored", "--skip", CHILD]);
    }
    environment(&mut command, args, peers, picket);
    let (status, lines) = tee(&mut command)?;
    for line in &lines {
        let mut found = if has_nextest { nextest_summary(line) } else { cargo_summary(line) };
        // With a filter nextest calls skipped whatever the filter left out; so with `--slow`, where
        // nothing but the children is left out.
        found.skipped = if args.filter.is_some() || args.slow { 0 } else { found.skipped };
        *totals += found;
    }
    if !status.success() {
        bail!("the Rust tests ended with {status}");
    }
    Ok(())
}

/// Runs the stories that real clients play against the real server.
fn peer_tests(
    repo: &Repo,
    args: &TestArgs,
    peers: &Peers,
    picket: &Path,
    totals: &mut Totals,
) -> Result<()> {
    let mut command = Command::new(&peers.python);
    command
        .current_dir(repo.root.join("apps/picket/tests/peers"))
        .args(["-m", "pytest", "-p", "no:cacheprovider"])
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if let Some(filter) = &args.filter {
        command.args(["-k", filter]);
    }
    environment(&mut command, args, peers, picket);
    let (status, lines) = tee(&mut command)?;
    *totals += lines.iter().rev().find_map(|line| pytest_summary(line)).unwrap_or_default();
    match status.code() {
        Some(0) => Ok(()),
        // pytest's word for "no test collected", which a filter may well mean.
        Some(5) if args.filter.is_some() => Ok(()),
        _ => bail!("the peer tests ended with {status}"),
    }
}

/// The line without the colours of a terminal.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\x1b') {
        text.push_str(before);
        rest = after.split_once('m').map_or("", |(_, after)| after);
    }
    text + rest
}

/// The number before a word: `before("2 passed, 1 failed", "failed")` is 1, and 0 if it is absent.
fn before(line: &str, word: &str) -> u32 {
    let words: Vec<&str> = line.split([' ', ',', ';', '=']).filter(|w| !w.is_empty()).collect();
    let pair = words.windows(2).find(|pair| pair[1] == word);
    pair.and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

/// Reads `Summary [ 1.2s] 12 tests run: 10 passed (1 slow), 1 failed, 1 timed out, 3 skipped`.
fn nextest_summary(line: &str) -> Totals {
    let line = plain(line);
    if !(line.trim_start().starts_with("Summary [") && line.contains("run:")) {
        return Totals::default();
    }
    let failed = before(&line, "failed") + before(&line, "timed") + before(&line, "exec");
    Totals { passed: before(&line, "passed"), failed, skipped: before(&line, "skipped") }
}

/// Reads `test result: ok. 37 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out`.
fn cargo_summary(line: &str) -> Totals {
    let line = plain(line);
    if !line.starts_with("test result:") {
        return Totals::default();
    }
    Totals {
        passed: before(&line, "passed"),
        failed: before(&line, "failed"),
        skipped: before(&line, "ignored"),
    }
}

/// Reads `=== 2 failed, 12 passed, 1 skipped, 1 error in 5.09s ===`.
fn pytest_summary(line: &str) -> Option<Totals> {
    let line = plain(line);
    let took = line.rsplit_once(" in ").map_or("", |(_, took)| took);
    let is_summary = took.starts_with(|c: char| c.is_ascii_digit());
    let totals = Totals {
        passed: before(&line, "passed"),
        failed: before(&line, "failed") + before(&line, "error") + before(&line, "errors"),
        skipped: before(&line, "skipped"),
    };
    (is_summary && totals != Totals::default()).then_some(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(passed: u32, failed: u32, skipped: u32) -> Totals {
        Totals { passed, failed, skipped }
    }

    #[test]
    fn totals_are_read_from_nextest() {
        for (line, expected) in [
            ("     Summary [   0.512s] 37 tests run: 37 passed, 2 skipped", totals(37, 0, 2)),
            (
                "Summary [ 9s] 9 tests run: 5 passed (1 slow), 2 failed, 1 timed out, 1 exec failed, 0 skipped",
                totals(5, 4, 0),
            ),
            (
                "\x1b[32;1m     Summary\x1b[0m [   1s] \x1b[1m3\x1b[0m tests run: \x1b[1m3\x1b[0m passed",
                totals(3, 0, 0),
            ),
            ("        PASS [   0.005s] picket config::tests::x", totals(0, 0, 0)),
        ] {
            assert_eq!(nextest_summary(line), expected, "{line}");
        }
    }

    #[test]
    fn totals_are_read_from_cargo_test() {
        let line = "test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 9 filtered out; finished in 0.00s";
        assert_eq!(cargo_summary(line), totals(3, 1, 2));
        assert_eq!(cargo_summary("test config::tests::x ... ok"), totals(0, 0, 0));
    }

    #[test]
    fn totals_are_read_from_pytest() {
        for (line, expected) in [
            ("==== 2 failed, 12 passed, 1 skipped, 1 error in 5.09s ====", Some(totals(12, 3, 1))),
            ("3 passed in 0.10s", Some(totals(3, 0, 0))),
            ("===== 3 passed in 61.10s (0:01:01) =====", Some(totals(3, 0, 0))),
            ("3 passed, 4 deselected in 61.10s (0:01:01)", Some(totals(3, 0, 0))),
            ("no tests ran in 0.01s", None),
            ("test_cli.py ..", None),
        ] {
            assert_eq!(pytest_summary(line), expected, "{line}");
        }
    }
}
