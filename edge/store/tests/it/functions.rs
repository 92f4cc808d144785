//! Functions, their code and their permissions.

use picket_store::{Page, StoreError, functions, meta};

use crate::scene::{NOW, Scene, function, new_function};

#[test]
fn a_function_is_kept_with_its_code() {
    let scene = Scene::with("function F").reopen();
    assert_eq!(scene.read(|tx| functions::get(tx, &function("F"))), new_function("F"));
    assert_eq!(scene.read(|tx| functions::code(tx, &function("F"))), b"zip");
    assert_eq!(scene.fails("function F"), "already exists: function `F` already exists");
}

#[test]
fn configuration_and_code_change_apart() {
    let scene = Scene::with("function F");
    let mut changed = new_function("F");
    changed.environment.clear();
    changed.timeout_s = 900;
    changed.revision_id = "2".to_owned();
    changed.modified_at = NOW + 1;
    let given = changed.clone();
    scene.write(move |tx| functions::update(tx, &given)).unwrap();
    assert_eq!(scene.read(|tx| functions::get(tx, &function("F"))), changed);
    assert_eq!(scene.read(|tx| functions::code(tx, &function("F"))), b"zip");

    scene.run("update-code F");
    assert_eq!(scene.read(|tx| functions::code(tx, &function("F"))), b"new zip");
}

#[test]
fn a_function_that_is_not_there_is_an_error_everywhere() {
    let scene = Scene::new();
    let missing = "not found: function `F` does not exist";
    for command in
        ["update-function F", "update-code F", "delete-function F", "allow F s", "disallow F s"]
    {
        assert_eq!(scene.fails(command), missing, "{command}");
    }
    let missing = "function `F` does not exist";
    assert_eq!(scene.refused(|tx| functions::get(tx, &function("F"))), missing);
    assert_eq!(scene.refused(|tx| functions::code(tx, &function("F"))), missing);
    assert_eq!(scene.refused(|tx| functions::policy(tx, &function("F"))), missing);
}

#[test]
fn permissions_come_and_go_by_their_id_and_go_with_the_function() {
    let scene = Scene::with("function F; allow F b; allow F a");
    let policy = || scene.read(|tx| functions::policy(tx, &function("F")));
    assert_eq!(policy(), [("a".into(), "{}".into()), ("b".into(), "{}".into())]);
    assert_eq!(scene.fails("allow F a"), "already exists: statement `a` already exists");
    scene.run("disallow F a");
    assert_eq!(scene.fails("disallow F a"), "not found: statement `a` does not exist");
    scene.run("delete-function F; function F");
    assert_eq!(policy(), []);
}

#[test]
fn functions_are_listed_by_name() {
    let scene = Scene::with("function b; function a; function c");
    let found = scene.read(|tx| functions::list(tx, &Page::first(9)));
    let names: Vec<_> = found.items.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn small_values_are_kept_by_key() {
    let scene = Scene::new();
    let put = |value: &'static [u8]| {
        scene.write::<_, StoreError>(move |tx| meta::put(tx, "k", value)).unwrap();
    };
    put(b"1");
    put(b"2");
    let scene = scene.reopen();
    let get = || scene.read(|tx| Ok(meta::get(tx, "k")?));
    assert_eq!(get(), Some(b"2".to_vec()));
    scene.write::<_, StoreError>(|tx| meta::delete(tx, "k")).unwrap();
    assert_eq!(get(), None);
}
