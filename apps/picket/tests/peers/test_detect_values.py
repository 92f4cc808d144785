"""What devices do and say, and what becomes of it: values, parts of metrics, exports."""

import json
import pathlib
import time

import cbor
import paho.mqtt.client as paho
import pytest

from harness import ALLOW_ALL, Server, eventually, listed
from isolation import ROLE
from profiles import LONG_WINDOW_S, WINDOW_S, alarms, behavior, events, values, watch
from reporter import Reporter

AT_MOST = "less-than-equals"
REGISTERED = "all/registered-things"
SAMPLES = pathlib.Path(__file__).parents[4] / "core/report/tests/samples"

# Of reports that real agents sent: ports, how many connections, bytes out, a custom number.
SAID = {
    "python-agent-2.0.0-long.json": (4, 6, 3001, 100),
    "python-agent-2.0.0-long.cbor": (4, 10, 102443, 100),
    "python-agent-2.0.0-short-first-sample-ipv6.json": (11, 10, 3993176252, 100),
    "python-agent-2.0.0-short-first-sample-ipv6.cbor": (11, 10, 3993176252, 100),
    "embedded-c-demo-long-custom-metrics.json": (10, 6, 2484746477, 2172),
    "embedded-c-demo-short-custom-metrics.json": (10, 8, 2484760490, 2173),
}


@pytest.fixture
def iot(eager_server):
    return eager_server.aws("iot")


def test_what_agents_say_in_long_short_and_mixed_names_becomes_values(iot, make):
    for name, kind in [
        ("cpu_usage", "number"),
        ("uptime", "number"),
        ("cpu_user_usage", "number-list"),
        ("network_interface_names", "string-list"),
        ("network_interface_addresses", "ip-address-list"),
    ]:
        iot.create_custom_metric(metricName=name, metricType=kind, clientRequestToken=name)
    retained = ["num-listening-tcp-ports", "num-established-tcp-connections", "all-bytes-out"]
    custom = ["cpu_usage", "uptime", "cpu_user_usage"]
    custom += ["network_interface_names", "network_interface_addresses"]
    metrics = [*(f"aws:{it}" for it in retained), *custom]
    watch(
        iot,
        "Kept",
        REGISTERED,
        behavior("some", "num-messages-sent", AT_MOST, {"count": 1000}, LONG_WINDOW_S),
        additionalMetricsToRetainV2=[{"metric": it} for it in metrics],
    )
    for number, (sample, expected) in enumerate(SAID.items()):
        name = f"Agent{number}"
        form, read = ("cbor", cbor.loads) if sample.endswith("cbor") else ("json", json.loads)
        payload = (SAMPLES / sample).read_bytes()
        topic = f"$aws/things/{name}/defender/metrics/{form}"
        with make(name).paho(paho.MQTTv311) as session:
            session.client.subscribe([(f"{topic}/accepted", 1), (f"{topic}/rejected", 1)])
            session.wait_for("subscribed")
            sent = time.monotonic()
            session.client.publish(topic, payload, qos=0)
            _, found, answer = session.wait_for("message")
            assert time.monotonic() - sent < 2, "the answer came too late for embedded clients"
            assert found == f"{topic}/accepted", answer
            report = read(payload)
            header = report.get("header") or report["hed"]
            assert read(answer)["reportId"] == header.get("report_id", header.get("rid"))

        def said():
            is_c = sample.startswith("embedded-c")
            asked = [*metrics[:3], "uptime" if is_c else "cpu_usage"]
            return [values(iot, name, metric) for metric in asked]

        *counts, number = expected
        wanted = [*([{"count": it}] for it in counts), [{"number": number}]]
        eventually(f"{sample} is listed as {wanted}", lambda: said() == wanted)
        if sample.startswith("embedded-c-demo-long"):
            lists = [values(iot, name, it) for it in custom[2:]]
            assert lists == [
                [{"numbers": [152542, 154616, 307159]}],
                [{"strings": ["eth0"]}],
                [{"cidrs": ["192.0.2.1/32"]}],
            ]


def test_a_dimension_judges_what_lies_in_it_and_what_does_not(iot, make):
    iot.create_dimension(
        name="Own",
        type="TOPIC_FILTER",
        stringValues=["devices/${iot:ClientId}/#", "common"],
        clientRequestToken="own",
    )

    def at_most(name, count, **more):
        limit = {"count": count}
        return behavior(name, "num-messages-sent", AT_MOST, limit, LONG_WINDOW_S, **more)

    def part(operator):
        return {"metricDimension": {"dimensionName": "Own", "operator": operator}}

    watch(
        iot,
        "Parts",
        REGISTERED,
        at_most("in", 2, **part("IN")),
        at_most("not_in", 2, **part("NOT_IN")),
        at_most("whole", 4),
    )
    sent = {
        "Inside": (["devices/Inside/a", "devices/Inside/b/c", "common"], {"in"}),
        "Outside": (["devices/Inside/a", "other", "Own"], {"not_in"}),
        "Within": (["common", "devices/Within/a", "x", "x"], set()),
        "Both": (["common", "common", "x", "x", "devices/Both/a", "x"], {"in", "not_in", "whole"}),
    }
    # Those that must stay silent come first: once the last alarms are on, they were judged.
    for name, (topics, _) in sorted(sent.items(), key=lambda item: len(item[1][1])):
        with make(name).paho(paho.MQTTv5) as session:
            for topic in topics:
                session.client.publish(topic, "x", qos=1).wait_for_publish(10)
    for name, (_, expected) in sent.items():
        expected = {("Parts", it) for it in expected}
        eventually(f"{name} is judged", lambda: alarms(iot, name) == expected)

    [violation] = iot.list_active_violations(thingName="Inside")["activeViolations"]
    assert violation["behavior"]["metricDimension"] == {"dimensionName": "Own", "operator": "IN"}
    assert violation["lastViolationValue"] == {"count": 3}


def test_alarms_and_runs_survive_a_restart(eager_server, make):
    """One of two datapoints before, the other one behind."""
    iot = eager_server.aws("iot")
    in_a_row = behavior("two", "all-bytes-out", AT_MOST, {"count": 100}, 300, to_alarm=2)
    ports = behavior("ports", "listening-tcp-ports", "in-port-set", {"ports": [22]}, None)
    watch(iot, "Lasting", REGISTERED, in_a_row, ports)
    pump, other = make("Pump7"), make("Pump8")
    with Reporter(pump) as device:
        device.sent(101)
        device.listens_on(4444)
        eventually("a port raises its alarm", lambda: alarms(iot, "Pump7") == {("Lasting", "ports")})
    [before] = iot.list_active_violations()["activeViolations"]
    eager_server.stop()

    iot = eager_server.start().aws("iot")
    [behind] = iot.list_active_violations()["activeViolations"]
    assert behind == before
    with Reporter(pump) as device, Reporter(other) as fresh:
        fresh.sent(101)
        device.sent(0)
        both = {("Lasting", "ports"), ("Lasting", "two")}
        eventually("the run goes on", lambda: alarms(iot, "Pump7") == both)
        device.listens_on(22)
        eventually("the port's alarm ends", lambda: ("ports", "alarm-cleared") in events(iot, "Pump7"))
    [ended] = [
        it["violationId"]
        for it in iot.list_violation_events(
            startTime=time.time() - 3600, endTime=time.time() + 60, thingName="Pump7"
        )["violationEvents"]
        if it["violationEventType"] == "alarm-cleared"
    ]
    assert ended == before["violationId"]
    assert alarms(iot, "Pump8") == set()


def test_a_learned_behavior_says_truly_how_much_it_has(iot, make):
    """Of the 25,000 datapoints that a model needs, a report brings one."""
    learned = {"mlDetectionConfig": {"confidenceLevel": "HIGH"}, "consecutiveDatapointsToAlarm": 1}
    learned["consecutiveDatapointsToClear"] = 1
    watch(
        iot,
        "Learned",
        REGISTERED,
        {"name": "bytes", "metric": "aws:all-bytes-out", "criteria": learned},
    )

    def summary():
        [found] = listed(
            iot,
            "get_behavior_model_training_summaries",
            "summaries",
            securityProfileName="Learned",
        )
        assert found["modelStatus"] == "PENDING_BUILD"
        return found["datapointsCollectionPercentage"]

    assert summary() == 0
    with Reporter(make("Pump7")) as device:
        for _ in range(5):
            device.sent(1_000_000_000)
        # Says nothing of bytes out, so there is nothing to learn from.
        device.listens_on(22)
        eventually("five are counted", lambda: summary() == 5 * 100 / 25_000)
        assert alarms(iot, "Pump7") == set()


EXPORT_S = 5


@pytest.fixture
def exporting(tmp_path):
    """A server that exports every few seconds."""
    config = f"[reports]\nmin_interval_s = 0\n[detect]\nexport_interval_s = {EXPORT_S}\n"
    server = Server(tmp_path / "data", config)
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()


def test_exported_values_reach_the_topic_of_their_profile(exporting, listen, tmp_path):
    iot = exporting.aws("iot")
    iot.create_policy(policyName="AnythingGoes", policyDocument=ALLOW_ALL)
    iot.create_custom_metric(metricName="fan", metricType="number", clientRequestToken="fan")
    iot.create_dimension(
        name="Readings", type="TOPIC_FILTER", stringValues=["readings"], clientRequestToken="r"
    )
    part = {"dimensionName": "Readings", "operator": "NOT_IN"}
    watch(
        iot,
        "Exporting",
        REGISTERED,
        behavior("size", "message-byte-size", AT_MOST, {"count": 9999}, exportMetric=True),
        behavior("sent", "num-messages-sent", AT_MOST, {"count": 9999}, exportMetric=True),
        behavior("kept", "num-disconnects", AT_MOST, {"count": 9999}),
        behavior(
            *("elsewhere", "num-messages-sent", AT_MOST, {"count": 9999}),
            metricDimension=part,
            exportMetric=True,
        ),
        additionalMetricsToRetainV2=[
            {"metric": "fan", "exportMetric": True},
            {"metric": "aws:all-bytes-in"},
        ],
        metricsExportConfig={"mqttTopic": "export/pumps", "roleArn": ROLE},
    )
    heard = listen(exporting.provision("Watcher", "AnythingGoes", tmp_path), "export/pumps")
    with Reporter(exporting.provision("Pump7", "AnythingGoes", tmp_path)) as pump:
        # All in one window, whose beginning is a period's too.
        time.sleep(WINDOW_S - time.time() % WINDOW_S + 0.5)
        pump.publish("readings", "x" * 100)
        pump.publish("readings", "x" * 300)
        pump.says({}, custom_metrics={"fan": [{"number": 12.5}]})

        found = {}
        while len(found) < 6:
            message = json.loads(heard.next_on("export/pumps"))
            assert message["version"] == "1.0"
            for it in message["metrics"]:
                assert set(it) - {"dimension"} == {"name", "thing", "value", "version", "timestamp"}
                assert abs(it["timestamp"] / 1000 - time.time()) < 60
                if it["thing"] == "Pump7" and it["value"] != {"count": 0}:
                    dimension = it.get("dimension", {}).get("operator")
                    found.setdefault((it["name"], dimension), it["value"])
    report_bytes = found["aws:message-byte-size", None]["count"] - 400
    assert 50 < report_bytes < 300
    assert found == {
        ("aws:num-messages-sent", None): {"count": 3},
        ("aws:num-messages-sent", "NOT_IN"): {"count": 1},
        ("aws:message-byte-size", None): {"count": 400 + report_bytes},
        ("aws:message-byte-size-min", None): {"count": min(100, report_bytes)},
        ("aws:message-byte-size-max", None): {"count": 300},
        ("fan", None): {"number": 12.5},
    }
