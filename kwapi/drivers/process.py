"""The process of a share and the socket to it, as the daemon sees them; what runs in it is share.py."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from threading import Thread

from kwapi.drivers.base import Clock
from kwapi.drivers.orders import Assignment, Orders

LOG = logging.getLogger(__name__)
KILL_LIMIT = 1.0  # seconds; the kernel may hold a process that reads from a broken device

Spawn = Callable[[int], "subprocess.Popen[bytes]"]


def spawn(channel: int) -> subprocess.Popen[bytes]:
    """Start the process of a share, which inherits its end of the socket."""
    environ = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    command = [sys.executable, "-m", "kwapi.drivers.share", str(channel)]
    return subprocess.Popen(command, pass_fds=[channel], env=environ, stdin=subprocess.DEVNULL)  # noqa: S603 -- our own


class Process:
    """One process and the socket to it.

    Two threads send and receive, so that nothing here waits for a process that hangs, nor it for us.
    """

    def __init__(self, orders: Orders, assignment: Assignment, spawn: Spawn, clock: Clock) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._process = spawn(theirs.fileno())
        except OSError:
            ours.close()
            raise
        self._connection = Connection(ours.detach())
        self.heard_at = self.started_at = clock()
        self._clock = clock
        self._orders: SimpleQueue[object] = SimpleQueue()
        self._said: SimpleQueue[object] = SimpleQueue()
        self._threads = [Thread(target=work, name="share", daemon=True) for work in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()
        self.send((orders, assignment))

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def send(self, order: object) -> None:
        """Send an order; a process that has ended does not get it."""
        self._orders.put(order)

    def heard(self) -> Iterator[object]:
        """Yield what it has said since the last time."""
        while not self._said.empty():
            yield self._said.get()

    def end(self, deadline: float = 0.0) -> None:
        """Wait so many seconds for it to end by itself, then kill it."""
        try:
            self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            self._process.kill()
            try:
                self._process.wait(KILL_LIMIT)
            except subprocess.TimeoutExpired:
                LOG.error("process %d cannot be killed", self._process.pid)
                return
        self._orders.put(None)
        for thread in self._threads:
            thread.join()
        self._connection.close()

    def _send(self) -> None:
        try:
            while (order := self._orders.get()) is not None:
                self._connection.send(order)
        except OSError:
            LOG.debug("process %d is gone", self._process.pid)

    def _receive(self) -> None:
        try:
            while True:
                said = self._connection.recv()
                self.heard_at = self._clock()
                self._said.put(said)
        except (EOFError, OSError):
            LOG.debug("process %d is gone", self._process.pid)
