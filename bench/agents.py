"""Simulated devices as a process of their own, so that their CPU time is known apart: many UDP ports of 127.0.0.1.

usage: python -m bench.agents snmp|ipmi COUNT   (it serves until its standard input ends)
"""

import json
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bmc import Bmc
from bench.pdu import Pdu

Answer = Callable[[bytes], bytes | None]  # of a device: request -> reply, None to be silent


def new_answers(kind: str, count: int) -> list[Answer]:
    """Return so many devices: PDUs are all alike, each BMC has sessions of its own."""
    if kind == "snmp":
        return [Pdu().answer] * count
    return [Bmc().answer for _ in range(count)]


def serve(answers: list[Answer]) -> None:
    """Answer on a port for each; the list of the ports is the first line of the output."""
    devices = {}
    with select.epoll() as poll:
        poll.register(sys.stdin, select.EPOLLIN)
        for answer in answers:
            own = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            own.bind(("127.0.0.1", 0))
            poll.register(own, select.EPOLLIN)
            devices[own.fileno()] = own, answer
        print(json.dumps([own.getsockname()[1] for own, _ in devices.values()]), flush=True)
        while True:
            for number, _ in poll.poll():
                if number not in devices:  # standard input
                    return
                own, answer = devices[number]
                request, peer = own.recvfrom(65536)
                if reply := answer(request):
                    own.sendto(reply, peer)


@contextmanager
def agents(kind: str, count: int) -> Iterator[tuple[list[int], int]]:
    """Run so many devices; yield their ports and the process id."""
    command = [sys.executable, "-m", "bench.agents", kind, str(count)]
    with subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the agents have no output")
            yield json.loads(process.stdout.readline()), process.pid
        finally:
            process.kill()


if __name__ == "__main__":
    serve(new_answers(sys.argv[1], int(sys.argv[2])))
