"""Devices that lie, or fall silent: what the broker saw stands beside what they say."""

import time

import pytest

from harness import eventually
from profiles import alarms, behavior, events, explanations, watch
from reporter import Reporter

AT_MOST = "less-than-equals"

# The broker's bytes of the last five to ten seconds are held against the report after the next.
OLD_ENOUGH_S = 10.5


@pytest.fixture
def iot(eager_server):
    return eager_server.aws("iot")


def notes(iot, thing, name):
    """What is noted beside the alarm of a behavior, as kind and sentence."""
    return {it["kind"]: it["sentence"] for it in explanations(iot, thing)[name]["notes"]}


def test_who_owns_up_to_less_than_it_sent_is_caught(iot, make):
    watch(
        iot,
        "Honesty",
        "all/registered-things",
        behavior("disagrees", "picket:bytes-out-disagrees", AT_MOST, {"count": 0}, window_s=None),
        behavior("at_most_100", "all-bytes-out", AT_MOST, {"count": 100}, 300),
    )
    with Reporter(make("Liar")) as liar, Reporter(make("Honest")) as honest:
        for device in (liar, honest):
            device.sent(0)
            device.publish("readings", "x" * 5000)
        time.sleep(OLD_ENOUGH_S)
        liar.sent(100)
        honest.sent(100_000)
        eventually("the liar is caught", lambda: alarms(iot, "Liar") == {("Honesty", "disagrees")})
        eventually("it is judged", lambda: alarms(iot, "Honest") == {("Honesty", "at_most_100")})
        assert notes(iot, "Honest", "at_most_100") == {}
        [violation] = iot.list_active_violations(thingName="Liar")["activeViolations"]
        # All payloads count, those of reports too.
        assert 4900 <= violation["lastViolationValue"]["count"] <= 5400
        assert "5," in notes(iot, "Liar", "disagrees")["bytes-out-disagrees"]

        # The next report owns up, but the alarm that it raises says how far to trust the device.
        liar.sent(1000)
        eventually("it cleared", lambda: alarms(iot, "Liar") == {("Honesty", "at_most_100")})
        assert "bytes-out-disagrees" in notes(iot, "Liar", "at_most_100")


def test_tricks_with_reports_are_noted_beside_alarms(iot, make):
    watch(
        iot,
        "Ports",
        "all/registered-things",
        behavior("ports", "listening-tcp-ports", "in-port-set", {"ports": [22]}, None, to_clear=2),
        behavior("packets", "all-packets-out", AT_MOST, {"count": 10}, 300),
    )
    with Reporter(make("Trickster")) as device:
        backward = device.answer({"network_stats": {"bytes_in": -1}})
        assert backward["statusDetails"] == {
            "ErrorCode": "InvalidPayload",
            "ErrorMessage": "`metrics.network_stats.bytes_in` is negative",
        }
        device.listens_on(22, 4444)
        eventually("the port is noticed", lambda: alarms(iot, "Trickster"))
        assert set(notes(iot, "Trickster", "ports")) == {"counter-ran-backward"}

        device.says({"listening_tcp_ports": {"ports": []}}, report_id=device.report_id)
        device.says({"network_stats": {"packets_out": 11}}, report_id=1)
        eventually("packets are too many", lambda: len(alarms(iot, "Trickster")) == 2)
        found = notes(iot, "Trickster", "packets")
        assert list(found) == [
            "empty-after-violation",
            "counter-ran-backward",
            "report-id-fell",
            "report-id-repeated",
        ]
        assert all(sentence for sentence in found.values())


@pytest.mark.slow
def test_a_connected_device_that_stops_reporting_is_missed(iot, make):
    """Whole minutes: the alarm comes with the first."""
    missing = behavior("missing", "picket:report-missing", "less-than", {"count": 1})
    watch(iot, "Reports", "all/registered-things", missing)
    silent, reporting, never = make("Silent"), make("Reporting"), make("Never")
    with Reporter(silent) as silent, Reporter(reporting) as reporting, Reporter(never):
        silent.sent(0)

        def missed():
            reporting.sent(0)
            return alarms(iot, "Silent")

        eventually("it is missed", missed, patience_s=90)
        assert alarms(iot, "Reporting") == alarms(iot, "Never") == set()
        silent.sent(0)
        ended = [("missing", "in-alarm"), ("missing", "alarm-cleared")]
        eventually("it is back", lambda: events(iot, "Silent") == ended)
