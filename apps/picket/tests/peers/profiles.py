"""Security profiles as stories make them, and what became of the devices that they watch."""

import json
import time

from harness import ACCOUNT

# The shortest window there is, for alarms that are to clear within seconds.
WINDOW_S = 5

# So long that what a story does at once lies in one; a broken limit does not wait for its end.
LONG_WINDOW_S = 3600


def behavior(
    name, metric, operator, value, window_s=WINDOW_S, to_alarm=1, to_clear=1, **more
):
    """What is normal of one metric, AWS's unless it has a prefix of its own.

    `value` is compared with; `{"statistic": "p50"}` is a percentile of the fleet. Metrics that are
    judged report by report take no window: `window_s=None`.
    """
    criteria = {
        "comparisonOperator": operator,
        "statisticalThreshold" if "statistic" in value else "value": value,
        "consecutiveDatapointsToAlarm": to_alarm,
        "consecutiveDatapointsToClear": to_clear,
    }
    if window_s is not None:
        criteria["durationSeconds"] = window_s
    metric = metric if ":" in metric else f"aws:{metric}"
    return {"name": name, "metric": metric, "criteria": criteria, **more}


def watch(iot, name, target, *behaviors, **more):
    """Makes a profile and attaches it: `all/things`, `thinggroup/NAME`, ..."""
    iot.create_security_profile(securityProfileName=name, behaviors=list(behaviors), **more)
    iot.attach_security_profile(
        securityProfileName=name,
        securityProfileTargetArn=f"arn:aws:iot:us-east-1:{ACCOUNT}:{target}",
    )


def alarms(iot, thing, **more):
    """What a device is in alarm for, as (profile, behavior)."""
    found = iot.list_active_violations(thingName=thing, **more)["activeViolations"]
    return {(it["securityProfileName"], it["behavior"]["name"]) for it in found}


def explanations(iot, thing):
    """Why a device is in alarm: `explanation` of each behavior.

    boto3 drops members that AWS does not have, so the answer is read before it does.
    """
    texts = []

    def keep(http_response, **_):
        texts.append(http_response.content)

    event = "after-call.iot.ListActiveViolations"
    iot.meta.events.register(event, keep)
    try:
        iot.list_active_violations(thingName=thing, listSuppressedAlerts=True)
    finally:
        iot.meta.events.unregister(event, keep)
    found = json.loads(texts[-1])["activeViolations"]
    return {it["behavior"]["name"]: it["explanation"] for it in found}


def history(iot, thing):
    """What happened to a device's alarms, oldest first, as ((behavior, what), when)."""
    now = time.time()
    found = iot.list_violation_events(
        startTime=now - 3600, endTime=now + 60, thingName=thing, listSuppressedAlerts=True
    )["violationEvents"]
    return [
        ((it["behavior"]["name"], it["violationEventType"]), it["violationEventTime"].timestamp())
        for it in reversed(found)
    ]


def events(iot, thing):
    """What happened to a device's alarms, oldest first, as (behavior, what)."""
    return [what for what, _ in history(iot, thing)]


def values(iot, thing, metric):
    """The values of a metric, oldest first."""
    now = time.time()
    pages = iot.get_paginator("list_metric_values").paginate(
        thingName=thing, metricName=metric, startTime=now - 3600, endTime=now + 60
    )
    newest_first = [it["value"] for page in pages for it in page["metricDatumList"]]
    return newest_first[::-1]
