"""What a persistent session was promised survives a server that is killed again and again."""

import contextlib
import dataclasses
import queue
import sqlite3
import threading

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from harness import ALLOW_ALL, PATIENCE_S, eventually

# Below what may wait for one client.
MESSAGES = 400

# Below 20: of what it has in flight beyond, paho forgets when it connects again that PUBREC came, and
# sends the whole message again.
IN_FLIGHT = 15

KILLED_AFTER = [0, 19, 20, 77, 150, 151, 300, 399]


class Persistent:
    """A paho client whose session is to survive.

    It comes back when it is told to, and once: with each attempt that fails, paho forgets of what is
    in flight that PUBREC came.
    """

    def __init__(self, device, version):
        self.connected = queue.Queue()
        self.subscribed = queue.Queue()
        self.received = []
        self.n_published = 0
        options = {} if version == paho.MQTTv5 else {"clean_session": False}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=device.name,
            protocol=version,
            reconnect_on_failure=False,
            **options,
        )
        self.client.tls_set(device.ca, str(device.certificate), str(device.key))
        self.client.on_connect = lambda c, u, flags, reason, p: self.connected.put(
            (str(reason), flags.session_present)
        )
        self.client.on_subscribe = lambda c, u, m, codes, p: self.subscribed.put(codes)
        self.client.on_message = lambda c, u, message: self.received.append(
            (message.qos, message.payload.decode())
        )
        self.client.on_publish = self._published
        options = {}
        if version == paho.MQTTv5:
            kept = Properties(PacketTypes.CONNECT)
            kept.SessionExpiryInterval = 600
            options = {"clean_start": False, "properties": kept}
        self.client.connect(device.host, device.port, keepalive=60, **options)
        self.client.loop_start()

    def _published(self, *_):
        self.n_published += 1

    def wait_connected(self):
        """Waits for the next connection; whether the session went on."""
        reason, is_present = self.connected.get(timeout=PATIENCE_S)
        assert reason == "Success"
        return is_present

    def come_back(self):
        """Connects again after the server was lost; whether the session went on."""
        self.client.loop_stop()
        self.client.reconnect()
        self.client.loop_start()
        return self.wait_connected()

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def start_to_stay(server):
    """Starts the server; from now on it comes back at the port that it has now."""
    server.start()
    address = server.endpoints()["mqtts"][0]
    server.more_config = f'[[mqtt.listener]]\nlisten = "{address}"\n'
    server.aws("iot").create_policy(policyName="P", policyDocument=ALLOW_ALL)


def check(received, numbers):
    """QoS 2 once and in order, QoS 1 at least once and first in order."""
    at_2 = [int(payload) for qos, payload in received if qos == 2]
    assert at_2 == [n for n in numbers if n % 2 == 0]
    at_1 = dict.fromkeys(int(payload) for qos, payload in received if qos == 1)
    assert list(at_1) == [n for n in numbers if n % 2 == 1]


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
def test_every_acknowledged_message_arrives_over_killed_servers(new_server, tmp_path, version):
    server = new_server
    start_to_stay(server)
    away = server.provision("Away", "P", tmp_path)
    subscribing = away.mosquitto("mosquitto_sub", "-c", "-q", "2", "-t", "jobs/#", "-E")
    assert subscribing.wait(timeout=PATIENCE_S) == 0, subscribing.stderr.read()
    reader = Persistent(server.provision("Reader", "P", tmp_path), version)
    assert not reader.wait_connected()
    reader.client.subscribe("jobs/#", qos=2)
    reader.subscribed.get(timeout=PATIENCE_S)
    publisher = Persistent(server.provision("Publisher", "P", tmp_path), version)
    assert not publisher.wait_connected()

    for n in range(MESSAGES):
        eventually("some are acknowledged", lambda n=n: n - publisher.n_published < IN_FLIGHT)
        publisher.client.publish(f"jobs/{n % 2}", str(n), qos=2 - n % 2)
        if n in KILLED_AFTER:
            server.kill()
            server.start()
            # The subscription and what was in flight are there; nobody subscribes again.
            assert reader.come_back()
            assert publisher.come_back()
    eventually("all are acknowledged", lambda: publisher.n_published >= MESSAGES)
    publisher.client.publish("jobs/end", "-2", qos=2).wait_for_publish(PATIENCE_S)
    server.kill()
    server.start()
    assert reader.come_back()

    expected = [*range(MESSAGES), -2]
    eventually("the last one", lambda: (2, "-2") in reader.received)
    check(reader.received, expected)
    lines = queue.Queue()
    waking = away.mosquitto("mosquitto_sub", "-c", "-q", "2", "-t", "jobs/#", "-F", "%q %p")
    threading.Thread(target=lambda: [lines.put(line) for line in waking.stdout], daemon=True).start()
    received = []
    while (2, "-2") not in received:
        qos, payload = lines.get(timeout=PATIENCE_S).split()
        received.append((int(qos), payload))
    waking.terminate()
    waking.communicate()
    check(received, expected)
    reader.close()
    publisher.close()
    server.stop()


def test_sessions_in_memory_end_with_the_server_and_do_not_come_back(new_server, tmp_path):
    server = new_server
    start_to_stay(server)
    sleeper = server.provision("Sleeper", "P", tmp_path)

    def comes_back():
        session = Persistent(sleeper, paho.MQTTv311)
        is_present = session.wait_connected()
        session.client.subscribe("t", qos=1)
        session.subscribed.get(timeout=PATIENCE_S)
        session.close()
        return is_present

    assert not comes_back()
    assert comes_back()
    durable = server.more_config
    server.kill()
    server.start()
    assert comes_back()
    # A server that is told not to keep its promises forgets those of the one before.
    server.kill()
    server.more_config = "[mqtt]\ndurable_sessions = false\n" + durable
    server.start()
    assert not comes_back()
    assert comes_back()
    server.kill()
    server.start()
    assert not comes_back()
    server.kill()
    server.more_config = durable
    server.start()
    assert not comes_back()
    server.stop()


def test_a_stored_session_goes_on_for_its_certificate_alone(new_server, tmp_path):
    server = new_server
    server.start()
    server.aws("iot").create_policy(policyName="P", policyDocument=ALLOW_ALL)
    owner = server.provision("Owner", "P", tmp_path)
    thief = dataclasses.replace(server.provision("Thief", "P", tmp_path), name="Owner")
    subscribing = owner.mosquitto("mosquitto_sub", "-c", "-q", "1", "-t", "jobs/#", "-E")
    assert subscribing.wait(timeout=PATIENCE_S) == 0, subscribing.stderr.read()
    publisher = server.provision("Publisher", "P", tmp_path)
    assert publisher.publish("jobs/1", "for the owner") == (0, "")
    server.kill()

    def stored():
        """Whose sessions are stored, and how many messages."""
        with contextlib.closing(sqlite3.connect(server.data_dir / "sessions.db")) as database:
            principals = database.execute("SELECT principal FROM sessions").fetchall()
            (messages,) = database.execute("SELECT count(*) FROM messages").fetchone()
        return [principal for (principal,) in principals], messages

    assert stored() == ([f"certificate/{owner.certificate_id}"], 1)
    server.start()
    session = Persistent(thief, paho.MQTTv5)
    assert not session.wait_connected()
    server.kill()
    assert stored() == ([f"certificate/{thief.certificate_id}"], 0)
    session.client.loop_stop()
    server.start()
    back = Persistent(owner, paho.MQTTv5)
    assert not back.wait_connected()
    assert publisher.publish("jobs/2", "for nobody") == (0, "")
    # What comes first is what it subscribes to now.
    back.client.subscribe("jobs/3", qos=1)
    back.subscribed.get(timeout=PATIENCE_S)
    assert publisher.publish("jobs/3", "for the owner again") == (0, "")
    eventually("a message", lambda: back.received)
    assert back.received == [(1, "for the owner again")]
    assert session.received == []
    back.close()
    server.stop()
