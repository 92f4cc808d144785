"""A network with known sockets, and what four witnesses say of it at the same moment.

Run in a network namespace of its own: `unshare --net python agent_world.py PICKET_AGENT`.
Prints one JSON object.
"""

import json
import socket
import subprocess
import sys

import psutil
from AWSIoTDeviceDefenderAgentSDK import collector


def agent(program, *flags):
    """What picket-agent prints."""
    done = subprocess.run([program, "--once", "--print", *flags], capture_output=True, check=True)
    return json.loads(done.stdout)


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
    for made in listeners + open_to_all + clients + servers:
        made.close()
    print(json.dumps(story))


if __name__ == "__main__":
    main(*sys.argv[1:])
