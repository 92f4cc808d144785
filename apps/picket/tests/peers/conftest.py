"""Stories that real clients play against the real server. `cargo xtask test` runs them."""

import os
import pathlib
import sys

import boto3
import pytest

import harness
from netns import Namespace


def pytest_configure(config):
    if "PICKET_BIN" not in os.environ:
        pytest.exit("PICKET_BIN is not set: run `cargo xtask test`", returncode=2)
    if missing := harness.missing_peers():
        pytest.exit(f"{', '.join(missing)} missing: run `cargo xtask peers`", returncode=2)


def pytest_collection_modifyitems(items):
    if os.environ.get("SLOW") != "1":
        slow = pytest.mark.skip(reason="slow: `cargo xtask test --slow` runs it")
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(slow)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that the stories of one file share; it must stop cleanly behind them."""
    server = harness.Server(tmp_path_factory.mktemp("picket"))
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def new_server(tmp_path):
    """A server of one story alone, not yet started."""
    server = harness.Server(tmp_path / "data")
    yield server
    server.kill()


@pytest.fixture
def eager_server(tmp_path):
    """A server whose profiles watch one story's devices alone, and that takes every report."""
    server = harness.Server(tmp_path / "data", "[reports]\nmin_interval_s = 0\n")
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()


@pytest.fixture
def make(eager_server, tmp_path):
    """Makes devices of the eager server that may do anything."""
    eager_server.aws("iot").create_policy(policyName="AnythingGoes", policyDocument=harness.ALLOW_ALL)
    return lambda name: eager_server.provision(name, "AnythingGoes", tmp_path)


@pytest.fixture
def aws_environment(server, monkeypatch):
    """For stories that are told nothing but what `picket env` exports."""
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    for file in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(file, os.devnull)
    commands = str(pathlib.Path(sys.executable).parent)
    monkeypatch.setenv("PATH", os.pathsep.join([commands, os.environ["PATH"]]))
    # boto3 keeps the keys that it found first, which were another server's.
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)


@pytest.fixture(scope="module")
def iot(server):
    return server.aws("iot")


@pytest.fixture(scope="module")
def anything_goes(iot):
    """A policy that allows a device everything."""
    iot.create_policy(policyName="AnythingGoes", policyDocument=harness.ALLOW_ALL)
    return "AnythingGoes"


@pytest.fixture
def device(server, tmp_path):
    """Makes devices: `device("Pump7", policy)`."""
    return lambda name, policy: server.provision(name, policy, tmp_path)


@pytest.fixture
def listen():
    """Makes listeners: `listen(device, topic)`; all are closed behind the story."""
    listeners = []

    def make(device, topic):
        listeners.append(harness.Listener(device, topic))
        return listeners[-1]

    yield make
    for listener in listeners:
        listener.close()


@pytest.fixture
def network():
    """A device with a network of its own."""
    with Namespace() as namespace:
        yield namespace


@pytest.fixture
def on_port_443(network, tmp_path):
    """A server that the device reaches where the agent looks for it."""
    config = f"""
[endpoint]
host = "{network.host}"
[reports]
min_interval_s = 1
[[mqtt.listener]]
listen = "{network.host}:443"
tls = true
"""
    server = harness.Server(tmp_path / "data", config)
    try:
        yield server.start()
        server.stop()
    finally:
        server.kill()
