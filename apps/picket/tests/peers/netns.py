"""A device with a network of its own: a network namespace, joined to this machine by a cable."""

import itertools
import os
import subprocess

_numbers = itertools.count()


def ip(*words):
    """Runs `ip` of iproute2, which needs root."""
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()} (run as root)"


class Namespace:
    """A namespace whose sockets and counters are a device's own, as on a machine of its own.

    `host` is this machine's address on the cable, `device` is the address at the other end.
    """

    def __init__(self):
        # A network that was just taken down lingers in the kernel: none has the name of another.
        number = (os.getpid() * 8 + next(_numbers)) % 16384
        self.name = f"picket{number}"
        subnet = f"10.213.{number // 64}.{number % 64 * 4}"
        prefix, _, last = subnet.rpartition(".")
        self.host, self.device = f"{prefix}.{int(last) + 1}", f"{prefix}.{int(last) + 2}"
        self.cable = f"pk{number}h", f"pk{number}d"
        self.processes = []

    def __enter__(self):
        here, there = self.cable
        ip("netns", "add", self.name)
        ip("link", "add", here, "type", "veth", "peer", "name", there, "netns", self.name)
        ip("addr", "add", f"{self.host}/30", "dev", here)
        ip("link", "set", here, "up")
        ip("-n", self.name, "addr", "add", f"{self.device}/30", "dev", there)
        ip("-n", self.name, "link", "set", there, "up")
        ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_):
        for process in self.processes:
            process.kill()
            process.wait()
        # Both ends go with either.
        ip("link", "delete", self.cable[0])
        ip("netns", "delete", self.name)

    def start(self, *command, **options):
        """Starts a command on the device; it ends with the namespace at the latest."""
        process = subprocess.Popen(["ip", "netns", "exec", self.name, *command], **options)
        self.processes.append(process)
        return process
