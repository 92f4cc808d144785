"""The workshop's story, typed by hand: a device sends too much at once and is cut off."""

import json
import time

import paho.mqtt.client as paho
import pytest

from harness import ACCOUNT, ALLOW_ALL, DENY_ALL, PATIENCE_S, allow, eventually
from isolation import alert, isolation

NORMAL = json.dumps({"temperature": 21.5, "unit": "celsius", "padding": "x" * 70})
COMPROMISED = "x" * 3000


@pytest.fixture
def sensors(server, device):
    """SensorDevice01 and 02, each allowed to say its temperature."""
    server.aws("iot").create_policy(
        policyName="Sensor",
        policyDocument=allow(
            ("Connect", "client/${iot:Connection.Thing.ThingName}"),
            ("Publish", "topic/temperature-*"),
        ),
    )
    return [device(name, "Sensor") for name in ("SensorDevice01", "SensorDevice02")]


def watch_message_size(iot, topic):
    """Says that up to 1,000 bytes are normal, for every registered thing."""
    iot.create_security_profile(
        securityProfileName="DetectLargeMessageSize",
        behaviors=[
            {
                "name": "MessageSize",
                "metric": "aws:message-byte-size",
                "criteria": {
                    "comparisonOperator": "less-than-equals",
                    "value": {"count": 1000},
                    "durationSeconds": 300,
                    "consecutiveDatapointsToAlarm": 1,
                    "consecutiveDatapointsToClear": 1,
                },
            }
        ],
        alertTargets=alert(topic),
    )
    iot.attach_security_profile(
        securityProfileName="DetectLargeMessageSize",
        securityProfileTargetArn=f"arn:aws:iot:us-east-1:{ACCOUNT}:all/registered-things",
    )


def test_a_device_that_sends_3000_bytes_is_isolated_and_the_other_goes_on(
    server, iot, sensors, anything_goes, device, listen
):
    watch_message_size(iot, isolation(server))
    heard = listen(device("Watcher", anything_goes), "#")
    good, bad = sensors

    assert good.publish("temperature-device-01", NORMAL)[0] == 0
    assert bad.publish("temperature-device-02", NORMAL)[0] == 0
    assert heard.next_on("temperature-device-02") == NORMAL

    # The connection stays open behind the message: cutting it is the server's doing.
    connected = bad.mosquitto("mosquitto_pub", "-t", "temperature-device-02", "-l", "-q", "1")
    connected.stdin.write(COMPROMISED + "\n")
    connected.stdin.flush()
    eventually(
        "SensorDevice02 is isolated",
        lambda: iot.list_things_in_thing_group(thingGroupName="IsolatedDevices")["things"]
        == ["SensorDevice02"],
    )
    connected.communicate("a last word\n", timeout=PATIENCE_S)
    code, complaint = bad.publish("temperature-device-02", "a last word")
    assert code != 0
    assert "Connection Refused" in complaint, complaint
    assert good.publish("temperature-device-01", "as ever")[0] == 0
    heard_since = heard.until(lambda topic, text: text == "as ever")
    assert ("temperature-device-02", "a last word") not in heard_since

    [violation] = iot.list_active_violations()["activeViolations"]
    assert violation["thingName"] == "SensorDevice02"
    assert violation["behavior"]["name"] == "MessageSize"
    assert violation["lastViolationValue"] == {"count": 3000}

    started = violation["violationStartTime"].timestamp()
    history = iot.list_violation_events(startTime=started - 3600, endTime=started + 3600)
    [event] = history["violationEvents"]
    assert event["violationEventType"] == "in-alarm"
    assert event["violationId"] == violation["violationId"]

    effective = iot.get_effective_policies(
        thingName="SensorDevice02", principal=bad.certificate_arn
    )["effectivePolicies"]
    assert {policy["policyName"] for policy in effective} == {"Sensor", "Isolated"}
    [answer] = iot.test_authorization(
        principal=bad.certificate_arn,
        clientId="SensorDevice02",
        authInfos=[
            {
                "actionType": "PUBLISH",
                "resources": [f"arn:aws:iot:us-east-1:{ACCOUNT}:topic/temperature-device-02"],
            }
        ],
    )["authResults"]
    assert answer["authDecision"] == "EXPLICIT_DENY"


def test_a_device_that_is_released_may_come_back(server, iot, device, anything_goes):
    group = iot.create_thing_group(thingGroupName="Quarantine")
    iot.create_policy(policyName="Quarantined", policyDocument=DENY_ALL)
    iot.attach_policy(policyName="Quarantined", target=group["thingGroupArn"])
    pump = device("Pump7", anything_goes)
    with pump.paho(paho.MQTTv5) as session:
        iot.add_thing_to_thing_group(thingGroupName="Quarantine", thingName="Pump7")
        session.wait_for("disconnected")
        session.client.loop_stop()
    assert pump.publish("pumps/7", "hello")[0] != 0
    iot.remove_thing_from_thing_group(thingGroupName="Quarantine", thingName="Pump7")
    assert pump.publish("pumps/7", "hello") == (0, "")


def test_an_alarm_survives_a_kill_and_its_function_runs_after_the_restart(new_server, tmp_path):
    server = new_server.start()
    iot = server.aws("iot")
    watch_message_size(iot, isolation(server))
    iot.create_policy(policyName="Any", policyDocument=ALLOW_ALL)
    bad = server.provision("SensorDevice02", "Any", tmp_path)
    good = server.provision("SensorDevice01", "Any", tmp_path)
    assert bad.publish("temperature-device-02", COMPROMISED)[0] == 0
    eventually("the alarm", lambda: iot.list_active_violations()["activeViolations"])
    # The function's interpreter is still starting.
    server.kill()

    iot = server.start().aws("iot")
    eventually(
        "SensorDevice02 is isolated",
        lambda: iot.list_things_in_thing_group(thingGroupName="IsolatedDevices")["things"]
        == ["SensorDevice02"],
    )
    [event] = iot.list_violation_events(
        startTime=time.time() - 3600, endTime=time.time() + 60
    )["violationEvents"]
    assert event["violationEventType"] == "in-alarm"
    assert bad.publish("temperature-device-02", NORMAL)[0] != 0
    assert good.publish("temperature-device-01", NORMAL) == (0, "")
    server.stop()
