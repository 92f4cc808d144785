"""Security profiles as stories make them, and what became of the devices that they watch."""

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
