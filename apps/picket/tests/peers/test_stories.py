"""The stories that users tell of AWS IoT Device Defender, with criteria as the wire has them.

Consoles and many texts word the alarm ("greater than 35,000 bytes"); the API words what is normal,
so a profile here says `less-than-equals 35,000`.
"""

import json
import time
from concurrent.futures import ThreadPoolExecutor

import paho.mqtt.client as paho
import pytest

from harness import eventually
from isolation import alert, isolation
from profiles import WINDOW_S, alarms, behavior, events, watch
from reporter import Reporter

REGISTERED = "all/registered-things"
AT_MOST = "less-than-equals"

# A temperature as the sensors of these stories send it.
USUAL = json.dumps({"temperature": 21.5, "unit": "celsius"}).ljust(120).encode()
COMPROMISED = b"x" * 3000


@pytest.fixture
def iot(eager_server):
    return eager_server.aws("iot")


def test_large_messages_by_the_median_of_the_fleet(iot, make):
    """DetectLargeMessageSize as the text has it: statistic p50, 1 to alarm, 2 to clear."""
    watch(
        iot,
        "DetectLargeMessageSize",
        REGISTERED,
        behavior("MessageSize", "message-byte-size", AT_MOST, {"statistic": "p50"}, to_clear=2),
    )
    names = ["SensorDevice01", "SensorDevice02", "SensorDevice04"]
    with (
        make(names[0]).paho(paho.MQTTv5) as first,
        make(names[1]).paho(paho.MQTTv5) as turned,
        make(names[2]).paho(paho.MQTTv5) as third,
    ):

        def one_window(of_turned):
            """Everybody sends one message in the next window."""
            time.sleep(WINDOW_S - time.time() % WINDOW_S + 0.5)
            for session, payload in [(first, USUAL), (turned, of_turned), (third, USUAL)]:
                session.client.publish("temperature", payload, qos=1).wait_for_publish(10)

        one_window(USUAL)
        one_window(COMPROMISED)
        raised = [("MessageSize", "in-alarm")]
        eventually("the large one is in alarm", lambda: events(iot, "SensorDevice02") == raised)
        [violation] = iot.list_active_violations()["activeViolations"]
        assert violation["lastViolationValue"] == {"count": len(COMPROMISED)}
        criteria = violation["behavior"]["criteria"]
        assert criteria["statisticalThreshold"] == {"statistic": "p50"}
        by_type = iot.list_active_violations(behaviorCriteriaType="STATISTICAL")
        assert len(by_type["activeViolations"]) == 1
        assert iot.list_active_violations(behaviorCriteriaType="STATIC")["activeViolations"] == []

        one_window(USUAL)
        one_window(USUAL)
        ended = [*raised, ("MessageSize", "alarm-cleared")]
        eventually("it clears", lambda: events(iot, "SensorDevice02") == ended)
        assert events(iot, "SensorDevice01") == events(iot, "SensorDevice04") == []


def test_an_unusual_volume_takes_two_datapoints_in_a_row(iot, make):
    """UnusualMessageVolume: bytes out and connection attempts, 2 to alarm, 1 to clear."""
    long_enough_to_connect_s = 15
    watch(
        iot,
        "UnusualMessageVolume",
        REGISTERED,
        behavior("bytes", "all-bytes-out", AT_MOST, {"count": 5000}, 300, to_alarm=2),
        behavior(
            *("attempts", "num-connection-attempts", AT_MOST, {"count": 35}),
            *(long_enough_to_connect_s, 2),
        ),
    )
    restless = make("Restless")
    with Reporter(make("Loud")) as loud, Reporter(make("Calm")) as calm:
        loud.sent(4999)
        for report in (loud, calm):
            report.sent(400)
        assert events(iot, "Loud") == []

    # 300 s of a 300 s window: what came before counts with it until it is older than that.
    with Reporter(make("Louder")) as louder:
        louder.sent(5001)
        assert events(iot, "Louder") == []
        louder.sent(0)
        raised = [("bytes", "in-alarm")]
        eventually("two in a row raise it", lambda: events(iot, "Louder") == raised)

    def connect(_):
        restless.publish("a", "x")
        return "attempts" in {name for name, _ in events(iot, "Restless")}

    with ThreadPoolExecutor(8) as many:
        eventually(
            "two windows of too many attempts raise it",
            lambda: any(many.map(connect, range(8))),
            patience_s=90,
        )
    assert alarms(iot, "Restless") == {("UnusualMessageVolume", "attempts")}
    assert alarms(iot, "Calm") == set()


def test_more_than_35_000_bytes_out_lead_to_quarantine(eager_server, iot, make):
    """OutboundBytesSecProfile, topic DDD_Alerts, group Quarantine."""
    topic = isolation(eager_server, group="Quarantine", topic="DDD_Alerts")
    watch(
        iot,
        "OutboundBytesSecProfile",
        REGISTERED,
        behavior("OutboundBytes", "all-bytes-out", AT_MOST, {"count": 35_000}, 300),
        alertTargets=alert(topic),
    )
    leaking, honest = make("Leaking"), make("Honest")
    with Reporter(leaking) as bad, Reporter(honest) as good:
        good.sent(35_000)
        bad.sent(20_000)
        bad.sent(15_001)
        eventually(
            "the leaking device is in quarantine",
            lambda: iot.list_things_in_thing_group(thingGroupName="Quarantine")["things"]
            == ["Leaking"],
        )
        bad.session.wait_for("disconnected")
    assert honest.publish("talk", "as ever") == (0, "")
    assert leaking.publish("talk", "a last word")[0] != 0
    [violation] = iot.list_active_violations()["activeViolations"]
    assert violation["thingName"] == "Leaking"
    assert violation["lastViolationValue"] == {"count": 35_001}


def test_more_than_200_bytes_are_too_much_for_a_sensor(iot, make):
    """DetectSendingMoreThanAverageBytes: MoreBytesSent."""
    watch(
        iot,
        "DetectSendingMoreThanAverageBytes",
        REGISTERED,
        behavior("MoreBytesSent", "all-bytes-out", AT_MOST, {"count": 200}, 300),
    )
    with Reporter(make("SensorDevice03")) as third, Reporter(make("SensorDevice01")) as first:
        first.sent(200)
        third.sent(201)
        raised = [("MoreBytesSent", "in-alarm")]
        eventually("it is in alarm", lambda: events(iot, "SensorDevice03") == raised)
        assert events(iot, "SensorDevice01") == []
