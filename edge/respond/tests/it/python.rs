//! Functions in Python, through AWS's own runtime client.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Scene, is_alive, limits, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_answers_and_its_process_stays_warm() {
    let scene = Scene::new();
    let code = "import os\ndef lambda_handler(event, context):\n    return {'event': event, 'pid': \
                os.getpid()}";
    let echo = scene.python("echo", code).await;
    let first = scene.answer(&echo, r#"{"n": 1}"#).await;
    let second = scene.answer(&echo, r#"{"n": 2}"#).await;
    assert_eq!((&first["event"], &second["event"]), (&json!({"n": 1}), &json!({"n": 2})));
    assert_eq!(first["pid"], second["pid"]);
    // An empty event is an empty object.
    assert_eq!(scene.answer(&echo, "").await["event"], json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_function_gets_a_new_process() {
    let scene = Scene::new();
    let code = "import os\ndef lambda_handler(event, context):\n    return [os.getpid(), \
                os.environ.get('COLOR')]";
    let function = scene.python("pid", code).await;
    let first = scene.answer(&function, "{}").await;
    scene.change(&function, |f| drop(f.environment.insert("COLOR".into(), "red".into()))).await;
    let second = scene.answer(&function, "{}").await;
    assert_eq!((&first[1], &second[1]), (&Value::Null, &json!("red")));
    assert_ne!(first[0], second[0]);
    let old = first[0].as_u64().unwrap();
    wait_for("the old process is gone", || !is_alive(old)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_has_lambdas_lines() {
    let scene = Scene::new();
    let code = "def lambda_handler(event, context):\n    print('hello', context.function_name, \
                context.memory_limit_in_mb)\n    return context.aws_request_id";
    let function = scene.python("talk", code).await;
    let invocation = scene.invoke(&function, "{}").await;
    let id = &invocation.request_id;
    assert_eq!(invocation.payload, format!("\"{id}\"").as_bytes());
    let tail: Vec<_> = invocation.log_tail.lines().collect();
    assert_eq!(tail[0], format!("START RequestId: {id} Version: $LATEST"));
    assert_eq!(tail[1], "hello talk 256");
    assert_eq!(tail[2], format!("END RequestId: {id}"));
    assert!(tail[3].starts_with(&format!("REPORT RequestId: {id}\tDuration: ")), "{}", tail[3]);
    assert!(tail[3].contains("\tMemory Size: 256 MB\tMax Memory Used: "), "{}", tail[3]);
    assert!(tail[3].contains("\tInit Duration: "), "{}", tail[3]);
    let log = scene.log(&function);
    assert!(log.contains(" hello talk 256\n"), "{log}");
    // Only the first run of a process tells how long its start took.
    assert!(!scene.invoke(&function, "{}").await.log_tail.contains("Init Duration"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_raises_fails_and_its_process_lives_on() {
    let scene = Scene::new();
    let code = "import os\ndef lambda_handler(event, context):\n    if event: \
                event['Object']\n    return os.getpid()";
    let function = scene.python("raise", code).await;
    let pid = scene.answer(&function, "{}").await;
    let failed = scene.invoke(&function, r#"{"a": 1}"#).await;
    assert_eq!(failed.function_error.as_deref(), Some("Unhandled"));
    assert_eq!(failed.failure().unwrap(), "KeyError: 'Object'");
    let error: Value = serde_json::from_slice(&failed.payload).unwrap();
    assert!(error["stackTrace"][0].as_str().unwrap().contains("index.py"), "{error}");
    // The traceback is lines, not one line with carriage returns.
    assert!(failed.log_tail.contains("\nTraceback (most recent call last):\n"), "{failed:?}");
    assert_eq!(scene.answer(&function, "{}").await, pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deep_traceback_is_no_problem() {
    // Its cause comes in a header of hundreds of kilobytes.
    let scene = Scene::new();
    let code = "import sys\nsys.setrecursionlimit(4000)\ndef f(n):\n    return f(n + 1)\n\
                def lambda_handler(event, context):\n    f(0)";
    let function = scene.python("deep", code).await;
    let failed = scene.invoke(&function, "{}").await;
    assert!(failed.failure().unwrap().starts_with("RecursionError: "), "{:?}", failed.failure());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_that_cannot_be_imported_is_named() {
    let scene = Scene::new();
    let function = scene.python("import", "import nosuchmodule").await;
    for _ in 0..2 {
        let failed = scene.invoke(&function, "{}").await;
        assert_eq!(
            failed.failure().unwrap(),
            "Runtime.ImportModuleError: Unable to import module 'index': No module named \
             'nosuchmodule'"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_is_killed_and_the_next_event_finds_a_new_process() {
    let scene = Scene::new();
    let code = "import os, subprocess, time\ndef lambda_handler(event, context):\n    if event:\n\
                \x20       child = subprocess.Popen(['sleep', '1000'])\n\
                \x20       away = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n\
                \x20       print('children', child.pid, away.pid)\n        time.sleep(1000)\n\
                \x20   return os.getpid()";
    let function = scene.python("hang", code).await;
    let first = scene.answer(&function, "{}").await;
    scene.change(&function, |function| function.timeout_s = 1).await;
    let begun = Instant::now();
    let failed = scene.invoke(&function, r#"{"hang": true}"#).await;
    assert!(begun.elapsed() < Duration::from_secs(20));
    let id = &failed.request_id;
    let error: Value = serde_json::from_slice(&failed.payload).unwrap();
    assert_eq!(
        error,
        json!({
            "errorType": "Sandbox.Timedout",
            "errorMessage": format!("RequestId: {id} Error: Task timed out after 1.00 seconds"),
        })
    );
    // What it printed before it hung is in the log, and its children are gone, even the one that
    // left the process group.
    let line = failed.log_tail.lines().find(|line| line.starts_with("children ")).unwrap();
    for pid in line.split(' ').skip(1) {
        assert!(!is_alive(pid.parse().unwrap()), "{line}");
    }
    let second = scene.answer(&function, "{}").await;
    assert_ne!(first, second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_exits_is_replaced() {
    let scene = Scene::new();
    let code = "import os\ndef lambda_handler(event, context):\n    if event: \
                os._exit(event['code'])\n    return os.getpid()";
    let function = scene.python("exit", code).await;
    let first = scene.answer(&function, "{}").await;
    let failed = scene.invoke(&function, r#"{"code": 3}"#).await;
    let id = &failed.request_id;
    assert_eq!(
        failed.failure().unwrap(),
        format!(
            "Runtime.ExitError: RequestId: {id} Error: Runtime exited with error: exit status 3"
        )
    );
    assert_ne!(scene.answer(&function, "{}").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_eats_memory_is_killed() {
    let scene = Scene::new();
    let code = "import time\ndef lambda_handler(event, context):\n    eaten = []\n    \
                while event:\n        eaten.append(bytearray(b'x') * (8 << 20))\n        \
                time.sleep(0.005)\n    return 'fine'";
    let function = scene.python("eat", code).await;
    let failed = scene.invoke(&function, r#"{"eat": true}"#).await;
    let failure = failed.failure().unwrap();
    assert!(failure.starts_with("Runtime.OutOfMemory: "), "{failure}");
    assert!(failure.contains("signal: killed"), "{failure}");
    assert!(failed.memory_max_bytes > 256 << 20, "{failed:?}");
    assert_eq!(scene.answer(&function, "{}").await, json!("fine"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_prints_much_fills_neither_the_log_nor_the_tail() {
    let scene = Scene::new();
    let code = "def lambda_handler(event, context):\n    for n in range(200000):\n        \
                print('line', n)\n    return 'done'";
    let function = scene.python("print", code).await;
    let invocation = scene.invoke(&function, "{}").await;
    assert_eq!(invocation.payload, "\"done\"".as_bytes());
    assert!(invocation.log_tail.len() <= 4096);
    assert!(invocation.log_tail.contains(" more lines were dropped: one invocation may write"));
    let log = scene.log(&function);
    assert!(log.len() < 8 << 20, "{}", log.len());
    assert!(log.contains(" line 0\n") && !log.contains(" line 199999\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_do_not_reach_the_log() {
    let scene = Scene::new();
    let code = "import sys\ndef lambda_handler(event, context):\n    print('a\\x1b[2Jb\\x07')\n    \
                sys.stderr.write('to stderr\\n')\n    sys.stdout.buffer.write(b'\\xff\\n')\n    \
                sys.stdout.flush()";
    let function = scene.python("control", code).await;
    let tail = scene.invoke(&function, "{}").await.log_tail;
    assert!(tail.contains("\na\\u{1b}[2Jb\\u{7}\nto stderr\n\u{fffd}\n"), "{tail}");
    assert!(!scene.log(&function).contains('\u{1b}'));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_up_to_six_megabytes_is_taken() {
    let scene = Scene::new();
    let code = "def lambda_handler(event, context):\n    return 'x' * event";
    let function = scene.python("big", code).await;
    let max = 6 * 1024 * 1024;
    // Two quotes belong to it.
    let fitting = scene.invoke(&function, &(max - 2).to_string()).await;
    assert_eq!((fitting.payload.len(), fitting.failure()), (max, None));
    let failed = scene.invoke(&function, &(max - 1).to_string()).await;
    let failure = failed.failure().unwrap();
    assert!(
        failure.starts_with("Function.ResponseSizeTooLarge: Response payload size"),
        "{failure}"
    );
    assert_eq!(scene.answer(&function, "1").await, json!("x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_is_lambdas_and_nothing_of_the_servers() {
    let scene = Scene::with(limits(), "http://127.0.0.1:4711");
    let code = "import os\ndef lambda_handler(event, context):\n    return [dict(os.environ), \
                os.getcwd(), os.listdir('.'), os.listdir(os.environ['HOME'])]";
    let function = scene.python("env", code).await;
    scene
        .change(&function, |function| {
            for (name, value) in
                [("ThingGroupName", "IsolatedDevices"), ("AWS_REGION", "mars-1"), ("TZ", "CET")]
            {
                function.environment.insert(name.into(), value.into());
            }
        })
        .await;
    let answer = scene.answer(&function, "{}").await;
    let environment = answer[0].as_object().unwrap();
    let expected = [
        ("ThingGroupName", "IsolatedDevices"),
        ("TZ", "CET"),
        ("AWS_REGION", "us-east-1"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4711"),
        ("AWS_ACCESS_KEY_ID", "ASIAenv"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        ("AWS_LAMBDA_FUNCTION_NAME", "env"),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256"),
        ("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/env"),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand"),
        ("AWS_EXECUTION_ENV", "AWS_Lambda_python3.12"),
        ("_HANDLER", "index.lambda_handler"),
    ];
    for (name, value) in expected {
        assert_eq!(environment[name], value, "{name}");
    }
    let token = environment["AWS_SESSION_TOKEN"].as_str().unwrap();
    assert!(token.starts_with("arn:aws:iam::123456789012:role/isolate until 20"), "{token}");
    let others: Vec<_> = environment
        .keys()
        .filter(|name| !expected.iter().any(|(expected, _)| expected == name))
        .collect();
    assert_eq!(
        others,
        [
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "AWS_LAMBDA_RUNTIME_API",
            "AWS_SESSION_TOKEN",
            "HOME",
            "LAMBDA_RUNTIME_DIR",
            "LAMBDA_TASK_ROOT",
            "LANG",
            // The interpreter itself sets it where the locale is C.
            "LC_CTYPE",
            "PATH",
            "TMPDIR",
            "_X_AMZN_TRACE_ID"
        ]
        .into_iter()
        .filter(|name| *name != "LC_CTYPE" || environment.contains_key("LC_CTYPE"))
        .collect::<Vec<_>>()
    );
    assert_eq!(answer[1], environment["LAMBDA_TASK_ROOT"]);
    assert_eq!((&answer[2], &answer[3]), (&json!(["index.py"]), &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_processes_than_allowed_run_at_once() {
    let mut limits = limits();
    limits.processes_per_function_max = 2;
    let scene = Scene::with(limits, "http://127.0.0.1:1");
    let code = "import os, time\ndef lambda_handler(event, context):\n    time.sleep(0.2)\n    \
                return os.getpid()";
    let function = scene.python("slow", code).await;
    let runs: Vec<_> = (0..6)
        .map(|_| {
            let (host, function) = (scene.host.clone(), function.clone());
            tokio::spawn(async move { host.invoke(&function, "{}".into()).await.unwrap().payload })
        })
        .collect();
    let mut pids = std::collections::BTreeSet::new();
    for run in runs {
        pids.insert(run.await.unwrap());
    }
    assert_eq!(pids.len(), 2, "{pids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_processes_end_and_make_room_for_others() {
    let mut limits = limits();
    limits.processes_max = 1;
    let scene = Scene::with(limits, "http://127.0.0.1:1");
    let code = "import os\ndef lambda_handler(event, context):\n    return os.getpid()";
    let one = scene.python("one", code).await;
    let two = scene.python("two", code).await;
    let pid = scene.answer(&one, "{}").await.as_u64().unwrap();
    scene.answer(&two, "{}").await;
    assert!(!is_alive(pid));

    limits.idle_timeout = Duration::from_millis(100);
    let scene = Scene::with(limits, "http://127.0.0.1:1");
    let one = scene.python("one", code).await;
    let pid = scene.answer(&one, "{}").await.as_u64().unwrap();
    wait_for("the idle process ends", || !is_alive(pid)).await;
    let home = scene.folder.path().join("functions/scratch");
    wait_for("its scratch folder is removed", || {
        std::fs::read_dir(&home).unwrap().next().is_none()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_gets_no_event_once_its_keys_may_end() {
    let mut limits = limits();
    limits.process_age_max = Duration::ZERO;
    let scene = Scene::with(limits, "http://127.0.0.1:1");
    let code = "import os\ndef lambda_handler(event, context):\n    return os.getpid()";
    let function = scene.python("old", code).await;
    let first = scene.answer(&function, "{}").await;
    assert_ne!(scene.answer(&function, "{}").await, first);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_ends_what_works() {
    let scene = Scene::new();
    let code = "import os, time\nprint('pid', os.getpid(), flush=True)\ndef \
                lambda_handler(event, context):\n    time.sleep(1000)";
    let function = scene.python("long", code).await;
    let run = {
        let (host, function) = (scene.host.clone(), function.clone());
        tokio::spawn(async move { host.invoke(&function, "{}".into()).await })
    };
    wait_for("it works", || scene.log(&function).contains("START")).await;
    let log = scene.log(&function);
    let line = log.lines().find(|line| line.contains(" pid ")).unwrap();
    let pid = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(is_alive(pid));
    scene.host.shutdown().await;
    assert!(!is_alive(pid));
    assert!(run.await.unwrap().unwrap().failure().is_some());
    let refused = scene.try_invoke(&function, "{}").await.unwrap_err();
    assert_eq!(refused.to_string(), "the server is stopping");
}
