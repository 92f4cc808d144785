"""A server that is stopped, killed and started again is the same server."""

import contextlib
import signal
import stat
import subprocess
import threading
import urllib.error
import urllib.request

import botocore.exceptions
import paho.mqtt.client as paho

from harness import ACCOUNT, ALLOW_ALL, DENY_ALL, PATIENCE_S, Server, eventually, picket, zipped

PLAIN_AND_SMALL = """
[mqtt.limits]
payload_bytes_max = 100

[[mqtt.listener]]
listen = "127.0.0.1:0"
tls = false
anonymous_policy = "Anonymous"
"""

# Says that it runs, and then neither ends nor lets itself be asked to.
HANGS = """
import os, pathlib, signal, time

def lambda_handler(event, context):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pathlib.Path(os.environ["RUNS"]).touch()
    time.sleep(600)
"""


def test_a_second_start_has_the_same_keys_and_the_same_state(new_server, tmp_path):
    server = new_server.start()
    before = {name: server.env[name] for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    authority = (server.data_dir / "ca.pem").read_text()
    server.aws("iot").create_policy(policyName="P", policyDocument=ALLOW_ALL)
    pump = server.provision("Pump7", "P", tmp_path)
    server.stop()

    server.start()
    assert {name: server.env[name] for name in before} == before
    assert (server.data_dir / "ca.pem").read_text() == authority
    assert server.aws("iot").describe_thing(thingName="Pump7")["thingName"] == "Pump7"
    assert pump.publish("a", "hello") == (0, "")
    server.stop()


def test_what_was_acknowledged_survives_a_kill(new_server):
    server = new_server.start()
    acknowledged = []

    def create_until_it_dies():
        iot = server.aws("iot")
        try:
            for n in range(100_000):
                iot.create_thing(thingName=f"Thing{n}")
                acknowledged.append(f"Thing{n}")
        except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            pass

    worker = threading.Thread(target=create_until_it_dies)
    worker.start()
    eventually("some things are made", lambda: len(acknowledged) >= 50)
    server.kill()
    worker.join()

    server.start()
    pages = server.aws("iot").get_paginator("list_things").paginate()
    names = {thing["thingName"] for page in pages for thing in page["things"]}
    assert names >= set(acknowledged)
    server.stop()


def test_a_log_that_cannot_be_written_stops_nothing(new_server, tmp_path):
    server = new_server.start(log="/dev/full")
    iot = server.aws("iot")
    iot.create_policy(policyName="P", policyDocument=ALLOW_ALL)
    pump = server.provision("Pump7", "P", tmp_path)
    assert pump.publish("a", "hello") == (0, "")
    server.stop()


def test_keys_are_for_the_owner_alone(new_server):
    server = new_server.start()
    mode = (server.data_dir / "credentials").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    server.stop()


def test_the_endpoints_name_the_addresses_really_bound(new_server):
    server = new_server.start()
    endpoints = server.endpoints()
    for listener in ("api", "console", "mqtts"):
        [address] = endpoints[listener]
        assert address.startswith("127.0.0.1:") and not address.endswith(":0")
    assert endpoints["mqtt"] == []
    server.stop()


def test_two_servers_cannot_share_a_data_directory(new_server):
    server = new_server.start()
    second = subprocess.run(
        [picket(), "serve", "--data-dir", server.data_dir, "--api", "127.0.0.1:0"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert second.returncode != 0
    assert "in use" in second.stderr
    server.stop()


def test_a_wrong_configuration_is_refused_before_anything_starts(tmp_path):
    file = tmp_path / "picket.toml"
    file.write_text("[api]\nlsten = 1\n")
    done = subprocess.run(
        [picket(), "serve", "--data-dir", tmp_path / "data", "--config", file],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode != 0
    assert "line 2" in done.stderr and "api.listen" in done.stderr
    assert not (tmp_path / "data").exists()


def test_sigterm_closes_open_sessions_and_exits_in_time(new_server, tmp_path):
    server = new_server.start()
    server.aws("iot").create_policy(policyName="P", policyDocument=ALLOW_ALL)
    pump = server.provision("Pump7", "P", tmp_path)
    subscriber = pump.mosquitto("mosquitto_sub", "-t", "#", "-d")
    eventually("it is subscribed", lambda: "SUBACK" in subscriber.stdout.readline())
    server.stop()
    subscriber.kill()
    subscriber.communicate()


def test_a_function_that_hangs_does_not_hold_up_a_stop(new_server, tmp_path):
    server = new_server.start()
    functions = server.aws("lambda")
    runs = tmp_path / "runs"
    functions.create_function(
        FunctionName="Hangs",
        Runtime="python3.11",
        Role=f"arn:aws:iam::{ACCOUNT}:role/Hangs",
        Handler="index.lambda_handler",
        Code={"ZipFile": zipped(index=HANGS)},
        Environment={"Variables": {"RUNS": str(runs)}},
        Timeout=300,
    )

    # A caller that waits, so that the stop takes long enough to be looked at.
    def call():
        with contextlib.suppress(botocore.exceptions.BotoCoreError):
            functions.invoke(FunctionName="Hangs")

    caller = threading.Thread(target=call)
    caller.start()
    eventually("the function runs", runs.exists)
    [console] = server.endpoints()["console"]

    server.process.send_signal(signal.SIGTERM)

    def says_no():
        try:
            urllib.request.urlopen(f"http://{console}/readyz", timeout=5)
        except urllib.error.HTTPError as answer:
            return answer.code == 503
        return False

    eventually("the server says that it takes no work", says_no)
    server.stop()
    caller.join()


def test_a_plain_listener_gives_the_rights_of_its_policy_and_no_more(tmp_path):
    server = Server(tmp_path / "data", PLAIN_AND_SMALL)
    try:
        iot = server.start().aws("iot")
        host, port = server.endpoints()["mqtt"][0].split(":")

        def publish(message):
            command = ["mosquitto_pub", "-h", host, "-p", port, "-i", "anybody", "-V", "5"]
            command += ["-q", "1", "-t", "a", "-m", message]
            return subprocess.run(command, capture_output=True, timeout=PATIENCE_S).returncode

        assert publish("there is no such policy yet") != 0
        iot.create_policy(policyName="Anonymous", policyDocument=ALLOW_ALL)
        assert publish("x" * 100) == 0
        assert publish("x" * 101) != 0

        session = paho.Client(
            paho.CallbackAPIVersion.VERSION2, client_id="stays", reconnect_on_failure=False
        )
        connected, closed = threading.Event(), threading.Event()
        session.on_connect = lambda *_: connected.set()
        session.on_disconnect = lambda *_: closed.set()
        session.connect(host, int(port))
        session.loop_start()
        assert connected.wait(PATIENCE_S)
        iot.create_policy_version(
            policyName="Anonymous", policyDocument=DENY_ALL, setAsDefault=True
        )
        assert closed.wait(PATIENCE_S)
        session.loop_stop()
        server.stop()
    finally:
        server.kill()
