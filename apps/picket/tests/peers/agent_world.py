"""A network with known sockets and traffic, and what witnesses say of it at the same moment.

Run in a network namespace of its own: `unshare --net python agent_world.py PICKET_AGENT`.
Prints one JSON object.
"""

import json
import socket
import subprocess
import sys

import psutil
from AWSIoTDeviceDefenderAgentSDK import collector


# Nobody at all, on every Linux.
NOBODY = 65534


def agent(program, *flags, **options):
    """What picket-agent prints."""
    command = [program, "--once", "--print", *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, **options)
    return json.loads(done.stdout)


def traffic(program):
    """What both agents say was sent and received between two of their reports."""
    command = [program, "--print", "--loopback", "--interval", "5"]
    ours = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    theirs = collector.Collector(False, False)
    first = json.loads(ours.stdout.readline())
    theirs.collect_metrics()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(7):
            sender.sendto(bytes(1000), ("127.0.0.1", 9))
    second = json.loads(ours.stdout.readline())
    aws = json.loads(theirs.collect_metrics().to_json_string())
    ours.terminate()
    assert ours.wait() == 0
    stats = [report["metrics"].get("network_stats") for report in (first, second, aws)]
    return dict(zip(("first", "ours", "aws"), stats))


def aws_agent():
    """What the AWS Python agent would send."""
    return json.loads(collector.Collector(False, False).collect_metrics().to_json_string())


def by_psutil():
    """Sockets as psutil lists them: kind, state, local and remote address."""
    kinds = {socket.SOCK_STREAM: "tcp", socket.SOCK_DGRAM: "udp"}
    return [
        [kinds[c.type], c.status, list(c.laddr), list(c.raddr)] for c in psutil.net_connections("inet")
    ]


def bound(family, kind, host):
    made = socket.socket(family, kind)
    made.bind((host, 0))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def main(program):
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    v4, v6 = socket.AF_INET, socket.AF_INET6
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
    listeners = [bound(v4, tcp, host) for host in ("0.0.0.0", "127.0.0.1")]
    listeners += [bound(v6, tcp, host) for host in ("::", "::1")]
    open_to_all = [bound(v4, udp, "127.0.0.1"), bound(v6, udp, "::")]
    one_peer = bound(v4, udp, "127.0.0.1")
    one_peer.connect(("127.0.0.1", 9))
    clients = [socket.create_connection(listener.getsockname()[:2]) for listener in listeners]
    servers = [listener.accept()[0] for listener in listeners]
    story = {
        "netlink": agent(program),
        "proc": agent(program, "--sockets", "proc"),
        "aws": aws_agent(),
        "psutil": by_psutil(),
        "one_peer": one_peer.getsockname()[1],
    }
    try:
        story["nobody"] = agent(program, user=NOBODY, extra_groups=[])
    except PermissionError:
        # In a namespace of an ordinary user everybody is that user.
        story["nobody"] = story["netlink"]
    for made in listeners + open_to_all + clients + servers:
        made.close()
    story["traffic"] = traffic(program)
    print(json.dumps(story))


if __name__ == "__main__":
    main(*sys.argv[1:])
