"""Connections, direct messages and retained messages, as boto3's iot-data speaks of them."""

import json
import time
import uuid

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import ALLOW_ALL, allow, eventually, listed, refused

NOT_FOUND = ("ResourceNotFoundException", 404)


@pytest.fixture(scope="module")
def data(server):
    return server.aws("iot-data")


@pytest.fixture
def pump(device, anything_goes):
    """A device with a name of its own in each story."""
    return device(f"Pump-{uuid.uuid4()}", anything_goes)


def test_a_connection_is_described_while_it_is_there_and_after(data, pump):
    refused(lambda: data.get_connection(clientId=pump.name), *NOT_FOUND)
    before_ms = time.time() * 1000
    with pump.paho(paho.MQTTv5):
        found = data.get_connection(clientId=pump.name)
        del found["ResponseMetadata"]
        since = found.pop("connectedSince")
        assert before_ms - 1 <= since <= time.time() * 1000 + 1
        assert found == {
            "clientId": pump.name,
            "connected": True,
            "thingName": pump.name,
            "cleanSession": True,
            "keepAliveDuration": 60,
            "sessionExpiry": 0,
        }
        found = data.get_connection(clientId=pump.name, includeSocketInformation=True)
        assert (found["sourceIp"], found["targetIp"]) == ("127.0.0.1", "127.0.0.1")
        assert found["targetPort"] == pump.port
        assert found["sourcePort"] not in (0, pump.port)
    found = eventually(
        "the client is away",
        lambda: [it for it in [data.get_connection(clientId=pump.name)] if not it["connected"]],
    )[0]
    assert found["disconnectReason"] == "CLIENT_INITIATED_DISCONNECT"
    assert found["disconnectedSince"] >= since
    assert "connectedSince" not in found and "sourceIp" not in found


@pytest.mark.parametrize("prevented", [False, True])
def test_a_client_is_sent_away_and_its_will_is_sent_or_not(
    data, pump, device, anything_goes, listen, prevented
):
    heard = listen(device(f"Heir-{prevented}", anything_goes), f"wills/{prevented}/#")
    with pump.paho(paho.MQTTv5, will=(f"wills/{prevented}/will", b"gone")) as session:
        data.delete_connection(clientId=pump.name, preventWillMessage=prevented)
        assert session.wait_for("disconnected") == ("disconnected", "Administrative action")
        # Its library would come back at once.
        session.client.disconnect()
    data.publish(topic=f"wills/{prevented}/after", qos=1, payload=b"")
    told = heard.until(lambda topic, text: topic.endswith("/after"))
    will = [] if prevented else [f"wills/{prevented}/will"]
    assert [topic for topic, _ in told] == [*will, f"wills/{prevented}/after"]
    refused(lambda: data.delete_connection(clientId="nobody"), *NOT_FOUND)


def test_subscriptions_are_listed_page_by_page_and_end_with_the_session(data, pump):
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2,
        client_id=pump.name,
        clean_session=False,
        protocol=paho.MQTTv311,
    )
    client.tls_set(pump.ca, str(pump.certificate), str(pump.key))
    filters = sorted(f"floor/{n}/#" for n in range(25))
    client.on_connect = lambda *_: client.subscribe([(it, 1) for it in filters])
    client.connect(pump.host, pump.port)
    client.loop_start()

    def subscriptions():
        found = []
        token = {}
        while True:
            page = data.list_subscriptions(clientId=pump.name, maxResults=10, **token)
            assert len(page["subscriptions"]) <= 10
            found += page["subscriptions"]
            if "nextToken" not in page:
                return found
            token = {"nextToken": page["nextToken"]}

    expected = [{"topicFilter": it, "qos": 1} for it in filters]
    connected = lambda: data.get_connection(clientId=pump.name)["connected"]
    eventually("the client is connected", lambda: pump_is_known(data, pump) and connected())
    eventually("all is subscribed to", lambda: subscriptions() == expected)
    client.disconnect()
    client.loop_stop()
    eventually("the client is away", lambda: not connected())
    assert subscriptions() == expected, "kept with the session"
    assert data.get_connection(clientId=pump.name)["cleanSession"] is False
    data.delete_connection(clientId=pump.name)
    assert subscriptions() == expected, "asked for nothing"
    data.delete_connection(clientId=pump.name, cleanSession=True)
    refused(lambda: data.list_subscriptions(clientId=pump.name), *NOT_FOUND)
    refused(lambda: data.delete_connection(clientId=pump.name), *NOT_FOUND)


def pump_is_known(data, pump):
    try:
        return data.get_connection(clientId=pump.name)
    except data.exceptions.ResourceNotFoundException:
        return None


def test_a_direct_message_reaches_one_client_without_a_subscription(
    data, pump, device, anything_goes, listen
):
    other = listen(device("Bystander", anything_goes), "direct/#")
    with pump.paho(paho.MQTTv5) as session:
        answer = data.send_direct_message(clientId=pump.name, topic="direct/0", payload=b"hi")
        assert answer["message"] == "OK" and answer["traceId"]
        assert session.wait_for("message") == ("message", "direct/0", b"hi")
        # Confirmed by the client's library.
        data.send_direct_message(
            clientId=pump.name,
            topic="direct/1",
            payload=b"",
            confirmation=True,
            timeout=15,
            contentType="text/plain",
            responseTopic="direct/answer",
            userProperties=json.dumps([{"k": "v"}]),
            payloadFormatIndicator="UTF8_DATA",
            correlationData="Yy0x",
        )
        assert session.wait_for("message") == ("message", "direct/1", b"")
    data.publish(topic="direct/after", qos=1, payload=b"")
    assert other.until(lambda topic, text: True) == [("direct/after", "")]
    is_away = lambda: not data.get_connection(clientId=pump.name)["connected"]
    eventually("the client is away", is_away)
    send = lambda: data.send_direct_message(clientId=pump.name, topic="t", payload=b"x")
    refused(send, *NOT_FOUND)


def test_a_direct_message_needs_the_receivers_right_and_its_word(server, iot, data, device):
    may = [("Connect", "client/*"), ("Receive", "topic/open/*")]
    iot.create_policy(policyName="OpenOnly", policyDocument=allow(*may))
    shy = device("Shy", "OpenOnly")
    client = paho.Client(
        paho.CallbackAPIVersion.VERSION2, client_id="Shy", protocol=paho.MQTTv5, manual_ack=True
    )
    client.tls_set(shy.ca, str(shy.certificate), str(shy.key))
    properties = Properties(PacketTypes.CONNECT)
    properties.MaximumPacketSize = 100
    client.connect(shy.host, shy.port, properties=properties)
    client.loop_start()
    eventually("the client is connected", lambda: pump_is_known(data, shy))
    send = lambda **more: data.send_direct_message(**{"clientId": "Shy", "payload": b"x", **more})
    refused(lambda: send(topic="secret"), "ForbiddenException", 403)
    refused(
        lambda: send(topic="open/large", payload=b"x" * 200), "RequestEntityTooLargeException", 413
    )
    large = b"x" * (128 * 1024 + 1)
    refused(
        lambda: send(topic="open/larger", payload=large), "RequestEntityTooLargeException", 413
    )
    for topic in ("", "a/#", "+", "a\0b", "$share/g/t", "x" * 2000):
        refused(lambda: send(topic=topic), "InvalidRequestException", 400)
    for timeout in (0, 16):
        refused(
            lambda: send(topic="open/t", confirmation=True, timeout=timeout),
            "InvalidRequestException",
            400,
        )
    with pytest.raises(data.exceptions.GatewayTimeoutException):
        send(topic="open/unconfirmed", confirmation=True, timeout=1)
    client.disconnect()
    client.loop_stop()


def test_retained_messages_are_listed_given_and_gone_with_the_right_to_them(
    server, iot, data, device
):
    iot.create_policy(policyName="Keeper", policyDocument=ALLOW_ALL)
    keeper = device("Keeper", "Keeper")
    before_ms = time.time() * 1000
    with keeper.paho(paho.MQTTv5) as session:
        properties = Properties(PacketTypes.PUBLISH)
        properties.UserProperty = [("k", "v"), ("k", "w")]
        session.client.publish("kept/b c", b"\x00\xff", qos=1, retain=True, properties=properties)
        session.wait_for("published")
        for n in range(3):
            session.client.publish(f"kept/{n}", b"x" * n, qos=0, retain=True)
        session.client.publish("kept/last", b"x", qos=1, retain=True)
        session.wait_for("published")
    data.publish(topic="by/the/server", qos=1, retain=True, payload=b"12345")

    def topics():
        size = {"PageSize": 2}
        pages = listed(data, "list_retained_messages", "retainedTopics", PaginationConfig=size)
        return [it["topic"] for it in pages]

    # An empty one is none.
    assert topics() == ["by/the/server", "kept/1", "kept/2", "kept/b c", "kept/last"]
    [first] = data.list_retained_messages(maxResults=1)["retainedTopics"]
    assert before_ms - 1 <= first.pop("lastModifiedTime") <= time.time() * 1000 + 1
    assert first == {"topic": "by/the/server", "payloadSize": 5, "qos": 1}
    found = data.get_retained_message(topic="kept/b c")
    assert (found["payload"], found["qos"]) == (b"\x00\xff", 1)
    assert json.loads(found["userProperties"]) == [{"k": "v"}, {"k": "w"}]
    assert "userProperties" not in data.get_retained_message(topic="kept/1")
    refused(lambda: data.get_retained_message(topic="kept/0"), *NOT_FOUND)
    refused(lambda: data.get_retained_message(topic="kept/#"), "InvalidRequestException", 400)

    without = json.loads(ALLOW_ALL)
    without["Statement"].append(
        {
            "Effect": "Deny",
            "Action": "iot:RetainPublish",
            "Resource": "arn:aws:iot:*:*:topic/kept/b c",
        }
    )
    iot.create_policy_version(
        policyName="Keeper", policyDocument=json.dumps(without), setAsDefault=True
    )
    eventually("the message is gone", lambda: "kept/b c" not in topics())
    refused(lambda: data.get_retained_message(topic="kept/b c"), *NOT_FOUND)
    assert topics() == ["by/the/server", "kept/1", "kept/2", "kept/last"]


@pytest.mark.parametrize("client_id", ["$aws", "a\0b", "a\nb", "\x7f", "x" * 129, "ü" * 65])
def test_what_is_no_client_id_is_refused(data, client_id):
    for call in (
        lambda: data.get_connection(clientId=client_id),
        lambda: data.delete_connection(clientId=client_id, cleanSession=True),
        lambda: data.list_subscriptions(clientId=client_id),
        lambda: data.send_direct_message(clientId=client_id, topic="t"),
    ):
        refused(call, "InvalidRequestException", 400)


@pytest.mark.parametrize("client_id", ["#", "a+/b", "%00", "a%2Fb", "ü", "a b?c=d&e"])
def test_odd_client_ids_are_client_ids(data, device, anything_goes, client_id):
    odd = device(f"Odd-{client_id.encode().hex()}", anything_goes)
    refused(lambda: data.get_connection(clientId=client_id), *NOT_FOUND)
    with odd.paho(paho.MQTTv5, client_id=client_id) as session:
        assert data.get_connection(clientId=client_id)["clientId"] == client_id
        data.send_direct_message(clientId=client_id, topic="t", payload=b"x", confirmation=True)
        session.wait_for("message")
        data.delete_connection(clientId=client_id)
        session.wait_for("disconnected")
        session.client.disconnect()
