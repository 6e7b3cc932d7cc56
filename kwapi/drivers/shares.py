"""The wattmeters of one daemon shared out over processes, since the threads of one use no more than a core.

A wattmeter's share follows from its device's name, so that those that have a session or a line in common stay together,
and a reload moves none. A share that ends is started again; one that is silent, or in which too much hangs, is
replaced by a process that is ready before the old one is killed, so that its healthy wattmeters hardly notice.
"""

import logging
import os
import secrets
import socket
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

from kwapi.drivers.base import Clock
from kwapi.drivers.manager import Changes
from kwapi.drivers.orders import GO, READY, STOP, Orders, Report
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.health import Health

LOG = logging.getLogger(__name__)
SILENCE = 30.0  # seconds without a report after which a share is replaced
LONGEST_WAIT = 10.0  # seconds before a share that ends again and again is started again


def new_endpoint() -> str:
    """Return an endpoint on this machine that leaves no file, at which the shares publish."""
    return f"ipc://@kwapi-drivers-{os.getpid()}-{secrets.token_hex(8)}"


def share_of(wattmeter: Wattmeter, count: int) -> int:
    """Return the number of the share, 0 to count - 1, that a wattmeter belongs to."""
    return zlib.crc32(" ".join(wattmeter.device).encode()) % count


def spawn(channel: int) -> subprocess.Popen[bytes]:
    """Start the process of a share, which inherits its end of the socket."""
    environ = {name: value for name, value in os.environ.items() if name not in ("NOTIFY_SOCKET", "WATCHDOG_USEC")}
    command = [sys.executable, "-m", "kwapi.drivers.share", str(channel)]
    return subprocess.Popen(command, pass_fds=[channel], env=environ, stdin=subprocess.DEVNULL)  # noqa: S603 -- our own


class Process:
    """One process and the socket to it."""

    def __init__(self, orders: Orders, wattmeters: Sequence[Wattmeter], clock: Clock) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = spawn(theirs.fileno())
        self._connection = Connection(ours.detach())
        self.heard_at = self.started_at = clock()
        self._clock = clock
        self.send((orders, wattmeters))

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def status(self) -> int | None:
        return self._process.returncode

    def send(self, order: object) -> None:
        """Send an order; a process that has ended does not get it."""
        try:
            self._connection.send(order)
        except OSError:
            LOG.debug("process %d is gone", self._process.pid)

    def heard(self) -> Iterator[object]:
        """Yield what it has said since the last time."""
        try:
            while self._connection.poll():
                said = self._connection.recv()
                self.heard_at = self._clock()
                yield said
        except (EOFError, OSError):
            return

    def end(self, deadline: float = 0.0) -> None:
        """Wait so many seconds for it to end by itself, then kill it."""
        try:
            self._process.wait(deadline)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._connection.close()


class Share:
    """One share: its wattmeters, the process that polls them, and the one that is to follow it."""

    def __init__(self, number: int, wattmeters: Sequence[Wattmeter], orders: Orders, clock: Clock) -> None:
        self.wattmeters = list(wattmeters)
        self.healths: dict[str, Health] = {}
        self._number = number
        self._orders = orders
        self._clock = clock
        self._process: Process | None = None
        self._successor: Process | None = self._new_process()
        self._starts = 0  # in quick succession
        self._start_at = 0.0

    def check(self) -> None:
        """Take reports, and see to it that a process is at work."""
        now = self._clock()
        if self._process is not None:
            for report in self._process.heard():
                self._take(report)
            if self._process.has_ended:
                LOG.error("worker process %d ended with status %s", self._number, self._process.status)
                self._process.end()
                self._process = None
            elif now - self._process.heard_at > SILENCE and self._successor is None:
                LOG.error("worker process %d has been silent for %.0f s", self._number, now - self._process.heard_at)
                self._successor = self._new_process()
        if self._process is None and self._successor is None and now >= self._start_at:
            self._successor = self._new_process()
        if self._successor is not None:
            self._follow(self._successor)

    def reload(self, wattmeters: Sequence[Wattmeter]) -> None:
        """Poll these wattmeters instead."""
        self.wattmeters = list(wattmeters)
        self.healths = {name: self.healths[name] for name in self.healths.keys() & {each.name for each in wattmeters}}
        if self._process is not None:
            self._process.send(self.wattmeters)
        if self._successor is not None:  # it was told of the old ones
            self._successor.end()
            self._successor = self._new_process()

    def stop(self) -> None:
        """Ask its processes to stop."""
        for process in (self._process, self._successor):
            if process is not None:
                process.send(STOP)

    def end(self, deadline: float) -> None:
        """Wait so many seconds for its processes, then kill them."""
        for process in (self._process, self._successor):
            if process is not None:
                process.end(deadline)

    def _new_process(self) -> Process:
        return Process(self._orders, self.wattmeters, self._clock)

    def _take(self, report: object) -> None:
        if not isinstance(report, Report):
            return
        self.healths.update((health.wattmeter, health) for health in report.healths)
        if not report.is_usable and self._successor is None:
            self._successor = self._new_process()

    def _follow(self, successor: Process) -> None:
        """Let the successor take over once it is ready."""
        if READY in successor.heard():
            if self._process is not None:
                self._process.end()
            successor.send(GO)
            self._process, self._successor = successor, None
        elif successor.has_ended or self._clock() - successor.started_at > SILENCE:
            LOG.error("worker process %d did not start", self._number)
            successor.end()
            self._successor = None
            self._starts += 1
            self._start_at = self._clock() + min(2.0**self._starts, LONGEST_WAIT)


class Shares:
    """All shares of the daemon; to it what a Manager is, which it has none of itself."""

    def __init__(
        self,
        wattmeters: Sequence[Wattmeter],
        orders: Callable[[int], Orders],
        count: int,
        clock: Clock = time.monotonic,
    ) -> None:
        self._wattmeters = list(wattmeters)
        self._shares = [Share(number, part, orders(number), clock) for number, part in enumerate(self._parts(count))]

    def check(self) -> bool:
        """See to it that every share is polled."""
        for share in self._shares:
            share.check()
        return True

    def reload(self, wattmeters: Sequence[Wattmeter]) -> Changes:
        """Take these wattmeters instead; those that are as they were go on undisturbed."""
        old, new = ({each.name: each for each in these} for these in (self._wattmeters, wattmeters))
        self._wattmeters = list(wattmeters)
        for share, part in zip(self._shares, self._parts(len(self._shares)), strict=True):
            if part != share.wattmeters:
                share.reload(part)
        kept = sum(new.get(name) == wattmeter for name, wattmeter in old.items())
        both = len(old.keys() & new.keys())
        return Changes(len(new) - both, len(old) - both, both - kept, kept)

    def counts(self) -> Counter[str]:
        """Return the number of wattmeters in each state, as far as their processes have told."""
        return Counter(health.state for health in self.healths())

    def healths(self) -> list[Health]:
        """Return how each wattmeter was when its process told last."""
        return [health for share in self._shares for health in share.healths.copy().values()]

    def stop(self, deadline: float = 4.0) -> None:
        """Stop all processes, together in no more than the deadline in seconds."""
        for share in self._shares:
            share.stop()
        end = time.monotonic() + deadline
        for share in self._shares:
            share.end(max(end - time.monotonic(), 0))

    def _parts(self, count: int) -> list[list[Wattmeter]]:
        parts: list[list[Wattmeter]] = [[] for _ in range(count)]
        for wattmeter in self._wattmeters:
            parts[share_of(wattmeter, count)].append(wattmeter)
        return parts
