"""STS as boto3 and the AWS CLI speak it."""

import json
from email.utils import parsedate_to_datetime

import boto3
import pytest
from botocore.exceptions import ClientError

ROLE = "arn:aws:iam::123456789012:role/service-role/IsolateDevice"


@pytest.fixture(scope="module")
def sts(server):
    return server.aws("sts")


def with_keys(server, access_key_id, secret_access_key, session_token=None):
    """An STS client that signs with other keys."""
    return boto3.client(
        "sts",
        endpoint_url=server.env["AWS_ENDPOINT_URL"],
        region_name=server.env["AWS_DEFAULT_REGION"],
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        aws_session_token=session_token,
    )


def as_role(server, credentials):
    """An STS client that signs with what AssumeRole gave."""
    keys = ["AccessKeyId", "SecretAccessKey", "SessionToken"]
    return with_keys(server, *[credentials[key] for key in keys])


def test_caller_identity_names_the_account(sts):
    identity = sts.get_caller_identity()
    assert len(identity["Account"]) == 12 and identity["Account"].isdigit()
    assert identity["Arn"] == f"arn:aws:iam::{identity['Account']}:user/administrator"
    assert identity["UserId"].startswith("AIDA")


def test_keys_of_a_role_work_and_say_whose_they_are(server, sts):
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="night-shift", DurationSeconds=900)
    user = answer["AssumedRoleUser"]
    assert user["Arn"].endswith(":assumed-role/IsolateDevice/night-shift")
    assert user["AssumedRoleId"].startswith("AROA") and user["AssumedRoleId"].endswith(":night-shift")

    role = as_role(server, answer["Credentials"])
    identity = role.get_caller_identity()
    assert identity["Arn"] == user["Arn"]
    assert identity["UserId"] == user["AssumedRoleId"]


def test_keys_end_when_they_say(sts):
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="short", DurationSeconds=900)
    now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
    left = answer["Credentials"]["Expiration"] - now
    assert 890 <= left.total_seconds() <= 910


def test_a_role_cannot_make_its_keys_last(server, sts):
    answer = sts.assume_role(RoleArn=ROLE, RoleSessionName="first")
    role = as_role(server, answer["Credentials"])
    with pytest.raises(ClientError, match="1 hour session limit"):
        role.assume_role(RoleArn=ROLE, RoleSessionName="second", DurationSeconds=7200)
    role.assume_role(RoleArn=ROLE, RoleSessionName="second", DurationSeconds=3600)


@pytest.mark.parametrize(
    "wrong",
    [
        {"RoleArn": "arn:aws:iam::123456789012:user/not-a-role"},
        {"RoleArn": "twenty characters or more"},
        {"RoleSessionName": "white space"},
        {"DurationSeconds": 43201},
        {"Policy": '{"Version":"2012-10-17","Statement":[]}'},
        {"PolicyArns": [{"arn": "arn:aws:iam::aws:policy/ReadOnlyAccess"}]},
    ],
)
def test_a_request_that_is_wrong_is_refused(sts, wrong):
    request = {"RoleArn": ROLE, "RoleSessionName": "session", **wrong}
    with pytest.raises(ClientError) as error:
        sts.assume_role(**request)
    assert error.value.response["Error"]["Code"] == "ValidationError"
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400


def test_a_secret_that_is_wrong_opens_nothing(server):
    client = with_keys(server, server.env["AWS_ACCESS_KEY_ID"], "wrong")
    with pytest.raises(ClientError) as error:
        client.get_caller_identity()
    assert error.value.response["Error"]["Code"] == "SignatureDoesNotMatch"


def test_a_token_that_was_changed_opens_nothing(server, sts):
    credentials = sts.assume_role(RoleArn=ROLE, RoleSessionName="session")["Credentials"]
    token = credentials["SessionToken"]
    middle = len(token) // 2
    other = "A" if token[middle] != "A" else "B"
    forged = {**credentials, "SessionToken": token[:middle] + other + token[middle + 1 :]}
    with pytest.raises(ClientError) as error:
        as_role(server, forged).get_caller_identity()
    assert error.value.response["Error"]["Code"] == "InvalidClientTokenId"


def test_the_command_line_reads_the_answer(server, sts):
    output = server.cli("sts", "get-caller-identity", "--output", "json").stdout
    assert json.loads(output)["Account"] == sts.get_caller_identity()["Account"]
