"""Agents report what a device does: AWS's own, unmodified, and whoever speaks their language."""

import json
import subprocess
import sys
import time

import cbor
import paho.mqtt.client as paho
import pytest

from harness import ALLOW_ALL, PATIENCE_S, eventually
from isolation import alert, isolation
from profiles import alarms, behavior, values, watch

OPEN_A_PORT = """
import socket
listening = socket.create_server(("0.0.0.0", 4444))
input()
"""


def said(report):
    """What a report of the Python agent comes to, as metric values.

    It leaves out a section that is empty, which says nothing.
    """
    metrics = report["metrics"]
    found = {"cpu_usage": {"number": report["custom_metrics"]["cpu_usage"][0]["number"]}}
    if tcp := metrics.get("listening_tcp_ports"):
        found["aws:num-listening-tcp-ports"] = {"count": tcp["total"]}
        found["aws:listening-tcp-ports"] = {"ports": sorted({it["port"] for it in tcp["ports"]})}
    if network := metrics.get("network_stats"):
        for metric, name in [
            ("aws:all-bytes-out", "bytes_out"),
            ("aws:all-bytes-in", "bytes_in"),
            ("aws:all-packets-out", "packets_out"),
            ("aws:all-packets-in", "packets_in"),
        ]:
            found[metric] = {"count": network[name]}
    if tcp := metrics.get("tcp_connections"):
        total = tcp["established_connections"]["total"]
        found["aws:num-established-tcp-connections"] = {"count": total}
    return found


def start_agent(network, device, form, *more):
    """AWS's Python agent as this device, as its readme starts it."""
    return network.start(
        *[sys.executable, "-u", "-m", "AWSIoTDeviceDefenderAgentSDK.agent"],
        *["--endpoint", device.host, "--rootCA", device.ca, "--cert", device.certificate],
        *["--key", device.key, "--format", form, "--interval", "2", *more],
        stdout=subprocess.DEVNULL,
    )


@pytest.mark.parametrize("form, read", [("json", json.loads), ("cbor", cbor.loads)])
def test_the_python_agent_of_aws_reports_and_a_port_that_it_opens_raises_an_alarm(
    on_port_443, network, tmp_path, form, read
):
    server, iot = on_port_443, on_port_443.aws("iot")
    iot.create_custom_metric(
        metricName="cpu_usage", metricType="number", clientRequestToken="story"
    )
    iot.create_policy(policyName="AnythingGoes", policyDocument=ALLOW_ALL)
    gateway = server.provision("Gateway", "AnythingGoes", tmp_path)
    retained = ["all-bytes-out", "all-bytes-in", "all-packets-out", "all-packets-in"]
    retained += ["num-listening-tcp-ports", "num-established-tcp-connections"]
    watch(
        iot,
        "Ports",
        "all/registered-things",
        behavior("ports", "listening-tcp-ports", "in-port-set", {"ports": [22]}, window_s=None),
        additionalMetricsToRetainV2=[
            *({"metric": f"aws:{name}"} for name in retained),
            {"metric": "cpu_usage"},
        ],
    )
    topic = f"$aws/things/Gateway/defender/metrics/{form}"
    watcher = server.provision("Watcher", "AnythingGoes", tmp_path)
    with watcher.paho(paho.MQTTv311) as heard:
        heard.client.subscribe([(topic, 1), (f"{topic}/accepted", 1), (f"{topic}/rejected", 1)])
        heard.wait_for("subscribed")
        more = ["--client_id", "Gateway", "--include-custom-metrics"]
        agent = start_agent(network, gateway, form, *more)

        def next_report():
            """The agent's next report, and the answer to it."""
            _, found, payload = heard.wait_for("message")
            assert found == topic, payload
            sent = time.monotonic()
            _, found, answer = heard.wait_for("message")
            assert found == f"{topic}/accepted", answer
            assert time.monotonic() - sent < 2, "the answer came too late for embedded clients"
            report, answer = read(payload), read(answer)
            assert answer["thingName"] == "Gateway"
            assert answer["status"] == "ACCEPTED"
            assert answer["reportId"] == report["header"]["report_id"]
            return report

        reports = [next_report(), next_report()]
        assert alarms(iot, "Gateway") == set()
        opened = network.start(sys.executable, "-c", OPEN_A_PORT, stdin=subprocess.PIPE)
        eventually("the port raises the alarm", lambda: alarms(iot, "Gateway"))
        while not any(it["port"] == 4444 for it in ports_of(reports[-1])):
            reports.append(next_report())
        agent.terminate()
        agent.wait(PATIENCE_S)

        [violation] = iot.list_active_violations(thingName="Gateway")["activeViolations"]
        assert violation["behavior"]["name"] == "ports"
        assert violation["lastViolationValue"] == {"ports": [4444]}
        sent = [said(report) for report in reports]
        for metric in sent[-1]:
            expected = [of_report[metric] for of_report in sent if metric in of_report]
            eventually(
                f"the values of {metric} begin with {expected}",
                lambda: values(iot, "Gateway", metric)[: len(expected)] == expected,
            )
        opened.stdin.close()


def ports_of(report):
    return report["metrics"].get("listening_tcp_ports", {"ports": []})["ports"]


def test_an_agent_that_sends_more_than_200_bytes_is_isolated_under_another_client_id(
    on_port_443, network, tmp_path
):
    server, iot = on_port_443, on_port_443.aws("iot")
    topic = isolation(server, group="IsolatedDevices", topic="BadIoTDevices")
    iot.create_policy(policyName="AnythingGoes", policyDocument=ALLOW_ALL)
    sensor = server.provision("SensorDevice03", "AnythingGoes", tmp_path)
    bystander = server.provision("SensorDevice01", "AnythingGoes", tmp_path)
    at_most = "less-than-equals"
    watch(
        iot,
        "DetectSendingMoreThanAverageBytes",
        "all/registered-things",
        behavior("MoreBytesSent", "all-bytes-out", at_most, {"count": 200}, window_s=300),
        alertTargets=alert(topic),
    )
    more = ["--client_id", "the-agent-of-03", "--thing_name", "SensorDevice03"]
    start_agent(network, sensor, "json", *more)
    eventually(
        "SensorDevice03 is isolated",
        lambda: iot.list_things_in_thing_group(thingGroupName="IsolatedDevices")["things"]
        == ["SensorDevice03"],
    )
    # Whatever the agent's connection calls itself: the group binds the certificate's thing.
    assert sensor.publish("temperature-device-03", "still here?")[0] != 0
    assert bystander.publish("temperature-device-01", "as ever") == (0, "")
    assert alarms(iot, "SensorDevice01") == set()
