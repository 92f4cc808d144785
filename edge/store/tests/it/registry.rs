//! Things, types, groups, certificates and policies: their lives, limits and errors.

use picket_model::{CertificateStatus, PolicyVersion, ThingTypeName};
use picket_store::groups::GroupFilter;
use picket_store::things::{AttributeFilter, ThingFilter};
use picket_store::{Page, certificates, groups, policies, thing_types, things};

use crate::scene::{NOW, Scene, cert, document, group, policy, target, thing};

/// After `script`, `command` fails with the kind of error and the message `expected`.
#[track_caller]
fn fails(script: &str, command: &str, expected: &str) {
    assert_eq!(Scene::with(script).fails(command), expected, "`{command}` after `{script}`");
}

/// After `script`, `command` succeeds.
#[track_caller]
fn succeeds(script: &str, command: &str) {
    Scene::with(script).run(command);
}

#[test]
fn a_thing_is_kept_as_it_was_made() {
    let scene = Scene::with("type X; thing T of X a=1 b=").reopen();
    let found = scene.read(|tx| things::get(tx, &thing("T")));
    assert_eq!(found.id, "id-T");
    assert_eq!(found.thing_type, Some(ThingTypeName::parse("X").unwrap()));
    assert_eq!(found.attributes, [("a".to_owned(), "1".to_owned())].into());
    assert_eq!((found.version, found.created_at), (1, NOW));
}

#[test]
fn making_a_thing_again_is_fine_as_long_as_it_is_the_same() {
    succeeds("thing T a=1", "thing T a=1");
    fails("thing T a=1", "thing T a=2", "already exists: thing `T` already exists");
    fails("type X; thing T", "thing T of X", "already exists: thing `T` already exists");
}

#[test]
fn a_thing_is_made_of_a_type_that_exists_and_is_not_deprecated() {
    fails("", "thing T of X", "not found: thing type `X` does not exist");
    fails("type X; deprecate X", "thing T of X", "invalid: thing type `X` is deprecated");
    succeeds("type X; deprecate X; undeprecate X", "thing T of X");
}

#[test]
fn a_thing_without_a_type_has_three_attributes_one_with_a_type_fifty() {
    let many = |n: u32| (0..n).map(|i| format!("a{i}=1 ")).collect::<String>();
    succeeds("", &format!("thing T {}", many(3)));
    fails(
        "",
        &format!("thing T {}", many(4)),
        "invalid: 4 attributes given; a thing without a thing type has at most 3",
    );
    succeeds("type X", &format!("thing T of X {}", many(50)));
    fails(
        "type X",
        &format!("thing T of X {}", many(51)),
        "invalid: 51 attributes given; a thing with a thing type has at most 50",
    );
    fails(
        &format!("type X; thing T of X {}", many(4)),
        "update-thing T untyped",
        "invalid: 4 attributes given; a thing without a thing type has at most 3",
    );
}

#[test]
fn an_update_replaces_or_merges_attributes_and_an_empty_value_removes_one() {
    let check = |command: &str, expected: &[(&str, &str)]| {
        let scene = Scene::with("thing T a=1 b=2");
        scene.run(command);
        let found = scene.read(|tx| things::get(tx, &thing("T")));
        let attributes: Vec<_> =
            found.attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(attributes, expected, "{command}");
        assert_eq!(found.version, 2);
    };
    check("update-thing T c=3", &[("c", "3")]);
    check("update-thing T c=3 merge", &[("a", "1"), ("b", "2"), ("c", "3")]);
    check("update-thing T a= merge", &[("b", "2")]);
    check("update-thing T clear", &[]);
    check("update-thing T", &[("a", "1"), ("b", "2")]);
}

#[test]
fn an_update_or_a_deletion_may_expect_a_version() {
    succeeds("thing T", "update-thing T at 1");
    let conflict = "version conflict: thing `T` is at version 1, not at version 2";
    fails("thing T", "update-thing T at 2", conflict);
    fails("thing T", "delete-thing T at 2", conflict);
    fails("", "update-thing T", "not found: thing `T` does not exist");
    succeeds("", "delete-thing T at 2");
}

#[test]
fn a_thing_with_a_certificate_is_not_deleted() {
    fails(
        "thing T; cert 1; bind 1 T",
        "delete-thing T",
        "invalid: thing `T` has a certificate attached; detach it first",
    );
    succeeds("thing T; cert 1; bind 1 T; unbind 1 T", "delete-thing T");
}

#[test]
fn a_deleted_thing_leaves_its_groups() {
    let scene = Scene::with("thing T; group G; add T G; delete-thing T; thing T");
    assert_eq!(scene.read(|tx| Ok(groups::groups_of(tx, &thing("T"))?)), []);
}

#[test]
fn things_are_listed_by_type_and_by_attribute() {
    let scene = Scene::with(
        "type X; thing A a=1; thing B of X a=12; thing C b=1; thing D of X; thing E a=2",
    );
    let check =
        |attribute: Option<(&str, &str, bool)>, thing_type: Option<&str>, expected: &str| {
            let filter = ThingFilter {
                attribute: attribute.map(|(name, value, prefix)| AttributeFilter {
                    name: name.to_owned(),
                    value: value.to_owned(),
                    prefix,
                }),
                thing_type: thing_type.map(|name| ThingTypeName::parse(name).unwrap()),
            };
            let found = scene.read(|tx| things::list(tx, &filter, &Page::first(100)));
            let names: Vec<_> = found.items.iter().map(|thing| thing.name.as_str()).collect();
            assert_eq!(names.join(" "), expected);
        };
    check(None, None, "A B C D E");
    check(None, Some("X"), "B D");
    check(None, Some("Y"), "");
    check(Some(("a", "1", false)), None, "A");
    check(Some(("a", "1", true)), None, "A B");
    check(Some(("a", "1", true)), Some("X"), "B");
    check(Some(("%", "1", true)), None, "");
}

#[test]
fn a_type_is_deleted_after_five_deprecated_minutes_and_unused() {
    let early = "invalid: thing type `X` has not been deprecated for 5 minutes";
    fails("type X", "delete-type X after 300000", early);
    fails("type X; deprecate X", "delete-type X after 299999", early);
    fails(
        "type X; thing T of X; deprecate X",
        "delete-type X after 300000",
        "invalid: thing type `X` is still in use",
    );
    succeeds("type X; deprecate X", "delete-type X after 300000");
    fails("", "deprecate X", "not found: thing type `X` does not exist");
    let scene = Scene::with("type X; deprecate X");
    let found = scene.read(|tx| thing_types::get(tx, &ThingTypeName::parse("X").unwrap()));
    assert_eq!(found.deprecated_at, Some(NOW));
}

#[test]
fn a_group_is_kept_as_it_was_made() {
    let scene = Scene::with("group G; group H in G a=1; update-group H b=2").reopen();
    let found = scene.read(|tx| groups::get(tx, &group("H")));
    assert_eq!((found.id.as_str(), found.parent), ("id-H", Some(group("G"))));
    assert_eq!(found.attributes, [("b".to_owned(), "2".to_owned())].into());
    assert_eq!((found.version, found.created_at), (2, NOW));
    let path = scene.read(|tx| groups::path(tx, &group("H")));
    assert_eq!(path, [group("H"), group("G")]);
}

#[test]
fn making_a_group_again_is_fine_as_long_as_it_is_the_same() {
    succeeds("group G; group H in G", "group H in G");
    fails("group G; group H", "group H in G", "already exists: thing group `H` already exists");
    fails("group G", "group G a=1", "already exists: thing group `G` already exists");
}

#[test]
fn a_group_lies_in_a_group_that_exists_at_most_seven_levels_deep() {
    fails("", "group H in G", "invalid: parent thing group `G` does not exist");
    let six = "group g1; group g2 in g1; group g3 in g2; group g4 in g3; group g5 in g4; \
               group g6 in g5";
    succeeds(six, "group g7 in g6");
    fails(
        &format!("{six}; group g7 in g6"),
        "group g8 in g7",
        "invalid: thing group `g7` lies 7 levels deep; a hierarchy has at most 7 levels",
    );
}

#[test]
fn a_group_has_at_most_a_hundred_children() {
    let scene = Scene::with("group G");
    scene.run(&(0..100).map(|i| format!("group c{i} in G;")).collect::<String>());
    assert_eq!(
        scene.fails("group d in G"),
        "invalid: thing group `G` has 100 child groups; at most 100 are allowed"
    );
    scene.run("group c7 in G; delete-group c7; group d in G");
}

#[test]
fn a_group_with_children_or_policies_is_not_deleted() {
    fails(
        "group G; group H in G",
        "delete-group G",
        "invalid: thing group `G` has child groups; delete them first",
    );
    fails(
        "group G; policy P; attach P G",
        "delete-group G",
        "invalid: thing group `G` has a policy attached; detach it first",
    );
    fails(
        "group G",
        "delete-group G at 7",
        "version conflict: thing group `G` is at version 1, not at version 7",
    );
    succeeds("group G; thing T; add T G; profile S; watch S G", "delete-group G");
}

#[test]
fn a_thing_is_in_one_group_of_a_hierarchy() {
    let expected = "invalid: thing `T` is in thing group `H`, which is in the same hierarchy as \
                    `I`; it can be in one group of a hierarchy";
    let script = "thing T; group G; group H in G; group I in G; add T H";
    fails(script, "add T I", expected);
    fails(script, "add T G", &expected.replace("`I`", "`G`"));
    succeeds(script, "add T H");
    succeeds(&format!("{script}; group Z"), "add T Z");
}

#[test]
fn a_thing_is_in_at_most_ten_groups() {
    let scene = Scene::with("thing T");
    scene.run(&(0..11).map(|i| format!("group g{i};")).collect::<String>());
    scene.run(&(0..10).map(|i| format!("add T g{i};")).collect::<String>());
    assert_eq!(
        scene.fails("add T g10"),
        "invalid: thing `T` is in 10 thing groups; at most 10 are allowed"
    );
    scene.run("add T g9; remove T g0; add T g10");
}

#[test]
fn adding_and_removing_ask_for_a_thing_and_a_group_that_exist() {
    fails("group G", "add T G", "not found: thing `T` does not exist");
    fails("thing T", "add T G", "not found: thing group `G` does not exist");
    fails("group G", "remove T G", "not found: thing `T` does not exist");
    fails("thing T", "remove T G", "not found: thing group `G` does not exist");
    succeeds("thing T; group G", "remove T G");
}

#[test]
fn groups_are_listed_by_parent_and_prefix() {
    let scene = Scene::with("group a; group ab in a; group abc in ab; group b; group ac in a");
    let check = |parent: Option<&str>, prefix: Option<&str>, recursive: bool, expected: &str| {
        let filter =
            GroupFilter { parent: parent.map(group), prefix: prefix.map(str::to_owned), recursive };
        let found = scene.read(|tx| groups::list(tx, &filter, &Page::first(100)));
        let names: Vec<_> = found.items.iter().map(|group| group.name.as_str()).collect();
        assert_eq!(names.join(" "), expected);
    };
    check(None, None, true, "a ab abc ac b");
    check(None, None, false, "a b");
    check(None, Some("ab"), true, "ab abc");
    check(Some("a"), None, false, "ab ac");
    check(Some("a"), None, true, "ab abc ac");
    check(Some("a"), Some("abc"), true, "abc");
    check(Some("b"), None, true, "");
    let filter = GroupFilter { parent: Some(group("no")), ..GroupFilter::default() };
    let error = scene.refused(|tx| groups::list(tx, &filter, &Page::first(1)));
    assert_eq!(error, "thing group `no` does not exist");
}

#[test]
fn a_certificate_is_kept_as_it_was_registered() {
    let scene = Scene::with("cert 1 INACTIVE; status 1 REVOKED").reopen();
    let found = scene.read(|tx| certificates::get(tx, &cert(1)));
    assert_eq!((found.pem.as_str(), found.status), ("pem 1", CertificateStatus::Revoked));
    assert_eq!((found.created_at, found.modified_at), (NOW, NOW + 1));
    assert_eq!((found.not_before, found.not_after, found.ca_id), (NOW, NOW + 1, None));
    let again = scene.fails("cert 1");
    assert!(again.starts_with("already exists: certificate `000"), "{again}");
}

#[test]
fn a_status_that_only_the_service_gives_cannot_be_set() {
    let expected = "invalid: status PENDING_TRANSFER cannot be set";
    fails("cert 1", "status 1 PENDING_TRANSFER", expected);
    let moving = Scene::with("cert 1 PENDING_TRANSFER").fails("status 1 ACTIVE");
    assert!(moving.starts_with("certificate state: certificate `000"), "{moving}");
    succeeds("cert 1 REVOKED", "status 1 ACTIVE");
    succeeds("cert 1 PENDING_ACTIVATION", "status 1 ACTIVE");
}

#[test]
fn a_certificate_in_use_is_not_deleted() {
    let check = |script: &str, command: &str, kind: &str, reason: &str| {
        let error = Scene::with(script).fails(command);
        assert!(error.starts_with(&format!("{kind}: certificate `000")), "{error}");
        assert!(error.contains(reason), "{error}");
    };
    check("cert 1", "delete-cert 1", "certificate state", "is ACTIVE; deactivate it first");
    check("cert 1", "delete-cert 1 force", "certificate state", "is ACTIVE");
    check("", "delete-cert 1", "not found", "does not exist");
    let bound = "cert 1 INACTIVE; thing T; bind 1 T";
    check(bound, "delete-cert 1", "delete conflict", "is attached to thing `T`");
    check(bound, "delete-cert 1 force", "delete conflict", "is attached to thing `T`");
    let entitled = "cert 1 INACTIVE; policy P; attach P 1";
    check(entitled, "delete-cert 1", "delete conflict", "has a policy attached");
    succeeds(entitled, "delete-cert 1 force; delete-policy P");
}

#[test]
fn a_certificate_is_attached_to_many_things_or_bound_to_one() {
    let scene = Scene::with("cert 1; thing T; thing U; thing V; bind 1 T; bind 1 U");
    assert_eq!(
        scene.read(|tx| Ok(certificates::things_of(tx, &cert(1))?)),
        [thing("T"), thing("U")]
    );
    let error = scene.fails("bind 1 V alone");
    assert!(error.contains("is attached to thing `T`; an exclusive attachment"), "{error}");
    scene.run("unbind 1 T; bind 1 U alone");
    assert_eq!(
        scene.read(|tx| Ok(certificates::exclusivity(tx, &cert(1), &thing("U"))?)),
        Some(true)
    );
    let error = scene.fails("bind 1 V");
    assert!(error.contains("is attached to thing `U`; an exclusive attachment"), "{error}");
    scene.run("cert 2; bind 2 U");
    assert_eq!(
        scene.read(|tx| Ok(certificates::principals_of(tx, &thing("U"))?)),
        [cert(1), cert(2)]
    );
    fails("cert 1", "bind 1 T", "not found: thing `T` does not exist");
    assert!(Scene::with("thing T").fails("bind 1 T").starts_with("not found: certificate"));
}

#[test]
fn a_policy_keeps_its_versions_and_the_one_in_force() {
    let scene = Scene::with("policy P; version P 2; version P 3 in-force").reopen();
    let found = scene.read(|tx| policies::get(tx, &policy("P")));
    let version = |id: u32, is_default: bool, created_at| PolicyVersion {
        id,
        document: document("P", id),
        is_default,
        created_at,
    };
    assert_eq!(found.default_version, version(3, true, NOW + 1));
    assert_eq!((found.created_at, found.modified_at), (NOW, NOW + 1));
    assert_eq!(
        scene.read(|tx| policies::list_versions(tx, &policy("P"))),
        [version(3, true, NOW + 1), version(2, false, NOW + 1), version(1, false, NOW)]
    );
    assert_eq!(
        scene.read(|tx| policies::get_version(tx, &policy("P"), 2)),
        version(2, false, NOW + 1)
    );
    let generation = found.generation_id;
    scene.run("in-force P 2");
    assert_ne!(scene.read(|tx| policies::get(tx, &policy("P"))).generation_id, generation);
    fails("policy P", "policy P", "already exists: policy `P` already exists");
}

#[test]
fn a_policy_has_five_versions_and_never_uses_a_number_again() {
    let scene = Scene::with("policy P; version P 2; version P 3; version P 4; version P 5");
    assert_eq!(
        scene.fails("version P 6"),
        "versions limit: policy `P` has 5 versions already; delete one first"
    );
    scene.run("delete-version P 5; version P 6");
    let ids: Vec<u32> = scene
        .read(|tx| policies::list_versions(tx, &policy("P")))
        .iter()
        .map(|version| version.id)
        .collect();
    assert_eq!(ids, [6, 4, 3, 2, 1]);
}

#[test]
fn the_version_in_force_is_not_deleted() {
    fails(
        "policy P; version P 2",
        "delete-version P 1",
        "delete conflict: version 1 of policy `P` is in force; set another default version first",
    );
    let missing = "not found: policy version `P, version 9` does not exist";
    fails("policy P", "delete-version P 9", missing);
    fails("policy P", "in-force P 9", missing);
    fails("", "in-force P 1", "not found: policy `P` does not exist");
    fails("", "version P 1", "not found: policy `P` does not exist");
}

#[test]
fn a_policy_in_use_is_not_deleted() {
    fails(
        "policy P; version P 2",
        "delete-policy P",
        "delete conflict: policy `P` has versions besides the one in force; delete them first",
    );
    fails(
        "policy P; group G; attach P G",
        "delete-policy P",
        "delete conflict: policy `P` is attached to \
         `arn:aws:iot:us-east-1:123456789012:thinggroup/G`; detach it first",
    );
    fails("", "delete-policy P", "not found: policy `P` does not exist");
    succeeds("policy P; group G; attach P G; detach P G", "delete-policy P; policy P");
}

#[test]
fn a_certificate_has_ten_policies_and_a_group_two() {
    let scene = Scene::with("cert 1; group G");
    scene.run(&(0..11).map(|i| format!("policy p{i};")).collect::<String>());
    scene.run(&(0..10).map(|i| format!("attach p{i} 1;")).collect::<String>());
    let error = scene.fails("attach p10 1");
    assert!(error.starts_with("limit: `arn:aws:iot:us-east-1:123456789012:cert/000"), "{error}");
    assert!(error.ends_with("has 10 policies attached; at most 10 are allowed"), "{error}");
    scene.run("attach p9 1; attach p0 G; attach p1 G");
    assert_eq!(
        scene.fails("attach p2 G"),
        "limit: `arn:aws:iot:us-east-1:123456789012:thinggroup/G` has 2 policies attached; at \
         most 2 are allowed"
    );
}

#[test]
fn attaching_asks_for_both_ends_and_detaching_for_neither() {
    fails("group G", "attach P G", "not found: policy `P` does not exist");
    fails("policy P", "attach P G", "not found: thing group `G` does not exist");
    assert!(Scene::with("policy P").fails("attach P 1").starts_with("not found: certificate"));
    succeeds("", "detach P G; detach P 1");
}

#[test]
fn attached_policies_of_a_group_come_with_those_above_when_asked_for() {
    let scene = Scene::with(
        "group G; group H in G; policy P; policy Q; policy R
         attach R H; attach Q H; attach P G; attach Q G",
    );
    let check = |to: &str, recursive: bool, expected: &str| {
        let found = scene.read(|tx| policies::attached(tx, &target(to), recursive));
        let names: Vec<_> = found.iter().map(|policy| policy.as_str()).collect();
        assert_eq!(names.join(" "), expected);
    };
    check("H", false, "Q R");
    check("H", true, "Q R P");
    check("G", true, "P Q");
    let error = scene.refused(|tx| policies::attached(tx, &target("no"), false));
    assert_eq!(error, "thing group `no` does not exist");
}
