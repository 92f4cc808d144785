//! The sentences that people read.

use picket_model::ViolationEventKind;

use super::scene::{Scene, behavior, device};
use crate::{Verdict, normal_in_words};

/// Sentences, one per line, each after what became of the alarm.
fn sentences_of(verdicts: Vec<Verdict>) -> String {
    let lines = verdicts.into_iter().filter_map(|verdict| match verdict {
        Verdict::Datapoint(_) | Verdict::Exported(_) => None,
        Verdict::Event(event) => {
            let kind = match event.kind {
                ViolationEventKind::InAlarm => "on",
                ViolationEventKind::Cleared => "off",
                ViolationEventKind::Invalidated => "end",
            };
            Some(format!("{kind}: {}", event.explanation.sentence))
        }
        Verdict::Continued(more) => Some(format!("more: {}", more.explanation.sentence)),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The sentences of a timeline in which `:` stands before every verb of the device Pump7.
fn sentences(profiles: &str, timeline: &str) -> String {
    sentences_of(Scene::new(profiles).play(&timeline.replace(" :", " Pump7:")))
}

#[test]
fn a_message_size_names_the_message() {
    insta::assert_snapshot!(sentences(
        "size <= 1000 @300",
        "5:07.12 :pub 3000 temperature/7; 5:08 :pub 3500 temperature/7; 10:01 now; \
         10:02 :pub 120 x30 t/7; 15:01 now",
    ), @r"
    on: Pump7 sent 1 message of 3,000 bytes to temperature/7 at 10:05:07.120Z; normal is a message size of at most 1,000 bytes
    more: Pump7 sent 2 messages in the 5 min window from 10:05:00Z, the largest of 3,500 bytes to temperature/7; normal is a message size of at most 1,000 bytes
    off: Pump7 sent 30 messages in the 5 min window from 10:10:00Z, the largest of 120 bytes to t/7; normal again: a message size of at most 1,000 bytes
    ");
    insta::assert_snapshot!(sentences(
        "size <= 1000 @300 1/2",
        "5:07.12 :pub 3000 x4 t/7; 12:00 :pub 120 t/7; 17:00 :pub 120 t/7; 20:01 now",
    ), @r"
    on: Pump7 sent 4 messages at 10:05:07.120Z, the largest of 3,000 bytes to t/7; normal is a message size of at most 1,000 bytes
    off: Pump7 sent 1 message of 120 bytes to t/7 in the 5 min window from 10:15:00Z; normal again: a message size of at most 1,000 bytes (2 windows in a row)
    ");
    insta::assert_snapshot!(sentences("size >= 1", "5:07.12 :pub 0 x2 t/7"), @"on: Pump7 sent 2 messages at 10:05:07.120Z, the smallest of 0 bytes; normal is a message size of at least 1 byte");
    insta::assert_snapshot!(sentences("size > 10", "5:07.12 :pub 9 t/7; 5:08 :pub 1; 10:01 now"), @r"
    on: Pump7 sent 1 message of 9 bytes to t/7 at 10:05:07.120Z; normal is a message size of more than 10 bytes
    more: Pump7 sent 2 messages in the 5 min window from 10:05:00Z, the smallest of 1 byte; normal is a message size of more than 10 bytes
    ");
}

#[test]
fn a_count_names_the_window() {
    insta::assert_snapshot!(sentences(
        "sent <= 100 @30",
        "5:00 :on; 5:07.12 :pub 9 x101 t/7; 5:08 :pub 9 x30 t/7; 6:01 now",
    ), @r"
    on: Pump7 sent 101 messages in the 30 s window from 10:05:00Z, by 10:05:07.120Z; normal is at most 100
    more: Pump7 sent 131 messages in the 30 s window from 10:05:00Z; normal is at most 100
    off: Pump7 sent no messages in the 30 s window from 10:05:30Z; normal again: at most 100
    ");
    insta::assert_snapshot!(sentences(
        "sent >= 1 @30 2/2",
        "5:00 :on; 6:01 now; 6:02 :pub 1 x1200; 6:32 :pub 1; 7:01 now",
    ), @r"
    on: Pump7 sent no messages in the 30 s window from 10:05:30Z; normal is at least 1 (2 windows in a row)
    off: Pump7 sent 1 message in the 30 s window from 10:06:30Z; normal again: at least 1 (2 windows in a row)
    ");
    insta::assert_snapshot!(sentences("received < 2 @60", "5:01 :on; 5:02 :recv 2; 7:01 now"), @r"
    on: Pump7 received 2 messages in the 1 min window from 10:05:00Z, by 10:05:02Z; normal is fewer than 2
    off: Pump7 received no messages in the 1 min window from 10:06:00Z; normal again: fewer than 2
    ");
    insta::assert_snapshot!(sentences("attempts < 2 @60", "5:01 :on; :try; :try; 7:01 now"), @r"
    on: Pump7 tried to connect 2 times in the 1 min window from 10:05:00Z, by 10:05:01Z; normal is fewer than 2
    off: Pump7 did not try to connect in the 1 min window from 10:06:00Z; normal again: fewer than 2
    ");
    insta::assert_snapshot!(sentences("attempts > 1 @60", "5:01 :on; :try; 7:01 now"), @r"
    on: Pump7 tried to connect once in the 1 min window from 10:05:00Z; normal is more than 1
    more: Pump7 did not try to connect in the 1 min window from 10:06:00Z; normal is more than 1
    ");
    insta::assert_snapshot!(sentences("disconnects <= 0 @60", "5:01 :on; :off; :on; 7:01 now"), @r"
    on: Pump7 disconnected once in the 1 min window from 10:05:00Z, by 10:05:01Z; normal is at most 0
    off: Pump7 did not disconnect in the 1 min window from 10:06:00Z; normal again: at most 0
    ");
    insta::assert_snapshot!(sentences("denied <= 1 @60", "5:01 :on; :deny 2; 7:01 now"), @r"
    on: Pump7 had 2 requests denied in the 1 min window from 10:05:00Z, by 10:05:01Z, the last iot:Publish on secret/plans; normal is at most 1
    off: Pump7 had no requests denied in the 1 min window from 10:06:00Z; normal again: at most 1
    ");
    insta::assert_snapshot!(sentences("denied > 1 @3600", "5:01 :on; :deny 1; 60:01 now"), @"on: Pump7 had 1 request denied in the 1 h window from 10:00:00Z, the last iot:Publish on secret/plans; normal is more than 1");
}

#[test]
fn an_address_is_named_with_the_ranges_that_are_normal() {
    insta::assert_snapshot!(sentences(
        "ip in 10.0.0.0/8,192.168.0.0/16",
        "5:01 :on 203.0.113.9; 5:02 :on 203.0.113.10; 10:01 now; 10:02 :on; 15:01 now",
    ), @r"
    on: Pump7 connected from 203.0.113.9 at 10:05:01Z; normal is an address in 10.0.0.0/8 or 192.168.0.0/16
    more: Pump7 connected from 203.0.113.9 and 203.0.113.10 in the 5 min window from 10:05:00Z; normal is an address in 10.0.0.0/8 or 192.168.0.0/16
    off: Pump7 connected from 10.0.0.7 in the 5 min window from 10:10:00Z; normal again: an address in 10.0.0.0/8 or 192.168.0.0/16
    ");
    insta::assert_snapshot!(sentences("ip not-in 203.0.113.0/24", "5:01 :on 203.0.113.9"), @"on: Pump7 connected from 203.0.113.9 at 10:05:01Z; normal is no address in 203.0.113.0/24");
    let many = (1..=9).map(|n| format!("5:02 :on 203.0.113.{n}; ")).collect::<String>();
    insta::assert_snapshot!(sentences("ip in 10.0.0.0/8", &format!("{many}10:01 now")), @r"
    on: Pump7 connected from 203.0.113.1 at 10:05:02Z; normal is an address in 10.0.0.0/8
    more: Pump7 connected from 203.0.113.1, 203.0.113.2, 203.0.113.3, 203.0.113.4, 203.0.113.5 and 4 more in the 5 min window from 10:05:00Z; normal is an address in 10.0.0.0/8
    ");
}

#[test]
fn time_away_says_since_when() {
    insta::assert_snapshot!(sentences(
        "away <= 60 @300",
        "1:00 :on; 2:30.5 :off; 65:01 now; 66:00 :on; 70:01 now",
    ), @r"
    on: Pump7 had been disconnected for 62 minutes at 11:05:00Z, since 10:02:30.500Z; normal is at most 60 minutes
    off: Pump7 was connected at 11:10:00Z; normal again: at most 60 minutes
    ");
    insta::assert_snapshot!(sentences("away < 0 @60", "1:00 :on; 1:30 :off; 3:01 now"), @r"
    on: Pump7 had been disconnected for less than a minute at 10:02:00Z, since 10:01:30Z; normal is less than 0 minutes
    more: Pump7 had been disconnected for 1 minute at 10:03:00Z, since 10:01:30Z; normal is less than 0 minutes
    ");
}

#[test]
fn an_alarm_that_is_invalidated_says_why() {
    insta::assert_snapshot!(sentences("size <= 9", "1:00 :pub 10; 2:00 :watch q"), @r"
    on: Pump7 sent 1 message of 10 bytes to t at 10:01:00Z; normal is a message size of at most 9 bytes
    end: security profile p no longer watches Pump7; the alarm ends without being cleared
    ");
    insta::assert_snapshot!(sentences("size <= 9", "1:00 :pub 10; 2885:01 now"), @r"
    on: Pump7 sent 1 message of 10 bytes to t at 10:01:00Z; normal is a message size of at most 9 bytes
    end: nothing was seen of Pump7 for 2 days, since 2026-11-20T10:01:00.000Z; the alarm ends without being cleared
    ");
    let after_change = |profiles| {
        let mut scene = Scene::new("size <= 9");
        scene.play("1:00 Pump7:pub 10");
        assert!(scene.engine.knows(&device("Pump7")));
        sentences_of(scene.become_profiles("2:00", profiles))
    };
    insta::assert_snapshot!(after_change("size <= 8"), @"end: behavior size of security profile p was changed; the alarm ends without being cleared");
    insta::assert_snapshot!(after_change("sent <= 8 @30"), @"end: behavior size was removed from security profile p; the alarm ends without being cleared");
    insta::assert_snapshot!(after_change("q: size <= 9"), @"end: security profile p, which watched Pump7, was deleted; the alarm ends without being cleared");
}

#[test]
fn a_behavior_in_words_says_what_is_normal() {
    let behaviors = [
        "size <= 1000 1/2",
        "size > 10 @600 10/1",
        "sent < 1000000 @30",
        "received >= 1 @3600",
        "denied <= 5 @900 3/3",
        "attempts <= 35 @300 2/1",
        "disconnects < 3 @5",
        "ip in 10.0.0.0/8,2001:db8::/32",
        "ip not-in 203.0.113.0/24",
        "away <= 60",
    ];
    let lines = behaviors.map(|text| normal_in_words(&behavior(text, "b")));
    insta::assert_snapshot!(lines.join("\n"), @r"
    normal while message size <= 1,000 bytes in 5 min; alarm after 1, clear after 2
    normal while message size > 10 bytes in 10 min; alarm after 10, clear after 1
    normal while messages sent < 1,000,000 in 30 s; alarm after 1, clear after 1
    normal while messages received >= 1 in 1 h; alarm after 1, clear after 1
    normal while authorization failures <= 5 in 15 min; alarm after 3, clear after 3
    normal while connection attempts <= 35 in 5 min; alarm after 2, clear after 1
    normal while disconnects < 3 in 5 s; alarm after 1, clear after 1
    normal while source address in 10.0.0.0/8 or 2001:db8::/32 in 5 min; alarm after 1, clear after 1
    normal while source address not in 203.0.113.0/24 in 5 min; alarm after 1, clear after 1
    normal while time disconnected <= 60 minutes, looked at every 5 min; alarm after 1, clear after 1
    ");
}
