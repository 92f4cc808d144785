"""The registry, certificates and policies as boto3 and the AWS CLI speak them."""

import json
import pathlib
import uuid

import boto3
import pytest
from botocore.exceptions import ClientError

ALLOW_ALL = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "iot:*", "Resource": "*"}],
    }
)
DENY_ALL = ALLOW_ALL.replace("Allow", "Deny")

# Asks for a certificate for CN=pump-7, with an ECDSA key.
REQUEST = """\
-----BEGIN CERTIFICATE REQUEST-----
MIHMMHMCAQAwETEPMA0GA1UEAwwGcHVtcC03MFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEiFw54AAVT84SP4wkk3+HK9NvJsPJliRg17SQf6anr8dcQq+2qmfugYHj
Xhhv0SLDTgJfbdpYqQN6o8DkPw4AP6AAMAoGCCqGSM49BAMCA0kAMEYCIQD9i6H7
WSuRKR5R7WgtDqYhOYAejjdqV6cOCKiK2fqkJgIhAIjbfbpvn6zlUWyl2kTTG3dY
8/yjS6E4HYp2ObCnAZWP
-----END CERTIFICATE REQUEST-----
"""

# CN=SensorDevice01, signed by itself, until 2049.
SELF_SIGNED = """\
-----BEGIN CERTIFICATE-----
MIIBrDCCAVGgAwIBAgIUa6+sbdefDa50BaHrrVHFXEWbVSwwCgYIKoZIzj0EAwIw
KzEXMBUGA1UEAwwOU2Vuc29yRGV2aWNlMDExEDAOBgNVBAoMB0V4YW1wbGUwHhcN
MjYxMTIwMTEwODU2WhcNNDkwODExMTEwODU2WjArMRcwFQYDVQQDDA5TZW5zb3JE
ZXZpY2UwMTEQMA4GA1UECgwHRXhhbXBsZTBZMBMGByqGSM49AgEGCCqGSM49AwEH
A0IABFJlYi+wCTkXKUhQpd3NlFsXyROAxcm9qY+cvXkzlzlC7xB6aHSRvL6ByjL0
ZvTcQ/LEgqgvfPORroTYBc2fi5OjUzBRMB0GA1UdDgQWBBQYqcwa1J3iMbn3Wl66
6WlYTyKT0TAfBgNVHSMEGDAWgBQYqcwa1J3iMbn3Wl666WlYTyKT0TAPBgNVHRMB
Af8EBTADAQH/MAoGCCqGSM49BAMCA0kAMEYCIQDB7Ym2IZeYHEwe4+khYx7dRF4Q
qZob3oPECD5RcD2MugIhAPnrpo4ONIOzTy7gOab9WJiH3YThDno+HgS+5cK4G9qH
-----END CERTIFICATE-----
"""


@pytest.fixture
def name():
    """A name that nobody has yet."""
    return f"n-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def certificate(iot):
    """An active certificate of nobody's; returns what made it."""
    return iot.create_keys_and_certificate(setAsActive=True)


def refused(error, status=None):
    """Expects a refusal by AWS's name for it."""

    class Refused:
        def __enter__(self):
            return self

        def __exit__(self, kind, value, traceback):
            assert isinstance(value, ClientError), f"not refused with {error}: {value!r}"
            self.message = value.response["Error"]["Message"]
            metadata = value.response["ResponseMetadata"]
            assert value.response["Error"]["Code"] == error, self.message
            assert status in (None, metadata["HTTPStatusCode"])
            assert metadata["RequestId"]
            assert self.message
            return True

    return Refused()


def all_pages(client, operation, key, **arguments):
    """Everything that a paginator of boto3 finds, two to a page."""
    pages = client.get_paginator(operation).paginate(
        **arguments, PaginationConfig={"PageSize": 2}
    )
    return [item for page in pages for item in page[key]]


def test_a_things_life(iot, name):
    attributes = {"attributes": {"site": "north"}}
    made = iot.create_thing(thingName=name, attributePayload=attributes)
    assert made["thingArn"].endswith(f":thing/{name}")
    assert iot.create_thing(thingName=name, attributePayload=attributes)["thingId"] == made["thingId"]
    with refused("ResourceAlreadyExistsException", 409):
        iot.create_thing(thingName=name)

    iot.update_thing(
        thingName=name,
        attributePayload={"attributes": {"floor": "2"}, "merge": True},
        expectedVersion=1,
    )
    with refused("VersionConflictException", 409):
        iot.update_thing(thingName=name, expectedVersion=1)
    thing = iot.describe_thing(thingName=name)
    assert thing["attributes"] == {"site": "north", "floor": "2"}
    assert (thing["version"], thing["defaultClientId"]) == (2, name)

    iot.delete_thing(thingName=name, expectedVersion=2)
    iot.delete_thing(thingName=name)
    with refused("ResourceNotFoundException", 404):
        iot.describe_thing(thingName=name)
    with refused("InvalidRequestException", 400):
        iot.create_thing(thingName="no blanks")


def test_things_are_found_page_by_page_and_by_type_and_attribute(iot, name):
    iot.create_thing_type(
        thingTypeName=name,
        thingTypeProperties={"thingTypeDescription": "moves water", "searchableAttributes": ["site"]},
    )
    names = [f"{name}-{n}" for n in range(5)]
    for n, thing in enumerate(names):
        iot.create_thing(
            thingName=thing,
            thingTypeName=name,
            attributePayload={"attributes": {"site": f"{name}.{n % 2}"}},
        )
    found = all_pages(iot, "list_things", "things", thingTypeName=name)
    assert [thing["thingName"] for thing in found] == names
    by_value = iot.list_things(attributeName="site", attributeValue=f"{name}.1")["things"]
    assert [thing["thingName"] for thing in by_value] == [names[1], names[3]]
    by_prefix = iot.list_things(
        attributeName="site", attributeValue=f"{name}.", usePrefixAttributeValue=True
    )
    assert len(by_prefix["things"]) == 5

    with refused("InvalidRequestException"):
        iot.list_things(maxResults=251)
    with refused("InvalidRequestException"):
        iot.list_things(nextToken="nonsense")


def test_a_thing_types_life(iot, name):
    made = iot.create_thing_type(thingTypeName=name)
    assert made["thingTypeArn"].endswith(f":thingtype/{name}")
    assert not iot.describe_thing_type(thingTypeName=name)["thingTypeMetadata"]["deprecated"]
    iot.deprecate_thing_type(thingTypeName=name)
    listed = iot.list_thing_types(thingTypeName=name)["thingTypes"]
    assert listed[0]["thingTypeMetadata"]["deprecated"]
    assert listed[0]["thingTypeMetadata"]["deprecationDate"]
    with refused("InvalidRequestException"):
        iot.create_thing(thingName=name, thingTypeName=name)
    with refused("InvalidRequestException"):
        iot.delete_thing_type(thingTypeName=name)
    iot.deprecate_thing_type(thingTypeName=name, undoDeprecate=True)
    iot.create_thing(thingName=name, thingTypeName=name)
    iot.update_thing(thingName=name, removeThingType=True)
    assert "thingTypeName" not in iot.describe_thing(thingName=name)


def test_groups_form_a_tree(iot, name):
    site, floor, room = f"{name}-site", f"{name}-floor", f"{name}-room"
    iot.create_thing_group(
        thingGroupName=site,
        thingGroupProperties={
            "thingGroupDescription": "all of it",
            "attributePayload": {"attributes": {"k": "v"}},
        },
        tags=[{"Key": "k", "Value": "v"}],
    )
    iot.create_thing_group(thingGroupName=floor, parentGroupName=site)
    iot.create_thing_group(thingGroupName=room, parentGroupName=floor)
    metadata = iot.describe_thing_group(thingGroupName=room)["thingGroupMetadata"]
    assert metadata["parentGroupName"] == floor
    assert [it["groupName"] for it in metadata["rootToParentThingGroups"]] == [site, floor]

    below = iot.list_thing_groups(parentGroup=site, recursive=True)["thingGroups"]
    assert {it["groupName"] for it in below} == {floor, room}
    by_prefix = all_pages(iot, "list_thing_groups", "thingGroups", namePrefixFilter=name)
    assert {it["groupName"] for it in by_prefix} == {site, floor, room}

    changed = iot.update_thing_group(
        thingGroupName=site, thingGroupProperties={"thingGroupDescription": "half of it"}
    )
    assert changed["version"] == 2
    properties = iot.describe_thing_group(thingGroupName=site)["thingGroupProperties"]
    assert properties["thingGroupDescription"] == "half of it"
    assert properties["attributePayload"]["attributes"] == {"k": "v"}
    with refused("InvalidRequestException"):
        iot.delete_thing_group(thingGroupName=site)
    with refused("VersionConflictException"):
        iot.delete_thing_group(thingGroupName=room, expectedVersion=7)
    for group in (room, floor, site, site):
        iot.delete_thing_group(thingGroupName=group)


def test_things_move_between_groups(iot, name):
    thing = iot.create_thing(thingName=name)
    first = iot.create_thing_group(thingGroupName=f"{name}-1")
    iot.create_thing_group(thingGroupName=f"{name}-2")
    # A member stays one, silently: the workshop's function counts on it.
    for _ in range(2):
        iot.add_thing_to_thing_group(thingName=name, thingGroupName=f"{name}-1")
    iot.add_thing_to_thing_group(
        thingArn=thing["thingArn"], thingGroupArn=first["thingGroupArn"], overrideDynamicGroups=True
    )
    assert iot.list_things_in_thing_group(thingGroupName=f"{name}-1")["things"] == [name]
    iot.update_thing_groups_for_thing(
        thingName=name,
        thingGroupsToAdd=[f"{name}-2"],
        thingGroupsToRemove=[f"{name}-1", f"{name}-2"],
    )
    groups = iot.list_thing_groups_for_thing(thingName=name)["thingGroups"]
    assert [it["groupName"] for it in groups] == [f"{name}-2"]
    for _ in range(2):
        iot.remove_thing_from_thing_group(thingName=name, thingGroupName=f"{name}-2")
    assert iot.list_thing_groups_for_thing(thingName=name)["thingGroups"] == []
    with refused("ResourceNotFoundException"):
        iot.add_thing_to_thing_group(thingName=name, thingGroupName=f"{name}-3")


def test_a_certificates_life(iot, certificate, name):
    arn, certificate_id = certificate["certificateArn"], certificate["certificateId"]
    assert certificate["keyPair"]["PrivateKey"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    description = iot.describe_certificate(certificateId=certificate_id)["certificateDescription"]
    assert description["status"] == "ACTIVE"
    assert description["certificatePem"] == certificate["certificatePem"]
    assert description["validity"]["notAfter"].year in (2049, 2050)  # 2049 in UTC

    iot.create_thing(thingName=name)
    iot.attach_thing_principal(thingName=name, principal=arn)
    assert iot.list_thing_principals(thingName=name)["principals"] == [arn]
    assert iot.list_principal_things(principal=arn)["things"] == [name]
    objects = iot.list_thing_principals_v2(thingName=name)["thingPrincipalObjects"]
    assert objects == [{"principal": arn, "thingPrincipalType": "NON_EXCLUSIVE_THING"}]
    objects = iot.list_principal_things_v2(principal=arn)["principalThingObjects"]
    assert objects == [{"thingName": name, "thingPrincipalType": "NON_EXCLUSIVE_THING"}]
    with refused("InvalidRequestException"):
        iot.delete_thing(thingName=name)

    with refused("CertificateStateException", 406):
        iot.delete_certificate(certificateId=certificate_id)
    iot.update_certificate(certificateId=certificate_id, newStatus="INACTIVE")
    with refused("DeleteConflictException", 409):
        iot.delete_certificate(certificateId=certificate_id, forceDelete=True)
    iot.detach_thing_principal(thingName=name, principal=arn)
    iot.delete_certificate(certificateId=certificate_id)
    with refused("ResourceNotFoundException", 404):
        iot.describe_certificate(certificateId=certificate_id)
    with refused("InvalidRequestException"):
        iot.describe_certificate(certificateId="0" * 63 + "g")


def test_certificates_are_listed_in_both_orders(iot, certificate):
    ids = [certificate["certificateId"], iot.create_keys_and_certificate()["certificateId"]]
    pages = all_pages(iot, "list_certificates", "certificates", ascendingOrder=True)
    up = [it["certificateId"] for it in pages]
    assert [it for it in up if it in ids] == ids
    down = [it["certificateId"] for it in all_pages(iot, "list_certificates", "certificates")]
    assert down == up[::-1]


def test_a_key_that_the_device_keeps_is_certified(iot):
    made = iot.create_certificate_from_csr(certificateSigningRequest=REQUEST, setAsActive=True)
    described = iot.describe_certificate(certificateId=made["certificateId"])
    assert described["certificateDescription"]["status"] == "ACTIVE"
    assert described["certificateDescription"]["certificatePem"] == made["certificatePem"]
    with refused("InvalidRequestException"):
        iot.create_certificate_from_csr(certificateSigningRequest="nonsense")


def test_a_certificate_made_elsewhere_is_registered_once(iot):
    made = iot.register_certificate_without_ca(certificatePem=SELF_SIGNED, status="ACTIVE")
    assert made["certificateArn"].endswith(f":cert/{made['certificateId']}")
    with refused("ResourceAlreadyExistsException", 409):
        iot.register_certificate_without_ca(certificatePem=SELF_SIGNED)
    with refused("CertificateValidationException", 400):
        iot.register_certificate_without_ca(certificatePem="nonsense")


def test_a_policys_life(iot, name):
    made = iot.create_policy(policyName=name, policyDocument=ALLOW_ALL)
    assert (made["policyVersionId"], made["policyDocument"]) == ("1", ALLOW_ALL)
    with refused("ResourceAlreadyExistsException"):
        iot.create_policy(policyName=name, policyDocument=ALLOW_ALL)
    with refused("MalformedPolicyException", 400):
        iot.create_policy(policyName=f"{name}-2", policyDocument="{}")

    added = iot.create_policy_version(policyName=name, policyDocument=DENY_ALL)
    assert (added["policyVersionId"], added["isDefaultVersion"]) == ("2", False)
    assert iot.get_policy(policyName=name)["policyDocument"] == ALLOW_ALL
    iot.set_default_policy_version(policyName=name, policyVersionId="2")
    policy = iot.get_policy(policyName=name)
    assert (policy["defaultVersionId"], policy["policyDocument"]) == ("2", DENY_ALL)
    version = iot.get_policy_version(policyName=name, policyVersionId="1")
    assert (version["policyDocument"], version["isDefaultVersion"]) == (ALLOW_ALL, False)
    for _ in range(3):
        iot.create_policy_version(policyName=name, policyDocument=ALLOW_ALL)
    with refused("VersionsLimitExceededException", 409):
        iot.create_policy_version(policyName=name, policyDocument=ALLOW_ALL)
    versions = iot.list_policy_versions(policyName=name)["policyVersions"]
    assert len(versions) == 5
    with refused("DeleteConflictException", 409):
        iot.delete_policy(policyName=name)
    with refused("DeleteConflictException", 409):
        iot.delete_policy_version(policyName=name, policyVersionId="2")
    for version in versions:
        if not version["isDefaultVersion"]:
            iot.delete_policy_version(policyName=name, policyVersionId=version["versionId"])
    assert name in [it["policyName"] for it in all_pages(iot, "list_policies", "policies")]
    iot.delete_policy(policyName=name)
    with refused("ResourceNotFoundException"):
        iot.get_policy(policyName=name)


def test_policies_are_attached_to_certificates_and_groups(iot, certificate, name):
    arn = certificate["certificateArn"]
    iot.create_policy(policyName=name, policyDocument=ALLOW_ALL)
    iot.create_policy(policyName=f"{name}-deny", policyDocument=DENY_ALL)
    parent = iot.create_thing_group(thingGroupName=name)["thingGroupArn"]
    child = iot.create_thing_group(thingGroupName=f"{name}-child", parentGroupName=name)
    for target in (arn, parent):
        iot.attach_policy(policyName=name, target=target)
    iot.attach_policy(policyName=f"{name}-deny", target=child["thingGroupArn"])

    def attached(target, **more):
        policies = iot.list_attached_policies(target=target, **more)["policies"]
        return [policy["policyName"] for policy in policies]

    assert attached(arn) == [name]
    assert attached(child["thingGroupArn"]) == [f"{name}-deny"]
    assert attached(child["thingGroupArn"], recursive=True) == [name, f"{name}-deny"]
    assert set(all_pages(iot, "list_targets_for_policy", "targets", policyName=name)) == {arn, parent}
    assert iot.list_policy_principals(policyName=name)["principals"] == [arn]
    listed = iot.list_principal_policies(principal=arn)["policies"]
    assert [policy["policyName"] for policy in listed] == [name]
    iot.attach_principal_policy(policyName=f"{name}-deny", principal=arn)
    assert attached(arn) == [name, f"{name}-deny"]
    iot.detach_principal_policy(policyName=f"{name}-deny", principal=arn)
    iot.detach_policy(policyName=name, target=arn)
    assert attached(arn) == []
    with refused("DeleteConflictException"):
        iot.delete_policy(policyName=name)
    with refused("ResourceNotFoundException"):
        iot.attach_policy(policyName=f"{name}-missing", target=arn)
    with refused("InvalidRequestException"):
        iot.attach_policy(policyName=name, target="arn:aws:iot:us-east-1:123456789012:thing/x")


def test_what_is_in_force_for_a_device_is_told_before_it_connects(iot, certificate, name):
    arn = certificate["certificateArn"]
    iot.create_thing(thingName=name)
    iot.attach_thing_principal(thingName=name, principal=arn)
    iot.create_policy(policyName=name, policyDocument=ALLOW_ALL)
    iot.attach_policy(policyName=name, target=arn)
    group = iot.create_thing_group(thingGroupName=name)["thingGroupArn"]
    iot.create_policy(policyName=f"{name}-deny", policyDocument=DENY_ALL)
    iot.attach_policy(policyName=f"{name}-deny", target=group)

    def effective():
        policies = iot.get_effective_policies(principal=arn, thingName=name)["effectivePolicies"]
        return {policy["policyName"]: policy["policyDocument"] for policy in policies}

    def decision(client):
        region_and_account = arn.split(":cert/")[0]
        result = iot.test_authorization(
            principal=arn,
            clientId=client,
            authInfos=[{"actionType": "PUBLISH", "resources": [f"{region_and_account}:topic/a/b"]}],
        )["authResults"][0]
        denied = result["denied"]["explicitDeny"]["policies"]
        return result["authDecision"], [policy["policyName"] for policy in denied]

    assert effective() == {name: ALLOW_ALL}
    assert decision(name) == ("ALLOWED", [])
    iot.add_thing_to_thing_group(thingName=name, thingGroupName=name)
    assert effective() == {name: ALLOW_ALL, f"{name}-deny": DENY_ALL}
    assert decision(name) == ("EXPLICIT_DENY", [f"{name}-deny"])
    with refused("InvalidRequestException"):
        iot.test_authorization(principal=arn, authInfos=[{"actionType": "FLY", "resources": ["x"]}])


def test_messages_are_published_whatever_their_topic_and_payload(server):
    data = server.aws("iot-data")
    data.publish(topic="a/b c/ä*", qos=1, payload=b"\x00\xff")
    data.publish(
        topic="things/x:y",
        retain=False,
        payload="text",
        contentType="text/plain",
        responseTopic="answers/here",
        payloadFormatIndicator="UTF8_DATA",
        correlationData="Yy0x",
        messageExpiry=60,
        userProperties=json.dumps([{"k": "v"}, {"k": "w"}]),
    )
    data.publish(topic="empty")
    with refused("InvalidRequestException", 400):
        data.publish(topic="a/#", payload=b"x")
    with refused("RequestEntityTooLargeException", 413):
        data.publish(topic="a", payload=b"x" * (128 * 1024 + 1))


def test_the_endpoint_is_a_bare_host(iot):
    for kind in ("iot:Data-ATS", "iot:Data", "iot:Jobs"):
        address = iot.describe_endpoint(endpointType=kind)["endpointAddress"]
        assert address and ":" not in address and "/" not in address
    with refused("InvalidRequestException"):
        iot.describe_endpoint(endpointType="mail")


def test_an_operation_that_is_not_served_says_so_by_name(server, iot):
    with refused("NotImplementedException", 501) as answer:
        iot.create_job(jobId="j", targets=["arn:aws:iot:us-east-1:123456789012:thing/x"])
    assert "CreateJob" in answer.message
    with refused("NotImplementedException", 501) as answer:
        iot.start_on_demand_audit_task(targetCheckNames=["X"])
    assert "StartOnDemandAuditTask" in answer.message
    with refused("NotImplemented", 501) as answer:
        server.aws("sns").list_platform_applications()
    assert "ListPlatformApplications" in answer.message


def test_a_wrong_key_opens_nothing(server):
    def client(service, key=None, secret=None, token=None):
        return boto3.client(
            service,
            endpoint_url=server.env["AWS_ENDPOINT_URL"],
            region_name="eu-central-1",
            aws_access_key_id=key or server.env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=secret or server.env["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=token,
        )

    assert client("iot").list_things()["things"] is not None, "any region will do"
    with refused("UnrecognizedClientException", 403) as answer:
        client("iot", key="AKIAOTHER").list_things()
    assert "picket env" in answer.message
    with refused("InvalidSignatureException", 403):
        client("iot", secret="wrong").list_things()
    with refused("SignatureDoesNotMatch", 403):
        client("sns", secret="wrong").list_topics()
    with refused("InvalidClientTokenId", 403):
        client("sts", token="made up").get_caller_identity()


def test_the_cli_makes_a_device(server, name, tmp_path):
    def aws(*words):
        done = server.cli(*words, "--output", "json")
        return json.loads(done.stdout) if done.stdout.strip() else None

    aws("iot", "create-thing", "--thing-name", name)
    files = {it: tmp_path / f"{it}.pem" for it in ("certificate", "public", "private")}
    made = aws(
        *["iot", "create-keys-and-certificate", "--set-as-active"],
        *["--certificate-pem-outfile", str(files["certificate"])],
        *["--public-key-outfile", str(files["public"])],
        *["--private-key-outfile", str(files["private"])],
    )
    assert files["private"].read_text().startswith("-----BEGIN RSA PRIVATE KEY-----")
    arn = made["certificateArn"]
    document = pathlib.Path(tmp_path / "policy.json")
    document.write_text(ALLOW_ALL)
    aws("iot", "create-policy", "--policy-name", name, "--policy-document", f"file://{document}")
    aws("iot", "attach-policy", "--policy-name", name, "--target", arn)
    aws("iot", "attach-thing-principal", "--thing-name", name, "--principal", arn)
    listed = aws("iot", "list-attached-policies", "--target", arn)
    assert [policy["policyName"] for policy in listed["policies"]] == [name]
    aws("iot", "describe-endpoint", "--endpoint-type", "iot:Data-ATS")
    aws("iot-data", "publish", "--topic", "a/b", "--payload", "aGVsbG8=")
    things = aws("iot", "list-things", "--max-items", "1", "--page-size", "1")
    assert len(things["things"]) == 1
    failed = server.cli("iot", "describe-thing", "--thing-name", f"{name}-2", check=False)
    assert failed.returncode != 0
    assert "(ResourceNotFoundException)" in failed.stderr
    assert f"thing `{name}-2` does not exist" in failed.stderr
