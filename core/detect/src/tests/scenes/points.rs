//! What is kept, exported and learned from.

use crate::tests::scene::{Scene, check, check_exports, check_points};

#[test]
fn a_report_has_one_datapoint_of_each_metric_with_its_own_value() {
    // An increment as it was sent, a list whole, however many behaviors look at it.
    let normal = "out <= 1000 @300; out <= 50 @5; tcp in 22; tcp# <= 1 @300; tcp not-in 23";
    check_points(
        normal,
        "0:01 rep out=600 tcp=22,80; 0:10 rep out=600 tcp=",
        "0:01 out=600; 0:01 tcp=22+80; 0:01 tcp#=2; 0:10 out=600; 0:10 tcp=none; 0:10 tcp#=0",
    );
    check_points(
        "keep in; keep pout; keep pin; keep udp; keep udp#; keep conns#; keep dest; keep codes; keep peers",
        "0:01 rep in=1 pout=2 pin=3 udp=53 conns=10.0.0.1:80,[::ffff:10.0.0.2]:80 conns#=7 codes=2,1 peers=10.0.0.9",
        "0:01 in=1; 0:01 pout=2; 0:01 pin=3; 0:01 udp#=1; 0:01 conns#=7; 0:01 udp=53; \
         0:01 dest=10.0.0.1+10.0.0.2; 0:01 codes=1+2; 0:01 peers=10.0.0.9",
    );
}

#[test]
fn percentile_and_ml_behaviors_have_the_datapoints_of_others() {
    check_points(
        "out <= p50 @30; load learned low; sent <= p50 @30; size learned low @30",
        "0:01 on; rep out=1 load=2; 0:02 pub 9 x2; 0:03 rep out=3; 0:31 now",
        "0:01 out=1; 0:01 load=2; 0:03 out=3; 0:30 sent=2; 0:30 size=9",
    );
    // The shortest window gives the values, whatever its criteria.
    check_points(
        "sent <= 9 @60; sent <= p50 @30; sent learned low @30",
        "0:01 on; pub 1; 1:01 now",
        "0:30 sent=1; 1:00 sent=0",
    );
}

#[test]
fn a_retained_metric_beside_a_behavior_gives_no_second_series() {
    check_points("out <= 9 @300 | q: keep out", "0:01 rep out=3", "0:01 out=3");
    check_points(
        "disagree <= 9; keep missing",
        "0:01 on; rep out=1; 0:30 pub 5; 1:00 rep out=2; 5:01 now",
        "1:00 disagree=3; 5:00 missing=4",
    );
}

#[test]
fn ml_behaviors_judge_nothing_and_count_what_they_would_learn_from() {
    let normal =
        "out learned high; sent learned low @30; size/t learned medium | q: load learned high";
    let timeline = "0:01 on; b:on; rep out=99999 load=1; 0:02 pub 3000 x999; 0:03 rep out=1; \
                    0:31 now; 1:01 now; 4:00 pub/t 7; 5:01 now";
    check(normal, timeline, "");
    let mut scene = Scene::new(normal);
    let training = |scene: &mut Scene| {
        let trained = scene.engine.take_training();
        let texts =
            trained.iter().map(|(profile, behavior, n)| format!("{profile}.{behavior} {n}"));
        texts.collect::<Vec<_>>().join("; ")
    };
    scene.play("0:01 on; b:on; rep out=99999 load=1; 0:02 pub 3000 x999; 0:03 rep out=1");
    assert_eq!(training(&mut scene), "p.out 1; q.load 1".replace("p.out 1", "p.out 2"));
    // Two devices, a window each.
    scene.play("0:31 now");
    assert_eq!(training(&mut scene), "p.sent 2");
    assert_eq!(training(&mut scene), "");
    scene.play("1:01 now; 4:00 pub/t 7; 4:31 now; 5:01 now");
    assert_eq!(training(&mut scene), "p.sent 18; p.size-t 1");
}

#[test]
fn what_is_to_be_exported_is_for_each_datapoint() {
    check_exports(
        "size <= 9 @30 export; sent <= 9 @30; ip in 10.0.0.0/8 @30 export",
        "0:01 on; pub 3; pub 5 x2; 0:31 now; 1:01 now",
        "0:30 size min 3; 0:30 size max 5; 0:30 size total 13; 0:30 ip 10.0.0.7",
    );
    check_exports(
        "out <= 1000 @300 export; tcp in 22 export; load <= p50 @30 export; pin learned low export",
        "0:01 rep out=600 tcp=80,22 load=-1.5 pin=4; 0:10 rep out=600",
        "0:01 out 600; 0:01 tcp 22+80; 0:01 load -1.5; 0:01 pin 4; 0:10 out 600",
    );
    check_exports("sent/t <= 9 @30 export", "0:01 on; 0:31 now", "0:30 sent/t 0");
}

#[test]
fn an_exported_time_away_is_in_seconds() {
    let gone = "0:30 on; 1:00 off; 5:01 now; 6:00 on; 10:01 now";
    check_exports("away <= 5 export", gone, "5:00 away 240; 10:00 away 0");
    check_points("away <= 5 export", gone, "5:00 away=4; 10:00 away=0");
}

#[test]
fn every_profile_exports_for_itself() {
    let timeline = "0:01 rep out=7; 0:02 on; 5:01 now";
    check_exports(
        "p: out <= 9 @300; keep out export | q: out <= 9 @5 export | r: keep out export; keep sent export",
        timeline,
        "0:01 q.out 7; 0:01 out 7; 0:01 r.out 7; 5:00 r.sent 0",
    );
    // A retained metric that is exported in one profile and judged in another is listed once.
    check_points("p: out <= 9 @300; keep out export", timeline, "0:01 out=7");
}
