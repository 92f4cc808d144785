"""A device that says what it likes of itself."""

import json
import time

import paho.mqtt.client as paho


class Reporter:
    """An open session that reports in JSON, and hears what becomes of its reports."""

    def __init__(self, device):
        self.session = device.paho(paho.MQTTv311)
        self.topic = f"$aws/things/{device.name}/defender/metrics/json"
        self.report_id = 0

    def __enter__(self):
        self.session.__enter__()
        self.session.client.subscribe([(f"{self.topic}/accepted", 1), (f"{self.topic}/rejected", 1)])
        self.session.wait_for("subscribed")
        return self

    def __exit__(self, *_):
        self.session.__exit__()

    def publish(self, topic, payload):
        """Sends an ordinary message, which the server has when this returns."""
        self.session.client.publish(topic, payload, qos=1).wait_for_publish(10)

    def answer(self, metrics, report_id=None, **more):
        """Reports this, with the next id if none is given; returns the answer."""
        self.report_id = self.report_id + 1 if report_id is None else report_id
        header = {"report_id": self.report_id, "version": "1.0"}
        report = {"header": header, "metrics": metrics, **more}
        sent = time.monotonic()
        self.session.client.publish(self.topic, json.dumps(report), qos=1)
        _, topic, text = self.session.wait_for("message")
        assert time.monotonic() - sent < 2, "the answer came too late for embedded clients"
        answer = json.loads(text)
        assert topic == f"{self.topic}/{answer['status'].lower()}"
        assert answer["reportId"] == self.report_id
        return answer

    def says(self, metrics, report_id=None, **more):
        """Reports this, which must be accepted."""
        answer = self.answer(metrics, report_id, **more)
        assert answer["status"] == "ACCEPTED", answer

    def sent(self, bytes_out):
        """Reports so many bytes out since the last report, which must be accepted."""
        self.says({"network_stats": {"bytes_out": bytes_out}})

    def listens_on(self, *ports):
        """Reports these listening ports, which must be accepted."""
        self.says({"listening_tcp_ports": {"ports": [{"port": it} for it in ports]}})
