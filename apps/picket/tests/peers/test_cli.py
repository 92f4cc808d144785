"""The AWS CLI, told nothing but what `picket env` prints."""

import json

from harness import ACCOUNT


def test_things_are_made_listed_and_deleted(server):
    made = json.loads(server.cli("iot", "create-thing", "--thing-name", "Pump7").stdout)
    assert made["thingArn"] == f"arn:aws:iot:us-east-1:{ACCOUNT}:thing/Pump7"
    names = ("iot", "list-things", "--query", "things[].thingName", "--output", "text")
    assert server.cli(*names).stdout.split() == ["Pump7"]
    server.cli("iot", "delete-thing", "--thing-name", "Pump7")
    assert server.cli(*names).stdout.strip() in ("", "None")


def test_an_error_has_awss_name(server):
    done = server.cli("iot", "describe-thing", "--thing-name", "Nobody", check=False)
    assert done.returncode != 0
    assert "(ResourceNotFoundException)" in done.stderr and "Nobody" in done.stderr


def test_an_operation_that_is_not_served_says_so(server):
    done = server.cli("iot", "list-jobs", check=False)
    assert done.returncode != 0
    assert "ListJobs" in done.stderr


def test_a_wrong_secret_is_refused(server):
    server.env = {**server.env, "AWS_SECRET_ACCESS_KEY": "wrong"}
    try:
        done = server.cli("iot", "list-things", check=False)
    finally:
        server.env = server._environment()
    assert done.returncode != 0
    assert "signature" in done.stderr.lower()


def test_keys_and_certificate_come_as_files(server, tmp_path):
    files = {
        "--certificate-pem-outfile": tmp_path / "device.crt",
        "--private-key-outfile": tmp_path / "device.key",
    }
    flags = [str(word) for pair in files.items() for word in pair]
    server.cli("iot", "create-keys-and-certificate", "--set-as-active", *flags)
    certificate, key = (path.read_text() for path in files.values())
    assert certificate.startswith("-----BEGIN CERTIFICATE-----\n")
    assert "PRIVATE KEY-----\n" in key


def test_all_five_services_answer_at_one_address(server):
    endpoint = server.cli("iot", "describe-endpoint", "--endpoint-type", "iot:Data-ATS")
    assert json.loads(endpoint.stdout) == {"endpointAddress": "localhost"}
    assert ACCOUNT in server.cli("sts", "get-caller-identity").stdout
    assert "Alarms" in server.cli("sns", "create-topic", "--name", "Alarms").stdout
    assert "Functions" in server.cli("lambda", "list-functions").stdout
    server.cli("iot-data", "publish", "--topic", "a/b", "--payload", "aGVsbG8=")


def test_a_security_profile_is_written_as_in_the_guide(server):
    behavior = [
        {
            "name": "MessageSize",
            "metric": "aws:message-byte-size",
            "criteria": {
                "comparisonOperator": "less-than-equals",
                "value": {"count": 1000},
                "consecutiveDatapointsToAlarm": 1,
                "consecutiveDatapointsToClear": 2,
            },
        }
    ]
    name = ("--security-profile-name", "LargeMessages")
    server.cli("iot", "create-security-profile", *name, "--behaviors", json.dumps(behavior))
    everything = f"arn:aws:iot:us-east-1:{ACCOUNT}:all/things"
    server.cli(
        *["iot", "attach-security-profile", *name],
        *["--security-profile-target-arn", everything],
    )
    described = json.loads(server.cli("iot", "describe-security-profile", *name).stdout)
    assert described["behaviors"] == behavior
    targets = server.cli("iot", "list-targets-for-security-profile", *name).stdout
    assert everything in targets
