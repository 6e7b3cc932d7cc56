"""Ports of 127.0.0.1 for what listens on one that it has to be told.

None of them is one that Linux gives to clients and to whoever asks for any, which are from 32768 on: between the choice
of a port and the moment at which a server has it, a client of another test would take it. Each worker of pytest has its
own.
"""

import os
import random
import socket
from collections.abc import Iterator
from itertools import cycle

FIRST, LAST = 20_000, 32_767


def _own_ports() -> Iterator[int]:
    """Yield the ports of this process in turn, from any one on: there may be another run of the tests."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    own = range(FIRST + worker, LAST + 1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    start = random.randrange(len(own))
    return cycle([*own[start:], *own[:start]])


_PORTS = _own_ports()


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return a port of 127.0.0.1 that nobody listens on, and that was not returned for long."""
    for port in _PORTS:
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a cycle has no end")


def free_endpoint() -> str:
    """Return an endpoint of ZeroMQ at such a port."""
    return f"tcp://127.0.0.1:{free_port()}"
