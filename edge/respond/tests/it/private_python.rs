//! Making the private environment for functions in Python.

use picket_respond::python::{self, PythonError, Step, setup};

use crate::crash::in_another_process;

#[test]
fn an_interpreter_that_has_the_packages_is_good() {
    let path = crate::support::test_python();
    assert_eq!(python::check(&path).unwrap().path, path);
    let missing = python::check("/no/such/python".as_ref()).unwrap_err();
    assert!(matches!(missing, PythonError::CannotRun { .. }), "{missing}");
}

#[test]
#[ignore = "the child of without_a_network_it_says_what_pip_said"]
fn child_setup_without_a_network() {
    let cache = tempfile::tempdir().unwrap();
    let error = setup(cache.path(), &mut |_| ()).unwrap_err().to_string();
    assert!(error.contains("the package index once, through a proxy if need be"), "{error}");
    assert!(error.contains("pip said:\n") && error.contains("awslambdaric"), "{error}");
    // Nothing that looks like an environment is left to be found by the next.
    let left: Vec<_> = std::fs::read_dir(cache.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".partial") && name != "python.lock")
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn without_a_network_it_says_what_pip_said() {
    // Nobody listens there.
    let nowhere = [
        ("PIP_INDEX_URL", "http://127.0.0.1:1/simple"),
        ("PIP_EXTRA_INDEX_URL", ""),
        ("PIP_FIND_LINKS", ""),
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PIP_RETRIES", "0"),
        ("PIP_NO_CACHE_DIR", "1"),
    ];
    let mut command = in_another_process("private_python::child_setup_without_a_network", &nowhere);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "slow: fetches 20 MB from the package index, twice"]
fn it_is_made_once_and_by_one() {
    let cache = tempfile::tempdir().unwrap();
    let make = || {
        let mut steps = Vec::new();
        let made = setup(cache.path(), &mut |step| steps.push(step)).unwrap();
        (made, steps)
    };
    let (one, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(make), scope.spawn(make));
        (one.join().unwrap(), other.join().unwrap())
    });
    assert_eq!(one.0, other.0);
    let n_made = [&one.1, &other.1]
        .iter()
        .filter(|steps| steps.iter().any(|step| matches!(step, Step::MakeEnvironment(_))))
        .count();
    assert_eq!(n_made, 1, "{one:?} {other:?}");
    let (again, steps) = make();
    assert_eq!((&again, steps), (&one.0, vec![Step::Done(one.0.clone())]));
    // One that does not work is made again.
    std::fs::remove_dir_all(one.0.parent().unwrap().parent().unwrap().join("lib")).unwrap();
    let (again, steps) = make();
    assert_eq!(again, one.0);
    assert!(steps.iter().any(|step| matches!(step, Step::Install(_))), "{steps:?}");
}
