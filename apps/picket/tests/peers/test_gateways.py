"""Who may report for a device, as the registry and the configuration say it."""

import contextlib
import json
import pathlib
import queue

import paho.mqtt.client as paho
import pytest

import harness
from harness import eventually

SAMPLES = pathlib.Path(__file__).parents[4] / "core/report/tests/samples"
REPORT = (SAMPLES / "python-agent-2.0.0-long.json").read_bytes()
REPORT_ID = json.loads(REPORT)["header"]["report_id"]

# Every story reports for devices of its own, so the interval disturbs none.
DELEGATES = '[reports]\ndelegates = ["Delegate"]\n'


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server whose configuration names a gateway."""
    server = harness.Server(tmp_path_factory.mktemp("picket"), DELEGATES)
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def answer(listen):
    """What a device is answered that reports for another: `answer(device, "Pump7")`."""

    def report(sender, name):
        topic = f"$aws/things/{name}/defender/metrics/json"
        listener = listen(sender, f"{topic}/+")
        with sender.paho(paho.MQTTv311, client_id=f"{sender.name}-agent") as session:
            session.client.publish(topic, REPORT, qos=0)
            [*_, (answered_on, text)] = listener.until(lambda found, _: found.startswith(topic))
        found = json.loads(text)
        assert found["thingName"] == name
        assert answered_on == f"{topic}/{found['status'].lower()}"
        if found["status"] == "ACCEPTED":
            assert found["reportId"] == REPORT_ID
            return "ACCEPTED"
        return found["statusDetails"]["ErrorCode"]

    return report


def test_a_certificate_reports_for_its_thing_under_any_client_id(device, anything_goes, answer):
    assert answer(device("Pump1", anything_goes), "Pump1") == "ACCEPTED"


def test_a_second_report_comes_too_soon(device, anything_goes, answer):
    pump = device("Pump2", anything_goes)
    assert answer(pump, "Pump2") == "ACCEPTED"
    assert answer(pump, "Pump2") == "Throttled"


def test_a_device_with_every_right_reports_for_no_other(iot, device, anything_goes, answer):
    iot.create_thing(thingName="Pump3")
    assert answer(device("Neighbour", anything_goes), "Pump3") == "AccessDenied"


def test_the_configurations_delegate_reports_for_all(iot, device, anything_goes, answer):
    gateway = device("Delegate", anything_goes)
    for name in ["Pump4", "Pump5"]:
        iot.create_thing(thingName=name)
        assert answer(gateway, name) == "ACCEPTED"


def test_a_thing_names_its_gateway(iot, device, anything_goes, answer):
    gateway = device("Gateway", anything_goes)
    named = {"attributes": {"reportedBy": "Gateway"}}
    iot.create_thing(thingName="Pump6", attributePayload=named)
    iot.create_thing(thingName="Pump7")
    assert answer(gateway, "Pump6") == "ACCEPTED"
    assert answer(gateway, "Pump7") == "AccessDenied"
    iot.update_thing(thingName="Pump7", attributePayload=named)
    assert answer(gateway, "Pump7") == "ACCEPTED"


def test_an_attachment_reaches_an_open_session(iot, device, anything_goes, listen):
    agent = device("Agent", anything_goes)
    iot.create_thing(thingName="Pump8")
    topic = "$aws/things/Pump8/defender/metrics/json"
    listener = listen(agent, f"{topic}/+")
    with agent.paho(paho.MQTTv5, client_id="Agent-session") as session:
        session.client.publish(topic, REPORT, qos=1)
        assert "AccessDenied" in listener.next_on(f"{topic}/rejected")
        iot.attach_thing_principal(thingName="Pump8", principal=agent.certificate_arn)

        def accepted():
            # The session learns of its right within a moment, and of denials once a second.
            session.client.publish(topic, REPORT, qos=1)
            with contextlib.suppress(queue.Empty):
                return listener.messages.get(timeout=1)[0] == f"{topic}/accepted"

        eventually("the report is accepted", accepted)
