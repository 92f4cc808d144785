//! Enrollment tokens.

use picket_model::{CertificateId, GroupName, ThingName, Timestamp};
use picket_store::enrollment::{self, Enrollment, EnrollmentToken, TokenHash};

use crate::scene::{NOW, Scene};

const HOUR_MS: i64 = 3_600_000;

fn token(number: u8, uses_max: u32) -> EnrollmentToken {
    EnrollmentToken {
        hash: TokenHash([number; 32]),
        group: GroupName::parse("Pumps").unwrap(),
        uses_max,
        created_at: NOW,
        expires_at: NOW.plus_millis(HOUR_MS),
    }
}

fn enrollment(thing: &str, at: Timestamp) -> Enrollment {
    Enrollment {
        thing: ThingName::parse(thing).unwrap(),
        certificate: CertificateId::parse("0".repeat(64)).unwrap(),
        at,
    }
}

/// What a use of token `number` by a thing comes to.
fn spend(scene: &Scene, number: u8, thing: &str, at: Timestamp) -> String {
    let enrollment = enrollment(thing, at);
    let hash = TokenHash([number; 32]);
    match scene.write(move |tx| enrollment::spend(tx, hash, &enrollment)) {
        Ok(token) => format!("into {}", token.group),
        Err(error) => error.to_string(),
    }
}

fn create(scene: &Scene, token: EnrollmentToken) -> String {
    match scene.write(move |tx| enrollment::create(tx, &token)) {
        Ok(()) => "made".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_token_enrols_as_many_things_as_it_may_and_every_use_is_kept() {
    let scene = Scene::with("group Pumps");
    assert_eq!(create(&scene, token(1, 2)), "made");
    assert_eq!(spend(&scene, 1, "a", NOW), "into Pumps");
    assert_eq!(spend(&scene, 1, "b", NOW.plus_millis(5)), "into Pumps");
    let used_up = "the token has been used 2 times, as often as it may be";
    assert_eq!(spend(&scene, 1, "c", NOW), used_up);
    let uses = scene.reopen().read(|tx| Ok(enrollment::uses(tx, TokenHash([1; 32]))?));
    assert_eq!(uses, [enrollment("a", NOW), enrollment("b", NOW.plus_millis(5))]);
}

#[test]
fn a_token_is_good_until_its_time_is_over() {
    let scene = Scene::with("group Pumps");
    create(&scene, token(1, 9));
    let end = NOW.plus_millis(HOUR_MS);
    assert_eq!(spend(&scene, 1, "a", end.plus_millis(-1)), "into Pumps");
    assert_eq!(spend(&scene, 1, "b", end), format!("the token expired at {end}"));
    assert_eq!(spend(&scene, 2, "b", NOW), "the token is not known");
}

#[test]
fn a_thing_that_is_there_is_never_enrolled() {
    let scene = Scene::with("group Pumps; thing a");
    create(&scene, token(1, 1));
    assert_eq!(spend(&scene, 1, "a", NOW), "thing `a` already exists");
    // And the token is as good as before.
    assert_eq!(spend(&scene, 1, "b", NOW), "into Pumps");
}

#[test]
fn a_token_needs_a_group_that_is_there() {
    let scene = Scene::with("");
    assert_eq!(create(&scene, token(1, 1)), "thing group `Pumps` does not exist");
    scene.run("group Pumps");
    assert_eq!(create(&scene, token(1, 1)), "made");
    assert_eq!(create(&scene, token(1, 1)), "enrollment token `of this hash` already exists");
}

#[test]
fn a_token_that_has_been_over_for_a_month_is_forgotten_and_its_uses_are_not() {
    let scene = Scene::with("group Pumps");
    create(&scene, token(1, 1));
    spend(&scene, 1, "a", NOW);
    let month_ms = 30 * 24 * HOUR_MS;
    let later = |ms: i64| EnrollmentToken {
        created_at: NOW.plus_millis(ms),
        expires_at: NOW.plus_millis(ms + HOUR_MS),
        ..token(2, 1)
    };
    create(&scene, EnrollmentToken { hash: TokenHash([2; 32]), ..later(month_ms + HOUR_MS) });
    assert_eq!(scene.read(|tx| Ok(enrollment::list(tx)?)).len(), 2);
    create(&scene, EnrollmentToken { hash: TokenHash([3; 32]), ..later(month_ms + HOUR_MS + 1) });
    let kept: Vec<u8> =
        scene.read(|tx| Ok(enrollment::list(tx)?)).iter().map(|it| it.hash.0[0]).collect();
    assert_eq!(kept, [3, 2], "the latest first");
    assert_eq!(scene.read(|tx| Ok(enrollment::uses(tx, TokenHash([1; 32]))?)).len(), 1);
}
