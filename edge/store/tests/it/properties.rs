//! Laws that hold after any sequence of writes.

use std::collections::{BTreeMap, BTreeSet};

use picket_store::groups::GroupFilter;
use picket_store::things::ThingFilter;
use picket_store::{Page, RightsFacts, access, groups, things};
use proptest::prelude::*;
use proptest::sample::select;

use crate::scene::{Scene, cert, client, group, kind, received, thing};

const THINGS: [&str; 3] = ["T", "U", "V"];
const GROUPS: [&str; 5] = ["G", "H", "I", "J", "K"];

/// A forest of groups with members, as simply as it can be said.
#[derive(Default)]
struct Model {
    things: BTreeSet<String>,
    parents: BTreeMap<String, Option<String>>,
    members: BTreeSet<(String, String)>,
}

impl Model {
    /// The group and all above it.
    fn path(&self, name: &str) -> Vec<String> {
        let mut path = vec![name.to_owned()];
        while let Some(Some(parent)) = self.parents.get(&path[path.len() - 1]) {
            path.push(parent.clone());
        }
        path
    }

    /// Does what the command says; gives the kind of error if it cannot be done.
    fn run(&mut self, command: &str) -> Result<(), &'static str> {
        let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words.as_slice() {
            ["thing", name] => {
                self.things.insert((*name).to_owned());
                Ok(())
            }
            ["delete-thing", name] => {
                self.things.remove(*name);
                self.members.retain(|(thing, _)| thing != name);
                Ok(())
            }
            ["group", name, rest @ ..] => {
                let parent = rest.last().map(|parent| (*parent).to_owned());
                if let Some(found) = self.parents.get(*name) {
                    return if *found == parent { Ok(()) } else { Err("already exists") };
                }
                if parent.as_ref().is_some_and(|parent| !self.parents.contains_key(parent)) {
                    return Err("invalid");
                }
                self.parents.insert((*name).to_owned(), parent);
                Ok(())
            }
            ["delete-group", name] => {
                if self.parents.values().any(|parent| parent.as_deref() == Some(*name)) {
                    return Err("invalid");
                }
                self.parents.remove(*name);
                self.members.retain(|(_, group)| group != name);
                Ok(())
            }
            ["add", thing, group] => {
                self.check_both(thing, group)?;
                let key = ((*thing).to_owned(), (*group).to_owned());
                if self.members.contains(&key) {
                    return Ok(());
                }
                let root = self.path(group).pop();
                let same_tree = |(who, other): &(String, String)| {
                    who == thing && self.path(other).pop() == root
                };
                if self.members.iter().any(same_tree) {
                    return Err("invalid");
                }
                self.members.insert(key);
                Ok(())
            }
            ["remove", thing, group] => {
                self.check_both(thing, group)?;
                self.members.remove(&((*thing).to_owned(), (*group).to_owned()));
                Ok(())
            }
            other => panic!("no such command: {other:?}"),
        }
    }

    fn check_both(&self, thing: &str, group: &str) -> Result<(), &'static str> {
        let both = self.things.contains(thing) && self.parents.contains_key(group);
        if both { Ok(()) } else { Err("not found") }
    }

    /// Things in the group or below it.
    fn members(&self, name: &str, recursive: bool) -> Vec<String> {
        let is_in = |group: &String| {
            group == name || (recursive && self.path(group).iter().any(|above| above == name))
        };
        let things: BTreeSet<&String> =
            self.members.iter().filter(|(_, group)| is_in(group)).map(|(thing, _)| thing).collect();
        things.into_iter().cloned().collect()
    }
}

fn group_command() -> impl Strategy<Value = String> {
    let thing = || select(&THINGS[..]);
    let group = || select(&GROUPS[..]);
    prop_oneof![
        1 => thing().prop_map(|t| format!("thing {t}")),
        1 => thing().prop_map(|t| format!("delete-thing {t}")),
        2 => group().prop_map(|g| format!("group {g}")),
        4 => (group(), group()).prop_map(|(g, h)| format!("group {g} in {h}")),
        1 => group().prop_map(|g| format!("delete-group {g}")),
        6 => (thing(), group()).prop_map(|(t, g)| format!("add {t} {g}")),
        2 => (thing(), group()).prop_map(|(t, g)| format!("remove {t} {g}")),
    ]
}

/// Everything that can be asked about groups is as the model says.
fn compare(scene: &Scene, model: &Model) -> Result<(), TestCaseError> {
    let page = Page::first(100);
    let text = |names: Vec<_>| names.iter().map(ToString::to_string).collect::<Vec<String>>();
    for name in GROUPS {
        let exists = scene.read(|tx| Ok(groups::find(tx, &group(name))?)).is_some();
        prop_assert_eq!(exists, model.parents.contains_key(name));
        if !exists {
            continue;
        }
        let path = scene.read(|tx| groups::path(tx, &group(name)));
        let path: Vec<String> = path.iter().map(ToString::to_string).collect();
        prop_assert_eq!(path, model.path(name));
        for recursive in [false, true] {
            let found = scene.read(|tx| groups::members(tx, &group(name), recursive, &page)).items;
            prop_assert_eq!(text(found), model.members(name, recursive));
        }
        let filter = GroupFilter { parent: Some(group(name)), prefix: None, recursive: true };
        let below = scene.read(|tx| groups::list(tx, &filter, &page)).items;
        let below: Vec<String> = below.iter().map(|group| group.name.to_string()).collect();
        let expected: Vec<String> = model
            .parents
            .keys()
            .filter(|other| *other != name && model.path(other).iter().any(|above| above == name))
            .cloned()
            .collect();
        prop_assert_eq!(below, expected);
    }
    for name in THINGS {
        let direct: Vec<String> = model
            .members
            .iter()
            .filter(|(thing, _)| thing == name)
            .map(|(_, group)| group.clone())
            .collect();
        let above: BTreeSet<String> = direct.iter().flat_map(|group| model.path(group)).collect();
        let found = scene.read(|tx| Ok(groups::groups_of(tx, &thing(name))?));
        prop_assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), direct);
        let found = scene.read(|tx| Ok(groups::groups_with_ancestors(tx, &thing(name))?));
        prop_assert_eq!(
            found.iter().map(ToString::to_string).collect::<Vec<_>>(),
            above.into_iter().collect::<Vec<_>>()
        );
    }
    let all = scene.read(|tx| things::list(tx, &ThingFilter::default(), &page)).items;
    prop_assert_eq!(all.len(), model.things.len());
    Ok(())
}

/// Commands that touch what rights follow from, over few names, so that they meet.
fn rights_command() -> impl Strategy<Value = String> {
    let thing = || select(&["T", "U"][..]);
    let group = || select(&["G", "H"][..]);
    let policy = || select(&["P", "Q"][..]);
    let certificate = || select(&["1", "2"][..]);
    let target = || select(&["1", "G", "H"][..]);
    prop_oneof![
        1 => thing().prop_map(|t| format!("thing {t}")),
        1 => (thing(), 0..3).prop_map(|(t, n)| format!("update-thing {t} a={n}")),
        1 => thing().prop_map(|t| format!("delete-thing {t}")),
        1 => Just("group G".to_owned()),
        1 => Just("group H in G".to_owned()),
        1 => Just("group H".to_owned()),
        1 => group().prop_map(|g| format!("delete-group {g}")),
        3 => (thing(), group()).prop_map(|(t, g)| format!("add {t} {g}")),
        1 => (thing(), group()).prop_map(|(t, g)| format!("remove {t} {g}")),
        1 => certificate().prop_map(|c| format!("cert {c}")),
        1 => (certificate(), select(&["ACTIVE", "INACTIVE"][..]))
            .prop_map(|(c, status)| format!("status {c} {status}")),
        1 => certificate().prop_map(|c| format!("delete-cert {c} force")),
        3 => (certificate(), thing()).prop_map(|(c, t)| format!("bind {c} {t}")),
        1 => (certificate(), thing()).prop_map(|(c, t)| format!("unbind {c} {t}")),
        1 => policy().prop_map(|p| format!("policy {p}")),
        1 => policy().prop_map(|p| format!("delete-policy {p}")),
        1 => policy().prop_map(|p| format!("version {p} 2 in-force")),
        1 => policy().prop_map(|p| format!("in-force {p} 1")),
        3 => (policy(), target()).prop_map(|(p, t)| format!("attach {p} {t}")),
        1 => (policy(), target()).prop_map(|(p, t)| format!("detach {p} {t}")),
    ]
}

fn all_rights(scene: &Scene) -> Vec<RightsFacts> {
    scene.read(|tx| {
        let mut all = Vec::new();
        for id in [None, Some(cert(1)), Some(cert(2))] {
            for name in ["T", "U", "agent", "no/thing"] {
                all.push(access::rights(tx, id.as_ref(), &client(name))?);
            }
        }
        Ok(all)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn groups_are_as_in_a_naive_model(
        commands in prop::collection::vec(group_command(), 1..40),
    ) {
        let scene = Scene::with("thing T; thing U");
        let mut model = Model::default();
        model.things.extend(["T".to_owned(), "U".to_owned()]);
        for command in &commands {
            let found = scene.try_run(command).map_err(|error| kind(&error));
            prop_assert_eq!(found, model.run(command), "{}", command);
        }
        compare(&scene, &model)?;
    }

    // INVARIANT (depends_on)
    #[test]
    fn whatever_changes_rights_is_something_that_they_depend_on(
        commands in prop::collection::vec(rights_command(), 1..40),
    ) {
        let scene = Scene::with(
            "thing T; cert 1; bind 1 T; group G; group H in G; add T H; policy P; attach P H",
        );
        let mut before = all_rights(&scene);
        let mut changes = scene.store.changes();
        for command in &commands {
            let done = scene.try_run(command);
            let told: BTreeSet<_> = received(&mut changes).into_iter().collect();
            prop_assert!(done.is_ok() || told.is_empty(), "{} failed and told", command);
            let after = all_rights(&scene);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(
                    before == after || !before.depends_on.is_disjoint(&told),
                    "`{}` changed {:?} to {:?}, but told only {:?}", command, before, after, told
                );
            }
            before = after;
        }
    }
}
