"""SNS as boto3 and the AWS CLI speak it."""

import json
import uuid

import pytest
from botocore.exceptions import ClientError


@pytest.fixture(scope="module")
def sns(server):
    return server.aws("sns")


@pytest.fixture
def topic(sns):
    """A topic of its own, by ARN."""
    arn = sns.create_topic(Name=f"topic-{uuid.uuid4()}")["TopicArn"]
    yield arn
    sns.delete_topic(TopicArn=arn)


def function_arn(topic, name=None):
    region, account = topic.split(":")[3:5]
    return f"arn:aws:lambda:{region}:{account}:function:{name or uuid.uuid4().hex}"


def refused(call, code, status=400, match=None):
    """Makes the call and checks how it was refused; gives the message back."""
    with pytest.raises(ClientError, match=match) as error:
        call()
    answer = error.value.response
    assert (answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"]) == (code, status)
    assert answer["Error"]["Type"] == "Sender"
    return answer["Error"]["Message"]


def listed(client, operation, member, **arguments):
    pages = client.get_paginator(operation).paginate(**arguments)
    return [item for page in pages for item in page[member]]


def test_a_topic_is_made_once_and_deleted_as_often_as_one_likes(sns):
    name = f"topic-{uuid.uuid4()}"
    arn = sns.create_topic(Name=name)["TopicArn"]
    assert arn.split(":")[:3] == ["arn", "aws", "sns"] and arn.endswith(f":{name}")
    assert sns.create_topic(Name=name, Tags=[{"Key": "a", "Value": "b"}])["TopicArn"] == arn
    assert {"TopicArn": arn} in listed(sns, "list_topics", "Topics")
    sns.delete_topic(TopicArn=arn)
    sns.delete_topic(TopicArn=arn)
    assert {"TopicArn": arn} not in listed(sns, "list_topics", "Topics")
    refused(lambda: sns.get_topic_attributes(TopicArn=arn), "NotFound", 404)


def test_topics_come_in_pages_of_a_hundred(sns):
    prefix = f"page-{uuid.uuid4()}"
    arns = {sns.create_topic(Name=f"{prefix}-{n:03}")["TopicArn"] for n in range(105)}
    try:
        first = sns.list_topics()
        assert len(first["Topics"]) == 100 and first["NextToken"]
        found = [topic["TopicArn"] for topic in listed(sns, "list_topics", "Topics")]
        assert len(found) == len(set(found))
        assert arns <= set(found)
        refused(lambda: sns.list_topics(NextToken="made-up"), "InvalidParameter")
    finally:
        for arn in arns:
            sns.delete_topic(TopicArn=arn)


def test_attributes_of_a_topic_are_kept(sns, topic):
    attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert attributes["TopicArn"] == topic
    assert attributes["Owner"] == topic.split(":")[4]
    assert attributes["SubscriptionsConfirmed"] == "0"
    assert json.loads(attributes["Policy"])["Statement"]

    name = "Züge & <Pumpen> \"1\""
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue=name)
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["DisplayName"] == name

    for attribute, value in [
        ("DisplayName", "x" * 101),
        ("DisplayName", "a\x07b"),
        ("Policy", "no JSON"),
        ("KmsMasterKeyId", "alias/aws/sns"),
        ("FifoTopic", "true"),
        ("Nonsense", "1"),
    ]:
        refused(
            lambda: sns.set_topic_attributes(
                TopicArn=topic, AttributeName=attribute, AttributeValue=value
            ),
            "InvalidParameter",
        )


def test_a_topic_made_with_attributes_has_them(sns):
    name = f"topic-{uuid.uuid4()}"
    arn = sns.create_topic(Name=name, Attributes={"DisplayName": "Alerts"})["TopicArn"]
    assert sns.get_topic_attributes(TopicArn=arn)["Attributes"]["DisplayName"] == "Alerts"
    assert sns.create_topic(Name=name, Attributes={"DisplayName": "Alerts"})["TopicArn"] == arn
    refused(
        lambda: sns.create_topic(Name=name, Attributes={"DisplayName": "Other"}),
        "InvalidParameter",
    )
    sns.delete_topic(TopicArn=arn)


@pytest.mark.parametrize("name", ["white space", "a/b", "x" * 257, "ordered.fifo", "a\x00b"])
def test_a_name_that_is_none_makes_no_topic(sns, name):
    refused(lambda: sns.create_topic(Name=name), "InvalidParameter")


def test_a_function_is_subscribed_at_once(sns, topic):
    endpoint = function_arn(topic)
    arn = sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=endpoint)["SubscriptionArn"]
    assert arn.startswith(f"{topic}:")
    assert sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=endpoint)["SubscriptionArn"] == arn

    expected = {
        "SubscriptionArn": arn,
        "Owner": topic.split(":")[4],
        "Protocol": "lambda",
        "Endpoint": endpoint,
        "TopicArn": topic,
    }
    assert listed(sns, "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic) == [expected]
    assert expected in listed(sns, "list_subscriptions", "Subscriptions")
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsConfirmed"] == "1"

    attributes = sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]
    assert attributes["PendingConfirmation"] == "false"
    assert attributes["Endpoint"] == endpoint

    sns.unsubscribe(SubscriptionArn=arn)
    assert listed(sns, "list_subscriptions_by_topic", "Subscriptions", TopicArn=topic) == []
    refused(lambda: sns.get_subscription_attributes(SubscriptionArn=arn), "NotFound", 404)


def test_a_topic_takes_its_subscriptions_with_it(sns):
    topic = sns.create_topic(Name=f"topic-{uuid.uuid4()}")["TopicArn"]
    arn = sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function_arn(topic))[
        "SubscriptionArn"
    ]
    sns.delete_topic(TopicArn=topic)
    assert arn not in [s["SubscriptionArn"] for s in listed(sns, "list_subscriptions", "Subscriptions")]


def test_a_subscription_says_what_it_cannot_do(sns, topic):
    arn = sns.subscribe(
        TopicArn=topic,
        Protocol="lambda",
        Endpoint=function_arn(topic),
        Attributes={"RawMessageDelivery": "false"},
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]

    def set_attribute(name, value):
        sns.set_subscription_attributes(
            SubscriptionArn=arn, AttributeName=name, AttributeValue=value
        )

    set_attribute("FilterPolicy", "{}")
    refused(lambda: set_attribute("FilterPolicy", '{"a":["b"]}'), "InvalidParameter")
    refused(lambda: set_attribute("RawMessageDelivery", "true"), "InvalidParameter")
    refused(lambda: set_attribute("Nonsense", "1"), "InvalidParameter")


@pytest.mark.parametrize("protocol", ["sqs", "sms", "carrier-pigeon"])
def test_a_protocol_that_is_not_spoken_is_refused_with_those_that_are(sns, topic, protocol):
    message = refused(
        lambda: sns.subscribe(TopicArn=topic, Protocol=protocol, Endpoint="x"), "InvalidParameter"
    )
    assert "lambda" in message


def test_a_subscription_needs_a_topic_and_a_function_of_this_account(sns, topic):
    refused(
        lambda: sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint="not an ARN"),
        "InvalidParameter",
    )
    refused(
        lambda: sns.subscribe(
            TopicArn=topic,
            Protocol="lambda",
            Endpoint="arn:aws:lambda:us-east-1:999999999998:function:elsewhere",
        ),
        "InvalidParameter",
    )
    nowhere = f"{topic}-nowhere"
    refused(
        lambda: sns.subscribe(TopicArn=nowhere, Protocol="lambda", Endpoint=function_arn(topic)),
        "NotFound",
        404,
    )
    refused(lambda: sns.list_subscriptions_by_topic(TopicArn=nowhere), "NotFound", 404)


def test_a_token_that_was_never_given_confirms_nothing(sns, topic):
    refused(lambda: sns.confirm_subscription(TopicArn=topic, Token="0" * 64), "InvalidParameter")


def test_what_is_published_gets_an_id_of_its_own(sns, topic):
    ids = {
        sns.publish(TopicArn=topic, Message="same", Subject="same")["MessageId"] for _ in range(3)
    }
    assert len(ids) == 3
    assert all(uuid.UUID(id) for id in ids)
    assert sns.publish(TargetArn=topic, Message="x")["MessageId"]
    assert sns.publish(
        TopicArn=topic,
        Message=json.dumps({"default": "d", "lambda": "l"}),
        MessageStructure="json",
        MessageAttributes={
            "text": {"DataType": "String", "StringValue": "ä"},
            "number": {"DataType": "Number", "StringValue": "4.5"},
            "bytes": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
        },
    )["MessageId"]
    assert sns.publish(TopicArn=topic, Message="x" * 256 * 1024)["MessageId"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"Message": ""},
        {"Message": "x" * (256 * 1024 + 1)},
        {"Subject": "x" * 101},
        {"Subject": "two\nlines"},
        {"MessageStructure": "json"},
        {"MessageStructure": "json", "Message": '{"lambda":"no default"}'},
        {"MessageAttributes": {"a": {"DataType": "Nonsense", "StringValue": "x"}}},
        {"MessageAttributes": {"a": {"DataType": "String"}}},
        {"MessageGroupId": "g"},
    ],
)
def test_a_message_that_is_wrong_is_refused(sns, topic, wrong):
    refused(lambda: sns.publish(**{"TopicArn": topic, "Message": "m", **wrong}), "InvalidParameter")


def test_a_message_needs_somewhere_to_go(sns, topic):
    refused(lambda: sns.publish(Message="m"), "InvalidParameter")
    refused(lambda: sns.publish(PhoneNumber="+491701234567", Message="m"), "InvalidParameter")
    refused(lambda: sns.publish(TopicArn=f"{topic}-nowhere", Message="m"), "NotFound", 404)
    refused(lambda: sns.publish(TopicArn="not-an-arn", Message="m"), "InvalidParameter")


def test_the_command_line_makes_a_topic_and_publishes(server):
    def aws(*words):
        return server.cli("sns", *words, "--output", "json").stdout

    arn = json.loads(aws("create-topic", "--name", f"topic-{uuid.uuid4()}"))["TopicArn"]
    assert json.loads(aws("publish", "--topic-arn", arn, "--message", "hello"))["MessageId"]
    found = json.loads(aws("get-topic-attributes", "--topic-arn", arn))
    assert found["Attributes"]["TopicArn"] == arn
    aws("delete-topic", "--topic-arn", arn)
