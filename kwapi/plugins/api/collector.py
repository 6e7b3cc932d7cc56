"""What the energy API knows of each probe: its last values, when they were measured, and its energy.

add() is called by the one thread that reads the bus; requests read snapshots, which cost it nothing.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter

from kwapi.energy import MAX_GAP, Instant, gap_limit
from kwapi.measurement import EXPORT, Column, Message, probe_problem, stale_after
from kwapi.plugins.api.ahead import Ahead
from kwapi.plugins.api.events import EventLog
from kwapi.plugins.api.listing import Listing, members_of
from kwapi.plugins.api.machines import Machine, message_of, reading_of, state_of_machine
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.registers import Registers
from kwapi.plugins.api.states import Event, ProbeState, Reading, Snapshot
from kwapi.plugins.api.steps import Steps
from kwapi.plugins.ownership import Conflicts, Publishers, has_lapsed

__all__ = ["Collector", "Event", "ProbeState", "Reading", "Snapshot"]

LOG = logging.getLogger(__name__)
SNAPSHOT_PERIOD = 0.1  # seconds for which a snapshot is good enough
TOO_OLD = 1.0  # seconds of a snapshot, for which one waits rather for the next
AHEAD = 60.0  # seconds that the clock of a boot may have been ahead of that of a later one


class Collector:
    """Keeps what is known of all probes; who may report one, ownership.py decides."""

    def __init__(
        self,
        registers: Registers | None = None,
        *,
        machines: Sequence[Machine] = (),
        cleaning_interval: float = 300.0,
        max_gap: float = MAX_GAP,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.conflicts = Conflicts()
        self._publishers = Publishers(cleaning_interval, self.conflicts)
        self._cleaning_interval = cleaning_interval
        self._max_gap = max_gap
        self._clock = clock
        self._wall_clock = wall_clock
        self._registers = registers
        self._machines = {machine.name: machine.probes for machine in machines}
        self._fed: dict[str, list[str]] = {}  # machines, by a probe that feeds them
        for machine in machines:
            for part in machine.probes:
                self._fed.setdefault(part, []).append(machine.name)
        self._events = EventLog() if registers is None else registers.events
        self._probes: dict[str, Probe] = {}
        self._listings: dict[str, Listing] = {}  # by wattmeter
        self._steps = Steps(registers)
        self._resumed: dict[
            str, Instant
        ] = {}  # by wattmeter: up to when its measurements were counted before the start
        self._ahead: dict[str, Ahead] = {}  # by wattmeter that catches up
        self._listeners: list[Callable[[Message], None]] = []
        self._lock = threading.Lock()  # of what add() changes, but not for those who only read it
        self._renewing = threading.Lock()  # of the snapshot
        self._snapshot = Snapshot(0, 0.0, ())
        self._taken_at = float("-inf")  # our clock
        self._listing = 0  # which counts up whenever a probe comes, goes or is moved
        self._sorted: list[str] = []
        self._sorted_listing = 0
        if registers is not None:
            self._resume(registers)

    def add(self, message: Message) -> None:
        """Take one message of the bus; they come in order for each wattmeter."""
        self._add(message, self._clock(), is_live=True)

    def add_late(self, message: Message) -> None:
        """Take one that was missed and comes now, in its turn: it was measured when it says."""
        self._add(message, self._clock() - max(self._wall_clock() - message.timestamp, 0.0))

    def show(self, message: Message) -> None:
        """Show the power in a message that is ahead of its turn; its energy waits until it is added.

        Version 1 does not show it: there a power belongs to the energy beside it.
        """
        with self._lock:
            if (ahead := self._ahead.get(message.wattmeter)) is None:
                ahead = self._ahead[message.wattmeter] = Ahead()
            ahead.show(message, self._clock(), self._probes, self._listing)

    def _add(self, message: Message, heard_at: float, *, is_live: bool = False) -> None:
        with self._lock:
            if is_live and (ahead := self._ahead.pop(message.wattmeter, None)) is not None:
                ahead.forget()
            taken = self._take(message, heard_at)
        if not taken or not self._listeners:
            return
        sums = self._sums(message) if self._fed else None
        for told in (message, sums) if sums else (message,):
            for listener in self._listeners:
                listener(told)

    def subscribe(self, listener: Callable[[Message], None]) -> None:
        """Have every message that is taken handed to a listener, by the thread of the bus, which must not wait.

        One that changes what is known of machines is followed by another with these.
        """
        self._listeners.append(listener)

    def readings(self) -> dict[str, Reading]:
        """Return the readings of all probes that are not silent, by id, those of a wattmeter together.

        Machines come after them, those of which every probe is there.
        """
        since = self._clock() - self._cleaning_interval
        live: dict[str, Reading] = {}
        for listing in list(self._listings.values()):
            live |= listing.live(since)
        return live | self._machine_readings()

    def encoded_readings(self) -> list[bytes]:
        """Return the same as members of a JSON object, some at a time."""
        since = self._clock() - self._cleaning_interval
        members = [listing.live_members(since) for listing in list(self._listings.values())]
        return [some for some in (*members, members_of(self._machine_readings())) if some]

    def reading(self, name: str) -> Reading | None:
        """Return one probe's or machine's reading, None if there is no such or it is silent."""
        if (parts := self._machines.get(name)) is not None:
            readings = [reading for part in parts if (reading := self.reading(part)) is not None]
            return reading_of(readings) if len(readings) == len(parts) else None
        probe, since = self._probes.get(name), self._clock() - self._cleaning_interval
        if probe is None:
            return None
        listing = self._listings.get(probe.wattmeter)
        return None if listing is None else listing.reading(name, since)

    def snapshot(self) -> Snapshot:
        """Return all probes that are not silent; a snapshot serves everybody who asks in a tenth of a second.

        While one is taken the one before is returned, unless that is too old.
        """
        if self._is_younger(SNAPSHOT_PERIOD) or not self._renewing.acquire(blocking=not self._is_younger(TOO_OLD)):
            return self._snapshot
        try:
            if not self._is_younger(SNAPSHOT_PERIOD):  # nobody took one while we waited
                self._renew()
        finally:
            self._renewing.release()
        return self._snapshot

    def events(self, probe: str) -> list[Event]:
        """Return what the energy registers of a probe did other than count on, the newest last."""
        return self._events.of(probe)

    def noted(self) -> dict[str, int]:
        """Return how many such events there were since the start, by kind."""
        return dict(self._events.noted)

    def _take(self, message: Message, heard_at: float) -> bool:
        """Count what a message says; return whether it was one of the wattmeter's publisher, and new."""
        at = Instant(message.boot, message.timestamp, message.monotonic)
        resumed = self._resumed.get(message.wattmeter) if self._resumed else None
        if resumed is not None and _is_before(at, resumed):
            return False
        if not self._publishers.admit(message, heard_at):
            return False
        if resumed is not None and at != resumed:
            self._resumed.pop(message.wattmeter)
        max_gap = gap_limit(self._max_gap, message.interval)
        if self._steps.count(message, at, heard_at, max_gap):
            return True
        self._settle(message.wattmeter)
        claimed = [self._claim(name, message, heard_at) for name in message.probes]
        self._count_each(message, at, claimed, max_gap, heard_at)
        if at != resumed:
            self._steps.begin(message, at, claimed, heard_at, self._listings[message.wattmeter])
        return True

    def _count_each(
        self, message: Message, at: Instant, claimed: Sequence[Probe | None], max_gap: float, heard_at: float
    ) -> None:
        """Count what a message says of each probe that its wattmeter may report."""
        write = None if self._registers is None else self._registers.write
        nothing: Column = [None] * len(message.probes)
        columns = zip(claimed, message.w or nothing, message.kwh or nothing, message.kwh_wrap or nothing, strict=True)
        resumed = self._resumed.get(message.wattmeter)
        readings: dict[str, Reading] = {}
        for place, (probe, watts, kwh, kwh_wrap) in enumerate(columns):
            if probe is None:
                continue
            if at == resumed and probe.energy.last_at == at:
                continue  # a kill came after it had counted, and before others of the message
            if message.level is not None and message.level[place] != probe.level:
                probe.level, probe.identity = message.level[place], b""
            event = probe.energy.add(at, watts, kwh, kwh_wrap, max_gap)
            if event is not None:
                LOG.warning("the energy register of %s: %s, %.3f to %.3f kWh", probe.name, *event)
                self._events.note({probe.name: Event(message.timestamp, *event)})
            probe.show(message, place, heard_at)
            if write is not None:
                write(probe)  # before anybody is told
            probe.tell()
            if (reading := probe.reading()) is not None:
                readings[probe.name] = reading
        self._list(message.wattmeter, readings, heard_at)

    def _settle(self, wattmeter: str) -> None:
        """Let the probes of a wattmeter stand each for itself."""
        if (columns := self._steps.settle(wattmeter)) is not None:
            self._list(wattmeter, columns.readings(), columns.now.heard_at)

    def _tell(self, probe: Probe) -> None:
        """Show readers what is known of a probe now."""
        probe.tell()
        if (reading := probe.reading()) is not None:
            self._list(probe.wattmeter, {probe.name: reading}, probe.heard_at)

    def _list(self, wattmeter: str, readings: dict[str, Reading], heard_at: float) -> None:
        if wattmeter not in self._listings:
            self._listings[wattmeter] = Listing(self._probes)
        self._listings[wattmeter].take(readings, heard_at, self._clock() - self._cleaning_interval)

    def _unlist(self, name: str, wattmeter: str) -> None:
        if (listing := self._listings.get(wattmeter)) is not None:
            listing.drop(name)

    def _resume(self, registers: Registers) -> None:
        """Go on where the process before us stopped."""
        probes = registers.load(self._clock(), self._wall_clock())
        self._probes.update((name, probe) for name, probe in probes.items() if name not in self._machines)
        self._listing += 1
        for probe in self._probes.values():
            self._tell(probe)
            at, newest = probe.energy.last_at, self._resumed.get(probe.wattmeter)
            if at is not None and (newest is None or not _is_before(at, newest)):
                self._resumed[probe.wattmeter] = at
                self._publishers.resume(probe.wattmeter, at.boot, at.timestamp, probe.interval, probe.heard_at)

    def rename(self, old: str, new: str) -> None:
        """Let a probe that is no longer measured under its old name go on under a new one; ValueError if it cannot.

        If the new one is known already it gets the energy of both.
        """
        with self._lock:
            if problem := probe_problem(new):
                raise ValueError(f"the new name {problem}")
            if new == old or new in self._machines or new.endswith(EXPORT) != old.endswith(EXPORT):
                raise ValueError(f"{old!r} cannot be called {new!r}")
            probe = self._unused(old)
            self._events.rename(old, new)
            renamed, spare = self._probes.get(new), 0
            if renamed is not None:
                self._settle(renamed.wattmeter)
            if renamed is None:
                renamed = probe
                renamed.name, renamed.identity = new, b""
            else:
                renamed.take_over(probe)
                if probe.slot:  # the sum stands there, under the new name, before the slot of the new one is free
                    renamed.slot, spare = probe.slot, renamed.slot
            if self._registers is not None:
                self._registers.write(renamed)
                if spare:
                    self._registers.free(spare)
            self._probes[new] = renamed
            self._remove(old)
            self._tell(renamed)

    def forget(self, name: str) -> None:
        """Forget a probe that is no longer measured, and its energy; ValueError if it cannot be."""
        with self._lock:
            probe = self._unused(name)
            self._events.forget(name)
            if self._registers is not None and probe.slot:
                self._registers.free(probe.slot)
            self._remove(name)

    def _unused(self, name: str) -> Probe:
        """Return a probe that is not measured; ValueError if there is none or it is."""
        probe = self._probes.get(name)
        if probe is None:
            raise ValueError(f"there is no probe {name!r}")
        self._settle(probe.wattmeter)
        told = probe.known()
        wait = (probe.heard_at if told is None else told.heard_at) + stale_after(probe.interval) - self._clock()
        if wait >= 0:
            raise ValueError(
                f"{name!r} was measured by {probe.wattmeter} a moment ago; "
                f"when it is no longer in drivers.conf, ask again in {wait:.0f} s"
            )
        return probe

    def _remove(self, name: str) -> None:
        self._unlist(name, self._probes.pop(name).wattmeter)
        self._listing += 1

    def _is_younger(self, seconds: float) -> bool:
        return self._clock() - self._taken_at < seconds

    def _renew(self) -> None:
        """Make a snapshot; only what has changed since the one before is made anew."""
        listing, now, probes = self._listing, self._clock(), self._probes.copy()
        if listing != self._sorted_listing:
            self._sorted, self._sorted_listing = sorted(probes), listing
        heard_since = now - self._cleaning_interval
        live = [
            state
            for name in self._sorted
            if (probe := probes.get(name)) is not None  # else it was forgotten just now
            and probe.is_heard_since(heard_since)
            and (state := probe.state(now)) is not None
        ]
        if machines := list(self._machine_states(probes, now, heard_since)):
            live = sorted([*live, *machines], key=attrgetter("id"))
        self._snapshot = Snapshot(self._snapshot.generation + 1, self._wall_clock(), tuple(live))
        self._taken_at = now

    def _machine_readings(self) -> dict[str, Reading]:
        return {name: reading for name in self._machines if (reading := self.reading(name)) is not None}

    def _machine_states(self, probes: dict[str, Probe], now: float, heard_since: float) -> Iterator[ProbeState]:
        """Yield the machines of which every probe is known and not all are silent."""
        for name, parts in self._machines.items():
            known = [probe for part in parts if (probe := probes.get(part)) is not None]
            states = [state for probe in known if (state := probe.state(now)) is not None]
            if len(states) == len(parts) and any(probe.is_heard_since(heard_since) for probe in known):
                yield state_of_machine(name, states)

    def _sums(self, message: Message) -> Message | None:
        """Return the machines that the probes of a message feed, as a message; None if none is measured as a whole."""
        now = self._clock()
        sums: dict[str, float | None] = {}
        for name in dict.fromkeys(name for probe in message.probes for name in self._fed.get(probe, ())):
            parts = [probe.known() for part in self._machines[name] if (probe := self._probes.get(part)) is not None]
            up = [told for told in parts if told is not None and told.state(now) == "up"]
            if len(up) == len(self._machines[name]):
                watts = [each for told in up if (each := told.current_watts("up")) is not None]
                sums[name] = sum(watts) if len(watts) == len(up) else None
        return message_of(sums, message) if sums else None

    def _claim(self, name: str, message: Message, now: float) -> Probe | None:
        """Return the probe if the message's wattmeter may report it, None if another one does."""
        owned = self._probes.get(name)
        if owned is not None and owned.wattmeter == message.wattmeter:
            return owned
        if name in self._machines:
            self.conflicts.note(name, "a probe has the name of the machine %s")
            return None
        if owned is None:
            probe = Probe(
                name, message.wattmeter, "device", message.interval, now, message.timestamp, message.timestamp
            )
            self._probes[name] = probe
            self._listing += 1
            return probe
        self._settle(owned.wattmeter)
        if not has_lapsed(now - owned.heard_at, owned.interval, self._cleaning_interval):
            self.conflicts.note(name, "two wattmeters report the probe %s")
            return None
        LOG.info("probe %s moved from %s to %s", name, owned.wattmeter, message.wattmeter)
        self._events.note({name: Event(message.timestamp, "replaced", owned.energy.register, None)})
        self._unlist(name, owned.wattmeter)
        owned.wattmeter, owned.identity, owned.early = message.wattmeter, b"", None
        self._listing += 1
        owned.energy.change_source()
        return owned


def _is_before(one: Instant, other: Instant) -> bool:
    """Return whether an instant of a wattmeter comes before another: a spool is asked for more than was missed.

    Boots rise, but where kwapi-drivers has moved to a machine whose clock is behind.
    """
    if one.boot == other.boot:
        return one.monotonic < other.monotonic
    return one.boot < other.boot and one.timestamp < other.timestamp + AHEAD
