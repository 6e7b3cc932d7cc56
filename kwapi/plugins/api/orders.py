"""Orders to rename or forget a probe: packets of JSON over a Unix socket beside the energy registers.

    {"do": "rename", "old": NAME, "new": NAME}
    {"do": "forget", "probe": NAME}

The answer is {} when it is done, {"error": TEXT} says why it is not. While no kwapi-api runs, an order is carried out
on the files by who gives it. Who may do either is a matter of the files' permissions.
"""

import json
import logging
import os
import pwd
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from kwapi.errors import ConfigError
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.registers import Registers

LOG = logging.getLogger(__name__)
SOCKET = "orders"  # in the directory of the registers
TICK = 0.5  # seconds in which a stop is noticed
TIMEOUT = 5.0  # seconds for an order, and for its answer
MAX_ORDER = 4096  # bytes


class Orders:
    """The socket where a running kwapi-api takes orders, made at the start; run() is the work of a task."""

    def __init__(self, directory: Path, collector: Collector) -> None:
        self._collector = collector
        self._path = directory / SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._path.unlink(missing_ok=True)  # of a process that was killed; the directory is ours
            with _short(self._path) as address:
                self._socket.bind(address)
            self._path.chmod(0o600)  # before it listens
            self._socket.listen()
        except OSError as error:
            self._socket.close()
            raise ConfigError(f"state_dir: cannot use {self._path}: {error.strerror or error}") from error
        self._socket.settimeout(TICK)

    def run(self, stop: threading.Event) -> None:
        """Answer orders, one after the other, until stop is set."""
        while not stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            with connection, suppress(OSError):  # who has left gets no answer
                connection.settimeout(TIMEOUT)
                connection.send(json.dumps(_answer(self._collector, connection.recv(MAX_ORDER))).encode())
        self.close()

    def close(self) -> None:
        """Take no more orders."""
        self._socket.close()
        self._path.unlink(missing_ok=True)


def give(directory: Path, order: Mapping[str, str]) -> None:
    """Have an order carried out; ValueError says why it is not, ConfigError that the registers cannot be used."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.settimeout(TIMEOUT)
        try:
            with _short(directory / SOCKET) as address:
                connection.connect(address)
            connection.send(json.dumps(order).encode())
            answer = json.loads(connection.recv(MAX_ORDER) or b'{"error": "kwapi-api has not answered"}')
        except (FileNotFoundError, ConnectionRefusedError):
            return _give_to_files(directory, order)
        except OSError as error:
            raise ConfigError(f"{directory / SOCKET}: {error.strerror or error}") from error
    if "error" in answer:
        raise ValueError(answer["error"])


def _give_to_files(directory: Path, order: Mapping[str, str]) -> None:
    try:
        owner = directory.stat().st_uid
    except OSError as error:
        raise ConfigError(f"state_dir: there are no energy registers in {directory}: {error.strerror}") from error
    if owner != os.geteuid():  # whose files the daemon could not write
        name = pwd.getpwuid(owner).pw_name
        raise ConfigError(f"kwapi-api does not run, and {directory} belongs to {name}; give the order as that user")
    registers = Registers(directory)
    try:
        _obey(Collector(registers), order)
    finally:
        registers.close()


def _answer(collector: Collector, packet: bytes) -> dict[str, str]:
    try:
        _obey(collector, json.loads(packet))
    except (ValueError, RecursionError) as error:
        return {"error": str(error)}
    return {}


def _obey(collector: Collector, order: Mapping[str, Any]) -> None:
    match order:
        case {"do": "rename", "old": str(old), "new": str(new)}:
            collector.rename(old, new)
            LOG.info("the probe %s is called %s from now on, as was ordered", old, new)
        case {"do": "forget", "probe": str(probe)}:
            collector.forget(probe)
            LOG.info("the probe %s is forgotten, as was ordered", probe)
        case _:
            raise ValueError(f"no order: {order!r}")


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield an address of a socket that is short enough: a path may have 107 bytes there."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
