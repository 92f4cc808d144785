"""Detect's API as boto3 and the AWS CLI speak it.

What alarms and when is tested where devices connect; here is what the API takes and gives.
"""

import datetime
import json
import uuid

import pytest

from harness import listed, refused

LARGE_MESSAGES = {
    "name": "LargeMessageSize",
    "metric": "aws:message-byte-size",
    "criteria": {
        "comparisonOperator": "less-than-equals",
        "value": {"count": 1000},
        "consecutiveDatapointsToAlarm": 1,
        "consecutiveDatapointsToClear": 2,
    },
}
MANY_CONNECTS = {
    "name": "ManyConnects",
    "metric": "aws:num-connection-attempts",
    "criteria": {
        "comparisonOperator": "less-than-equals",
        "value": {"count": 35},
        "durationSeconds": 300,
        "consecutiveDatapointsToAlarm": 2,
        "consecutiveDatapointsToClear": 1,
    },
    "suppressAlerts": True,
}
HOME_ONLY = {
    "name": "HomeOnly",
    "metric": "aws:source-ip-address",
    "criteria": {
        "comparisonOperator": "in-cidr-set",
        "value": {"cidrs": ["10.0.0.0/8", "fd00::/8"]},
        "consecutiveDatapointsToAlarm": 1,
        "consecutiveDatapointsToClear": 1,
    },
}


@pytest.fixture(scope="module")
def account(server):
    return server.aws("sts").get_caller_identity()["Account"]


@pytest.fixture
def profile(iot):
    """A profile of its own, by name, with one behavior."""
    name = f"profile-{uuid.uuid4()}"
    iot.create_security_profile(securityProfileName=name, behaviors=[LARGE_MESSAGES])
    yield name
    iot.delete_security_profile(securityProfileName=name)


@pytest.fixture
def group(iot):
    """A thing group of its own, by ARN."""
    name = f"group-{uuid.uuid4()}"
    yield iot.create_thing_group(thingGroupName=name)["thingGroupArn"]
    iot.delete_thing_group(thingGroupName=name)


def test_a_profile_is_given_back_as_it_was_made(iot, account):
    name = f"profile-{uuid.uuid4()}"
    region = iot.meta.region_name
    target = {
        "alertTargetArn": f"arn:aws:sns:{region}:{account}:BadIoTDevices",
        "roleArn": f"arn:aws:iam::{account}:role/BadIoTDevices",
    }
    behaviors = [LARGE_MESSAGES, MANY_CONNECTS, HOME_ONLY]
    made = iot.create_security_profile(
        securityProfileName=name,
        securityProfileDescription="Größe und <Herkunft>",
        behaviors=behaviors,
        alertTargets={"SNS": target},
        additionalMetricsToRetainV2=[{"metric": "aws:num-messages-received"}],
        tags=[{"Key": "floor", "Value": "3"}],
    )
    assert made["securityProfileArn"].endswith(f":{account}:securityprofile/{name}")

    found = iot.describe_security_profile(securityProfileName=name)
    assert found["securityProfileArn"] == made["securityProfileArn"]
    assert found["securityProfileDescription"] == "Größe und <Herkunft>"
    assert found["behaviors"] == behaviors
    assert found["alertTargets"] == {"SNS": target}
    assert found["additionalMetricsToRetain"] == ["aws:num-messages-received"]
    assert found["additionalMetricsToRetainV2"] == [{"metric": "aws:num-messages-received"}]
    assert found["version"] == 1
    assert found["creationDate"] == found["lastModifiedDate"]
    age = datetime.datetime.now(datetime.timezone.utc) - found["creationDate"]
    assert abs(age.total_seconds()) < 60

    refused(
        lambda: iot.create_security_profile(securityProfileName=name, behaviors=[]),
        "ResourceAlreadyExistsException",
        409,
    )
    iot.delete_security_profile(securityProfileName=name)
    refused(
        lambda: iot.describe_security_profile(securityProfileName=name),
        "ResourceNotFoundException",
        404,
    )
    iot.delete_security_profile(securityProfileName=name)


def test_an_update_changes_what_it_names(iot, profile):
    updated = iot.update_security_profile(
        securityProfileName=profile, securityProfileDescription="second"
    )
    assert updated["version"] == 2
    assert updated["behaviors"] == [LARGE_MESSAGES]

    updated = iot.update_security_profile(
        securityProfileName=profile, behaviors=[HOME_ONLY], expectedVersion=2
    )
    assert updated["version"] == 3
    assert updated["behaviors"] == [HOME_ONLY]
    assert updated["securityProfileDescription"] == "second"
    assert updated["lastModifiedDate"] >= updated["creationDate"]

    updated = iot.update_security_profile(
        securityProfileName=profile,
        deleteBehaviors=True,
        deleteAlertTargets=True,
        additionalMetricsToRetain=["aws:num-disconnects"],
    )
    assert updated["behaviors"] == []
    assert updated["additionalMetricsToRetain"] == ["aws:num-disconnects"]
    updated = iot.update_security_profile(
        securityProfileName=profile, deleteAdditionalMetricsToRetain=True
    )
    assert updated["additionalMetricsToRetain"] == []


def test_an_update_that_rests_on_another_version_changes_nothing(iot, profile):
    refused(
        lambda: iot.update_security_profile(
            securityProfileName=profile, securityProfileDescription="x", expectedVersion=7
        ),
        "VersionConflictException",
        409,
    )
    refused(
        lambda: iot.delete_security_profile(securityProfileName=profile, expectedVersion=7),
        "VersionConflictException",
        409,
    )
    assert iot.describe_security_profile(securityProfileName=profile)["version"] == 1


def test_an_update_that_deletes_and_sets_is_refused(iot, profile):
    refused(
        lambda: iot.update_security_profile(
            securityProfileName=profile, behaviors=[HOME_ONLY], deleteBehaviors=True
        ),
        "InvalidRequestException",
        400,
    )
    refused(
        lambda: iot.update_security_profile(
            securityProfileName=f"{profile}-nowhere", securityProfileDescription="x"
        ),
        "ResourceNotFoundException",
        404,
    )


def changed(behavior, **criteria):
    return {**behavior, "criteria": {**behavior["criteria"], **criteria}}


@pytest.mark.parametrize(
    "behaviors, expected",
    [
        ([{**LARGE_MESSAGES, "name": "white space"}], "white space"),
        ([LARGE_MESSAGES, LARGE_MESSAGES], "twice"),
        ([{**LARGE_MESSAGES, "metric": "aws:nonsense"}], "aws:nonsense"),
        ([changed(LARGE_MESSAGES, comparisonOperator="in-cidr-set")], "in-cidr-set"),
        ([changed(LARGE_MESSAGES, value={"count": 1, "cidrs": ["10.0.0.0/8"]})], "exactly"),
        ([changed(LARGE_MESSAGES, consecutiveDatapointsToAlarm=11)], "1 to 10"),
        ([changed(MANY_CONNECTS, durationSeconds=7)], "durationSeconds"),
        ([{"name": "bare", "metric": "aws:num-disconnects"}], "criteria"),
        ([{**LARGE_MESSAGES, "metric": "nobody-measures-this"}], "nobody-measures-this"),
        ([{**LARGE_MESSAGES, "metricDimension": {"dimensionName": "nowhere"}}], "nowhere"),
        ([{**HOME_ONLY, "metric": "aws:listening-tcp-ports"}], "in-port-set"),
        ([changed(HOME_ONLY, statisticalThreshold={"statistic": "p50"})], "value"),
        ([changed(LARGE_MESSAGES, mlDetectionConfig={"confidenceLevel": "HIGH"})], "excludes"),
        ([changed(HOME_ONLY, value={"cidrs": ["not a range"]})], "not a range"),
        ([{**LARGE_MESSAGES, "name": f"b{n}"} for n in range(101)], "at most 100"),
    ],
)
def test_a_behavior_that_cannot_be_judged_is_refused_in_words(iot, behaviors, expected):
    name = f"profile-{uuid.uuid4()}"
    message = refused(
        lambda: iot.create_security_profile(securityProfileName=name, behaviors=behaviors),
        "InvalidRequestException",
        400,
    )
    assert expected in message
    verdict = iot.validate_security_profile_behaviors(behaviors=behaviors)
    assert verdict["valid"] is False
    assert any(expected in error["errorMessage"] for error in verdict["validationErrors"])


def test_right_behaviors_are_valid(iot):
    behaviors = [LARGE_MESSAGES, MANY_CONNECTS, HOME_ONLY]
    verdict = iot.validate_security_profile_behaviors(behaviors=behaviors)
    assert verdict["valid"] is True
    assert verdict["validationErrors"] == []


def test_every_wrong_behavior_is_named(iot):
    wrong = [{**LARGE_MESSAGES, "name": f"b{n}", "metric": f"aws:none-{n}"} for n in range(3)]
    errors = iot.validate_security_profile_behaviors(behaviors=wrong)["validationErrors"]
    assert len(errors) == 3


def test_names_and_targets_that_are_none_are_refused(iot, profile, account):
    refused(
        lambda: iot.create_security_profile(securityProfileName="white space"),
        "InvalidRequestException",
        400,
    )
    refused(
        lambda: iot.create_security_profile(
            securityProfileName="p", securityProfileDescription="x" * 1001
        ),
        "InvalidRequestException",
        400,
    )
    refused(
        lambda: iot.create_security_profile(
            securityProfileName="p",
            alertTargets={"SNS": {"alertTargetArn": "not an ARN", "roleArn": "x" * 30}},
        ),
        "InvalidRequestException",
        400,
    )
    for arn in ["not an ARN", f"arn:aws:iot:{iot.meta.region_name}:{account}:thing/pump-7"]:
        refused(
            lambda: iot.attach_security_profile(
                securityProfileName=profile, securityProfileTargetArn=arn
            ),
            "InvalidRequestException",
            400,
        )


def test_a_profile_is_attached_to_targets_and_detached(iot, profile, group, account):
    region = iot.meta.region_name
    unregistered = f"arn:aws:iot:{region}:{account}:all/unregistered-things"
    targets = {group, unregistered}
    for arn in targets:
        iot.attach_security_profile(securityProfileName=profile, securityProfileTargetArn=arn)
        iot.attach_security_profile(securityProfileName=profile, securityProfileTargetArn=arn)
    found = listed(
        iot,
        "list_targets_for_security_profile",
        "securityProfileTargets",
        securityProfileName=profile,
        PaginationConfig={"PageSize": 1},
    )
    assert {target["arn"] for target in found} == targets and len(found) == 2

    mappings = listed(
        iot,
        "list_security_profiles_for_target",
        "securityProfileTargetMappings",
        securityProfileTargetArn=group,
    )
    arn = iot.describe_security_profile(securityProfileName=profile)["securityProfileArn"]
    assert mappings == [
        {
            "securityProfileIdentifier": {"name": profile, "arn": arn},
            "target": {"arn": group},
        }
    ]

    for arn in targets:
        iot.detach_security_profile(securityProfileName=profile, securityProfileTargetArn=arn)
    found = iot.list_targets_for_security_profile(securityProfileName=profile)
    assert found["securityProfileTargets"] == []


def test_a_target_takes_five_profiles(iot, group):
    names = [f"profile-{uuid.uuid4()}" for _ in range(6)]
    try:
        for name in names:
            iot.create_security_profile(securityProfileName=name)
        for name in names[:5]:
            iot.attach_security_profile(securityProfileName=name, securityProfileTargetArn=group)
        refused(
            lambda: iot.attach_security_profile(
                securityProfileName=names[5], securityProfileTargetArn=group
            ),
            "LimitExceededException",
            410,
        )
    finally:
        for name in names:
            iot.delete_security_profile(securityProfileName=name)


def test_what_is_not_there_cannot_be_attached(iot, profile, group):
    refused(
        lambda: iot.attach_security_profile(
            securityProfileName=f"{profile}-nowhere", securityProfileTargetArn=group
        ),
        "ResourceNotFoundException",
        404,
    )
    refused(
        lambda: iot.attach_security_profile(
            securityProfileName=profile, securityProfileTargetArn=f"{group}-nowhere"
        ),
        "ResourceNotFoundException",
        404,
    )


def test_profiles_are_listed_in_pages_and_by_metric(iot):
    prefix = f"profile-{uuid.uuid4()}"
    names = [f"{prefix}-{n}" for n in range(5)]
    try:
        for name in names:
            behavior = MANY_CONNECTS if name.endswith("3") else LARGE_MESSAGES
            iot.create_security_profile(securityProfileName=name, behaviors=[behavior])

        def found(**filter):
            identifiers = listed(
                iot,
                "list_security_profiles",
                "securityProfileIdentifiers",
                PaginationConfig={"PageSize": 2},
                **filter,
            )
            return [it["name"] for it in identifiers if it["name"].startswith(prefix)]

        assert found() == names
        assert found(metricName="aws:num-connection-attempts") == [names[3]]
        assert found(metricName="aws:num-disconnects") == []
        for nowhere in [{"metricName": "nobody-measures-this"}, {"dimensionName": "there-is-none"}]:
            refused(
                lambda: iot.list_security_profiles(**nowhere), "ResourceNotFoundException", 404
            )
        refused(
            lambda: iot.list_security_profiles(metricName="load", dimensionName="d"),
            "InvalidRequestException",
            400,
        )
        refused(lambda: iot.list_security_profiles(maxResults=251), "InvalidRequestException", 400)
        refused(
            lambda: iot.list_security_profiles(nextToken="made-up"), "InvalidRequestException", 400
        )
    finally:
        for name in names:
            iot.delete_security_profile(securityProfileName=name)


def test_lists_of_violations_take_every_filter(iot):
    nobody = f"device-{uuid.uuid4()}"
    now = datetime.datetime.now(datetime.timezone.utc)
    filter = {
        "thingName": nobody,
        "securityProfileName": "p",
        "behaviorCriteriaType": "STATIC",
        "listSuppressedAlerts": True,
        "verificationState": "TRUE_POSITIVE",
    }
    period = {"startTime": now - datetime.timedelta(days=1), "endTime": now}
    assert listed(iot, "list_active_violations", "activeViolations", **filter) == []
    assert listed(iot, "list_violation_events", "violationEvents", **period, **filter) == []
    for type in ["STATISTICAL", "MACHINE_LEARNING"]:
        assert iot.list_active_violations(behaviorCriteriaType=type)["activeViolations"] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"thingName": "x" * 129},
        {"securityProfileName": "white space"},
        {"behaviorCriteriaType": "DYNAMIC"},
        {"verificationState": "MAYBE"},
        {"nextToken": "made-up"},
    ],
)
def test_a_filter_that_is_wrong_is_refused(iot, wrong):
    refused(lambda: iot.list_active_violations(**wrong), "InvalidRequestException", 400)


def test_a_period_goes_forward(iot):
    now = datetime.datetime.now(datetime.timezone.utc)
    earlier = now - datetime.timedelta(hours=1)
    refused(
        lambda: iot.list_violation_events(startTime=now, endTime=earlier),
        "InvalidRequestException",
        400,
    )
    iot.list_violation_events(startTime=now, endTime=now)


def test_a_verification_state_needs_a_violation(iot):
    message = refused(
        lambda: iot.put_verification_state_on_violation(
            violationId=uuid.uuid4().hex, verificationState="FALSE_POSITIVE"
        ),
        "InvalidRequestException",
        400,
    )
    assert "violation" in message
    refused(
        lambda: iot.put_verification_state_on_violation(
            violationId=uuid.uuid4().hex, verificationState="MAYBE"
        ),
        "InvalidRequestException",
        400,
    )


def test_metric_values_of_a_silent_device_are_none(iot):
    now = datetime.datetime.now(datetime.timezone.utc)
    arguments = {
        "thingName": f"device-{uuid.uuid4()}",
        "metricName": "aws:message-byte-size",
        "startTime": now - datetime.timedelta(hours=1),
        "endTime": now,
    }
    assert listed(iot, "list_metric_values", "metricDatumList", **arguments) == []
    for nowhere in [{"metricName": "aws:nonsense"}, {"metricName": "x"}, {"dimensionName": "x"}]:
        refused(
            lambda: iot.list_metric_values(**{**arguments, **nowhere}),
            "ResourceNotFoundException",
            404,
        )
    refused(
        lambda: iot.list_metric_values(**arguments, dimensionValueOperator="NEAR"),
        "InvalidRequestException",
        400,
    )


def test_the_command_line_makes_and_shows_a_profile(server):
    def aws(*words):
        return server.cli("iot", *words, "--output", "json").stdout

    name = f"profile-{uuid.uuid4()}"
    named = ["--security-profile-name", name]
    aws("create-security-profile", *named, "--behaviors", json.dumps([LARGE_MESSAGES]))
    shown = json.loads(aws("describe-security-profile", *named))
    assert shown["behaviors"] == [LARGE_MESSAGES]
    hour = ["--start-time", "2024-01-02T03:04:05Z", "--end-time", "1704168245"]
    assert json.loads(aws("list-violation-events", *hour))["violationEvents"] == []
    aws("delete-security-profile", *named)
