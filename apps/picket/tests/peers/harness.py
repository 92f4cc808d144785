"""The real server as a child process, and the real clients that talk to it."""

import contextlib
import dataclasses
import io
import json
import os
import pathlib
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile

import boto3
import botocore.config
import paho.mqtt.client as paho
import pytest
from awscrt import io as crt_io
from awscrt import mqtt as crt_mqtt
from awscrt import mqtt5 as crt_mqtt5
from botocore.exceptions import ClientError

ACCOUNT = "123456789012"
ALPN_OF_AWS = "x-amzn-mqtt-ca"

# Where `cargo xtask peers` puts the packages of node/package.json.
NODE_MODULES = pathlib.Path(sys.prefix) / "node" / "node_modules"

# Long enough for a loaded machine; a story that goes right never waits for it.
PATIENCE_S = 30


def picket():
    """The server's program, as `cargo xtask test` built it."""
    return os.environ["PICKET_BIN"]


def eventually(what, condition, patience_s=PATIENCE_S):
    """Waits until `condition()` is true and returns its value; fails with `what` if it never is."""
    deadline = time.monotonic() + patience_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"never came true: {what}"
        time.sleep(0.05)


class Server:
    """`picket serve` on free ports; `more_config` is added to its configuration file."""

    def __init__(self, data_dir, more_config=""):
        self.data_dir = pathlib.Path(data_dir)
        self.more_config = more_config
        self.process = None
        self.env = None

    def start(self, log=None):
        """Starts the server, which logs to `log`, and returns when it says that it is ready."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        config = self.data_dir / "test.toml"
        functions = f"[functions]\npython = {json.dumps(sys.executable)}\n"
        config.write_text(functions + self.more_config)
        self.log = open(log or self.data_dir / "test.log", "ab")
        anywhere = "127.0.0.1:0"
        flags = ["--api", anywhere, "--console", anywhere]
        if "[[mqtt.listener]]" not in self.more_config:
            flags += ["--mqtts", anywhere]
        self.process = subprocess.Popen(
            [picket(), "serve", "--data-dir", self.data_dir, "--config", config, *flags],
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        lines = queue.Queue()
        threading.Thread(target=self._read, args=(self.process, lines), daemon=True).start()
        with contextlib.suppress(queue.Empty):
            while True:
                line = lines.get(timeout=PATIENCE_S)
                if line == "picket ready\n":
                    self.env = self._environment()
                    return self
                if line is None:
                    break
        raise AssertionError(f"the server did not get ready:\n{self.log_text()}")

    @staticmethod
    def _read(process, lines):
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    def _environment(self):
        command = [picket(), "env", "--data-dir", self.data_dir, "--format", "json"]
        return json.loads(subprocess.check_output(command))

    def log_text(self):
        """What the server logged so far, to be shown with a failure."""
        return (self.data_dir / "test.log").read_text(errors="replace")

    def endpoints(self):
        """The addresses that the server says it bound."""
        return json.loads((self.data_dir / "endpoints.json").read_text())

    def stop(self):
        """Asks the server to stop, as a service manager does; it has five seconds."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"no exit within 5 s of SIGTERM:\n{self.log_text()}") from None
        self.process = None
        assert code == 0, f"exit code {code}:\n{self.log_text()}"

    def kill(self):
        """Ends the server without a word."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def aws(self, service):
        """A boto3 client that knows nothing but what `picket env` prints."""
        return boto3.client(
            service,
            endpoint_url=self.env["AWS_ENDPOINT_URL"],
            region_name=self.env["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.env["AWS_SECRET_ACCESS_KEY"],
            config=botocore.config.Config(retries={"max_attempts": 0}, read_timeout=PATIENCE_S),
        )

    def cli(self, *words, check=True):
        """Types `aws WORDS...` and returns what it prints; the exit code must be 0 if `check`."""
        aws = pathlib.Path(sys.executable).with_name("aws")
        env = {**os.environ, **self.env, "AWS_PAGER": "", "AWS_CONFIG_FILE": os.devnull}
        done = subprocess.run([aws, *words], env=env, capture_output=True, text=True, timeout=60)
        assert not check or done.returncode == 0, done.stderr
        return done

    def provision(self, name, policy, folder):
        """Creates a thing with a key and a certificate that `policy` is attached to."""
        iot = self.aws("iot")
        iot.create_thing(thingName=name)
        made = iot.create_keys_and_certificate(setAsActive=True)
        iot.attach_thing_principal(thingName=name, principal=made["certificateArn"])
        iot.attach_policy(policyName=policy, target=made["certificateArn"])
        folder = pathlib.Path(folder)
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_text(made["certificatePem"])
        key.write_text(made["keyPair"]["PrivateKey"])
        return Device(self, name, made["certificateId"], made["certificateArn"], certificate, key)


@dataclasses.dataclass
class Device:
    """A registered device and the files it connects with."""

    server: Server
    name: str
    certificate_id: str
    certificate_arn: str
    certificate: pathlib.Path
    key: pathlib.Path
    # Where it does not connect to what `picket env` names, or trusts another authority.
    other_port: "int | None" = None
    other_ca: "str | None" = None

    @property
    def host(self):
        return self.server.env["PICKET_MQTT_HOST"]

    @property
    def port(self):
        return self.other_port or int(self.server.env["PICKET_MQTT_PORT"])

    @property
    def ca(self):
        return self.other_ca or self.server.env["PICKET_CA"]

    def mosquitto(self, program, *words, **options):
        """Starts `mosquitto_pub` or `mosquitto_sub` as this device."""
        # Into a pipe they would write by the block, and a line would be seen too late.
        command = ["stdbuf", "-oL", program]
        command += ["-h", self.host, "-p", str(self.port), "-i", self.name]
        command += ["--cafile", self.ca, "--cert", self.certificate, "--key", self.key]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen([*command, *words], text=True, **{**pipes, **options})

    def publish(self, topic, message, qos=1):
        """Sends one message with `mosquitto_pub`; returns its exit code and its complaint."""
        process = self.mosquitto("mosquitto_pub", "-t", topic, "-s", "-q", str(qos))
        _, complaint = process.communicate(message, timeout=PATIENCE_S)
        return process.returncode, complaint

    def paho(self, version, will=None, client_id=None, websocket=None):
        """A connected paho client, and the queue of what happens to it.

        `websocket` is "https" or "http" for one that connects so.
        """
        return PahoSession(self, version, will, client_id, websocket)

    def mqtt_js(self, url, version, topic):
        """Lets MQTT.js send itself a message at each QoS; what it heard, with its QoS."""
        how = {"url": url, "version": version, "clientId": self.name, "topic": topic}
        # With a certificate it speaks TLS, whatever the URL says.
        certificate = {"cert": str(self.certificate), "key": str(self.key)}
        files = {"ca": self.ca, **({} if url.startswith("ws:") else certificate)}
        client = pathlib.Path(__file__).with_name("node") / "client.cjs"
        done = subprocess.run(
            ["node", client, json.dumps({**how, **files})],
            env={**os.environ, "NODE_PATH": str(NODE_MODULES)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def crt_tls(self, alpn):
        """How an AWS SDK connects as this device, with or without ALPN."""
        options = crt_io.TlsContextOptions.create_client_with_mtls_from_path(
            str(self.certificate), str(self.key)
        )
        options.override_default_trust_store_from_path(None, str(self.ca))
        if alpn:
            options.alpn_list = [alpn]
        return crt_io.ClientTlsContext(options)


class PahoSession:
    """A paho connection that is open; what happens to it is put into `happened`."""

    def __init__(self, device, version, will=None, client_id=None, websocket=None):
        self.happened = queue.Queue()
        options = {} if version == paho.MQTTv5 else {"clean_session": True}
        self.client = paho.Client(
            paho.CallbackAPIVersion.VERSION2,
            client_id=client_id or device.name,
            protocol=version,
            transport="websockets" if websocket else "tcp",
            **options,
        )
        if websocket != "http":
            self.client.tls_set(device.ca, str(device.certificate), str(device.key))
        if will:
            self.client.will_set(*will, qos=1)
        happened = self.happened
        self.client.on_connect = lambda c, u, f, reason, p: happened.put(("connected", str(reason)))
        self.client.on_disconnect = lambda c, u, f, reason, p: happened.put(
            ("disconnected", str(reason))
        )
        self.client.on_subscribe = lambda c, u, m, codes, p: happened.put(("subscribed", codes))
        self.client.on_message = lambda c, u, message: happened.put(
            ("message", message.topic, message.payload)
        )
        self.client.on_publish = lambda c, u, m, reason, p: happened.put(("published", str(reason)))
        self.client.connect(device.host, device.port, keepalive=60)
        self.client.loop_start()

    def wait_for(self, kind):
        """The next thing of this kind that happens; what comes before it is passed over."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            fact = self.happened.get(timeout=max(0, deadline - time.monotonic()))
            if fact[0] == kind:
                return fact

    def __enter__(self):
        assert self.wait_for("connected")[1] == "Success"
        return self

    def __exit__(self, *_):
        self.client.disconnect()
        self.client.loop_stop()


class CrtSession3:
    """An open MQTT 3.1.1 connection of awscrt, the client below the AWS IoT SDK."""

    def __init__(self, device, alpn):
        self.messages = queue.Queue()
        self.connection = crt_mqtt.Connection(
            client=crt_mqtt.Client(tls_ctx=device.crt_tls(alpn)),
            host_name=device.host,
            port=device.port,
            client_id=device.name,
            username="?SDK=Python&Version=1.31.0",
            clean_session=False,
            keep_alive_secs=30,
        )

    def __enter__(self):
        self.connection.connect().result(PATIENCE_S)
        return self

    def __exit__(self, *_):
        self.connection.disconnect().result(PATIENCE_S)

    def subscribe(self, topic):
        def received(topic, payload, **_):
            self.messages.put((topic, payload))

        future, _ = self.connection.subscribe(topic, crt_mqtt.QoS.AT_LEAST_ONCE, received)
        return future.result(PATIENCE_S)

    def publish(self, topic, payload):
        future, _ = self.connection.publish(topic, payload, crt_mqtt.QoS.AT_LEAST_ONCE)
        future.result(PATIENCE_S)


class CrtSession5:
    """An open MQTT 5 connection of awscrt."""

    def __init__(self, device, alpn):
        self.messages = queue.Queue()
        self.outcome = queue.Queue()
        self.stopped = threading.Event()
        self.client = crt_mqtt5.Client(
            crt_mqtt5.ClientOptions(
                host_name=device.host,
                port=device.port,
                tls_ctx=device.crt_tls(alpn),
                connect_options=crt_mqtt5.ConnectPacket(client_id=device.name),
                on_publish_callback_fn=self._received,
                on_lifecycle_event_connection_success_fn=lambda data: self.outcome.put(None),
                on_lifecycle_event_connection_failure_fn=lambda data: self.outcome.put(
                    data.exception
                ),
                on_lifecycle_event_stopped_fn=lambda data: self.stopped.set(),
            )
        )

    def _received(self, data):
        packet = data.publish_packet
        self.messages.put((packet.topic, packet.payload))

    def __enter__(self):
        self.client.start()
        failure = self.outcome.get(timeout=PATIENCE_S)
        assert failure is None, failure
        return self

    def __exit__(self, *_):
        self.client.stop()
        assert self.stopped.wait(PATIENCE_S)

    def subscribe(self, topic):
        subscription = crt_mqtt5.Subscription(topic, crt_mqtt5.QoS.AT_LEAST_ONCE)
        packet = crt_mqtt5.SubscribePacket([subscription])
        return self.client.subscribe(packet).result(PATIENCE_S)

    def publish(self, topic, payload):
        qos = crt_mqtt5.QoS.AT_LEAST_ONCE
        packet = crt_mqtt5.PublishPacket(topic=topic, payload=payload, qos=qos)
        self.client.publish(packet).result(PATIENCE_S)


class Listener:
    """A running `mosquitto_sub`; `messages` is the queue of (topic, text) that it printed."""

    def __init__(self, device, topic, *words):
        self.messages = queue.Queue()
        self.process = device.mosquitto(
            *["mosquitto_sub", "-t", topic, "-q", "1", "-F", "%t %p", "-d", *words],
            stderr=subprocess.STDOUT,
        )
        subscribed = threading.Event()
        threading.Thread(target=self._read, args=(subscribed,), daemon=True).start()
        assert subscribed.wait(PATIENCE_S), "mosquitto_sub never got its SUBACK"

    def _read(self, subscribed):
        # With -d its own story stands between the messages.
        for line in self.process.stdout:
            if line.startswith("Subscribed (mid"):
                subscribed.set()
            elif not line.startswith(("Client ", "Subscribed ")):
                topic, _, text = line.rstrip("\n").partition(" ")
                self.messages.put((topic, text))

    def next_on(self, topic):
        """The text of the next message on a topic; others are passed over."""
        return self.until(lambda found, text: found == topic)[-1][1]

    def until(self, is_last):
        """All messages, in order, up to the first that `is_last(topic, text)` is true of."""
        deadline = time.monotonic() + PATIENCE_S
        heard = []
        while not heard or not is_last(*heard[-1]):
            heard.append(self.messages.get(timeout=max(0, deadline - time.monotonic())))
        return heard

    def close(self):
        self.process.terminate()
        self.process.wait()


def refused(call, code, status, match=None):
    """Makes the call, checks how it was refused, and gives the message."""
    with pytest.raises(ClientError, match=match) as error:
        call()
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert answer["ResponseMetadata"]["RequestId"]
    return answer["Error"]["Message"]


def listed(client, operation, member, **arguments):
    """All items of a list that botocore can turn the pages of."""
    pages = client.get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page[member]]


def allow(*statements):
    """An IoT policy document that allows pairs of (action, resource)."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": f"iot:{action}",
                    "Resource": f"arn:aws:iot:us-east-1:{ACCOUNT}:{resource}",
                }
                for action, resource in statements
            ],
        }
    )


DENY_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Deny", "Action": "iot:*", "Resource": "*"}],
    }
)

ALLOW_ALL = allow(
    ("Connect", "client/*"),
    ("Publish", "topic/*"),
    ("RetainPublish", "topic/*"),
    ("Subscribe", "topicfilter/*"),
    ("Receive", "topic/*"),
)


def zipped(**files):
    """The bytes of a zip with these files, `index="..."` as `index.py`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(f"{name}.py", text)
    return buffer.getvalue()


def missing_peers():
    """Programs that the stories need and this machine lacks."""
    programs = ("mosquitto_pub", "mosquitto_sub", "stdbuf", "node", "openssl", "curl")
    missing = [name for name in programs if shutil.which(name) is None]
    return missing if (NODE_MODULES / "mqtt").is_dir() else [*missing, "MQTT.js"]
