"""The wattmeters of one daemon shared out over processes, since the threads of one use no more than a core.

A wattmeter's share follows from its device's name, so that those that have a session or a line in common stay together,
and a reload moves none. A share that ends is started again; one that is silent, or in which too much hangs, is
replaced by a process that is ready before the old one is killed, so that its healthy wattmeters hardly notice.
"""

import logging
import os
import secrets
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

from kwapi.drivers.base import Clock
from kwapi.drivers.manager import Changes
from kwapi.drivers.orders import GO, READY, STOP, Assignment, Orders, Report
from kwapi.drivers.process import Process, Spawn, spawn
from kwapi.drivers.slot import Slot
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.health import Health

LOG = logging.getLogger(__name__)
SILENCE = 30.0  # seconds without a report after which a share is replaced
LONGEST_WAIT = 10.0  # seconds before a share that ends again and again is started again
SETTLED = 60.0  # seconds after which a start is not counted among those that follow too soon


def new_endpoint() -> str:
    """Return an endpoint on this machine that leaves no file, at which the shares publish."""
    return f"ipc://@kwapi-drivers-{os.getpid()}-{secrets.token_hex(8)}"


def share_of(wattmeter: Wattmeter, count: int) -> int:
    """Return the number of the share, 0 to count - 1, that a wattmeter belongs to."""
    return zlib.crc32(" ".join(wattmeter.device).encode()) % count


def starting(wattmeters: Sequence[Wattmeter]) -> dict[str, Health]:
    """Return the health of wattmeters of which their process has told nothing yet, by name."""
    return {wattmeter.name: Slot(wattmeter).health(0.0) for wattmeter in wattmeters}


def log_level() -> str:
    """Return the level at which this process logs, for those it starts."""
    return logging.getLevelName(logging.getLogger().level)


class Share:
    """One share: its wattmeters, the process that polls them, and the one that is to follow it."""

    def __init__(
        self, number: int, wattmeters: Sequence[Wattmeter], orders: Orders, clock: Clock, spawn: Spawn
    ) -> None:
        self.healths = starting(wattmeters)
        self._assignment = Assignment(wattmeters, log_level())
        self._number = number
        self._orders = orders
        self._clock = clock
        self._spawn = spawn
        self._starts = 0  # that followed the one before too soon
        self._started_at = float("-inf")
        self._process: Process | None = None
        self._successor: Process | None = None
        self._start()

    def check(self) -> None:
        """Take reports, and see to it that a process is at work."""
        if self._process is not None:
            for report in self._process.heard():
                self._take(report)
            if self._process.has_ended:
                LOG.error(
                    "worker process %d ended with status %s; it is started again", self._number, self._process.status
                )
                self._process.end()
                self._process = None
                self.healths = starting(self._assignment.wattmeters)
        if self._process is None:
            self._start()
        elif (silence := self._clock() - self._process.heard_at) > SILENCE and self._start():
            LOG.error("worker process %d has been silent for %.0f s", self._number, silence)
        if self._successor is not None:
            self._follow(self._successor)

    def reload(self, wattmeters: Sequence[Wattmeter]) -> None:
        """Poll these wattmeters instead."""
        assignment = Assignment(wattmeters, log_level())
        if assignment == self._assignment:
            return
        self._assignment = assignment
        new = starting(wattmeters)
        self.healths = {name: self.healths.get(name, health) for name, health in new.items()}
        if self._process is not None:
            self._process.send(assignment)
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

    def _start(self) -> bool:
        """Start a successor if there is none and the last start was not too soon before; return whether it did."""
        now = self._clock()
        if self._successor is not None or now - self._started_at < min(2.0**self._starts - 1, LONGEST_WAIT):
            return False
        self._starts = min(self._starts + 1, 10) if now - self._started_at < SETTLED else 0
        self._started_at = now
        self._successor = self._new_process()
        return self._successor is not None

    def _new_process(self) -> Process | None:
        try:
            return Process(self._orders, self._assignment, self._spawn, self._clock)
        except OSError as error:
            LOG.error("worker process %d cannot be started: %s", self._number, error)
            return None

    def _take(self, report: object) -> None:
        if not isinstance(report, Report):
            return
        # Some may be of before a reload.
        self.healths.update((each.wattmeter, each) for each in report.healths if each.wattmeter in self.healths)
        if not report.is_usable:
            self._start()

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


class Shares:
    """All shares of the daemon; to it what a Manager is, which it has none of itself."""

    def __init__(
        self,
        wattmeters: Sequence[Wattmeter],
        orders: Callable[[int], Orders],
        count: int,
        *,
        clock: Clock = time.monotonic,
        spawn: Spawn = spawn,
    ) -> None:
        self._wattmeters = list(wattmeters)
        parts = self._parts(count)
        self._shares = [Share(number, part, orders(number), clock, spawn) for number, part in enumerate(parts)]

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
            share.reload(part)
        kept = sum(new.get(name) == wattmeter for name, wattmeter in old.items())
        both = len(old.keys() & new.keys())
        return Changes(len(new) - both, len(old) - both, both - kept, kept)

    def counts(self) -> Counter[str]:
        """Return the number of wattmeters in each state, as their processes told last."""
        return Counter(health.state for health in self.healths())

    def healths(self) -> list[Health]:
        """Return how each wattmeter was when its process told last; starting, while there is none."""
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
