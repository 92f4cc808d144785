"""The workshop's answer to an alarm: a topic, a function, and a group that may do nothing."""

from harness import ACCOUNT, DENY_ALL, zipped

ROLE = f"arn:aws:iam::{ACCOUNT}:role/AlertRole"

# As the workshop has it, with the `import os` that it forgets.
ISOLATE_DEVICE = """
import os
import json
import boto3

iot = boto3.client('iot')

def lambda_handler(event, context):
    message = event['Records'][0]['Sns']['Message']
    d = json.loads(message)
    thing = d['thingName']

    addThing = iot.add_thing_to_thing_group(
        thingGroupName=os.environ['ThingGroupName'],
        thingName=thing
    )
"""


def alert(topic):
    """Alert targets that tell a topic."""
    return {"SNS": {"alertTargetArn": topic, "roleArn": ROLE}}


def isolation(server, group="IsolatedDevices", topic="BadIoTDevices"):
    """Makes the quarantine group, and the function that moves a device there; returns the topic."""
    iot, sns, functions = server.aws("iot"), server.aws("sns"), server.aws("lambda")
    made = iot.create_thing_group(thingGroupName=group)
    iot.create_policy(policyName="Isolated", policyDocument=DENY_ALL)
    iot.attach_policy(policyName="Isolated", target=made["thingGroupArn"])
    function = functions.create_function(
        FunctionName="IsolateDevice",
        Runtime="python3.11",
        Role=f"arn:aws:iam::{ACCOUNT}:role/IsolateDevice",
        Handler="index.lambda_handler",
        Code={"ZipFile": zipped(index=ISOLATE_DEVICE)},
        Environment={"Variables": {"ThingGroupName": group}},
    )
    topic = sns.create_topic(Name=topic)["TopicArn"]
    functions.add_permission(
        FunctionName="IsolateDevice",
        StatementId="from-topic",
        Action="lambda:InvokeFunction",
        Principal="sns.amazonaws.com",
        SourceArn=topic,
    )
    sns.subscribe(TopicArn=topic, Protocol="lambda", Endpoint=function["FunctionArn"])
    return topic
