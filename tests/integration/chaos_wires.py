"""Wires between network namespaces, which a test pulls: what is sent is gone, and nobody is told.

The test makes them itself, in a namespace of its own in which it is root: ``unshare --user --map-root-user --net``. All
addresses are of 127.0.0.0/8, so that nothing listens elsewhere; the kernel routes them where ``route_localnet`` is set.
"""

import subprocess
import sys
from contextlib import ExitStack
from itertools import count

APART = ("unshare", "--user", "--map-root-user", "--net")  # before the command of a test
INSIDE = """
set -e
ip link set lo up
ip address delete 127.0.0.1/8 dev lo
ip address add 127.0.0.1/32 dev lo
for name in all default; do echo 1 > /proc/sys/net/ipv4/conf/$name/route_localnet; done
"""
HOLD = f"{INSIDE} echo; exec cat"  # holds a namespace until its input ends


def are_possible() -> bool:
    """Return whether this machine lets a test have namespaces and wires."""
    wire = f"{INSIDE} ip link add one type veth peer name other"
    try:
        return subprocess.run([*APART, "sh", "-c", wire], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


class Wires:
    """Namespaces beside our own, each with wires to it; they are gone at the end of the ``with``."""

    def __init__(self) -> None:
        self._undo = ExitStack()
        self._pids: dict[str, int] = {}  # of processes in the namespaces, by name
        self._numbers: dict[str, int] = {}  # of the wires
        self._next = count(1)

    def __enter__(self) -> "Wires":
        subprocess.run(["sh", "-c", INSIDE], check=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def inside(self, namespace: str) -> list[str]:
        """Return what stands before a command that is to run in a namespace."""
        if namespace not in self._pids:
            command = ["unshare", "--net", "sh", "-c", HOLD]
            holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._undo.push(holder)
            assert holder.stdout is not None and holder.stdout.readline() == b"\n"
            self._pids[namespace] = holder.pid
        return ["nsenter", f"--net=/proc/{self._pids[namespace]}/ns/net"]

    def lay(self, wire: str, namespace: str) -> tuple[str, str]:
        """Lay a wire to a namespace; return the addresses at our end and at the other."""
        number = self._numbers[wire] = next(self._next)
        inside = self.inside(namespace)
        here, there = f"127.70.{number}.1", f"127.70.{number}.2"
        end = ["peer", "name", f"there{number}", "netns", str(self._pids[namespace])]
        _ip("link", "add", f"here{number}", "type", "veth", *end)
        _ip("address", "add", f"{here}/30", "dev", f"here{number}")
        _ip("address", "add", f"{there}/30", "dev", f"there{number}", inside=inside)
        _ip("link", "set", f"there{number}", "up", inside=inside)
        self.plug(wire)
        return here, there

    def has(self, wire: str) -> bool:
        """Return whether there is a wire of that name."""
        return wire in self._numbers

    def pull(self, wire: str) -> None:
        """Pull a wire."""
        _ip("link", "set", f"here{self._numbers[wire]}", "down")

    def plug(self, wire: str) -> None:
        """Plug it in again."""
        _ip("link", "set", f"here{self._numbers[wire]}", "up")


def _ip(*arguments: str, inside: list[str] | None = None) -> None:
    subprocess.run([*(inside or []), "ip", *arguments], check=True, stdout=sys.stderr)
