"""Brings aws-operations.toml up to date with the service models of the installed botocore.

Run by `cargo xtask spec refresh` in the test environment (which has botocore), or by hand:

    python specs/refresh.py            writes the file
    python specs/refresh.py --check    says what would change and fails if anything would

Methods and paths come from the models. Status and reason are ours: they are kept for every
operation that is still in a model. An operation that is new in a model comes in as "later", with a
reason that asks somebody to look at it; one that left the models is dropped.
"""

import gzip
import json
import pathlib
import sys

import botocore

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10 and earlier
    import tomli as tomllib

TABLE = pathlib.Path(__file__).with_name("aws-operations.toml")

# The service's name in a SigV4 credential scope, and its folder in botocore.
SERVICES = {"iot": "iot", "iotdata": "iot-data", "sns": "sns", "lambda": "lambda", "sts": "sts"}

HEADER = """\
# Every operation of the five service models that Picket speaks, and what becomes of it.
#
# status: "done"  - served; edge/api has a handler, and a test holds the two against each other
#         "later" - fits Picket, not served yet; reason says what it waits for
#         "never" - not Picket's job; reason says why
# Whatever is not done is answered with 501 and the reason.
#
# One line for each operation. `http` is refreshed from the service models by specs/refresh.py
# (botocore {version}); status and reason are written by hand.
"""

NEW = ("later", "new in the service model, nobody has looked at it yet")


def newest_model(folder):
    """The newest service model in botocore's data folder `folder`."""
    data = pathlib.Path(botocore.__file__).parent / "data" / folder
    version = max(entry.name for entry in data.iterdir() if entry.is_dir())
    path = data / version / "service-2.json"
    if path.exists():
        return json.loads(path.read_text())
    return json.loads(gzip.decompress(path.with_suffix(".json.gz").read_bytes()))


def line(name, http, status, reason):
    """One operation as one line of TOML."""
    text = f"{name} = {{ http = {json.dumps(http)}, status = {json.dumps(status)}"
    if reason:
        text += f", reason = {json.dumps(reason, ensure_ascii=False)}"
    return text + " }"


def render(kept):
    """The whole file, given what it said before."""
    parts = [HEADER.format(version=botocore.__version__)]
    for service, folder in SERVICES.items():
        parts.append(f"\n[{service}]\n")
        for name, operation in sorted(newest_model(folder)["operations"].items()):
            before = kept.get(service, {}).get(name, {})
            status = before.get("status", NEW[0])
            reason = before.get("reason", "" if before else NEW[1])
            http = f"{operation['http']['method']} {operation['http']['requestUri']}"
            parts.append(line(name, http, status, reason) + "\n")
    return "".join(parts)


def main():
    before = TABLE.read_text() if TABLE.exists() else ""
    after = render(tomllib.loads(before))
    if "--check" in sys.argv:
        if before != after:
            changed = set(after.splitlines()) ^ set(before.splitlines())
            print("\n".join(sorted(changed)))
            sys.exit("specs/aws-operations.toml is stale: run `cargo xtask spec refresh`")
        return
    TABLE.write_text(after)


if __name__ == "__main__":
    main()
