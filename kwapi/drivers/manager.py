"""Keeps a worker at work for every wattmeter: starts, watches, replaces, mutes and reloads, and tells how each one is.

A device that fails is asked again by its worker. A worker that ends by an error of ours, or whose poll does not end,
is replaced here; what a given-up worker still brings is refused by the publisher. Nothing here blocks.
"""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kwapi.bus import Publisher
from kwapi.drivers.base import Clock, Driver
from kwapi.drivers.mutes import Mutes
from kwapi.drivers.names import Names
from kwapi.drivers.slot import Slot
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.drivers.worker import LONGEST_WAIT, Pace, Worker, back_off
from kwapi.health import MUTED, STATES, Health

LOG = logging.getLogger(__name__)
MAX_HUNG_OF_ONE = 2  # given-up workers of one wattmeter beside which no further one is started
HEALTH_PERIOD = 5.0  # seconds between two health messages of a wattmeter whose state does not change, at least
HEALTH_RATE = 500  # health messages a second, at most
PAUSE = 5.0  # seconds between two checks in which the process stood still, and nothing was polled
SWITCH = 0.005  # seconds that a thread waits for Python's lock until it asks for it, and asks again
SWITCHES = 50_000  # a second, at most, that all workers together ask: to ask costs more than what they wait to do


@dataclass(frozen=True, slots=True)
class Changes:
    """How many wattmeters a new configuration added, removed, changed and left as they were."""

    added: int
    removed: int
    changed: int
    kept: int


@dataclass(slots=True)
class _Leaving:
    """A worker that was asked to stop, and when it is to be given up."""

    worker: Worker
    deadline: float


class Manager:
    """The slots of some wattmeters and the workers in them."""

    def __init__(
        self,
        wattmeters: Sequence[Wattmeter],
        publisher: Publisher,
        *,
        max_hung: int = 32,
        mutes: Mutes | None = None,
        tell: Callable[[Health], None] | None = None,
        clock: Clock = time.monotonic,
        new_worker: Callable[..., Worker] = Worker,
    ) -> None:
        self.slots: dict[str, Slot] = {}  # by wattmeter
        self.workers: dict[str, Worker] = {}  # by wattmeter
        self.given_up: list[Worker] = []  # hung ones that have not ended yet
        self._publisher = publisher
        self._max_hung = max_hung
        self._mutes = mutes or Mutes(None)
        self._tell = tell or publisher.tell
        self._clock = clock
        self._new_worker = new_worker
        self._names = Names()
        self._shared: dict[type[Driver], Any] = {}
        self._paces: dict[type[Driver], Pace] = {}
        self._leaving: dict[str, _Leaving] = {}  # by wattmeter
        self._told: dict[str, tuple[str, str, float]] = {}  # state, reason, when; by wattmeter
        self._checked_at = self._runs_since = clock()
        self.reload(wattmeters)

    def check(self) -> bool:
        """Start and replace what needs it; return False when so many workers hang that only a new process helps."""
        now = self._clock()
        if now - self._checked_at > PAUSE:
            self._runs_since = now
        self._checked_at = now
        self.given_up = [worker for worker in self.given_up if worker.is_alive()]
        self._see_off()
        self._mutes.look()
        for slot in self.slots.values():
            self._check_slot(slot)
        self._tell_healths()
        if len(self.given_up) > self._max_hung:
            LOG.critical("%d workers hang, more than max_hung_workers: ending", len(self.given_up))
            return False
        return True

    def reload(self, wattmeters: Sequence[Wattmeter]) -> Changes:
        """Take these wattmeters instead; those that are as they were go on undisturbed."""
        new = {wattmeter.name: wattmeter for wattmeter in wattmeters}
        old = {name: slot.wattmeter for name, slot in self.slots.items()}
        gone = [name for name in old if name not in new]
        changed = [name for name in old if name in new and new[name] != old[name]]
        for name in (*gone, *changed):
            self._leave(self.slots[name])
        for driver in {wattmeter.driver for wattmeter in wattmeters} - self._shared.keys():
            self._shared[driver] = driver.open_shared()
            self._paces[driver] = Pace(driver.opens_a_second, self._clock)
        sys.setswitchinterval(max(SWITCH, len(wattmeters) / SWITCHES))
        kept = {name: slot for name, slot in self.slots.items() if new.get(name) == old[name]}
        self.slots = {name: kept.get(name) or Slot(wattmeter, clock=self._clock) for name, wattmeter in new.items()}
        self._told = {name: told for name, told in self._told.items() if name in kept}
        return Changes(len(new.keys() - old.keys()), len(gone), len(changed), len(kept))

    def counts(self) -> Counter[str]:
        """Return the number of wattmeters in each state."""
        return Counter(slot.state for slot in self.slots.values())

    def healths(self) -> list[Health]:
        """Return how each wattmeter is now."""
        return [slot.health(self._health_period) for slot in self.slots.values()]

    def stop(self, deadline: float = 3.0) -> None:
        """Stop all workers, waiting for them together no longer than the deadline in seconds."""
        workers = [*self.workers.values(), *(leaving.worker for leaving in self._leaving.values())]
        for worker in workers:
            worker.stopping.set()
        for driver, shared in self._shared.items():
            driver.close_shared(shared)  # so that who waits for it is told at once
        end = time.monotonic() + deadline
        for worker in workers:
            worker.join(max(end - time.monotonic(), 0))
        if late := [worker.name for worker in workers if worker.is_alive()]:
            LOG.warning("did not stop in time: %s", ", ".join(late))

    def _check_slot(self, slot: Slot) -> None:
        if self._is_muted(slot):
            return
        name, now = slot.wattmeter.name, self._clock()
        worker = self.workers.get(name)
        if worker is None:
            hung = sum(worker.name == name for worker in self.given_up)
            if hung >= MAX_HUNG_OF_ONE:
                slot.still_hangs(hung)
            elif now >= slot.start_at and name not in self._leaving:
                self._start(slot)
        elif not worker.is_alive():
            self._replace_later(slot, worker, max(back_off(slot.failures), slot.wattmeter.interval))
        elif (busy_for := self._busy_for(worker)) > slot.wattmeter.hang_timeout:
            worker.sender.revoke()
            worker.stopping.set()
            self.given_up.append(worker)
            slot.hangs(busy_for)
            self._replace_later(slot, worker, back_off(slot.failures))
        slot.look(worker is not None and worker.busy_since is not None, self._runs_since)

    def _busy_for(self, worker: Worker) -> float:
        """Return the seconds that a poll is under way, of those in which we ran too; 0 if there is none."""
        began = worker.busy_since
        return 0.0 if began is None else self._clock() - max(began, self._runs_since)

    def _is_muted(self, slot: Slot) -> bool:
        name = slot.wattmeter.name
        reason = "maintenance = true" if slot.wattmeter.is_in_maintenance else self._mutes.reason(name)
        if reason:
            self._leave(slot)
            slot.muted(reason)
        elif slot.state == MUTED:
            slot.unmuted()
        return reason is not None

    def _start(self, slot: Slot) -> None:
        wattmeter = slot.wattmeter
        sender = self._publisher.sender(wattmeter.name, wattmeter.interval)
        shared, pace = self._shared[wattmeter.driver], self._paces[wattmeter.driver]
        worker = self._new_worker(slot, sender, shared, pace, self._names, clock=self._clock)
        try:
            worker.start()
        except RuntimeError as error:  # the system gives no more threads
            slot.failed(str(error))
            slot.start_at = self._clock() + LONGEST_WAIT
        else:
            self.workers[wattmeter.name] = worker

    def _replace_later(self, slot: Slot, worker: Worker, wait: float) -> None:
        worker.sender.revoke()
        del self.workers[worker.name]
        slot.restarts += 1
        slot.start_at = self._clock() + wait

    def _leave(self, slot: Slot) -> None:
        """Let the worker of a slot go; another one starts only when it has ended, or is given up."""
        worker = self.workers.pop(slot.wattmeter.name, None)
        if worker is not None:
            worker.sender.revoke()
            worker.stopping.set()
            self._leaving[worker.name] = _Leaving(worker, self._clock() + slot.wattmeter.hang_timeout)

    def _see_off(self) -> None:
        for name, leaving in list(self._leaving.items()):
            if leaving.worker.is_alive():
                if self._clock() < leaving.deadline:
                    continue
                self.given_up.append(leaving.worker)
            del self._leaving[name]
        used = {slot.wattmeter.driver for slot in self.slots.values()}
        for driver in self._shared.keys() - used:
            if not self._leaving:  # a worker on its way out may use it still
                driver.close_shared(self._shared.pop(driver))

    @property
    def _health_period(self) -> float:
        return max(HEALTH_PERIOD, len(self.slots) / HEALTH_RATE)

    def _tell_healths(self) -> None:
        """Tell the health of the wattmeters whose state has changed, or who were not told of for long."""
        now, period = self._clock(), self._health_period
        for name, slot in self.slots.items():
            state, reason, when = self._told.get(name, ("", "", 0.0))
            if (slot.state, slot.reason) != (state, reason) or now - when >= period:
                self._told[name] = (slot.state, slot.reason, now)
                self._tell(slot.health(period))


def summary(counts: Counter[str]) -> str:
    """Return the number of wattmeters in each state in words, such as ``12 wattmeters: 10 up, 2 down``."""
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    total = counts.total()
    return f"{total} wattmeter{'' if total == 1 else 's'}" + (f": {states}" if states else "")
