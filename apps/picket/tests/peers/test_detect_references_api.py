"""What security profiles refer to, as boto3 speaks of it: custom metrics, dimensions, exports, and
how far the models of learned behaviors are.
"""

import datetime
import uuid

import pytest

from harness import listed, refused


def new_name(what):
    return f"{what}-{uuid.uuid4()}"


@pytest.fixture
def metric(iot):
    """Makes custom metrics of a type; all are deleted behind the story."""
    names = []

    def make(metric_type):
        names.append(new_name(metric_type))
        iot.create_custom_metric(metricName=names[-1], metricType=metric_type)
        return names[-1]

    yield make
    for name in names:
        iot.delete_custom_metric(metricName=name)


@pytest.fixture
def dimension(iot):
    """A dimension of its own, by name."""
    name = new_name("dimension")
    iot.create_dimension(name=name, type="TOPIC_FILTER", stringValues=["admin/#"])
    yield name
    iot.delete_dimension(name=name)


@pytest.fixture
def profile(iot, metric, dimension):
    """Makes profiles; all are deleted behind the story, before what they refer to."""
    names = []

    def make(**members):
        names.append(new_name("profile"))
        iot.create_security_profile(securityProfileName=names[-1], **members)
        return names[-1]

    yield make
    for name in names:
        iot.delete_security_profile(securityProfileName=name)


def behavior(name, metric, **criteria):
    counts = {"consecutiveDatapointsToAlarm": 1, "consecutiveDatapointsToClear": 1}
    return {"name": name, "metric": metric, "criteria": {**criteria, **counts}}


def compared(operator, **value):
    return {"comparisonOperator": operator, "value": value}


def test_a_custom_metric_is_made_shown_changed_and_deleted(iot):
    name = new_name("users")
    token = uuid.uuid4().hex
    arguments = {
        "metricName": name,
        "metricType": "string-list",
        "displayName": "Users that are logged in",
        "tags": [{"Key": "floor", "Value": "3"}],
        "clientRequestToken": token,
    }
    made = iot.create_custom_metric(**arguments)
    assert made["metricArn"].endswith(f":custommetric/{name}")
    again = iot.create_custom_metric(**arguments)
    assert again["metricArn"] == made["metricArn"]
    refused(
        lambda: iot.create_custom_metric(**{**arguments, "clientRequestToken": "other"}),
        "ResourceAlreadyExistsException",
        409,
    )
    found = iot.describe_custom_metric(metricName=name)
    assert found["metricName"] == name
    assert found["metricArn"] == made["metricArn"]
    assert found["metricType"] == "string-list"
    assert found["displayName"] == "Users that are logged in"
    age = datetime.datetime.now(datetime.timezone.utc) - found["creationDate"]
    assert abs(age.total_seconds()) < 60
    changed = iot.update_custom_metric(metricName=name, displayName="Users")
    assert changed["displayName"] == "Users"
    assert changed["lastModifiedDate"] >= changed["creationDate"]
    assert name in listed(iot, "list_custom_metrics", "metricNames")
    iot.delete_custom_metric(metricName=name)
    iot.delete_custom_metric(metricName=name)
    for call in [
        lambda: iot.describe_custom_metric(metricName=name),
        lambda: iot.update_custom_metric(metricName=name, displayName="x"),
    ]:
        refused(call, "ResourceNotFoundException", 404)


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"metricName": "aws:load"}, "aws:"),
        ({"metricName": "picket:load"}, "picket:"),
        ({"metricName": "white space"}, "white space"),
        ({"metricName": "x" * 129}, "128"),
        ({"metricType": "float"}, "number-list"),
        ({"displayName": "x" * 129}, "128"),
        ({"clientRequestToken": "white space"}, "clientRequestToken"),
    ],
)
def test_a_custom_metric_that_cannot_be_is_refused_in_words(iot, wrong, expected):
    arguments = {"metricName": new_name("load"), "metricType": "number", **wrong}
    message = refused(
        lambda: iot.create_custom_metric(**arguments), "InvalidRequestException", 400
    )
    assert expected in message


def test_a_dimension_is_made_shown_changed_and_deleted(iot):
    name = new_name("admin")
    arguments = {
        "name": name,
        "type": "TOPIC_FILTER",
        "stringValues": ["admin/#", "${iot:ClientId}/admin"],
        "tags": [{"Key": "floor", "Value": "3"}],
        "clientRequestToken": uuid.uuid4().hex,
    }
    made = iot.create_dimension(**arguments)
    assert made["name"] == name
    assert made["arn"].endswith(f":dimension/{name}")
    assert iot.create_dimension(**arguments)["arn"] == made["arn"]
    refused(
        lambda: iot.create_dimension(**{**arguments, "clientRequestToken": "other"}),
        "ResourceAlreadyExistsException",
        409,
    )
    found = iot.describe_dimension(name=name)
    assert found["type"] == "TOPIC_FILTER"
    assert found["stringValues"] == arguments["stringValues"]
    changed = iot.update_dimension(name=name, stringValues=["a/+"])
    assert changed["stringValues"] == ["a/+"]
    assert changed["arn"] == made["arn"]
    assert name in listed(iot, "list_dimensions", "dimensionNames")
    iot.delete_dimension(name=name)
    iot.delete_dimension(name=name)
    for call in [
        lambda: iot.describe_dimension(name=name),
        lambda: iot.update_dimension(name=name, stringValues=["a"]),
    ]:
        refused(call, "ResourceNotFoundException", 404)


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"name": "white space"}, "white space"),
        ({"type": "IP_RANGE"}, "TOPIC_FILTER"),
        ({"stringValues": ["a/#/b"]}, "a/#/b"),
        ({"stringValues": ["x" * 257]}, "256"),
        ({"stringValues": ["a"] * 101}, "1 to 100"),
        ({"stringValues": ["${iot:Nobody}/a"]}, "${iot:ClientId}"),
    ],
)
def test_a_dimension_that_cannot_be_is_refused_in_words(iot, wrong, expected):
    arguments = {"name": new_name("d"), "type": "TOPIC_FILTER", "stringValues": ["a"], **wrong}
    message = refused(lambda: iot.create_dimension(**arguments), "InvalidRequestException", 400)
    assert expected in message


def test_custom_metrics_and_dimensions_are_listed_in_pages(iot, metric):
    names = sorted(metric("number") for _ in range(3))
    pages = {"PaginationConfig": {"PageSize": 1}}
    found = listed(iot, "list_custom_metrics", "metricNames", **pages)
    assert [name for name in found if name in names] == names
    for operation in [iot.list_custom_metrics, iot.list_dimensions]:
        refused(lambda: operation(maxResults=251), "InvalidRequestException", 400)
        refused(lambda: operation(nextToken="made-up"), "InvalidRequestException", 400)


def test_every_criteria_comes_back_as_it_was_given(iot, metric, dimension, profile):
    count = {"comparisonOperator": "less-than-equals", "value": {"count": 35000}}
    p50 = {"comparisonOperator": "less-than-equals", "statisticalThreshold": {"statistic": "p50"}}
    learned = {"mlDetectionConfig": {"confidenceLevel": "HIGH"}}
    behaviors = [
        behavior("bytes-out", "aws:all-bytes-out", **count, durationSeconds=300),
        behavior("packets-in", "aws:all-packets-in", **p50, durationSeconds=600),
        behavior("connections", "aws:num-established-tcp-connections", **count),
        behavior("tcp", "aws:listening-tcp-ports", **compared("in-port-set", ports=[22, 443])),
        behavior("udp", "aws:listening-udp-ports", **compared("not-in-port-set", ports=[53])),
        behavior(
            "to",
            "aws:destination-ip-addresses",
            **compared("not-in-cidr-set", cidrs=["192.0.2.0/24"]),
        ),
        behavior("offline", "aws:disconnect-duration", **compared("less-than", count=15)),
        behavior("missing", "picket:report-missing", **compared("less-than", count=15)),
        behavior("load", metric("number"), **compared("less-than", number=0.75)),
        behavior("modes", metric("number-list"), **compared("in-set", numbers=[1.0, 2.5])),
        behavior("users", metric("string-list"), **compared("not-in-set", strings=["root"])),
        behavior(
            "resolvers", metric("ip-address-list"), **compared("in-cidr-set", cidrs=["10.0.0.0/8"])
        ),
        behavior("learned", "aws:num-disconnects", **learned),
        {
            **behavior("narrowed", "aws:message-byte-size", **p50, durationSeconds=300),
            "metricDimension": {"dimensionName": dimension, "operator": "NOT_IN"},
            "suppressAlerts": True,
            "exportMetric": True,
        },
    ]
    verdict = iot.validate_security_profile_behaviors(behaviors=behaviors)
    assert verdict["validationErrors"] == []
    assert verdict["valid"] is True
    export = {"mqttTopic": "metrics/fleet", "roleArn": "arn:aws:iam::123456789012:role/Export"}
    retained = [
        {"metric": "aws:num-disconnects", "exportMetric": True},
        {
            "metric": "aws:num-messages-sent",
            "metricDimension": {"dimensionName": dimension, "operator": "IN"},
        },
    ]
    name = profile(
        behaviors=behaviors, additionalMetricsToRetainV2=retained, metricsExportConfig=export
    )
    found = iot.describe_security_profile(securityProfileName=name)
    assert found["behaviors"] == behaviors
    assert found["additionalMetricsToRetainV2"] == retained
    assert found["additionalMetricsToRetain"] == ["aws:num-disconnects"]
    assert found["metricsExportConfig"] == export

    updated = iot.update_security_profile(
        securityProfileName=name, deleteMetricsExportConfig=True, expectedVersion=1
    )
    assert "metricsExportConfig" not in updated
    assert updated["behaviors"] == behaviors
    refused(
        lambda: iot.update_security_profile(
            securityProfileName=name, deleteMetricsExportConfig=True, metricsExportConfig=export
        ),
        "InvalidRequestException",
        400,
    )
    refused(
        lambda: iot.update_security_profile(
            securityProfileName=name, metricsExportConfig={**export, "mqttTopic": "a/#"}
        ),
        "InvalidRequestException",
        400,
    )


def test_what_a_profile_uses_is_found_and_stays(iot, metric, dimension, profile):
    load = metric("number")
    by_metric = profile(behaviors=[behavior("b", load, **compared("less-than", number=1.0))])
    narrowed = behavior("b", "aws:num-messages-sent", **compared("less-than", count=9))
    narrowed["criteria"]["durationSeconds"] = 300
    narrowed["metricDimension"] = {"dimensionName": dimension, "operator": "IN"}
    by_dimension = profile(behaviors=[narrowed])

    def names(**filter):
        found = listed(iot, "list_security_profiles", "securityProfileIdentifiers", **filter)
        return [it["name"] for it in found]

    assert names(metricName=load) == [by_metric]
    assert names(dimensionName=dimension) == [by_dimension]
    for call, name in [
        (lambda: iot.delete_custom_metric(metricName=load), by_metric),
        (lambda: iot.delete_dimension(name=dimension), by_dimension),
    ]:
        assert name in refused(call, "InvalidRequestException", 400)


def test_a_behavior_of_another_type_than_its_metric_is_refused(iot, metric):
    users = metric("string-list")
    behaviors = [behavior("b", users, **compared("in-set", numbers=[1.0]))]
    verdict = iot.validate_security_profile_behaviors(behaviors=behaviors)
    assert verdict["valid"] is False
    assert "string-list" in verdict["validationErrors"][0]["errorMessage"]
    message = refused(
        lambda: iot.create_security_profile(
            securityProfileName=new_name("profile"), behaviors=behaviors
        ),
        "InvalidRequestException",
        400,
    )
    assert "string-list" in message


def test_all_profiles_together_use_so_many_dimensions_and_no_more(iot):
    dimensions = [new_name("d") for _ in range(33)]
    full, more = new_name("full"), new_name("more")

    def retained(names):
        return [
            {
                "metric": "aws:num-messages-sent",
                "metricDimension": {"dimensionName": name, "operator": operator},
            }
            for name in names
            for operator in ["IN", "NOT_IN"]
        ]

    try:
        for name in dimensions:
            iot.create_dimension(name=name, type="TOPIC_FILTER", stringValues=["a"])
        iot.create_security_profile(
            securityProfileName=full, additionalMetricsToRetainV2=retained(dimensions[:32])
        )
        refused(
            lambda: iot.create_security_profile(
                securityProfileName=more, additionalMetricsToRetainV2=retained(dimensions[32:])
            ),
            "LimitExceededException",
            410,
        )
    finally:
        iot.delete_security_profile(securityProfileName=full)
        for name in dimensions:
            iot.delete_dimension(name=name)


def test_values_are_listed_in_a_dimension_and_of_custom_metrics(iot, metric, dimension):
    now = datetime.datetime.now(datetime.timezone.utc)
    arguments = {
        "thingName": new_name("device"),
        "startTime": now - datetime.timedelta(hours=1),
        "endTime": now,
    }
    for more in [
        {"metricName": metric("number")},
        {"metricName": "aws:all-bytes-out"},
        {"metricName": "aws:message-byte-size", "dimensionName": dimension},
        {
            "metricName": "aws:message-byte-size",
            "dimensionName": dimension,
            "dimensionValueOperator": "NOT_IN",
        },
    ]:
        assert listed(iot, "list_metric_values", "metricDatumList", **arguments, **more) == []
    refused(
        lambda: iot.list_metric_values(
            **arguments, metricName="aws:all-bytes-out", dimensionName=dimension
        ),
        "InvalidRequestException",
        400,
    )


def test_a_learned_behavior_waits_for_its_model(iot, profile):
    learned = {"mlDetectionConfig": {"confidenceLevel": "LOW"}}
    name = profile(
        behaviors=[
            behavior("a", "aws:num-disconnects", **learned),
            behavior("b", "aws:all-bytes-out", **learned),
        ]
    )
    found = listed(
        iot,
        "get_behavior_model_training_summaries",
        "summaries",
        securityProfileName=name,
        PaginationConfig={"PageSize": 1},
    )
    assert [it["behaviorName"] for it in found] == ["a", "b"]
    for summary in found:
        assert summary["securityProfileName"] == name
        assert summary["modelStatus"] == "PENDING_BUILD"
        assert summary["datapointsCollectionPercentage"] == 0
        assert "lastModelRefreshDate" not in summary
        age = datetime.datetime.now(datetime.timezone.utc)
        age -= summary["trainingDataCollectionStartDate"]
        assert abs(age.total_seconds()) < 60
    summaries = iot.get_behavior_model_training_summaries
    refused(
        lambda: summaries(securityProfileName=new_name("p")), "ResourceNotFoundException", 404
    )
    refused(lambda: summaries(maxResults=11), "InvalidRequestException", 400)
