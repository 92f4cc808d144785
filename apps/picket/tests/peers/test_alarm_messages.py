"""What a profile's topic is told: every turn of an alarm's life, and nothing of suppressed ones."""

import json

import paho.mqtt.client as paho
import pytest

from harness import ACCOUNT, eventually, zipped
from isolation import ROLE, alert
from profiles import LONG_WINDOW_S, WINDOW_S, alarms, behavior, events, watch

# Tells devices what the topic is told.
FORWARD = """
import boto3

def lambda_handler(event, context):
    for record in event['Records']:
        boto3.client('iot-data').publish(topic='told', payload=record['Sns']['Message'], qos=1)
"""


@pytest.fixture
def iot(eager_server):
    return eager_server.aws("iot")


@pytest.fixture
def topic(eager_server):
    """A topic whose messages appear on the MQTT topic `told`."""
    functions, sns = eager_server.aws("lambda"), eager_server.aws("sns")
    function = functions.create_function(
        FunctionName="Forward",
        Runtime="python3.11",
        Role=ROLE,
        Handler="index.lambda_handler",
        Code={"ZipFile": zipped(index=FORWARD)},
    )
    topic = sns.create_topic(Name="Alarms")["TopicArn"]
    functions.add_permission(
        FunctionName="Forward",
        StatementId="from-topic",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function["FunctionArn"])
    return topic


def test_a_topic_is_told_every_turn_of_an_alarm_but_of_suppressed_ones(iot, make, topic, listen):
    """One alarm clears; four others end because nobody watches for them any more."""
    told = listen(make("Watcher"), "told")
    pump = make("Pump7")
    pumps = "thinggroup/Pumps"
    iot.create_thing_group(thingGroupName="Pumps")
    iot.add_thing_to_thing_group(thingGroupName="Pumps", thingName="Pump7")
    small = ("small", "message-byte-size", "less-than-equals", {"count": 1000})
    hidden = behavior(
        *("hidden", "message-byte-size", "less-than-equals", {"count": 1000}, LONG_WINDOW_S),
        suppressAlerts=True,
    )
    lasting = behavior(*small, LONG_WINDOW_S)
    profiles = ["Cleared", "Detached", "Changed", "Deleted", "Left"]
    for name in profiles:
        first = behavior(*small, WINDOW_S) if name == "Cleared" else lasting
        watch(iot, name, pumps, first, hidden, alertTargets=alert(topic))

    def next_told():
        """The profiles and what became of their alarms, of the next messages."""
        message = json.loads(told.next_on("told"))
        assert message["thingName"] == "Pump7"
        assert message["behavior"]["name"] == "small", "of a suppressed behavior"
        ids.setdefault(message["securityProfileName"], message["violationId"])
        assert ids[message["securityProfileName"]] == message["violationId"]
        return message["securityProfileName"], message["violationEventType"], message.get(
            "metricValue"
        )

    ids = {}
    with pump.paho(paho.MQTTv5) as session:
        session.client.publish("readings", "x" * 3000, qos=1).wait_for_publish(10)
        raised = {next_told()[:2] for _ in profiles}
        assert raised == {(name, "in-alarm") for name in profiles}
        n_suppressed = len(alarms(iot, "Pump7", listSuppressedAlerts=True)) - len(
            alarms(iot, "Pump7")
        )
        assert n_suppressed == len(profiles)

        def cleared():
            session.client.publish("readings", "x", qos=1).wait_for_publish(10)
            return ("Cleared", "small") not in alarms(iot, "Pump7")

        eventually("a normal window clears", cleared)
        assert next_told() == ("Cleared", "alarm-cleared", {"count": 1})

        arn = f"arn:aws:iot:us-east-1:{ACCOUNT}:{pumps}"
        iot.detach_security_profile(
            securityProfileName="Detached", securityProfileTargetArn=arn
        )
        assert next_told() == ("Detached", "alarm-invalidated", None)
        iot.update_security_profile(
            securityProfileName="Changed",
            behaviors=[behavior(*small[:3], {"count": 5000}, LONG_WINDOW_S), hidden],
        )
        assert next_told() == ("Changed", "alarm-invalidated", None)
        iot.delete_security_profile(securityProfileName="Deleted")
        assert next_told() == ("Deleted", "alarm-invalidated", None)
        iot.remove_thing_from_thing_group(thingGroupName="Pumps", thingName="Pump7")
        assert next_told() == ("Left", "alarm-invalidated", None)

    # What was told is what is listed, but for the suppressed ones, which ended as silently.
    assert alarms(iot, "Pump7", listSuppressedAlerts=True) == set()
    assert events(iot, "Pump7").count(("hidden", "alarm-invalidated")) == len(profiles)
