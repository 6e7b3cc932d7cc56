"""What stands around an API, each a process of its own, until it is ended.

``python -m bench.traffic publish DIRECTORY WATTMETERS OUTLETS`` puts measurements on the bus, ``... ask PORT PATH
CLIENTS`` asks without rest and at its end prints how many answers it got. ``... listen DIRECTORY PID`` reads the bus as
the API does and does nothing else; at its end it prints when each message came, and what CPU process PID had used then.
"""

import argparse
import json
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path

from bench.processes import cpu_seconds
from kwapi.bus import Publisher, Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.measurement import Measurement, Message

BUFFER = 1 << 20


def publish(directory: Path, wattmeters: int, outlets: int) -> None:
    """Publish each wattmeter once a second, one after the other in even steps."""
    publisher = Publisher(f"ipc://{directory}/bus", KeyFile(directory / "signing.key"))
    senders = [publisher.sender(f"lyon.pdu{number}", 1.0) for number in range(wattmeters)]
    begun, step = time.monotonic(), 0
    while True:
        number = step % wattmeters
        watts = 100.0 + step // wattmeters % 7
        senders[number].publish(
            [
                Measurement(
                    f"server-{number}-{outlet}.example.org",
                    watts=watts + outlet / 10,
                    volts=230.1,
                    amps=watts / 230.1,
                    volt_amperes=watts * 1.02,
                    kwh=3512.8 + step / 1e4,
                    level="outlet",
                )
                for outlet in range(outlets)
            ],
            time.time(),
            time.monotonic(),
        )
        step += 1
        time.sleep(max(begun + step / wattmeters - time.monotonic(), 0))


class Notes:
    """When each message came, Unix seconds, and what CPU a process had used by then; by wattmeter and seq."""

    def __init__(self, pid: int) -> None:
        self.notes: dict[str, tuple[float, float]] = {}
        self._pid = pid

    def add(self, message: Message) -> None:
        """Note a message."""
        self.notes[f"{message.wattmeter} {message.seq}"] = (time.time(), cpu_seconds(self._pid))


def listen(directory: Path, pid: int) -> None:
    """Read the bus until ended, and print what was noted."""
    stop, notes = threading.Event(), Notes(pid)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    keys = KeyFile(directory / "signing.key")
    Subscriber([f"ipc://{directory}/bus"], [], Gate(keys)).run(stop, notes.add)
    print(json.dumps(notes.notes))


class Client:
    """One connection that is kept, and reads answers without looking at them."""

    def __init__(self, port: int, path: str) -> None:
        self.answers = 0
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._buffer = memoryview(bytearray(BUFFER))

    def ask(self) -> None:
        """Ask once, and read all of the answer."""
        self._socket.sendall(self._request)
        head = bytearray()
        while (end := head.find(b"\r\n\r\n")) < 0:
            head += self._socket.recv(4096)
        if not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode(errors="replace"))
        length = int(head.lower().partition(b"content-length:")[2].split()[0])
        left = length - (len(head) - end - 4)
        while left > 0:
            left -= self._socket.recv_into(self._buffer, min(left, BUFFER))
        self.answers += 1

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def ask_on(self) -> None:
        """Ask without rest."""
        while True:
            self.ask()


def ask(port: int, path: str, clients: int) -> None:
    """Ask until ended, and print how many answers came."""
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))  # they are elsewhere: the daemon goes before them
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    asking = [Client(port, path) for _ in range(clients)]
    for client in asking:
        threading.Thread(target=client.ask_on, daemon=True).start()
    signal.sigwait({signal.SIGTERM})
    print(sum(client.answers for client in asking))


def main() -> None:
    """Do what the command line says, until a signal ends it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    kinds = parser.add_subparsers(dest="kind", required=True)
    publishing = kinds.add_parser("publish")
    publishing.add_argument("directory", type=Path)
    publishing.add_argument("wattmeters", type=int)
    publishing.add_argument("outlets", type=int)
    listening = kinds.add_parser("listen")
    listening.add_argument("directory", type=Path)
    listening.add_argument("pid", type=int)
    asking = kinds.add_parser("ask")
    asking.add_argument("port", type=int)
    asking.add_argument("path")
    asking.add_argument("clients", type=int)
    args = parser.parse_args()
    if args.kind == "publish":
        publish(args.directory, args.wattmeters, args.outlets)
    elif args.kind == "listen":
        listen(args.directory, args.pid)
    else:
        ask(args.port, args.path, args.clients)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
