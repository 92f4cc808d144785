//! A server that is killed, not stopped.

use std::process::{Child, Command, Stdio};

use picket_model::Account;
use picket_store::Store;

use crate::support::{Scene, host, is_alive, limits, wait_for};

/// Runs one of the `child_` tests of this binary in a process of its own.
pub(crate) fn in_another_process(test: &str, environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads=1"])
        .envs(environment.iter().copied())
        .stdin(Stdio::null());
    command
}

/// The server that is killed: runs a function that never ends.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the child of functions_of_a_killed_server_end"]
async fn child_server_that_is_killed() {
    let scene = Scene::new();
    let marks = std::env::var("PICKET_TEST_FOLDER").unwrap();
    std::fs::write(format!("{marks}/data"), scene.folder.path().to_str().unwrap()).unwrap();
    let code = format!(
        "sleep 1000 & echo $! > {marks}/child.part; mv {marks}/child.part {marks}/child\n\
         echo $$ > {marks}/pid.part; mv {marks}/pid.part {marks}/pid; wait"
    );
    let function = scene.script("hang", &code).await;
    scene.invoke(&function, "{}").await;
}

fn kill(mut server: Child) {
    server.kill().unwrap();
    server.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_a_killed_server_end() {
    let marks = tempfile::tempdir().unwrap();
    let folder = marks.path().to_str().unwrap();
    let server =
        in_another_process("crash::child_server_that_is_killed", &[("PICKET_TEST_FOLDER", folder)])
            .spawn()
            .unwrap();
    let read = |name: &str| std::fs::read_to_string(marks.path().join(name)).unwrap_or_default();
    wait_for("the function runs", || !read("pid").is_empty()).await;
    let pid_of = |name: &str| read(name).trim().parse::<u64>().unwrap();
    let (leader, child) = (pid_of("pid"), pid_of("child"));
    assert!(is_alive(leader) && is_alive(child));
    kill(server);
    let knows_death_signals = Command::new("setpriv")
        .args(["--pdeathsig", "KILL", "true"])
        .status()
        .is_ok_and(|status| status.success());
    if knows_death_signals {
        wait_for("the process ends with its server", || !is_alive(leader)).await;
    }
    // Its child does not hear of it; the next server ends it before it does anything else.
    let data = std::path::PathBuf::from(read("data"));
    let store = Store::open(&data, Account::default()).unwrap();
    let _host = host(&data.join("functions"), &store, limits(), "http://127.0.0.1:1");
    wait_for("all has ended", || !is_alive(leader) && !is_alive(child)).await;
    assert_eq!(std::fs::read_dir(data.join("functions/scratch")).unwrap().count(), 0);
    drop(store);
    std::fs::remove_dir_all(data).unwrap();
}
