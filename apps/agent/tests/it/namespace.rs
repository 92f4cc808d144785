//! A network namespace for a test: no socket and no interface in it that the test does not know.

use std::process::{Command, Output};

/// Runs an ignored test of this binary, by its full name, in a new network namespace whose loopback
/// is up.
///
/// A namespace needs root, or a kernel that lets users make namespaces of their own; where neither is
/// there the test fails and says so, for a test that skips itself proves nothing.
pub(crate) fn run_in_namespace(child: &str) {
    let program = std::env::current_exe().unwrap();
    let is_root = rustix::process::geteuid().is_root();
    let user: &[&str] = if is_root { &[] } else { &["--map-root-user"] };
    let mut command = Command::new("unshare");
    command.arg("--net").args(user).args(["sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
    command.arg(program).args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"]);
    let output = command.output().expect("`unshare` of util-linux is needed");
    let text = shown(&output);
    assert!(
        text.contains("running 1 test"),
        "a network namespace is needed, with `unshare` (util-linux), `ip` and `ss` (iproute2), and root or user namespaces:\n{text}",
    );
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

/// What a tool prints; it must succeed.
pub(crate) fn tool(line: &str) -> String {
    let mut words = line.split(' ');
    let program = words.next().unwrap();
    let output = Command::new(program).args(words).output();
    let output = output.unwrap_or_else(|error| panic!("`{program}` is needed: {error}"));
    assert!(output.status.success(), "`{line}`:\n{}", shown(&output));
    String::from_utf8(output.stdout).unwrap()
}

fn shown(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
