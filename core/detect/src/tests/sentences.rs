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

#[test]
fn a_sum_names_the_reports_that_it_was_added_up_from() {
    insta::assert_snapshot!(sentences(
        "out <= 35000 @300 1/2; pin < 10 @300",
        "5:00 :rep out=30000; 7:00.5 :rep out=6000; 12:00 :rep out=1; 17:00 :rep out=1; 18:00 :rep pin=10",
    ), @r"
    on: Pump7 reported 36,000 bytes out over the 5 min up to 10:07:00.500Z, in 2 reports; normal is at most 35,000
    off: Pump7 reported 1 byte out over the 5 min up to 10:17:00Z, in 1 report; normal again: at most 35,000 (2 reports in a row)
    on: Pump7 reported 10 packets in over the 5 min up to 10:18:00Z, in 1 report; normal is fewer than 10
    ");
    insta::assert_snapshot!(sentences("in >= 1 @600", "5:00 :rep in=0"), @"on: Pump7 reported 0 bytes in over the 10 min up to 10:05:00Z, in 1 report; normal is at least 1");
}

#[test]
fn a_state_names_what_the_report_says() {
    insta::assert_snapshot!(sentences(
        "tcp# <= 2 @300; udp# < 1 @300; conns# <= 10; load >= 0.5",
        "5:00 :rep tcp#=3 udp#=1 conns#=1200 load=-1.25; 10:00 :rep tcp#=1 udp#=0 conns#=1 load=0.5",
    ), @r"
    on: Pump7 reported 3 listening TCP ports at 10:05:00Z; normal is at most 2
    on: Pump7 reported 1 listening UDP port at 10:05:00Z; normal is fewer than 1
    on: Pump7 reported 1,200 established TCP connections at 10:05:00Z; normal is at most 10
    on: Pump7 reported load of -1.25 at 10:05:00Z; normal is at least 0.5
    off: Pump7 reported 1 listening TCP port at 10:10:00Z; normal again: at most 2
    off: Pump7 reported 0 listening UDP ports at 10:10:00Z; normal again: fewer than 1
    off: Pump7 reported 1 established TCP connection at 10:10:00Z; normal again: at most 10
    off: Pump7 reported load of 0.5 at 10:10:00Z; normal again: at least 0.5
    ");
}

#[test]
fn a_list_names_what_is_outside_the_normal() {
    insta::assert_snapshot!(sentences(
        "tcp in 22,443; udp not-in 53",
        "5:00 :rep tcp=22,8080@eth0,80 udp=53,123; 6:00 :rep tcp=1,2,3,4,5,6,7; 10:00 :rep tcp=22 udp=",
    ), @r"
    on: Pump7 reported listening TCP ports 80 and 8080 at 10:05:00Z; normal is a listening TCP port in 22 or 443
    on: Pump7 reported listening UDP port 53 at 10:05:00Z; normal is no listening UDP port in 53
    more: Pump7 reported listening TCP ports 1, 2, 3, 4, 5 and 2 more at 10:06:00Z; normal is a listening TCP port in 22 or 443
    off: Pump7 reported listening TCP port 22 at 10:10:00Z; normal again: a listening TCP port in 22 or 443
    off: Pump7 reported no listening UDP port at 10:10:00Z; normal again: no listening UDP port in 53
    ");
    insta::assert_snapshot!(sentences(
        "dest in 10.0.0.0/8",
        "5:00 :rep conns=203.0.113.9:443,203.0.113.9:80,[2001:db8::1]:443,10.0.0.1:80; 10:00 :rep conns=",
    ), @r"
    on: Pump7 reported destination addresses 203.0.113.9 and 2001:db8::1 at 10:05:00Z; normal is a destination address in 10.0.0.0/8
    off: Pump7 reported no destination address at 10:10:00Z; normal again: a destination address in 10.0.0.0/8
    ");
    insta::assert_snapshot!(sentences(
        "codes in 1,2.5; users not-in root; peers in 10.0.0.0/8",
        "5:00 :rep codes=1,3 users=root,pump peers=192.0.2.1; 10:00 :rep codes=1 users=pump peers=10.0.0.1",
    ), @r"
    on: Pump7 reported 3 in codes at 10:05:00Z; normal is nothing in codes but 1 or 2.5
    on: Pump7 reported root in users at 10:05:00Z; normal is no root in users
    on: Pump7 reported 192.0.2.1 in peers at 10:05:00Z; normal is nothing in peers but 10.0.0.0/8
    off: Pump7 reported 1 in codes at 10:10:00Z; normal again: nothing in codes but 1 or 2.5
    off: Pump7 reported pump in users at 10:10:00Z; normal again: no root in users
    off: Pump7 reported 10.0.0.1 in peers at 10:10:00Z; normal again: nothing in peers but 10.0.0.0/8
    ");
}

#[test]
fn a_fleet_is_named_with_its_percentile() {
    insta::assert_snapshot!(sentences(
        "out <= p50 @300; sent < p90 @300; load >= p10 @300; size <= p50 @300",
        "5:00 b:on; 5:01 :rep out=9000 load=-0; b:rep out=100 load=2.5; c:rep load=7; :pub 3000 x2; b:pub 10; 10:01 now",
    ), @r"
    on: Pump7 had 9,000 bytes out in the 5 min window from 10:05:00Z, where p50 of 2 devices was 100; normal is at most p50 of the fleet
    on: Pump7 had 2 messages sent in the 5 min window from 10:05:00Z, where p90 of 2 devices was 2; normal is fewer than p90 of the fleet
    on: Pump7 had messages of 6,000 bytes in all in the 5 min window from 10:05:00Z, where p50 of 2 devices was 10; normal is at most p50 of the fleet
    ");
    insta::assert_snapshot!(sentences(
        "out <= p50 @300 1/2",
        "0:01 :rep out=9000; b:rep out=100; 5:01 :rep out=1; b:rep out=1; 10:01 :rep out=1; b:rep out=1; 15:01 now",
    ), @r"
    on: Pump7 had 9,000 bytes out in the 5 min window from 10:00:00Z, where p50 of 2 devices was 100; normal is at most p50 of the fleet
    off: Pump7 had 1 byte out in the 5 min window from 10:10:00Z, where p50 of 2 devices was 1; normal again: at most p50 of the fleet (2 windows in a row)
    ");
}

#[test]
fn a_part_is_named_with_its_dimension() {
    insta::assert_snapshot!(sentences(
        "size/t <= 100; sent/!t <= 2 @300; received/t <= 2 @300; denied/t < 1 @300; ip/t in 10.0.0.0/8",
        "5:01 :pub/t 3000 t/7; :pub/!t 1 x3; :recv/t 3; :deny/t 1; :pub/t 1 from=192.0.2.1",
    ), @r"
    on: Pump7 sent 1 message of 3,000 bytes to t/7 (topics in t) at 10:05:01Z; normal is a message size of at most 100 bytes
    on: Pump7 sent 3 messages (topics outside t) in the 5 min window from 10:05:00Z, by 10:05:01Z; normal is at most 2
    on: Pump7 received 3 messages (topics in t) in the 5 min window from 10:05:00Z, by 10:05:01Z; normal is at most 2
    on: Pump7 had 1 request denied (topics in t) in the 5 min window from 10:05:00Z, by 10:05:01Z, the last iot:Publish on secret/plans; normal is fewer than 1
    on: Pump7 connected from 192.0.2.1 (topics in t) at 10:05:01Z; normal is an address in 10.0.0.0/8
    ");
}

#[test]
fn evidence_says_what_was_seen_and_what_was_said() {
    insta::assert_snapshot!(sentences(
        "disagree <= 100",
        "5:00 :rep out=0; 5:30 :pub 2000 x2; 10:00 :rep out=300; 15:00 :rep out=1",
    ), @r"
    on: Pump7 sent 3,700 bytes beyond what its report of 10:10:00Z says: the broker took 4,000 bytes, the report owns up to 300 bytes; normal is at most 100 bytes
    off: Pump7 sent 0 bytes beyond what its report of 10:15:00Z says: the broker took 0 bytes, the report owns up to 1 byte; normal again: at most 100 bytes
    ");
    insta::assert_snapshot!(sentences(
        "missing <= 5",
        "1:00 :on; 2:00.5 :rep; 10:01 now; 12:00 :rep; 15:01 now",
    ), @r"
    on: Pump7 was connected at 10:10:00Z and had not reported for 7 minutes; its last report came at 10:02:00.500Z; normal is at most 5 minutes
    off: Pump7 was connected at 10:15:00Z and had not reported for 3 minutes; its last report came at 10:12:00Z; normal again: at most 5 minutes
    ");
}

/// The notes of all alarms of a timeline of the device Pump7.
fn notes(profiles: &str, timeline: &str) -> String {
    let verdicts = Scene::new(profiles).play(&timeline.replace(" :", " Pump7:"));
    let notes = verdicts.into_iter().flat_map(|verdict| match verdict {
        Verdict::Event(event) => event.explanation.notes,
        Verdict::Continued(more) => more.explanation.notes,
        Verdict::Datapoint(_) | Verdict::Exported(_) => Vec::new(),
    });
    notes
        .map(|note| format!("{}: {}", note.kind.as_str(), note.sentence))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn a_note_is_a_sentence() {
    insta::assert_snapshot!(notes(
        "size <= 9; tcp in 22 3/3",
        "0:00 :on; 0:01 :rep id=5 out=0 tcp=80; 0:02 :rep id=5; 0:03 :rep id=4; 0:04 :refuse backward; \
         0:15 :pub 1 x1200; 0:40 :rep id=6 out=7 tcp=; 20:00 :pub 10",
    ), @r"
    bytes-out-disagrees: the report of 10:00:40Z says that 7 bytes left the device, but the broker alone took 1,200 bytes from it
    empty-after-violation: the report of 10:00:40Z names no listening TCP port right after one that violated: a device can end an alarm so without having changed
    counter-ran-backward: a report of 10:00:04Z was refused because a counter in it ran backward: an increment was negative
    report-id-fell: the report of 10:00:03Z has the id 4, lower than 5 before it: the device began anew, or an old report came again
    report-id-repeated: the report of 10:00:02Z has the id 5, which was seen before
    report-missing: the device was connected at 10:20:00Z, but its last report that was accepted is 19 minutes old
    ");
}

#[test]
fn an_alarm_that_ends_as_no_report_comes_says_so() {
    insta::assert_snapshot!(sentences(
        "tcp in 22",
        "0:30 :on; 1:00 :rep tcp=80; 2885:01 now",
    ), @r"
    on: Pump7 reported listening TCP port 80 at 10:01:00Z; normal is a listening TCP port in 22
    end: no report of Pump7 was accepted for 2 days, since 2026-11-20T10:01:00.000Z; the alarm ends without being cleared
    ");
}

#[test]
fn every_behavior_can_be_put_in_words() {
    let behaviors = [
        "out <= 35000 @300 2/1",
        "pin > 10 @600",
        "tcp# < 3 @300",
        "conns# <= 10",
        "tcp in 22,443",
        "udp not-in 53",
        "tcp in -",
        "dest not-in 203.0.113.0/24",
        "load >= -0.5",
        "load < 2 @300",
        "codes in 1,2.5",
        "users not-in root,admin",
        "peers in 10.0.0.0/8",
        "out <= p50 @300",
        "size <= p99.99 @900 3/1",
        "sent > p0 @3600",
        "out learned high",
        "sent/t learned low @600 3/3",
        "size/t <= 100",
        "sent/!t <= 100 @300",
        "missing <= 15",
        "disagree <= 1000 3/1",
    ];
    let lines = behaviors.map(|text| normal_in_words(&behavior(text, "b")));
    insta::assert_snapshot!(lines.join("\n"), @r"
    normal while bytes out <= 35,000 in 5 min; alarm after 2, clear after 1
    normal while packets in > 10 in 10 min; alarm after 1, clear after 1
    normal while listening TCP ports < 3, in each report; alarm after 1, clear after 1
    normal while established TCP connections <= 10, in each report; alarm after 1, clear after 1
    normal while listening TCP port in 22 or 443, in each report; alarm after 1, clear after 1
    normal while listening UDP port not in 53, in each report; alarm after 1, clear after 1
    normal while listening TCP port in the empty set, in each report; alarm after 1, clear after 1
    normal while destination address not in 203.0.113.0/24, in each report; alarm after 1, clear after 1
    normal while load >= -0.5, in each report; alarm after 1, clear after 1
    normal while load < 2, in each report; alarm after 1, clear after 1
    normal while codes in 1 or 2.5, in each report; alarm after 1, clear after 1
    normal while users not in admin or root, in each report; alarm after 1, clear after 1
    normal while peers in 10.0.0.0/8, in each report; alarm after 1, clear after 1
    normal while bytes out <= p50 of the fleet in 5 min; alarm after 1, clear after 1
    normal while message size in total <= p99.99 of the fleet in 15 min; alarm after 3, clear after 1
    normal while messages sent > p0 of the fleet in 1 h; alarm after 1, clear after 1
    normal while bytes out is what a model learns (high confidence) in 5 min; alarm after 1, clear after 1
    normal while messages sent (topics in t) is what a model learns (low confidence) in 10 min; alarm after 3, clear after 3
    normal while message size (topics in t) <= 100 bytes in 5 min; alarm after 1, clear after 1
    normal while messages sent (topics outside t) <= 100 in 5 min; alarm after 1, clear after 1
    normal while time without a report <= 15 minutes, looked at every 5 min; alarm after 1, clear after 1
    normal while bytes sent beyond what the report says <= 1,000, in each report; alarm after 3, clear after 1
    ");
}

/// Who chooses a client id or a topic does not write the sentence around it.
#[test]
fn names_and_topics_cannot_turn_a_sentence_around() {
    let timeline = "5:07 Pump\u{202E}7:pub 11 t/\u{2066}7; 9:00 Pump\u{202E}7:watch";
    let told = sentences_of(Scene::new("size <= 10").play(timeline));
    insta::assert_snapshot!(told, @r"
    on: Pump�7 sent 1 message of 11 bytes to t/�7 at 10:05:07Z; normal is a message size of at most 10 bytes
    end: security profile p no longer watches Pump�7; the alarm ends without being cleared
    ");
}
