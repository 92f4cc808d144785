"""Makes vectors.json: requests as botocore signs them, for the tests beside this file.

    python vectors.py > vectors.json

The date is fixed, so the same botocore gives the same file.
"""

import datetime
import json
from unittest import mock

import botocore
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

KEY = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
NOW = datetime.datetime(2026, 11, 20, 10, 5, 0, tzinfo=datetime.timezone.utc)
HOST = "http://127.0.0.1:8080"
ARN = "arn%3Aaws%3Aiot%3Aus-east-1%3A123456789012%3Athinggroup%2FIsolated"

# name, service, method, target as it goes on the wire, headers, body
CASES = [
    ("root", "sns", "POST", "/", {"Content-Type": "application/x-www-form-urlencoded"}, b"Action=ListTopics"),
    ("plain path", "iot", "GET", "/things/pump-7", {}, b""),
    ("body", "iot", "POST", "/things/pump-7", {"Content-Type": "application/json"}, b'{"a": "\xc3\xa4"}'),
    ("encoded slash and colon", "iot", "POST", f"/attached-policies/{ARN}", {}, b""),
    ("colon as it is", "iot", "GET", "/things/a:b", {}, b""),
    ("space and plus in the path", "iotdata", "POST", "/topics/a%20b%2Bc", {}, b"x"),
    ("other letters in the path", "iotdata", "POST", "/topics/%E6%B8%A9%E5%BA%A6", {}, b"x"),
    ("dollar and star in the path", "iotdata", "POST", "/topics/%24aws%2F%2A~", {}, b"x"),
    ("slash at the end", "lambda", "GET", "/2015-03-31/functions/", {}, b""),
    ("slashes in a row", "iot", "GET", "//things///a", {}, b""),
    ("dots in the path", "iot", "GET", "/x/../things/./a", {}, b""),
    ("query", "iot", "GET", "/things?maxResults=1&attributeName=a", {}, b""),
    ("query out of order", "iot", "GET", "/things?b=2&a=3&a=1&A=0", {}, b""),
    ("empty value in the query", "iot", "GET", "/things?b=&a=", {}, b""),
    ("name without value in the query", "iot", "GET", "/things?flag", {}, b""),
    ("time in the query", "iot", "GET", "/violation-events?startTime=2024-01-02T03%3A04%3A05.123000Z", {}, b""),
    ("encoded query", "iot", "GET", "/things?q=a%20b%26c%3Dd%2Be%2F~-_.", {}, b""),
    ("principal in a header", "iot", "PUT", "/things/a/principals", {"x-amzn-principal": "arn:aws:iot:us-east-1:123456789012:cert/00"}, b""),
    ("white space in a header", "iot", "GET", "/things", {"x-amz-meta": "  a   b\tc  "}, b""),
    ("declared payload", "iot", "POST", "/things/a", {"X-Amz-Content-SHA256": "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}, b"{}"),
    ("user agent and trace", "iot", "GET", "/things", {"User-Agent": "Boto3/1", "X-Amzn-Trace-Id": "Root=1"}, b""),
]


def signed(service, method, target, headers, body, token):
    """The request's headers after botocore has signed it."""
    request = AWSRequest(method=method, url=HOST + target, headers=headers, data=body)
    credentials = Credentials(KEY, SECRET, token)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW, create=True):
        SigV4Auth(credentials, service, "us-east-1").add_auth(request)
    return [["host", "127.0.0.1:8080"]] + [[name, value] for name, value in request.headers.items()]


def main():
    vectors = []
    for name, service, method, target, headers, body in CASES:
        for token in (None, "a/token+of=many//characters=="):
            vectors.append(
                {
                    "name": name + (", with a token" if token else ""),
                    "method": method,
                    "target": target,
                    "headers": signed(service, method, target, headers, body, token),
                    "body": body.decode(),
                }
            )
    lines = ",\n".join(json.dumps(vector, ensure_ascii=False) for vector in vectors)
    print(f'{{"botocore": "{botocore.__version__}", "vectors": [\n{lines}\n]}}')


if __name__ == "__main__":
    main()
