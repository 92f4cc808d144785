"""Real devices are judged: what they do raises their alarm, clears it, and is nobody else's."""

import time

import paho.mqtt.client as paho
import pytest

from harness import ALLOW_ALL, allow, eventually
from profiles import LONG_WINDOW_S, WINDOW_S, alarms, behavior, events, history, watch

@pytest.fixture
def iot(new_server):
    """Of a server whose profiles watch this story's devices alone."""
    yield new_server.start().aws("iot")
    new_server.stop()


@pytest.fixture
def make(new_server, iot, tmp_path):
    """Makes devices that may do anything, or what a document says."""

    def make(name, document=ALLOW_ALL):
        iot.create_policy(policyName=name, policyDocument=document)
        return new_server.provision(name, name, tmp_path)

    return make


def test_each_metric_that_the_broker_measures_raises_its_alarm(new_server, iot, make):
    at_most = "less-than-equals"
    watch(
        iot,
        "Everything",
        "all/things",
        behavior("size", "message-byte-size", at_most, {"count": 1000}),
        behavior("sent", "num-messages-sent", at_most, {"count": 20}, LONG_WINDOW_S),
        behavior("received", "num-messages-received", at_most, {"count": 20}),
        behavior("denied", "num-authorization-failures", at_most, {"count": 2}, LONG_WINDOW_S),
        behavior("attempts", "num-connection-attempts", at_most, {"count": 3}, LONG_WINDOW_S),
        behavior("disconnects", "num-disconnects", at_most, {"count": 2}, LONG_WINDOW_S),
        behavior("address", "source-ip-address", "in-cidr-set", {"cidrs": ["127.0.0.1/32"]}),
        behavior("silent", "num-messages-sent", "greater-than", {"count": 0}, suppressAlerts=True),
    )
    innocent = make("Innocent")
    with innocent.paho(paho.MQTTv5) as well_behaved:
        assert make("Large").publish("a", "x" * 1001) == (0, "")

        listener = make("Listener").mosquitto("mosquitto_sub", "-t", "talk", "-d")
        eventually("it is subscribed", lambda: "SUBACK" in listener.stdout.readline())
        talker = make("Talker").mosquitto("mosquitto_pub", "-t", "talk", "-l", "-q", "1")
        # Enough for either window if one ends in between.
        talker.communicate("hello\n" * 50, timeout=30)

        nosy = make("Nosy", allow(("Connect", "client/*")))
        for _ in range(3):
            nosy.publish("forbidden", "x")
        restless = make("Restless")
        for _ in range(4):
            restless.publish("a", "x")
        elsewhere = make("Elsewhere").mosquitto(
            "mosquitto_pub", "-t", "a", "-m", "x", "-A", "127.0.0.2"
        )
        elsewhere.communicate(timeout=30)

        for thing, name in [
            ("Large", "size"),
            ("Talker", "sent"),
            ("Listener", "received"),
            ("Nosy", "denied"),
            ("Restless", "attempts"),
            ("Restless", "disconnects"),
            ("Elsewhere", "address"),
        ]:
            expected = ("Everything", name)
            eventually(f"{thing} is in alarm", lambda: expected in alarms(iot, thing))

        # Suppressed alarms are shown to those who ask for them.
        silent = ("Everything", "silent")
        eventually(
            "silence is noticed",
            lambda: silent in alarms(iot, "Listener", listSuppressedAlerts=True),
        )
        assert silent not in alarms(iot, "Listener")
        assert alarms(iot, "Innocent") == set()
        well_behaved.client.publish("a", b"as ever", qos=1)
        well_behaved.wait_for("published")

        # A quiet window clears a count.
        eventually("it is over", lambda: not alarms(iot, "Listener"))
        assert [event for event in events(iot, "Listener") if event[0] == "received"] == [
            ("received", "in-alarm"),
            ("received", "alarm-cleared"),
        ]
    listener.kill()
    listener.communicate()

    now = time.time()
    values = iot.list_metric_values(
        thingName="Listener",
        metricName="aws:num-messages-received",
        startTime=now - 600,
        endTime=now + 60,
    )["metricDatumList"]
    assert sum(it["value"]["count"] for it in values) == 50


def test_an_alarm_takes_as_many_windows_in_a_row_as_the_profile_says(iot, make):
    at_most_none = ("num-messages-sent", "less-than", {"count": 1})
    watch(
        iot,
        "Counted",
        "all/things",
        behavior("one", *at_most_none),
        behavior("two", *at_most_none, to_alarm=2, to_clear=2),
    )
    with make("Talker").paho(paho.MQTTv5) as session:

        def talks_until(is_enough):
            def speak():
                session.client.publish("a", b"x", qos=1)
                session.wait_for("published")
                return is_enough(alarms(iot, "Talker"))

            return speak

        one, two = ("Counted", "one"), ("Counted", "two")
        eventually("both alarms came", talks_until(lambda found: found == {one, two}))
        eventually("one quiet window clears", lambda: alarms(iot, "Talker") == {two})
        eventually("two quiet windows clear", lambda: not alarms(iot, "Talker"))
    assert [what for what, _ in history(iot, "Talker")] == [
        ("one", "in-alarm"),
        ("two", "in-alarm"),
        ("one", "alarm-cleared"),
        ("two", "alarm-cleared"),
    ]
    # A broken window is told at once, a quiet one at its end.
    windows = [at // WINDOW_S for _, at in history(iot, "Talker")]
    assert windows[1] == windows[0] + 1
    assert windows[3] == windows[2] + 1


def test_a_profile_watches_its_targets_and_the_groups_below_them(iot, make):
    for group, parent in [("Pumps", {}), ("Cellar", {"parentGroupName": "Pumps"})]:
        iot.create_thing_group(thingGroupName=group, **parent)
    small = behavior("small", "message-byte-size", "less-than-equals", {"count": 10})
    watch(iot, "All", "all/things", small)
    watch(iot, "Registered", "all/registered-things", small)
    watch(iot, "Unregistered", "all/unregistered-things", small)
    watch(iot, "Group", "thinggroup/Pumps", small)
    below, other, stranger = make("Below"), make("Other"), make("Stranger")
    iot.add_thing_to_thing_group(thingGroupName="Cellar", thingName="Below")
    iot.detach_thing_principal(thingName="Stranger", principal=stranger.certificate_arn)
    iot.delete_thing(thingName="Stranger")

    for device, profiles in [
        (below, {"All", "Registered", "Group"}),
        (other, {"All", "Registered"}),
        (stranger, {"All", "Unregistered"}),
    ]:
        assert device.publish("a", "more than ten bytes") == (0, "")
        expected = {(profile, "small") for profile in profiles}
        eventually(f"{device.name} is watched", lambda: alarms(iot, device.name) == expected)

    iot.remove_thing_from_thing_group(thingGroupName="Cellar", thingName="Below")
    eventually("it left", lambda: ("Group", "small") not in alarms(iot, "Below"))
    assert events(iot, "Below")[-1] == ("small", "alarm-invalidated")


def test_a_device_under_its_neighbours_name_raises_its_own_alarm(iot, make):
    watch(
        iot,
        "Denied",
        "all/things",
        behavior(
            "denied", "num-authorization-failures", "less-than-equals", {"count": 2}, LONG_WINDOW_S
        ),
    )
    own_name = allow(("Connect", "client/${iot:Connection.Thing.ThingName}"))
    make("Neighbour", own_name)
    villain = make("Villain", own_name)
    for _ in range(3):
        session = villain.paho(paho.MQTTv5, client_id="Neighbour")
        assert session.wait_for("connected") == ("connected", "Not authorized")
        session.client.loop_stop()
    eventually("it is in alarm", lambda: alarms(iot, "Villain") == {("Denied", "denied")})
    assert alarms(iot, "Neighbour") == set()
