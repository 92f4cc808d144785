"""picket-agent beside psutil and the AWS Python agent, and against the real server."""

import contextlib
import ipaddress
import json
import os
import pathlib
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import harness
import pytest

AGENT = pathlib.Path(harness.picket()).with_name("picket-agent")


@pytest.fixture(scope="module")
def world():
    """What everybody says of one moment in a network of known sockets."""
    assert AGENT.exists(), f"{AGENT} is not built: run `cargo xtask test`"
    script = pathlib.Path(__file__).with_name("agent_world.py")
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ["unshare", "--net", *user, sys.executable, script, AGENT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"root or user namespaces are needed:\n{done.stderr}"
    return json.loads(done.stdout)


def ports(report, section):
    return sorted((p["port"], p["interface"]) for p in report["metrics"][section]["ports"])


def host(text):
    """An address; IPv4 in IPv6 is IPv4."""
    found = ipaddress.ip_address(text.strip("[]"))
    return getattr(found, "ipv4_mapped", None) or found


def connections(report):
    """Pairs of local port and peer. The AWS agent leaves the brackets of IPv6 out."""
    found = report["metrics"]["tcp_connections"]["established_connections"]["connections"]
    peers = [(c["local_port"], *c["remote_addr"].rsplit(":", 1)) for c in found]
    return sorted((local, host(ip), int(port)) for local, ip, port in peers)


@pytest.mark.parametrize("witness", ["netlink", "proc"])
def test_the_agent_sees_the_sockets_that_psutil_sees(world, witness):
    report = world[witness]
    seen = world["psutil"]

    def listed(section):
        return sorted(port for port, _ in ports(report, section))

    assert listed("listening_tcp_ports") == sorted(
        local[1] for kind, state, local, _ in seen if (kind, state) == ("tcp", "LISTEN")
    )
    # psutil knows no state of UDP; one that has a peer hears that one alone.
    assert listed("listening_udp_ports") == sorted(
        local[1] for kind, _, local, remote in seen if kind == "udp" and not remote
    )
    assert connections(report) == sorted(
        (local[1], host(remote[0]), remote[1])
        for kind, state, local, remote in seen
        if (kind, state) == ("tcp", "ESTABLISHED")
    )
    assert len(connections(report)) == 8


def test_the_agent_says_what_the_aws_agent_says_where_that_is_right(world):
    ours, theirs = world["netlink"], world["aws"]
    assert ports(ours, "listening_tcp_ports") == ports(theirs, "listening_tcp_ports")
    assert connections(ours) == connections(theirs)
    assert (
        ours["metrics"]["listening_tcp_ports"]["total"]
        == theirs["metrics"]["listening_tcp_ports"]["total"]
    )
    # It calls a UDP socket that is connected to one peer a listening port.
    wrong = (world["one_peer"], "lo")
    assert wrong in ports(theirs, "listening_udp_ports")
    right = [port for port in ports(theirs, "listening_udp_ports") if port != wrong]
    assert ports(ours, "listening_udp_ports") == right
    # Its first sample is a counter since boot, which it has the sense not to send.
    assert "network_stats" in theirs["metrics"] and "network_stats" not in ours["metrics"]
    assert ours["header"].keys() == theirs["header"].keys()
    assert 0 <= theirs["header"]["report_id"] - ours["header"]["report_id"] < 60


def test_an_ordinary_user_sees_what_root_sees(world):
    assert world["nobody"]["metrics"] == world["netlink"]["metrics"]


def test_the_agent_counts_the_traffic_that_the_aws_agent_counts(world):
    """In a network that is a loopback alone, which ours counts when asked."""
    traffic = world["traffic"]
    assert traffic["first"] is None
    # Seven datagrams of 1,000 bytes, and for each the answer that nobody listens.
    assert traffic["ours"]["bytes_in"] >= 7 * 1028
    assert traffic["ours"] == traffic["aws"]


class Agent:
    """A running picket-agent; `lines` is what it logs."""

    def __init__(self, *flags, start=subprocess.Popen):
        command = [AGENT, "--verbose", "--interval", "5", *map(str, flags)]
        self.process = start(command, stderr=subprocess.PIPE, text=True)
        self.lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stderr:
            self.lines.put(line)

    def until(self, words):
        """The first line that has these words; those before it are passed over."""
        deadline = time.monotonic() + harness.PATIENCE_S
        heard = []
        while True:
            try:
                heard.append(self.lines.get(timeout=max(0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"never logged: {words}\n{''.join(heard)}") from None
            if words in heard[-1]:
                return heard[-1]

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=10)


@pytest.fixture
def run_agent():
    """Starts agents; each must stop cleanly behind the story."""
    agents = []

    def start(*flags, **options):
        agents.append(Agent(*flags, **options))
        return agents[-1]

    yield start
    for agent in agents:
        assert agent.stop() == 0


class Door:
    """A port that stays while the server behind it comes and goes."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.server_port = None
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                inside, _ = self.listener.accept()
            except OSError:
                return
            try:
                outside = socket.create_connection(("127.0.0.1", self.server_port))
            except OSError:
                inside.close()
                continue
            for ends in ((inside, outside), (outside, inside)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    @staticmethod
    def _pass_on(source, target):
        try:
            while data := source.recv(65536):
                target.sendall(data)
        except OSError:
            pass
        finally:
            for end in (source, target):
                end.close()

    def close(self):
        self.listener.close()


def flags_of(device):
    """How the agent connects as a device: flags of the AWS agent, but for the port."""
    return [
        *("--endpoint", f"{device.host}:{device.port}", "--rootCA", device.ca),
        *("--cert", device.certificate, "--key", device.key, "--client_id", device.name),
    ]


@pytest.mark.parametrize("mqtt", ["3.1.1", "5"])
def test_reports_go_out_as_json_with_either_version(
    mqtt, device, anything_goes, listen, run_agent, tmp_path
):
    # Other programs of this machine have sockets too: none is left out of the lists.
    config = tmp_path / "agent.toml"
    config.write_text("list_max = 1000\n")
    name = f"Reporter{mqtt[0]}"
    topic = f"$aws/things/{name}/defender/metrics/json"
    listener = listen(device(f"{name}-listener", anything_goes), topic)
    reporter = device(name, anything_goes)
    port = str(reporter.port)
    run_agent(*flags_of(reporter), "--mqtt", mqtt, "--config", config)
    first, second = (json.loads(listener.next_on(topic)) for _ in range(2))
    assert first["header"]["version"] == "1.0"
    assert first["header"]["report_id"] < second["header"]["report_id"]
    # The first sample was left out: what goes out has increments from the first report on.
    assert set(first["metrics"]["network_stats"]) == {
        *("bytes_in", "bytes_out", "packets_in", "packets_out"),
    }
    # The server listens on this machine, and the agent is connected to it.
    def connected(report):
        found = report["metrics"]["tcp_connections"]["established_connections"]
        return {c["remote_addr"].rsplit(":", 1)[1] for c in found["connections"]}

    def listening(report):
        return {str(p["port"]) for p in report["metrics"]["listening_tcp_ports"]["ports"]}

    assert port in listening(second) & connected(second)


def at_port_443(device, network):
    """As `flags_of`, from a network of its own."""
    flags = flags_of(device)
    flags[1] = f"{network.host}:443"
    return flags


def on_the_device(network):
    """Starts programs in that network."""
    return lambda command, **options: network.start(*command, **options)


@pytest.mark.parametrize(
    "mqtt, form", [("3.1.1", ["json"]), ("5", ["cbor"]), ("5", ["json", "-s"]), ("3.1.1", ["cbor", "-s"])]
)
def test_reports_go_to_port_443_in_every_format(
    mqtt, form, on_port_443, network, tmp_path, run_agent
):
    server = on_port_443
    server.aws("iot").create_policy(policyName="P", policyDocument=harness.ALLOW_ALL)
    device = server.provision("Remote", "P", tmp_path)
    flags = [*at_port_443(device, network), "--mqtt", mqtt, "--format", *form]
    agent = run_agent(*flags, start=on_the_device(network))
    agent.until("connected to")
    agent.until("is accepted")


def test_the_log_says_why_a_report_is_refused(device, anything_goes, run_agent):
    """The server takes one report in five minutes, and the agent sends one in five seconds."""
    agent = run_agent(*flags_of(device("Hasty", anything_goes)))
    agent.until("is accepted")
    assert "Throttled" in agent.until("is refused")


def test_the_agent_comes_back_when_the_server_does(new_server, tmp_path, run_agent):
    with contextlib.closing(Door()) as door:
        new_server.start()
        new_server.aws("iot").create_policy(policyName="P", policyDocument=harness.ALLOW_ALL)
        device = new_server.provision("Steady", "P", tmp_path)
        door.server_port = device.port
        at_the_door = flags_of(device)
        at_the_door[1] = f"{device.host}:{door.port}"
        agent = run_agent(*at_the_door)
        agent.until("connected to")
        new_server.stop()
        agent.until("next attempt in")
        new_server.start()
        door.server_port = device.port
        agent.until("connected to")
        agent.until("sent report")


def test_a_device_that_may_not_connect_is_told_why(server, device, iot, run_agent):
    iot.create_policy(policyName="Nothing", policyDocument=harness.DENY_ALL)
    agent = run_agent(*flags_of(device("Stranger", "Nothing")))
    assert "next attempt in" in agent.until("the server")


def test_custom_metrics_go_out_with_their_types(
    device, anything_goes, listen, run_agent, tmp_path
):
    socket_path = tmp_path / "metrics.sock"
    (tmp_path / "firmware.json").write_text('["1.2.3"]')
    config = tmp_path / "agent.toml"
    config.write_text(
        f"""
metrics_socket = {json.dumps(str(socket_path))}

[[metric]]
ready = "process-count"

[[metric]]
name = "firmware"
type = "string-list"
file = {json.dumps(str(tmp_path / "firmware.json"))}

[[metric]]
name = "dns"
type = "ip-address-list"
command = ["/bin/echo", '["192.0.2.53"]']

[[metric]]
name = "queue"
type = "number"
socket = true
"""
    )
    topic = "$aws/things/Custom/defender/metrics/json"
    listener = listen(device("Custom-listener", anything_goes), topic)
    agent = run_agent(*flags_of(device("Custom", anything_goes)), "--config", config)
    agent.until("connected to")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(b'{"queue": 17}', str(socket_path))
    custom = json.loads(listener.next_on(topic))["custom_metrics"]
    assert custom.pop("process_count")[0]["number"] > 1
    assert custom == {
        "firmware": [{"string_list": ["1.2.3"]}],
        "dns": [{"ip_list": ["192.0.2.53"]}],
        "queue": [{"number": 17}],
    }
    # What nobody sends again is not measured any more.
    assert "queue" not in json.loads(listener.next_on(topic))["custom_metrics"]


def picket(server, *words):
    """What the server's command line prints."""
    command = [harness.picket(), *words, "--data-dir", server.data_dir]
    return subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE_S)


def enroll(server, token, thing, folder):
    command = [AGENT, "enroll", "--server", server.env["AWS_ENDPOINT_URL"], "--token", token]
    command += ["--thing_name", thing, "--dir", folder]
    return subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE_S)


def test_a_device_enrols_itself_and_reports(server, iot, anything_goes, tmp_path, run_agent):
    group = iot.create_thing_group(thingGroupName="Fleet")
    iot.attach_policy(policyName=anything_goes, target=group["thingGroupArn"])
    create = ["enroll", "token", "create", "--group", "Fleet", "--uses", "2", "--expires", "1h"]
    made = picket(server, *create)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()

    folder = tmp_path / "device"
    done = enroll(server, token, "Enrolled1", folder)
    assert done.returncode == 0, done.stderr
    assert (folder / "key.pem").stat().st_mode & 0o777 == 0o600
    members = iot.list_things_in_thing_group(thingGroupName="Fleet")["things"]
    assert members == ["Enrolled1"]
    agent = run_agent("--config", folder / "agent.toml")
    agent.until("connected to")
    agent.until("sent report")

    # A thing that is there is given to nobody, and the token is not used up by the attempt.
    again = enroll(server, token, "Enrolled1", tmp_path / "thief")
    assert (again.returncode, "already exists" in again.stderr) == (1, True), again.stderr
    assert not (tmp_path / "thief").exists()
    assert enroll(server, token, "Enrolled2", tmp_path / "second").returncode == 0
    third = enroll(server, token, "Enrolled3", tmp_path / "third")
    assert "has been used 2 times" in third.stderr
    assert "is not known" in enroll(server, "guess", "Enrolled3", tmp_path / "third").stderr

    listed = picket(server, "enroll", "token", "list").stdout
    assert "used 2 of 2" in listed and "Enrolled1" in listed and "Enrolled2" in listed
    # The token is kept nowhere.
    for file in server.data_dir.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes(), file


def test_tokens_are_made_by_the_administrator_alone(server):
    url = server.env["AWS_ENDPOINT_URL"] + "/picket/enroll-tokens"
    for method in ("GET", "POST"):
        request = urllib.request.Request(url, data=b"{}" if method == "POST" else None, method=method)
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=harness.PATIENCE_S)
        assert refused.value.code == 403


def alarmed(iot, thing, kind):
    """The violation events of a thing that are of a kind."""
    found = iot.list_violation_events(
        startTime=time.time() - 3600, endTime=time.time() + 60, thingName=thing
    )
    return [event for event in found["violationEvents"] if event["violationEventType"] == kind]


OPEN_A_PORT = """
import socket
listening = socket.create_server(("0.0.0.0", 4444))
input()
"""


def test_a_port_out_of_the_set_raises_the_alarm_at_the_next_report(
    on_port_443, network, tmp_path, run_agent
):
    server, iot = on_port_443, on_port_443.aws("iot")
    iot.create_policy(policyName="P", policyDocument=harness.ALLOW_ALL)
    iot.create_security_profile(
        securityProfileName="Ports",
        behaviors=[
            {
                "name": "KnownPorts",
                "metric": "aws:listening-tcp-ports",
                "criteria": {
                    "comparisonOperator": "in-port-set",
                    "value": {"ports": [22]},
                    "consecutiveDatapointsToAlarm": 1,
                    "consecutiveDatapointsToClear": 1,
                },
            }
        ],
    )
    iot.attach_security_profile(
        securityProfileName="Ports",
        securityProfileTargetArn=f"arn:aws:iot:us-east-1:{harness.ACCOUNT}:all/things",
    )
    device = server.provision("Gateway", "P", tmp_path)
    agent = run_agent(*at_port_443(device, network), start=on_the_device(network))
    agent.until("is accepted")
    assert alarmed(iot, "Gateway", "in-alarm") == []

    backdoor = network.start(sys.executable, "-c", OPEN_A_PORT, stdin=subprocess.PIPE)
    # The report that was on its way when the port was bound may not have it yet.
    event = harness.eventually("the alarm", lambda: alarmed(iot, "Gateway", "in-alarm"))[0]
    assert event["behavior"]["name"] == "KnownPorts"
    assert event["metricValue"]["ports"] == [4444]
    backdoor.communicate()
    harness.eventually("the end of the alarm", lambda: alarmed(iot, "Gateway", "alarm-cleared"))


def test_one_report_is_sent_and_its_answer_is_the_exit_code(server, device, anything_goes):
    once = flags_of(device("Once", anything_goes))
    done = subprocess.run(
        [AGENT, "--once", *once], capture_output=True, text=True, timeout=harness.PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
