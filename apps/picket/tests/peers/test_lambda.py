"""Lambda as boto3 and the AWS CLI speak it."""

import base64
import datetime
import hashlib
import io
import json
import uuid
import zipfile

import boto3
import pytest
from botocore.exceptions import ClientError

import harness

ROLE = "arn:aws:iam::123456789012:role/service-role/IsolateDevice"

ECHO = """
import json, os

def handler(event, context):
    print("event has", len(json.dumps(event)), "characters")
    if event == "raise":
        raise KeyError("thingName")
    if event == "exit":
        os._exit(3)
    if event == "hang":
        import time
        time.sleep(60)
    if event == "context":
        return {
            "name": context.function_name,
            "arn": context.invoked_function_arn,
            "version": context.function_version,
            "memory": context.memory_limit_in_mb,
            "left": context.get_remaining_time_in_millis(),
        }
    if "topic" in event:
        import boto3
        return boto3.client("sns").create_topic(Name=event["topic"])["TopicArn"]
    if event == "environment":
        return dict(os.environ)
    return event
"""


def zipped(**files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "."), text)
    return data.getvalue()


ECHO_ZIP = zipped(index__py=ECHO)


@pytest.fixture(scope="module")
def functions(server):
    return server.aws("lambda")


def create(functions, name, **changes):
    request = {
        "FunctionName": name,
        "Runtime": "python3.12",
        "Role": ROLE,
        "Handler": "index.handler",
        "Code": {"ZipFile": ECHO_ZIP},
        "Timeout": 30,
        **changes,
    }
    return functions.create_function(**request)


@pytest.fixture
def function(functions):
    """A function of its own, by name, that gives back what it is given."""
    name = f"echo-{uuid.uuid4()}"
    create(functions, name)
    yield name
    functions.delete_function(FunctionName=name)


def refused(call, code, status, match=None):
    """Makes the call, checks how it was refused, and gives the message."""
    with pytest.raises(ClientError, match=match) as error:
        call()
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    return answer["Error"]["Message"]


def listed(functions):
    pages = functions.get_paginator("list_functions").paginate(PaginationConfig={"PageSize": 2})
    return [function for page in pages for function in page["Functions"]]


def test_a_function_is_given_back_as_it_was_made(functions):
    name = f"echo-{uuid.uuid4()}"
    variables = {"ThingGroupName": "IsolatedDevices", "Text": "Größe <1>"}
    made = create(
        functions,
        name,
        Description="moves a device",
        Timeout=5,
        MemorySize=256,
        Environment={"Variables": variables},
        Publish=True,
        Tags={"floor": "3"},
    )
    assert made["ResponseMetadata"]["HTTPStatusCode"] == 201
    assert made["FunctionArn"].endswith(f":function:{name}")
    assert made["CodeSize"] == len(ECHO_ZIP)
    assert made["CodeSha256"] == base64.b64encode(hashlib.sha256(ECHO_ZIP).digest()).decode()
    assert made["Environment"]["Variables"] == variables
    assert (made["Timeout"], made["MemorySize"], made["Version"]) == (5, 256, "$LATEST")
    modified = datetime.datetime.strptime(made["LastModified"], "%Y-%m-%dT%H:%M:%S.%f%z")
    age = datetime.datetime.now(datetime.timezone.utc) - modified
    assert abs(age.total_seconds()) < 60

    for waiter in ["function_exists", "function_active_v2", "function_updated_v2"]:
        functions.get_waiter(waiter).wait(
            FunctionName=name, WaiterConfig={"Delay": 1, "MaxAttempts": 1}
        )
    shape = {key: value for key, value in made.items() if key != "ResponseMetadata"}
    found = functions.get_function(FunctionName=made["FunctionArn"])
    assert found["Configuration"] == shape
    assert found["Tags"] == {"floor": "3"}
    configuration = functions.get_function_configuration(FunctionName=name, Qualifier="$LATEST")
    assert {k: v for k, v in configuration.items() if k != "ResponseMetadata"} == shape
    assert shape in listed(functions)

    refused(lambda: create(functions, name), "ResourceConflictException", 409, "already exist")
    functions.delete_function(FunctionName=name)
    missing = lambda: functions.get_function(FunctionName=name)
    refused(missing, "ResourceNotFoundException", 404, "Function not found")
    refused(
        lambda: functions.delete_function(FunctionName=name), "ResourceNotFoundException", 404
    )


def test_a_function_has_several_names(functions, function):
    arn = functions.get_function(FunctionName=function)["Configuration"]["FunctionArn"]
    account = arn.split(":")[4]
    for name in [arn, f"{arn}:$LATEST", f"{account}:function:{function}", f"function:{function}"]:
        found = functions.get_function_configuration(FunctionName=name)
        assert found["FunctionName"] == function
    for name in [f"{arn}:7", f"{arn}:alias"]:
        refused(
            lambda: functions.get_function(FunctionName=name), "ResourceNotFoundException", 404
        )
    other = arn.replace(account, "999999999998")
    refused(
        lambda: functions.get_function(FunctionName=other), "InvalidParameterValueException", 400
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"FunctionName": "white space"},
        {"FunctionName": "x" * 65},
        {"Runtime": "nodejs20.x"},
        {"Role": "arn:aws:iam::1:role/short"},
        {"Handler": "white space"},
        {"Timeout": 901},
        {"MemorySize": 10241},
        {"Description": "x" * 257},
        {"Environment": {"Variables": {"AWS_REGION": "x"}}},
        {"Environment": {"Variables": {"Large": "x" * 4096}}},
        {"Environment": {"Variables": {"no-name": "x"}}},
        {"Layers": ["arn:aws:lambda:us-east-1:123456789012:layer:l:1"]},
        {"PackageType": "Image", "Code": {"ImageUri": "image"}},
        {"Code": {"S3Bucket": "bucket", "S3Key": "key"}},
        {"Code": {"ZipFile": b"no zip"}},
        {"Code": {"ZipFile": b""}},
        {"Code": {"ZipFile": ECHO_ZIP[:-30]}},
        {"Tags": {"aws:reserved": "x"}},
    ],
    ids=lambda wrong: ",".join(wrong),
)
def test_a_function_that_could_not_run_is_not_made(functions, wrong):
    name = f"wrong-{uuid.uuid4()}"
    refused(lambda: create(functions, name, **wrong), "InvalidParameterValueException", 400)


def test_a_zip_that_leaves_its_folder_makes_no_function(functions):
    for name in ["../evil.py", "/etc/evil.py", "a/../../evil.py"]:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("index.py", ECHO)
            archive.writestr(zipfile.ZipInfo(name), "evil")
        message = refused(
            lambda: create(functions, f"evil-{uuid.uuid4()}", Code={"ZipFile": data.getvalue()}),
            "InvalidParameterValueException",
            400,
        )
        assert "evil.py" in message


def test_an_executable_needs_its_bootstrap(functions):
    runtime = {"Runtime": "provided.al2023", "Handler": "unused"}
    refused(
        lambda: create(functions, f"bare-{uuid.uuid4()}", **runtime),
        "InvalidParameterValueException",
        400,
        "bootstrap",
    )
    name = f"executable-{uuid.uuid4()}"
    create(functions, name, **runtime, Code={"ZipFile": zipped(bootstrap="#!/bin/sh\n")})
    functions.delete_function(FunctionName=name)


def test_a_configuration_changes_in_what_it_names(functions, function):
    before = functions.get_function_configuration(FunctionName=function)
    changed = functions.update_function_configuration(
        FunctionName=function,
        Timeout=9,
        Environment={"Variables": {"First": "1"}},
        RevisionId=before["RevisionId"],
    )
    assert changed["Timeout"] == 9 and changed["Handler"] == before["Handler"]
    assert changed["RevisionId"] != before["RevisionId"]
    changed = functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": {"Second": "2"}}
    )
    assert changed["Environment"]["Variables"] == {"Second": "2"}
    assert changed["Timeout"] == 9
    functions.get_waiter("function_updated").wait(
        FunctionName=function, WaiterConfig={"Delay": 1, "MaxAttempts": 1}
    )
    refused(
        lambda: functions.update_function_configuration(
            FunctionName=function, Timeout=10, RevisionId=before["RevisionId"]
        ),
        "PreconditionFailedException",
        412,
    )
    refused(
        lambda: functions.update_function_configuration(FunctionName=function, Timeout=1000),
        "InvalidParameterValueException",
        400,
    )
    refused(
        lambda: functions.update_function_configuration(FunctionName=f"{function}x", Timeout=9),
        "ResourceNotFoundException",
        404,
    )


def test_code_is_replaced_and_can_be_tried(functions, function):
    before = functions.get_function_configuration(FunctionName=function)
    code = zipped(index__py="def handler(event, context):\n    return 'second'\n")
    tried = functions.update_function_code(FunctionName=function, ZipFile=code, DryRun=True)
    assert tried["CodeSha256"] != before["CodeSha256"]
    unchanged = functions.get_function_configuration(FunctionName=function)
    assert unchanged["CodeSha256"] == before["CodeSha256"]

    changed = functions.update_function_code(FunctionName=function, ZipFile=code)
    assert changed["CodeSha256"] == tried["CodeSha256"]
    assert invoke(functions, function, {})[0] == "second"
    refused(
        lambda: functions.update_function_code(FunctionName=function, ZipFile=b"no zip"),
        "InvalidParameterValueException",
        400,
    )
    refused(
        lambda: functions.update_function_code(
            FunctionName=function, S3Bucket="bucket", S3Key="key"
        ),
        "InvalidParameterValueException",
        400,
    )


def invoke(functions, name, event, **arguments):
    """Runs a function and gives its answer and the whole response."""
    answer = functions.invoke(FunctionName=name, Payload=json.dumps(event), **arguments)
    return json.loads(answer["Payload"].read()), answer


def test_a_function_runs(functions, function):
    answer, response = invoke(functions, function, {"a": [1, "ä"]})
    assert answer == {"a": [1, "ä"]}
    assert response["StatusCode"] == 200
    assert response["ExecutedVersion"] == "$LATEST"
    assert "FunctionError" not in response and "LogResult" not in response

    answer = functions.invoke(FunctionName=function)
    assert json.loads(answer["Payload"].read()) == {}


def test_a_function_knows_where_it_runs(functions, function):
    answer, _ = invoke(functions, function, "context")
    assert answer["name"] == function
    assert answer["arn"].endswith(f":function:{function}")
    assert answer["version"] == "$LATEST"
    assert int(answer["memory"]) == 128
    assert 0 < answer["left"] <= 30_000


def test_the_environment_of_a_function_is_its_own(server, functions, function):
    functions.update_function_configuration(
        FunctionName=function, Environment={"Variables": {"ThingGroupName": "IsolatedDevices"}}
    )
    environment, _ = invoke(functions, function, "environment")
    assert environment["ThingGroupName"] == "IsolatedDevices"
    assert environment["AWS_LAMBDA_FUNCTION_NAME"] == function
    sts = boto3.client(
        "sts",
        endpoint_url=server.env["AWS_ENDPOINT_URL"],
        region_name=server.env["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=environment["AWS_SESSION_TOKEN"],
    )
    assert ":assumed-role/IsolateDevice/" in sts.get_caller_identity()["Arn"]


def test_the_end_of_the_log_comes_with_the_answer(functions, function):
    _, response = invoke(functions, function, {}, LogType="Tail")
    log = base64.b64decode(response["LogResult"]).decode()
    assert "event has 2 characters" in log


def test_a_function_that_fails_says_how(functions, function):
    error, response = invoke(functions, function, "raise", LogType="Tail")
    assert response["StatusCode"] == 200
    assert response["FunctionError"] == "Unhandled"
    assert error["errorType"] == "KeyError" and "thingName" in error["errorMessage"]
    assert error["stackTrace"]
    assert "KeyError" in base64.b64decode(response["LogResult"]).decode()

    error, response = invoke(functions, function, "exit")
    assert response["FunctionError"] == "Unhandled"
    assert error["errorType"] == "Runtime.ExitError"
    assert invoke(functions, function, "still there")[0] == "still there"


def test_a_function_that_hangs_is_ended(functions, function):
    functions.update_function_configuration(FunctionName=function, Timeout=1)
    error, response = invoke(functions, function, "hang")
    assert response["FunctionError"] == "Unhandled"
    assert "timed out after 1.00 seconds" in error["errorMessage"]


def test_an_event_is_accepted_and_a_dry_run_runs_nothing(functions, function):
    answer = functions.invoke(FunctionName=function, InvocationType="Event", Payload=b'{"a":1}')
    assert answer["StatusCode"] == 202 and answer["Payload"].read() == b""
    answer = functions.invoke(FunctionName=function, InvocationType="DryRun", Payload=b"{}")
    assert answer["StatusCode"] == 204 and answer["Payload"].read() == b""


def test_what_is_accepted_is_run_and_reaches_this_server(server, functions, function):
    topic = f"topic-{uuid.uuid4()}"
    event = json.dumps({"topic": topic}).encode()
    functions.invoke(FunctionName=function, InvocationType="Event", Payload=event)

    def topics():
        pages = server.aws("sns").get_paginator("list_topics").paginate()
        return [topic["TopicArn"].split(":")[-1] for page in pages for topic in page["Topics"]]

    harness.eventually("the function made its topic", lambda: topic in topics())


def test_an_event_that_is_wrong_runs_nothing(functions, function):
    for payload in [b"{", b"\xff\xfe", b"[" * 100_000]:
        for type in ["RequestResponse", "Event"]:
            refused(
                lambda: functions.invoke(
                    FunctionName=function, InvocationType=type, Payload=payload
                ),
                "InvalidRequestContentException",
                400,
            )
    large = json.dumps("x" * (6 * 1024 * 1024)).encode()
    refused(
        lambda: functions.invoke(FunctionName=function, Payload=large),
        "RequestTooLargeException",
        413,
    )
    refused(
        lambda: functions.invoke(
            FunctionName=function, InvocationType="Event", Payload=large[: 2 * 1024 * 1024] + b'"'
        ),
        "RequestTooLargeException",
        413,
    )
    refused(
        lambda: functions.invoke(FunctionName=function, InvocationType="Sometime"),
        "InvalidParameterValueException",
        400,
    )
    refused(
        lambda: functions.invoke(FunctionName=f"{function}x", Payload=b"{}"),
        "ResourceNotFoundException",
        404,
    )


def test_permissions_make_the_policy(functions, function):
    arn = functions.get_function_configuration(FunctionName=function)["FunctionArn"]
    topic = "arn:aws:sns:us-east-1:123456789012:BadIoTDevices"
    refused(
        lambda: functions.get_policy(FunctionName=function), "ResourceNotFoundException", 404
    )
    permission = {
        "FunctionName": function,
        "StatementId": "sns",
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        "SourceArn": topic,
    }
    added = functions.add_permission(**permission)
    assert added["ResponseMetadata"]["HTTPStatusCode"] == 201
    statement = {
        "Sid": "sns",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "lambda:InvokeFunction",
        "Resource": arn,
        "Condition": {"ArnLike": {"AWS:SourceArn": topic}},
    }
    assert json.loads(added["Statement"]) == statement
    refused(lambda: functions.add_permission(**permission), "ResourceConflictException", 409, "sns")

    found = functions.get_policy(FunctionName=function)
    policy = json.loads(found["Policy"])
    assert policy["Version"] == "2012-10-17" and policy["Statement"] == [statement]

    account = arn.split(":")[4]
    functions.add_permission(
        FunctionName=function, StatementId="peer", Action="lambda:*", Principal=account
    )
    policy = json.loads(functions.get_policy(FunctionName=function)["Policy"])
    assert [it["Sid"] for it in policy["Statement"]] == ["peer", "sns"]

    for sid in ["sns", "peer"]:
        functions.remove_permission(FunctionName=function, StatementId=sid)
    refused(
        lambda: functions.remove_permission(FunctionName=function, StatementId="sns"),
        "ResourceNotFoundException",
        404,
    )
    refused(
        lambda: functions.get_policy(FunctionName=function), "ResourceNotFoundException", 404
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"StatementId": "white space"},
        {"Action": "iot:Publish"},
        {"Action": "lambda:Invoke*"},
        {"Principal": "somebody"},
        {"SourceArn": "not an ARN"},
        {"SourceAccount": "12345"},
        {"PrincipalOrgID": "o-1234567890"},
        {"RevisionId": "another"},
    ],
)
def test_a_permission_that_is_wrong_permits_nothing(functions, function, wrong):
    permission = {
        "StatementId": "sns",
        "Action": "lambda:InvokeFunction",
        "Principal": "sns.amazonaws.com",
        **wrong,
    }
    expected = ("InvalidParameterValueException", 400)
    if "RevisionId" in wrong:
        expected = ("PreconditionFailedException", 412)
    refused(lambda: functions.add_permission(FunctionName=function, **permission), *expected)
    refused(
        lambda: functions.get_policy(FunctionName=function), "ResourceNotFoundException", 404
    )


def test_a_policy_has_a_bound(functions, function):
    source = f"arn:aws:sns:us-east-1:123456789012:{'x' * 1900}"

    def fill():
        for n in range(20):
            functions.add_permission(
                FunctionName=function,
                StatementId=f"s{n}",
                Action="lambda:InvokeFunction",
                Principal="sns.amazonaws.com",
                SourceArn=source,
            )

    refused(fill, "PolicyLengthExceededException", 400)


def test_the_command_line_makes_runs_and_deletes_a_function(server, tmp_path):
    def aws(*words):
        return server.cli("lambda", *words, "--output", "json").stdout

    archive, event, answer = [tmp_path / name for name in ["code.zip", "event", "answer"]]
    archive.write_bytes(ECHO_ZIP)
    name = f"cli-{uuid.uuid4()}"
    named = ["--function-name", name]
    aws(
        *["create-function", *named, "--runtime", "python3.12", "--role", ROLE],
        *["--handler", "index.handler", "--zip-file", f"fileb://{archive}"],
        *["--environment", "Variables={ThingGroupName=IsolatedDevices}"],
    )
    aws("wait", "function-active-v2", *named)
    event.write_text('{"a": 1}')
    aws("invoke", *named, "--payload", f"fileb://{event}", str(answer))
    assert json.loads(answer.read_text()) == {"a": 1}
    aws("delete-function", *named)
