//! Functions that are an executable, and what a process may say when.

use picket_respond::InvokeError;
use serde_json::json;

use crate::support::{Scene, host, is_alive, limits, wait_for, zip_of};

/// Shell functions that speak the Runtime API by bash alone: `next` sets `id` and `event`, `post
/// PATH BODY` sets `status`.
const RUNTIME: &str = r#"
api=${AWS_LAMBDA_RUNTIME_API}
request() { # METHOD PATH BODY
  exec 3<>"/dev/tcp/${api%:*}/${api#*:}"
  printf '%s /2018-06-01/runtime/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %s\r\n\r\n%s' \
    "$1" "$2" "${#3}" "$3" >&3
  reply=$(cat <&3)
  exec 3>&-
  status=$(head -n1 <<<"$reply" | cut -d' ' -f2)
}
next() {
  request GET invocation/next ""
  id=$(grep -i '^lambda-runtime-aws-request-id:' <<<"$reply" | tr -d '\r' | cut -d' ' -f2)
  event=$(sed '1,/^\r$/d' <<<"$reply")
}
post() { request POST "$1" "$2"; }
"#;

fn script(code: &str) -> String {
    format!("{RUNTIME}\n{code}")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_answers_and_stays_warm() {
    let scene = Scene::new();
    let code = script(
        r#"while next; do echo "got $event"; post invocation/$id/response "{\"pid\":$$,\"event\":$event}"; done"#,
    );
    let function = scene.script("shell", &code).await;
    let first = scene.answer(&function, r#"{"n":1}"#).await;
    assert_eq!(first["event"], json!({"n": 1}));
    let second = scene.invoke(&function, r#"{"n":2}"#).await;
    assert!(second.log_tail.contains("\ngot {\"n\":2}\n"), "{}", second.log_tail);
    let second: serde_json::Value = serde_json::from_slice(&second.payload).unwrap();
    assert_eq!(second["pid"], first["pid"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_that_cannot_start_is_told_from_its_log() {
    let scene = Scene::new();
    let zip = zip_of(&[("bootstrap", "#!/no/such/interpreter\n")]);
    let function = scene.create("none", "provided.al2023", &zip, |_| ()).await;
    match scene.try_invoke(&function, "{}").await {
        // With setpriv the process starts and ends; without it does not start.
        Ok(failed) => {
            assert!(failed.failure().unwrap().contains("Runtime exited with error: exit status"));
            assert!(failed.log_tail.contains("bootstrap"), "{}", failed.log_tail);
        }
        Err(error) => assert!(matches!(error, InvokeError::Start { .. }), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_answer_is_refused() {
    let scene = Scene::new();
    let code = script(
        "next; post invocation/$id/response '\"first\"'; one=$status
         post invocation/$id/response '\"second\"'; two=$status
         next; post invocation/$id/response \"[$one, $two]\"; next",
    );
    let function = scene.script("twice", &code).await;
    assert_eq!(scene.answer(&function, "{}").await, json!("first"));
    assert_eq!(scene.answer(&function, "{}").await, json!([202, 403]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_for_another_request_is_refused() {
    let scene = Scene::new();
    let code = script(
        "next; post invocation/3a2b6d0e-0000-4000-8000-000000000000/response '\"stolen\"'; one=$status
         request GET invocation/next ''; two=$status
         post invocation/$id/response \"[$one, $two]\"; next",
    );
    let function = scene.script("other", &code).await;
    assert_eq!(scene.answer(&function, "{}").await, json!([400, 403]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_cannot_answer_for_another() {
    let scene = Scene::new();
    let thief = script(
        r#"while next; do
             post "invocation/$(tr -d '"' <<<"$event")/response" '"stolen"'
             post "invocation/$id/response" "$status"
           done"#,
    );
    let victim = script(
        r#"while next; do
             echo "id $id"; until [ -e "$event" ]; do sleep 0.01; done
             post invocation/$id/response '"mine"'
           done"#,
    );
    let thief = scene.script("thief", &thief).await;
    let victim = scene.script("victim", &victim.replace("\"$event\"", "${event//\\\"/}")).await;
    let go = scene.folder.path().join("go");
    let run = {
        let (host, victim) = (scene.host.clone(), victim.clone());
        let event = format!("\"{}\"", go.display());
        tokio::spawn(async move { host.invoke(&victim, event.into()).await.unwrap() })
    };
    wait_for("the victim works", || scene.log(&victim).contains(" id ")).await;
    let log = scene.log(&victim);
    let line = log.lines().find(|line| line.contains(" id ")).unwrap();
    let id = line.rsplit(' ').next().unwrap();
    // The thief knows the id, but its own API knows nothing of it.
    assert_eq!(scene.answer(&thief, &format!("\"{id}\"")).await, json!(400));
    std::fs::write(go, "").unwrap();
    assert_eq!(run.await.unwrap().payload, "\"mine\"".as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_error_may_be_reported_at_the_start() {
    let scene = Scene::new();
    let code = script(
        r#"post init/error '{"errorType":"Broken","errorMessage":"no configuration"}'; exit 1"#,
    );
    let function = scene.script("init", &code).await;
    let failed = scene.invoke(&function, "{}").await;
    assert_eq!(failed.failure().unwrap(), "Broken: no configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_that_never_asks_for_work_is_killed() {
    let mut limits = limits();
    limits.start_timeout = std::time::Duration::from_millis(200);
    let scene = Scene::with(limits, "http://127.0.0.1:1");
    let function = scene.script("idle", "echo started; sleep 1000").await;
    let failed = scene.invoke(&function, "{}").await;
    assert!(failed.failure().unwrap().contains("did not ask for work within 0.20 seconds"));
    assert!(failed.log_tail.contains("started"), "{}", failed.log_tail);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_executable_that_hangs_after_its_answer_is_killed_at_the_deadline() {
    let scene = Scene::new();
    let code = script("next; post invocation/$id/response $$; sleep 1000");
    let function = scene.script("lazy", &code).await;
    scene.change(&function, |function| function.timeout_s = 1).await;
    let pid = scene.answer(&function, "{}").await.as_u64().unwrap();
    wait_for("it is killed", || !is_alive(pid)).await;
    assert_ne!(scene.answer(&function, "{}").await.as_u64().unwrap(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_server_ends_what_a_killed_one_left() {
    let scene = Scene::new();
    let home = scene.folder.path().join("functions/scratch/left");
    let mut left =
        std::process::Command::new("sleep").arg("1000").env("HOME", &home).spawn().unwrap();
    assert!(is_alive(left.id().into()));
    // The system lets `spawn` return a moment before the environment can be read, and leftovers are
    // known by theirs.
    let environment = format!("/proc/{}/environ", left.id());
    while std::fs::read(&environment).unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    let _host = host(&scene.folder.path().join("functions"), &scene.store, limits(), "http://x");
    assert!(!left.wait().unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_may_be_given_a_relative_folder() {
    let scene = Scene::new();
    let here = std::env::current_dir().unwrap();
    let up = "../".repeat(here.components().count() - 1);
    let there = scene.folder.path().join("relative");
    let relative = format!("{up}{}", there.strip_prefix("/").unwrap().display());
    let host = host(relative.as_ref(), &scene.store, limits(), "http://127.0.0.1:1");
    let code = script("next; post invocation/$id/response \"\\\"$HOME\\\"\"; next");
    let function = scene.script("home", &code).await;
    let answer = host.invoke(&function, "{}".into()).await.unwrap();
    let home: String = serde_json::from_slice(&answer.payload).unwrap();
    let real = there.canonicalize().unwrap();
    assert!(home.starts_with(real.join("scratch").to_str().unwrap()), "{home}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused_with_its_reason() {
    let scene = Scene::new();
    let unknown = picket_model::FunctionName::parse("unknown").unwrap();
    let error = scene.try_invoke(&unknown, "{}").await.unwrap_err();
    assert_eq!(error.to_string(), "function `unknown` does not exist");
    let error = scene.try_invoke(&unknown, "{").await.unwrap_err();
    assert!(error.to_string().starts_with("the event is not JSON: "), "{error}");
    let error = scene.try_invoke(&unknown, &" ".repeat(6 * 1024 * 1024 + 1)).await.unwrap_err();
    assert!(matches!(error, InvokeError::EventTooLarge { .. }), "{error}");
    let function = scene.create("broken", "provided.al2", b"no zip", |_| ()).await;
    let error = scene.try_invoke(&function, "{}").await.unwrap_err();
    assert!(matches!(error, InvokeError::Code { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_for_later_is_repeated_until_it_succeeds() {
    let mut limits = limits();
    limits.event_retries = [std::time::Duration::from_millis(10); 2];
    let scene = Scene::with(limits, "http://127.0.0.1:1");
    let marks = scene.folder.path().join("marks");
    let code = script(&format!(
        "while next; do echo x >> {0}; \
         if [ $(wc -l < {0}) -lt 3 ]; then post invocation/$id/error '{{}}'; \
         else post invocation/$id/response '\"third\"'; fi; done",
        marks.display()
    ));
    let function = scene.script("later", &code).await;
    scene.host.invoke_later(&function, "{}".into()).await.unwrap();
    wait_for("three runs", || scene.log(&function).matches("REPORT").count() == 3).await;
    let unknown = picket_model::FunctionName::parse("unknown").unwrap();
    let refused = scene.host.invoke_later(&unknown, "{}".into()).await;
    assert!(matches!(refused, Err(InvokeError::NotFound(_))));
}
