"""Mitigation actions and the tasks that run them, as boto3 speaks of them."""

import datetime
import uuid

import pytest

from harness import ACCOUNT, ALLOW_ALL, eventually, listed, refused

ROLE = f"arn:aws:iam::{ACCOUNT}:role/Mitigation"
LARGE_MESSAGES = {
    "name": "LargeMessageSize",
    "metric": "aws:message-byte-size",
    "criteria": {"comparisonOperator": "less-than-equals", "value": {"count": 1000}},
}


def new_name(what):
    return f"{what}-{uuid.uuid4()}"


def isolate(*groups):
    return {"addThingsToThingGroupParams": {"thingGroupNames": list(groups)}}


@pytest.fixture
def action(iot):
    """Makes actions; all are deleted behind the story."""
    names = []

    def make(params):
        names.append(new_name("action"))
        iot.create_mitigation_action(actionName=names[-1], roleArn=ROLE, actionParams=params)
        return names[-1]

    yield make
    for name in names:
        iot.delete_mitigation_action(actionName=name)


@pytest.mark.parametrize(
    "action_type, params",
    [
        (
            "ADD_THINGS_TO_THING_GROUP",
            {
                "addThingsToThingGroupParams": {
                    "thingGroupNames": ["Isolated", "Seen"],
                    "overrideDynamicGroups": True,
                }
            },
        ),
        ("UPDATE_DEVICE_CERTIFICATE", {"updateDeviceCertificateParams": {"action": "DEACTIVATE"}}),
        ("UPDATE_CA_CERTIFICATE", {"updateCACertificateParams": {"action": "DEACTIVATE"}}),
        (
            "REPLACE_DEFAULT_POLICY_VERSION",
            {"replaceDefaultPolicyVersionParams": {"templateName": "BLANK_POLICY"}},
        ),
        (
            "ENABLE_IOT_LOGGING",
            {"enableIoTLoggingParams": {"roleArnForLogging": ROLE, "logLevel": "WARN"}},
        ),
        (
            "PUBLISH_FINDING_TO_SNS",
            {"publishFindingToSnsParams": {"topicArn": f"arn:aws:sns:us-east-1:{ACCOUNT}:Found"}},
        ),
    ],
)
def test_each_kind_of_action_is_made_shown_listed_and_deleted(iot, action_type, params):
    name = new_name("action")
    made = iot.create_mitigation_action(
        actionName=name,
        roleArn=ROLE,
        actionParams=params,
        tags=[{"Key": "floor", "Value": "3"}],
    )
    assert made["actionArn"].endswith(f":mitigationaction/{name}")
    found = iot.describe_mitigation_action(actionName=name)
    assert found["actionName"] == name
    assert found["actionArn"] == made["actionArn"]
    assert found["actionId"] == made["actionId"]
    assert found["actionType"] == action_type
    assert found["roleArn"] == ROLE
    assert found["actionParams"] == params
    assert found["creationDate"] == found["lastModifiedDate"]
    of_type = listed(
        iot, "list_mitigation_actions", "actionIdentifiers", actionType=action_type
    )
    assert name in [it["actionName"] for it in of_type]
    assert made["actionArn"] in [it["actionArn"] for it in of_type]
    iot.delete_mitigation_action(actionName=name)
    iot.delete_mitigation_action(actionName=name)
    refused(
        lambda: iot.describe_mitigation_action(actionName=name), "ResourceNotFoundException", 404
    )


def test_an_action_is_changed_and_keeps_its_identity(iot, action):
    name = action(isolate("Isolated"))
    before = iot.describe_mitigation_action(actionName=name)
    changed = iot.update_mitigation_action(actionName=name, actionParams=isolate("Elsewhere"))
    assert changed["actionArn"] == before["actionArn"]
    assert changed["actionId"] == before["actionId"]
    found = iot.describe_mitigation_action(actionName=name)
    groups = found["actionParams"]["addThingsToThingGroupParams"]["thingGroupNames"]
    assert groups == ["Elsewhere"]
    assert found["roleArn"] == ROLE
    refused(
        lambda: iot.update_mitigation_action(actionName=new_name("action"), roleArn=ROLE),
        "ResourceNotFoundException",
        404,
    )
    refused(
        lambda: iot.update_mitigation_action(actionName=name, roleArn="x" * 30),
        "InvalidRequestException",
        400,
    )
    refused(
        lambda: iot.create_mitigation_action(
            actionName=name, roleArn=ROLE, actionParams=isolate("Isolated")
        ),
        "ResourceAlreadyExistsException",
        409,
    )


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"actionName": "a:b"}, "a:b"),
        ({"actionName": "x" * 129}, "128"),
        ({"roleArn": "not an ARN of a role"}, "role"),
        ({"actionParams": {}}, "exactly one"),
        (
            {
                "actionParams": {
                    **isolate("Isolated"),
                    "updateDeviceCertificateParams": {"action": "DEACTIVATE"},
                }
            },
            "exactly one",
        ),
        ({"actionParams": isolate(*["g"] * 11)}, "1 to 10"),
        ({"actionParams": isolate("white space")}, "white space"),
        ({"actionParams": {"updateDeviceCertificateParams": {"action": "DELETE"}}}, "DEACTIVATE"),
        (
            {
                "actionParams": {
                    "enableIoTLoggingParams": {"roleArnForLogging": ROLE, "logLevel": "DISABLED"}
                }
            },
            "DISABLED",
        ),
        ({"actionParams": {"publishFindingToSnsParams": {"topicArn": "mail"}}}, "mail"),
    ],
)
def test_an_action_that_cannot_be_is_refused_in_words(iot, wrong, expected):
    arguments = {
        "actionName": new_name("action"),
        "roleArn": ROLE,
        "actionParams": isolate("Isolated"),
        **wrong,
    }
    message = refused(
        lambda: iot.create_mitigation_action(**arguments), "InvalidRequestException", 400
    )
    assert expected in message


def test_actions_are_listed_in_pages(iot, action):
    names = sorted(action(isolate("Isolated")) for _ in range(3))
    found = listed(
        iot,
        "list_mitigation_actions",
        "actionIdentifiers",
        PaginationConfig={"PageSize": 1},
    )
    assert [it["actionName"] for it in found if it["actionName"] in names] == names
    refused(
        lambda: iot.list_mitigation_actions(actionType="DANCE"), "InvalidRequestException", 400
    )
    refused(
        lambda: iot.list_mitigation_actions(nextToken="made-up"), "InvalidRequestException", 400
    )


def test_a_task_is_started_once_shown_and_canceled(iot, action):
    name = action(isolate("Isolated"))
    now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    span = {"startTime": now - datetime.timedelta(hours=1), "endTime": now}
    arguments = {
        "taskId": new_name("task"),
        "target": {"securityProfileName": new_name("profile"), "behaviorName": "b"},
        "actions": [name],
        "violationEventOccurrenceRange": span,
        "includeOnlyActiveViolations": True,
        "includeSuppressedAlerts": True,
        "clientRequestToken": uuid.uuid4().hex,
    }
    task = arguments["taskId"]
    start = iot.start_detect_mitigation_actions_task
    assert start(**arguments)["taskId"] == task
    assert start(**arguments)["taskId"] == task
    refused(
        lambda: start(**{**arguments, "clientRequestToken": "other"}),
        "TaskAlreadyExistsException",
        400,
    )
    found = iot.describe_detect_mitigation_actions_task(taskId=task)["taskSummary"]
    assert found["taskId"] == task
    assert found["taskStatus"] in ("IN_PROGRESS", "SUCCESSFUL")
    assert found["target"] == arguments["target"]
    assert found["violationEventOccurrenceRange"] == span
    assert found["onlyActiveViolationsIncluded"] is True
    assert found["suppressedAlertsIncluded"] is True
    assert [it["name"] for it in found["actionsDefinition"]] == [name]
    assert found["actionsDefinition"][0]["actionParams"]["addThingsToThingGroupParams"][
        "thingGroupNames"
    ] == ["Isolated"]
    around = {
        "startTime": found["taskStartTime"] - datetime.timedelta(seconds=1),
        "endTime": found["taskStartTime"] + datetime.timedelta(seconds=1),
    }
    tasks = listed(iot, "list_detect_mitigation_actions_tasks", "tasks", **around)
    assert task in [it["taskId"] for it in tasks]
    iot.cancel_detect_mitigation_actions_task(taskId=task)
    iot.cancel_detect_mitigation_actions_task(taskId=task)

    def ended():
        found = iot.describe_detect_mitigation_actions_task(taskId=task)["taskSummary"]
        return found["taskStatus"] in ("CANCELED", "SUCCESSFUL") and found

    found = eventually("the task has ended", ended)
    assert found["taskEndTime"] >= found["taskStartTime"]
    assert found["taskStatistics"] == {
        "actionsExecuted": 0,
        "actionsSkipped": 0,
        "actionsFailed": 0,
    }
    nowhere = new_name("task")
    for call in [
        lambda: iot.describe_detect_mitigation_actions_task(taskId=nowhere),
        lambda: iot.cancel_detect_mitigation_actions_task(taskId=nowhere),
    ]:
        refused(call, "ResourceNotFoundException", 404)


@pytest.mark.parametrize(
    "wrong, expected",
    [
        ({"taskId": "white space"}, "white space"),
        ({"target": {}}, "violationIds"),
        ({"target": {"behaviorName": "b"}}, "securityProfileName"),
        ({"target": {"violationIds": ["f" * 32]}}, "f" * 32),
        ({"target": {"violationIds": ["f"] * 26}}, "1 to 25"),
        ({"actions": ["nowhere"]}, "nowhere"),
        ({"actions": ["a", "b", "c", "d", "e", "f"]}, "1 to 5"),
        (
            {"violationEventOccurrenceRange": {"startTime": 2, "endTime": 1}},
            "violationEventOccurrenceRange",
        ),
    ],
)
def test_a_task_that_cannot_be_is_refused_in_words(iot, action, wrong, expected):
    arguments = {
        "taskId": new_name("task"),
        "target": {"securityProfileName": "p"},
        "actions": [action(isolate("Isolated"))],
        **wrong,
    }
    message = refused(
        lambda: iot.start_detect_mitigation_actions_task(**arguments),
        "InvalidRequestException",
        400,
    )
    assert expected in message


def test_only_actions_for_devices_run_for_violations(iot, action):
    name = action({"updateDeviceCertificateParams": {"action": "DEACTIVATE"}})
    message = refused(
        lambda: iot.start_detect_mitigation_actions_task(
            taskId=new_name("task"), target={"securityProfileName": "p"}, actions=[name]
        ),
        "InvalidRequestException",
        400,
    )
    assert "ADD_THINGS_TO_THING_GROUP" in message


def test_lists_of_tasks_and_executions_take_their_filters(iot):
    now = datetime.datetime.now(datetime.timezone.utc)
    long_ago = {
        "startTime": now - datetime.timedelta(days=300),
        "endTime": now - datetime.timedelta(days=200),
    }
    assert listed(iot, "list_detect_mitigation_actions_tasks", "tasks", **long_ago) == []
    executions = "list_detect_mitigation_actions_executions"
    for filter in [
        {"taskId": new_name("task")},
        {"violationId": "f" * 32},
        {"thingName": new_name("device")},
        {"taskId": "t", "violationId": "f" * 32, "thingName": "x"},
        long_ago,
    ]:
        assert listed(iot, executions, "actionsExecutions", **filter) == []
    for wrong in [
        {},
        {"taskId": "t", **long_ago},
        {"startTime": now},
        {"violationId": "white space"},
        {"taskId": "t", "nextToken": "made-up"},
    ]:
        refused(
            lambda: iot.list_detect_mitigation_actions_executions(**wrong),
            "InvalidRequestException",
            400,
        )
    refused(
        lambda: iot.list_detect_mitigation_actions_tasks(startTime=now, endTime=now, maxResults=251),
        "InvalidRequestException",
        400,
    )


def test_a_task_puts_the_thing_of_an_alarm_into_a_group(iot, device, action):
    name = new_name("LargeMessages")
    group = new_name("Isolated")
    iot.create_thing_group(thingGroupName=group)
    iot.create_policy(policyName=name, policyDocument=ALLOW_ALL)
    iot.create_security_profile(securityProfileName=name, behaviors=[LARGE_MESSAGES])
    iot.attach_security_profile(
        securityProfileName=name,
        securityProfileTargetArn=f"arn:aws:iot:us-east-1:{ACCOUNT}:all/registered-things",
    )
    pump = device(f"Pump{uuid.uuid4().hex[:8]}", name)
    pump.publish("readings", "x" * 3000)

    def alarms():
        return iot.list_active_violations(securityProfileName=name)["activeViolations"]

    [violation] = eventually("the alarm is on", alarms)
    task = new_name("task")
    iot.start_detect_mitigation_actions_task(
        taskId=task,
        target={"violationIds": [violation["violationId"]]},
        actions=[action(isolate(group)), action(isolate(new_name("nowhere")))],
    )

    def ended():
        found = iot.describe_detect_mitigation_actions_task(taskId=task)["taskSummary"]
        return found["taskStatus"] != "IN_PROGRESS" and found

    found = eventually("the task has ended", ended)
    assert found["taskStatus"] == "FAILED"
    assert found["taskStatistics"] == {
        "actionsExecuted": 1,
        "actionsSkipped": 0,
        "actionsFailed": 1,
    }
    members = iot.list_things_in_thing_group(thingGroupName=group)["things"]
    assert members == [violation["thingName"]]
    executions = listed(
        iot, "list_detect_mitigation_actions_executions", "actionsExecutions", taskId=task
    )
    by_status = {it["status"]: it for it in executions}
    assert set(by_status) == {"SUCCESSFUL", "FAILED"}
    for execution in executions:
        assert execution["violationId"] == violation["violationId"]
        assert execution["thingName"] == violation["thingName"]
        assert execution["executionEndDate"] >= execution["executionStartDate"]
    assert by_status["FAILED"]["errorCode"] == "ResourceNotFoundException"
    iot.delete_security_profile(securityProfileName=name)
