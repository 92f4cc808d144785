"""A change of rights reaches a session that is open, wherever the right came from."""

import json

import paho.mqtt.client as paho
import pytest

from harness import ACCOUNT, ALLOW_ALL, DENY_ALL, allow

WITHOUT_CONNECT = allow(("Publish", "topic/*"), ("Subscribe", "topicfilter/*"))

ONLY_UNDER_ITS_OWN_NAME = allow(
    ("Connect", "client/${iot:Connection.Thing.ThingName}"),
    ("Publish", "topic/*"),
    ("Subscribe", "topicfilter/*"),
)


def group_arn(name):
    return f"arn:aws:iot:us-east-1:{ACCOUNT}:thinggroup/{name}"


def certificate_is(status):
    def change(iot, pump, name):
        iot.update_certificate(certificateId=pump.certificate_id, newStatus=status)

    return change


def new_version(document):
    def change(iot, pump, name):
        iot.create_policy_version(policyName=name, policyDocument=document, setAsDefault=True)

    return change


def policy_detached(iot, pump, name):
    iot.detach_policy(policyName=name, target=pump.certificate_arn)


def denial_attached(iot, pump, name):
    iot.create_policy(policyName=f"{name}-deny", policyDocument=DENY_ALL)
    iot.attach_policy(policyName=f"{name}-deny", target=pump.certificate_arn)


def moved_to_a_group_that_denies(iot, pump, name):
    iot.create_thing_group(thingGroupName=name)
    iot.create_policy(policyName=f"{name}-deny", policyDocument=DENY_ALL)
    iot.attach_policy(policyName=f"{name}-deny", target=group_arn(name))
    iot.add_thing_to_thing_group(thingGroupName=name, thingName=name)


def moved_below_a_group_that_denies(iot, pump, name):
    iot.create_thing_group(thingGroupName=name)
    iot.create_policy(policyName=f"{name}-deny", policyDocument=DENY_ALL)
    iot.attach_policy(policyName=f"{name}-deny", target=group_arn(name))
    iot.create_thing_group(thingGroupName=f"{name}-child", parentGroupName=name)
    iot.update_thing_groups_for_thing(thingName=name, thingGroupsToAdd=[f"{name}-child"])


def denial_attached_to_its_group(iot, pump, name):
    iot.create_thing_group(thingGroupName=name)
    iot.add_thing_to_thing_group(thingGroupName=name, thingName=name)
    iot.create_policy(policyName=f"{name}-deny", policyDocument=DENY_ALL)
    iot.attach_policy(policyName=f"{name}-deny", target=group_arn(name))


def thing_detached(iot, pump, name):
    iot.detach_thing_principal(thingName=name, principal=pump.certificate_arn)


CHANGES = {
    "certificate-inactive": (ALLOW_ALL, certificate_is("INACTIVE")),
    "certificate-revoked": (ALLOW_ALL, certificate_is("REVOKED")),
    "version-denies": (ALLOW_ALL, new_version(DENY_ALL)),
    "version-lacks-connect": (ALLOW_ALL, new_version(WITHOUT_CONNECT)),
    "policy-detached": (ALLOW_ALL, policy_detached),
    "denial-attached": (ALLOW_ALL, denial_attached),
    "group": (ALLOW_ALL, moved_to_a_group_that_denies),
    "child-group": (ALLOW_ALL, moved_below_a_group_that_denies),
    "policy-of-group": (ALLOW_ALL, denial_attached_to_its_group),
    "thing-detached": (ONLY_UNDER_ITS_OWN_NAME, thing_detached),
}


@pytest.fixture(scope="module")
def bystander(server, anything_goes, tmp_path_factory):
    """A device that has nothing to do with any of this."""
    return server.provision("Bystander", anything_goes, tmp_path_factory.mktemp("bystander"))


@pytest.mark.parametrize("case", CHANGES)
def test_a_right_that_is_taken_closes_the_session_and_nobody_elses(
    server, iot, device, bystander, listen, case
):
    document, change = CHANGES[case]
    name = f"Pump-{case}"
    iot.create_policy(policyName=name, policyDocument=document)
    pump = device(name, name)
    heard = listen(bystander, f"{case}/#")
    with pump.paho(paho.MQTTv5, will=(f"{case}/will", b"gone")) as session:
        session.client.subscribe(f"{case}/commands", qos=1)
        session.wait_for("subscribed")
        session.client.publish(f"{case}/seen", b"before", qos=1)
        session.wait_for("published")
        change(iot, pump, name)
        assert session.wait_for("disconnected") == ("disconnected", "Not authorized")
    again = pump.paho(paho.MQTTv5)
    assert again.wait_for("connected") == ("connected", "Not authorized")
    again.client.loop_stop()
    server.aws("iot-data").publish(topic=f"{case}/after", qos=1, payload=b"as ever")
    messages = heard.until(lambda topic, text: topic == f"{case}/after")
    assert [topic for topic, _ in messages] == [f"{case}/seen", f"{case}/after"]


def test_what_waits_for_a_device_is_not_delivered_once_it_may_not_receive_it(
    server, iot, device
):
    may = [("Connect", "client/*"), ("Subscribe", "topicfilter/*")]
    secret, open_to_it = ("Receive", "topic/waits/secret"), ("Receive", "topic/waits/open")
    iot.create_policy(policyName="Waits", policyDocument=allow(*may, secret, open_to_it))
    sleeper = device("Sleeper", "Waits")
    again = ["-t", "waits/#", "-q", "1", "-c", "-v"]
    sleeper.mosquitto("mosquitto_sub", *again, "-E").communicate(timeout=30)

    data = server.aws("iot-data")
    for topic in ("waits/secret", "waits/open"):
        data.publish(topic=topic, qos=1, payload=b"psst")
    new_version(allow(*may, open_to_it))(iot, sleeper, "Waits")

    heard, _ = sleeper.mosquitto("mosquitto_sub", *again, "-C", "1").communicate(timeout=30)
    assert heard == "waits/open psst\n"


def test_a_retained_message_goes_with_its_publishers_right(iot, device, anything_goes, listen):
    iot.create_policy(policyName="Retains", policyDocument=ALLOW_ALL)
    for name, policy in (("Villain", "Retains"), ("Honest", anything_goes)):
        with device(name, policy).paho(paho.MQTTv5) as session:
            session.client.publish(f"state/{name}", b"mine", qos=1, retain=True)
            session.wait_for("published")
    new_version(DENY_ALL)(iot, None, "Retains")
    with device("LateReader", anything_goes).paho(paho.MQTTv5) as reader:
        reader.client.subscribe("state/#", qos=1)
        reader.client.publish("state/end", b"", qos=1)
        heard = [reader.wait_for("message")[1], reader.wait_for("message")[1]]
    assert heard == ["state/Honest", "state/end"]


def test_the_api_says_beforehand_what_the_broker_will_do(iot, device):
    statements = [
        ("Allow", "iot:Connect", "client/${iot:Connection.Thing.ThingName}"),
        ("Allow", "iot:Publish", "topic/foretold/*"),
        ("Deny", "iot:Publish", "topic/foretold/secret"),
        ("Allow", "iot:Subscribe", "topicfilter/foretold/+"),
    ]
    arn = f"arn:aws:iot:us-east-1:{ACCOUNT}:"
    document = [
        {"Effect": effect, "Action": action, "Resource": arn + resource}
        for effect, action, resource in statements
    ]
    iot.create_policy(
        policyName="Foretold",
        policyDocument=json.dumps({"Version": "2012-10-17", "Statement": document}),
    )
    foretold = device("Foretold", "Foretold")
    topics = ["foretold/a", "foretold/secret", "elsewhere"]
    filters = ["foretold/+", "foretold/#", "foretold/a"]
    asked = [("CONNECT", "client/Foretold"), ("CONNECT", "client/Other")]
    asked += [("PUBLISH", f"topic/{topic}") for topic in topics]
    asked += [("SUBSCRIBE", f"topicfilter/{filter}") for filter in filters]
    answers = iot.test_authorization(
        principal=foretold.certificate_arn,
        clientId="Foretold",
        authInfos=[{"actionType": action, "resources": [arn + it]} for action, it in asked],
    )["authResults"]
    said = [answer["authDecision"] == "ALLOWED" for answer in answers]

    done = []
    with foretold.paho(paho.MQTTv5) as session:
        done.append(True)
        with_another_name = foretold.paho(paho.MQTTv5, client_id="Other")
        done.append(with_another_name.wait_for("connected")[1] == "Success")
        with_another_name.client.loop_stop()
        for topic in topics:
            session.client.publish(topic, b"x", qos=1)
            done.append(session.wait_for("published")[1] != "Not authorized")
        for filter in filters:
            session.client.subscribe(filter, qos=1)
            [code] = session.wait_for("subscribed")[1]
            done.append(not code.is_failure)
    assert dict(zip(asked, done)) == dict(zip(asked, said))
