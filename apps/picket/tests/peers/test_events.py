"""Lifecycle events and events of the registry, as a subscriber hears them."""

import contextlib
import json
import sqlite3
import time
import urllib.request
import uuid

import paho.mqtt.client as paho
import pytest

from harness import ACCOUNT, ALLOW_ALL, PATIENCE_S, Listener, eventually

ARN = f"arn:aws:iot:us-east-1:{ACCOUNT}"

EVENT_TYPES = [
    *["THING", "THING_GROUP", "THING_TYPE", "THING_GROUP_MEMBERSHIP", "THING_GROUP_HIERARCHY"],
    *["THING_TYPE_ASSOCIATION", "JOB", "JOB_EXECUTION", "POLICY", "CERTIFICATE", "CA_CERTIFICATE"],
]

LARGE_MESSAGES = {
    "name": "LargeMessageSize",
    "metric": "aws:message-byte-size",
    "criteria": {"comparisonOperator": "less-than-equals", "value": {"count": 1000}},
}


def switch(iot, enabled, *names):
    iot.update_event_configurations(
        eventConfigurations={name: {"Enabled": enabled} for name in names}
    )


@pytest.fixture
def heard(iot, device, anything_goes, listen):
    """Events under `$aws/events/`, whoever they are about."""
    yield listen(device(f"Watcher-{uuid.uuid4()}", anything_goes), "$aws/events/#")
    switch(iot, False, *EVENT_TYPES)


def event(heard, topic):
    """The next event of a topic; others are passed over."""
    return json.loads(heard.next_on(f"$aws/events/{topic}"))


def test_a_clients_whole_life_is_told(server, device, anything_goes, heard):
    pump = device("Pump1", anything_goes)
    before_ms = time.time() * 1000
    for version in range(2):
        with pump.paho(paho.MQTTv5) as session:
            session.client.subscribe([("a/+", 1), ("b/#", 0)])
            session.wait_for("subscribed")
            session.client.unsubscribe("a/+")
            connected = event(heard, "presence/connected/Pump1")
            subscribed = event(heard, "subscriptions/subscribed/Pump1")
            unsubscribed = event(heard, "subscriptions/unsubscribed/Pump1")
            server.aws("iot-data").delete_connection(clientId="Pump1")
            session.wait_for("disconnected")
        disconnected = event(heard, "presence/disconnected/Pump1")

        common = {
            "clientId": "Pump1",
            "sessionIdentifier": connected["sessionIdentifier"],
            "principalIdentifier": pump.certificate_id,
        }
        assert uuid.UUID(connected["sessionIdentifier"])
        for told in (connected, subscribed, unsubscribed, disconnected):
            assert before_ms - 1 <= told.pop("timestamp") <= time.time() * 1000 + 1
        assert connected == {
            **common,
            "eventType": "connected",
            "ipAddress": "127.0.0.1",
            "versionNumber": version,
        }
        assert subscribed == {**common, "eventType": "subscribed", "topics": ["a/+", "b/#"]}
        assert unsubscribed == {**common, "eventType": "unsubscribed", "topics": ["a/+"]}
        assert disconnected == {
            **common,
            "eventType": "disconnected",
            "clientInitiatedDisconnect": False,
            "disconnectReason": "API_INITIATED_DISCONNECT",
            "versionNumber": version,
        }


def test_a_device_cannot_make_events_up(device, anything_goes, heard):
    liar = device("Liar1", anything_goes)
    liar.publish("$aws/events/presence/connected/Victim1", '{"eventType":"connected"}')
    told = heard.until(lambda topic, text: topic == "$aws/events/presence/disconnected/Liar1")
    assert [topic for topic, _ in told if "Victim1" in topic] == []
    assert json.loads(told[-1][1])["disconnectReason"] == "CLIENT_ERROR"


def test_event_configurations_are_off_until_they_are_switched_on(iot):
    found = iot.describe_event_configurations()
    assert sorted(found["eventConfigurations"]) == sorted(EVENT_TYPES)
    assert not any(it["Enabled"] for it in found["eventConfigurations"].values())
    switch(iot, True, "THING", "CERTIFICATE")
    found = iot.describe_event_configurations()
    on = [name for name, it in found["eventConfigurations"].items() if it["Enabled"]]
    assert sorted(on) == ["CERTIFICATE", "THING"]
    assert found["creationDate"] <= found["lastModifiedDate"]
    switch(iot, False, "THING", "CERTIFICATE")


def test_changes_of_the_registry_are_told_to_subscribers(iot, heard):
    iot.create_thing(thingName="Unheard")
    switch(iot, True, *EVENT_TYPES)
    iot.create_thing_type(thingTypeName="Pump")
    made = iot.create_thing(
        thingName="Heard", thingTypeName="Pump", attributePayload={"attributes": {"floor": "2"}}
    )
    parent = iot.create_thing_group(thingGroupName="House")
    child = iot.create_thing_group(thingGroupName="Cellar", parentGroupName="House")
    iot.add_thing_to_thing_group(thingGroupName="Cellar", thingName="Heard")
    iot.remove_thing_from_thing_group(thingGroupName="Cellar", thingName="Heard")
    iot.update_thing(thingName="Heard", removeThingType=True)
    iot.delete_thing(thingName="Heard")
    told = heard.until(lambda topic, text: topic == "$aws/events/thing/Heard/deleted")
    told = [
        (topic.removeprefix("$aws/events/"), json.loads(text))
        for topic, text in told
        if "/presence/" not in topic and "/subscriptions/" not in topic
    ]
    association = "thingTypeAssociation/thing/Heard/thingType/Pump"
    membership = "thingGroupMembership/thingGroup/Cellar/thing/Heard"
    assert [topic for topic, _ in told] == [
        "thingType/Pump/created",
        "thing/Heard/created",
        f"{association}/added",
        "thingGroup/House/created",
        "thingGroup/Cellar/created",
        "thingGroupHierarchy/thingGroup/House/childThingGroup/Cellar/added",
        f"{membership}/added",
        f"{membership}/removed",
        "thing/Heard/updated",
        f"{association}/removed",
        "thing/Heard/deleted",
    ]
    assert len({it["eventId"] for _, it in told}) == len(told)
    told = {topic: it for topic, it in told}
    created = told["thing/Heard/created"]
    del created["eventId"], created["timestamp"]
    assert created == {
        "eventType": "THING_EVENT",
        "operation": "CREATED",
        "accountId": ACCOUNT,
        "thingId": made["thingId"],
        "thingName": "Heard",
        "versionNumber": 1,
        "thingTypeName": "Pump",
        "attributes": {"floor": "2"},
    }
    added, removed = told[f"{membership}/added"], told[f"{membership}/removed"]
    assert added["membershipId"] == removed["membershipId"]
    for it in (added, removed):
        del it["eventId"], it["timestamp"], it["membershipId"]
    assert added == {
        "eventType": "THING_GROUP_MEMBERSHIP_EVENT",
        "operation": "ADDED",
        "accountId": ACCOUNT,
        "groupArn": child["thingGroupArn"],
        "groupId": child["thingGroupId"],
        "thingArn": made["thingArn"],
        "thingId": made["thingId"],
    }
    assert removed == {**added, "operation": "REMOVED"}
    group = told["thingGroup/Cellar/created"]
    assert group["parentGroupId"] == parent["thingGroupId"]
    assert group["rootToParentThingGroups"] == [
        {"groupArn": parent["thingGroupArn"], "groupId": parent["thingGroupId"]}
    ]


def test_a_mitigation_action_moves_things_as_loudly_as_the_api(iot, device, anything_goes, heard):
    iot.create_thing_group(thingGroupName="Isolated")
    action = iot.create_mitigation_action(
        actionName="Isolate",
        roleArn=f"arn:aws:iam::{ACCOUNT}:role/Mitigation",
        actionParams={"addThingsToThingGroupParams": {"thingGroupNames": ["Isolated"]}},
    )
    assert action["actionArn"]
    iot.create_security_profile(securityProfileName="Sizes", behaviors=[LARGE_MESSAGES])
    iot.attach_security_profile(
        securityProfileName="Sizes",
        securityProfileTargetArn=f"{ARN}:all/registered-things",
    )
    switch(iot, True, "THING_GROUP_MEMBERSHIP")
    noisy = device("Noisy1", anything_goes)
    noisy.publish("noise", "x" * 2000)
    violation = eventually(
        "the violation",
        lambda: iot.list_active_violations(thingName="Noisy1")["activeViolations"],
    )[0]
    iot.start_detect_mitigation_actions_task(
        taskId=str(uuid.uuid4()),
        target={"violationIds": [violation["violationId"]]},
        actions=["Isolate"],
    )
    told = event(heard, "thingGroupMembership/thingGroup/Isolated/thing/Noisy1/added")
    assert told["operation"] == "ADDED"
    iot.detach_security_profile(
        securityProfileName="Sizes",
        securityProfileTargetArn=f"{ARN}:all/registered-things",
    )


CREATED = "$aws/events/thing/+/created"


def start_with_an_absent_watcher(server, folder):
    """Starts a server that tells of things; of whom they are told is away, and has a session."""
    server.start()
    server.aws("iot").create_policy(policyName="P", policyDocument=ALLOW_ALL)
    watcher = server.provision("Watcher", "P", folder)
    subscribing = watcher.mosquitto("mosquitto_sub", "-c", "-q", "1", "-t", CREATED, "-E")
    assert subscribing.wait(timeout=PATIENCE_S) == 0, subscribing.stderr.read()
    switch(server.aws("iot"), True, "THING")
    return watcher


def waiting(server):
    """The events that the server is still to publish, oldest first: what the next one finds."""
    with contextlib.closing(sqlite3.connect(server.data_dir / "picket.db")) as database:
        rows = database.execute("SELECT id, topic FROM registry_events ORDER BY row").fetchall()
    return [(event_id, topic.split("/")[3]) for event_id, topic in rows]


def heard_up_to(watcher, last):
    """Lets the watcher come back: all it is told up to this thing, as event id and name."""
    listener = Listener(watcher, CREATED, "-c")
    try:
        told = listener.until(lambda topic, text: topic == CREATED.replace("+", last))
    finally:
        listener.close()
    events = [json.loads(text) for _, text in told]
    return [(event["eventId"], event["thingName"]) for event in events]


@contextlib.contextmanager
def sessions_held_up(server):
    """Meanwhile the server can store nothing for its sessions, and so it forgets no event."""
    file = server.data_dir / "sessions.db"
    connected = sqlite3.connect(file, timeout=PATIENCE_S, isolation_level=None)
    with contextlib.closing(connected) as database:
        database.execute("BEGIN IMMEDIATE")
        yield


def waits_for_the_disk(server):
    """Whether something that a session was promised is not on the disk yet."""
    address = server.endpoints()["console"][0]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as page:
        lines = page.read().decode().splitlines()
    return "picket_mqtt_journal_bytes 0" not in lines


def test_an_event_that_was_on_its_way_when_the_server_was_killed_is_published(
    new_server, tmp_path
):
    server = new_server
    watcher = start_with_an_absent_watcher(server, tmp_path)
    iot = server.aws("iot")
    iot.create_thing(thingName="Before")
    eventually("the first is published", lambda: not waiting(server))
    with sessions_held_up(server):
        iot.create_thing(thingName="Pump")
        eventually("it is on its way", lambda: waits_for_the_disk(server))
        server.kill()
    left = waiting(server)
    assert [name for _, name in left] == ["Pump"]
    server.start()
    eventually("the second is published", lambda: not waiting(server))
    told = heard_up_to(watcher, "Pump")
    assert [name for _, name in told] == ["Before", "Pump"]
    assert told[1:] == left
    server.stop()


def test_no_event_is_lost_whenever_the_server_is_killed(new_server, tmp_path):
    server = new_server
    watcher = start_with_an_absent_watcher(server, tmp_path)
    made, left = [], []
    # Until it was killed three times before all was published.
    for n_things in [1, 2, 5, 20] * 5:
        iot = server.aws("iot")
        for _ in range(n_things):
            made.append(f"T{len(made)}")
            iot.create_thing(thingName=made[-1])
        server.kill()
        left.append(waiting(server))
        if sum(map(bool, left)) == 3:
            break
        server.start()
    assert sum(map(bool, left)) == 3, left
    server.start()
    eventually("all are published", lambda: not waiting(server))
    told = heard_up_to(watcher, made[-1])
    # Each at least once, first in their order, and always under the same id.
    assert list(dict.fromkeys(name for _, name in told)) == made
    assert len(set(told)) == len(made)
    assert set(told).issuperset(event for events in left for event in events)
    server.stop()
