"""Lifecycle events and events of the registry, as a subscriber hears them."""

import json
import time
import uuid

import paho.mqtt.client as paho
import pytest

from harness import ACCOUNT, eventually

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
