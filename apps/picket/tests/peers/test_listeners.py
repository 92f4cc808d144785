"""Every door that devices can come by, with the clients that come by it, and the keys to the doors."""

import dataclasses
import http.client
import json
import os
import signal
import ssl
import subprocess
import threading

import paho.mqtt.client as paho
import pytest
import requests
from awscrt import mqtt5 as crt_mqtt5
from awsiot import mqtt5_client_builder, mqtt_connection_builder

import harness
from harness import ALPN_OF_AWS, PATIENCE_S, CrtSession3, CrtSession5, eventually

ALPN_OF_AWS_HTTP = "x-amzn-http-ca"

CONFIG = """
[[mqtt.listener]]
listen = "127.0.0.1:0"
[[mqtt.listener]]
listen = "127.0.0.1:0"
[[mqtt.listener]]
listen = "127.0.0.1:0"
protocol = "http"
[[mqtt.listener]]
listen = "127.0.0.1:0"
protocol = "http"
tls = false
anonymous_policy = "AnythingGoes"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server with a door of every kind."""
    server = harness.Server(tmp_path_factory.mktemp("picket"), CONFIG)
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()


def port_of(server, kind, n=0):
    return int(server.endpoints()[kind][n].rsplit(":", 1)[1])


def at_port(device, port):
    return dataclasses.replace(device, other_port=port)


# One that speaks HTTP does so with those who name nothing, as AWS's port 443 does.
@pytest.mark.parametrize(
    ("kind", "n", "alpn"),
    [
        ("mqtts", 0, None),
        ("mqtts", 0, ALPN_OF_AWS),
        ("mqtts", 1, None),
        ("mqtts", 1, "mqtt"),
        ("https", 0, ALPN_OF_AWS),
        ("https", 0, "mqtt"),
    ],
)
@pytest.mark.parametrize("session", [CrtSession3, CrtSession5])
def test_every_tls_port_speaks_mqtt(server, device, anything_goes, kind, n, alpn, session):
    name = f"Door-{kind}-{n}-{alpn}-{session.__name__}"
    visitor = at_port(device(name, anything_goes), port_of(server, kind, n))
    with session(visitor, alpn) as open_session:
        open_session.subscribe(name)
        open_session.publish(name, b"hello")
        assert open_session.messages.get(timeout=PATIENCE_S) == (name, b"hello")


def test_the_aws_iot_sdk_builds_a_connection_for_either_version(server, device, anything_goes):
    pump = device("Built", anything_goes)
    options = {
        "endpoint": pump.host,
        "port": port_of(server, "mqtts"),
        "cert_filepath": str(pump.certificate),
        "pri_key_filepath": str(pump.key),
        "ca_filepath": pump.ca,
        "client_id": pump.name,
    }
    connection = mqtt_connection_builder.mtls_from_path(**options)
    connection.connect().result(PATIENCE_S)
    connection.disconnect().result(PATIENCE_S)
    stopped, connected = threading.Event(), threading.Event()
    client = mqtt5_client_builder.mtls_from_path(
        **options,
        on_lifecycle_connection_success=lambda data: connected.set(),
        on_lifecycle_stopped=lambda data: stopped.set(),
    )
    client.start()
    assert connected.wait(PATIENCE_S)
    packet = crt_mqtt5.PublishPacket(
        topic="built", payload=b"x", qos=crt_mqtt5.QoS.AT_LEAST_ONCE
    )
    client.publish(packet).result(PATIENCE_S)
    client.stop()
    assert stopped.wait(PATIENCE_S)


@pytest.mark.parametrize("version", [paho.MQTTv311, paho.MQTTv5])
@pytest.mark.parametrize("kind", ["https", "http"])
def test_paho_hears_itself_through_a_websocket(server, device, anything_goes, kind, version):
    visitor = at_port(device(f"Web{kind}{version}", anything_goes), port_of(server, kind))
    with visitor.paho(version, websocket=kind) as session:
        session.client.subscribe(f"web/{kind}{version}", qos=2)
        session.wait_for("subscribed")
        session.client.publish(f"web/{kind}{version}", b"x" * 100_000, qos=2)
        assert session.wait_for("message")[2] == b"x" * 100_000


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("way", ["wss", "mqtts", "ws"])
def test_mqtt_js_hears_itself(server, device, anything_goes, way, version):
    name = f"Js-{way}-{version}"
    visitor = device(name, anything_goes)
    url = {
        "wss": server.env["PICKET_WEBSOCKET_URL"],
        "mqtts": f"mqtts://{visitor.host}:{port_of(server, 'mqtts')}",
        "ws": f"ws://localhost:{port_of(server, 'http')}/mqtt",
    }[way]
    assert visitor.mqtt_js(url, version, topic=f"js/{name}") == [
        [f"js/{name}", f"at {qos}", qos] for qos in [0, 1, 2]
    ]


def test_mqtt_js_is_refused_what_the_policies_deny(server, iot, device):
    document = harness.allow(("Connect", "client/*"), ("Subscribe", "topicfilter/*"))
    iot.create_policy(policyName="Listens", policyDocument=document)
    with pytest.raises(AssertionError, match="Error"):
        device("JsDenied", "Listens").mqtt_js(server.env["PICKET_WEBSOCKET_URL"], 5, topic="a")


def post(device, topic, body=b"hello", client=requests, **options):
    """Publishes as AWS's guide does it, with the package `requests`."""
    url = device.server.env["PICKET_PUBLISH_URL"] + topic
    certificate = (str(device.certificate), str(device.key))
    return client.post(
        url, data=body, cert=certificate, verify=device.ca, timeout=PATIENCE_S, **options
    )


def test_a_device_publishes_by_https(server, device, anything_goes, listen):
    listener = listen(device("Hears", anything_goes), "posted/#")
    poster = device("Posts", anything_goes)
    answer = post(poster, "posted/one", params={"qos": 1})
    assert (answer.status_code, answer.json()["message"]) == (200, "OK")
    assert listener.next_on("posted/one") == "hello"
    curl = ["curl", "--silent", "--show-error", "--fail", "--tlsv1.2", "--cacert", poster.ca]
    curl += ["--cert", poster.certificate, "--key", poster.key, "--request", "POST"]
    url = f"{server.env['PICKET_PUBLISH_URL']}posted%2Ftwo?qos=1"
    answer = subprocess.check_output([*curl, "--data", "by curl", url], timeout=60)
    assert json.loads(answer)["message"] == "OK"
    assert listener.next_on("posted/two") == "by curl"


@pytest.mark.parametrize("kind", ["mqtts", "https"])
def test_one_port_takes_mqtt_and_https_apart_by_their_names(server, device, anything_goes, kind):
    poster = device(f"Named-{kind}", anything_goes)
    context = ssl.create_default_context(cafile=poster.ca)
    context.load_cert_chain(poster.certificate, poster.key)
    context.set_alpn_protocols([ALPN_OF_AWS_HTTP])
    connection = http.client.HTTPSConnection(
        poster.host, port_of(server, kind), context=context, timeout=PATIENCE_S
    )
    for _ in range(3):
        connection.request("POST", "/topics/named?qos=1", body=b"x")
        answer = connection.getresponse()
        assert (answer.status, json.load(answer)["message"]) == (200, "OK")


def test_who_may_not_publish_gets_awss_errors(server, iot, device, anything_goes):
    iot.create_policy(
        policyName="Talks", policyDocument=harness.allow(("Publish", "topic/allowed"))
    )
    talker = device("Talker", "Talks")
    assert post(talker, "allowed").status_code == 200
    for topic, body, status, name in [
        ("denied", b"", 403, "ForbiddenException"),
        ("a%2F%23", b"", 400, "InvalidRequestException"),
        ("allowed", b"x" * (128 * 1024 + 1), 413, "RequestEntityTooLargeException"),
    ]:
        answer = post(talker, topic, body)
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (status, name)
    iot.update_certificate(certificateId=talker.certificate_id, newStatus="INACTIVE")
    assert post(talker, "allowed").status_code == 403


def test_quarantine_reaches_those_who_publish_by_https(server, iot, device, anything_goes):
    group = iot.create_thing_group(thingGroupName="Quarantine")
    iot.create_policy(policyName="DenyAll", policyDocument=harness.DENY_ALL)
    iot.attach_policy(policyName="DenyAll", target=group["thingGroupArn"])
    bad = device("Bad", anything_goes)
    with requests.Session() as connection:
        assert post(bad, "a", client=connection).status_code == 200
        iot.add_thing_to_thing_group(thingGroupName="Quarantine", thingName="Bad")
        assert post(bad, "a", client=connection).status_code == 403


def openssl(*words, **options):
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=60, **options)


def own_certificate(folder, name):
    """An operator's certificate for the server, signed by itself, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    openssl(
        *["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
        *["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-days", "30"],
        *["-keyout", key, "-out", certificate],
    )
    return certificate, key


def served(server):
    """The certificate that the server shows to those who come now."""
    return ssl.get_server_certificate(("127.0.0.1", port_of(server, "https")))


@pytest.mark.parametrize("asked", [False, True])
def test_the_servers_certificate_changes_under_open_sessions(new_server, tmp_path, asked):
    server = new_server
    server.data_dir.mkdir(parents=True)
    first, first_key = own_certificate(tmp_path, "first")
    second, second_key = own_certificate(tmp_path, "second")
    in_use, key_in_use = server.data_dir / "server.pem", server.data_dir / "server.key"

    def use(certificate, key):
        key_in_use.write_bytes(key.read_bytes())
        in_use.write_bytes(certificate.read_bytes())

    use(first, first_key)
    tls = '[tls]\ncertificate = "server.pem"\nkey = "server.key"\nauthority = "first.pem"\n'
    (server.data_dir / "first.pem").write_bytes(first.read_bytes())
    server.more_config = tls + CONFIG
    server.start()
    server.aws("iot").create_policy(
        policyName="AnythingGoes", policyDocument=harness.ALLOW_ALL
    )
    pump = server.provision("Pump", "AnythingGoes", tmp_path)
    # What `picket env` says is to be trusted is.
    with pump.paho(paho.MQTTv5) as session:
        in_use.write_text("half a certifi")
        if asked:
            server.process.send_signal(signal.SIGHUP)
        eventually("a line about the broken file", lambda: "stays in force" in server.log_text())
        assert same(served(server), first)
        use(second, second_key)
        if asked:
            server.process.send_signal(signal.SIGHUP)
        eventually("the second certificate", lambda: same(served(server), second))
        session.client.publish("still", b"here", qos=1)
        session.wait_for("published")
        newcomer = dataclasses.replace(
            server.provision("Newcomer", "AnythingGoes", tmp_path), other_ca=str(second)
        )
        with newcomer.paho(paho.MQTTv5):
            pass
    server.stop()


def same(pem, file):
    return ssl.PEM_cert_to_DER_cert(pem) == ssl.PEM_cert_to_DER_cert(file.read_text())


def revocation_list(server, folder, devices):
    """A list by the server's own authority that revokes the certificates of devices."""
    index = folder / "index.txt"
    lines = []
    for device in devices:
        words = ["openssl", "x509", "-in", device.certificate, "-noout", "-serial"]
        serial = subprocess.check_output(words, text=True, timeout=60).strip().split("=")[1]
        lines.append(f"R\t491231235959Z\t250101000000Z\t{serial}\tunknown\t/CN=x\n")
    index.write_text("".join(lines))
    config = folder / "ca.cnf"
    config.write_text(
        f"[ca]\ndefault_ca = a\n[a]\ndatabase = {index}\ndefault_md = sha256\n"
        "default_crl_days = 7\n"
    )
    made = folder / "made.crl"
    authority = ["-cert", server.data_dir / "ca.pem", "-keyfile", server.data_dir / "ca.key.pem"]
    openssl("ca", "-gencrl", "-config", config, *authority, "-out", made)
    os.replace(made, server.data_dir / "fleet.crl")


def test_a_revocation_list_closes_a_session_and_keeps_it_out(new_server, tmp_path):
    server = new_server.start()
    server.aws("iot").create_policy(
        policyName="AnythingGoes", policyDocument=harness.ALLOW_ALL
    )
    good = server.provision("Good", "AnythingGoes", tmp_path)
    stolen = server.provision("Stolen", "AnythingGoes", tmp_path)
    server.stop()
    revocation_list(server, tmp_path, [])
    server.more_config = '[tls]\ncrls = ["fleet.crl"]\n' + CONFIG
    server.start()
    with good.paho(paho.MQTTv5) as stays, stolen.paho(paho.MQTTv5) as session:
        revocation_list(server, tmp_path, [stolen])
        session.wait_for("disconnected")
        session.client.loop_stop()
        assert stolen.publish("a", "b")[0] != 0
        assert post(stolen, "a").status_code == 403
        stays.client.publish("a", b"b", qos=1)
        stays.wait_for("published")
        # A list that cannot be used changes nothing.
        (server.data_dir / "fleet.crl").write_text("no list")
        server.process.send_signal(signal.SIGHUP)
        eventually("a line about the broken list", lambda: "stays in force" in server.log_text())
        assert stolen.publish("a", "b")[0] != 0
    server.stop()


def test_a_file_with_broken_certificates_is_found_by_a_check(tmp_path):
    certificate, _ = own_certificate(tmp_path, "one")
    _, key = own_certificate(tmp_path, "other")
    config = tmp_path / "picket.toml"
    config.write_text(f'[tls]\ncertificate = "{certificate.name}"\nkey = "{key.name}"\n')
    done = subprocess.run(
        [harness.picket(), "config", "check", config], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and "cannot be used with its certificate" in done.stderr
