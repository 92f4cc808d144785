"""Every client that a device may bring can connect, subscribe, publish and hear itself."""

import urllib.request

import paho.mqtt.client as paho
import pytest

from harness import ALLOW_ALL, ALPN_OF_AWS, DENY_ALL, PATIENCE_S, CrtSession3, CrtSession5

WITH_AND_WITHOUT_ALPN = pytest.mark.parametrize("alpn", [None, ALPN_OF_AWS, "mqtt"])


@pytest.mark.parametrize("qos", [0, 1, 2])
def test_mosquitto_clients_talk_to_each_other(device, anything_goes, listen, qos):
    listener = listen(device(f"Listener{qos}", anything_goes), f"mosquitto/{qos}")
    speaker = device(f"Speaker{qos}", anything_goes)
    assert speaker.publish(f"mosquitto/{qos}", "hello", qos) == (0, "")
    assert listener.next_on(f"mosquitto/{qos}") == "hello"


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
def test_paho_hears_itself(device, anything_goes, version):
    with device(f"Paho{version}", anything_goes).paho(version) as session:
        session.client.subscribe(f"paho/{version}", qos=1)
        session.wait_for("subscribed")
        session.client.publish(f"paho/{version}", b"hello", qos=1)
        assert session.wait_for("message") == ("message", f"paho/{version}", b"hello")


@WITH_AND_WITHOUT_ALPN
def test_the_aws_iot_sdk_hears_itself_with_mqtt_3(device, anything_goes, alpn):
    name = f"Crt3-{alpn}"
    with CrtSession3(device(name, anything_goes), alpn) as session:
        session.subscribe(name)
        session.publish(name, b"hello")
        assert session.messages.get(timeout=PATIENCE_S) == (name, b"hello")


@WITH_AND_WITHOUT_ALPN
def test_the_aws_iot_sdk_hears_itself_with_mqtt_5(device, anything_goes, alpn):
    name = f"Crt5-{alpn}"
    with CrtSession5(device(name, anything_goes), alpn) as session:
        session.subscribe(name)
        session.publish(name, b"hello")
        assert session.messages.get(timeout=PATIENCE_S) == (name, b"hello")


def test_a_retained_message_waits_for_whoever_comes_later(device, anything_goes, listen):
    with device("Retainer", anything_goes).paho(paho.MQTTv5) as session:
        session.client.publish("last/known", b"42", qos=1, retain=True)
        session.wait_for("published")
    assert listen(device("Latecomer", anything_goes), "last/+").next_on("last/known") == "42"


def test_a_message_from_the_api_reaches_a_device(server, device, anything_goes, listen):
    listener = listen(device("Commanded", anything_goes), "commands/#")
    server.aws("iot-data").publish(topic="commands/one", qos=1, payload=b"go")
    assert listener.next_on("commands/one") == "go"


def test_a_deactivated_certificate_closes_the_session_and_keeps_it_out(iot, device, anything_goes):
    stolen = device("Stolen", anything_goes)
    with stolen.paho(paho.MQTTv5) as session:
        iot.update_certificate(certificateId=stolen.certificate_id, newStatus="INACTIVE")
        session.wait_for("disconnected")
        session.client.loop_stop()
    assert stolen.publish("a", "b")[0] != 0


def test_a_policy_change_reaches_a_session_that_is_open(iot, device):
    iot.create_policy(policyName="Changing", policyDocument=ALLOW_ALL)
    with device("Changed", "Changing").paho(paho.MQTTv5) as session:
        iot.create_policy_version(
            policyName="Changing", policyDocument=DENY_ALL, setAsDefault=True
        )
        session.wait_for("disconnected")
        session.client.loop_stop()


def test_a_certificate_that_nobody_registered_does_not_get_in(server, iot, device, anything_goes):
    stranger = device("Stranger", anything_goes)
    iot.update_certificate(certificateId=stranger.certificate_id, newStatus="INACTIVE")
    iot.detach_thing_principal(thingName="Stranger", principal=stranger.certificate_arn)
    iot.delete_certificate(certificateId=stranger.certificate_id, forceDelete=True)
    assert stranger.publish("a", "b")[0] != 0


def test_a_second_connection_with_the_same_name_takes_over(device, anything_goes):
    twin = device("Twin", anything_goes)
    with twin.paho(paho.MQTTv5) as first:
        first.client.reconnect_delay_set(min_delay=PATIENCE_S)
        with twin.paho(paho.MQTTv5) as second:
            first.wait_for("disconnected")
            second.client.publish("a", b"still here", qos=1)
            second.wait_for("published")
            first.client.loop_stop()


def test_a_payload_over_the_limit_closes_that_session_alone(device, anything_goes):
    with device("Bystander", anything_goes).paho(paho.MQTTv5) as bystander:
        with device("Flooder", anything_goes).paho(paho.MQTTv5) as flooder:
            flooder.client.publish("a", b"x" * (128 * 1024 + 1), qos=1)
            flooder.wait_for("disconnected")
            flooder.client.loop_stop()
        bystander.client.publish("a", b"x" * 128 * 1024, qos=1)
        bystander.wait_for("published")


def test_the_console_address_tells_health_and_counts(server, device, anything_goes):
    [console] = server.endpoints()["console"]

    def page(path):
        with urllib.request.urlopen(f"http://{console}{path}", timeout=PATIENCE_S) as answer:
            return answer.read().decode()

    page("/healthz")
    page("/readyz")
    with device("Counted", anything_goes).paho(paho.MQTTv5):
        assert "\npicket_" in page("/metrics")
