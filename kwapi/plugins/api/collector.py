"""What the energy API knows of each probe: its last watts, when they were measured, and its energy.

add() is called by the one thread that reads the bus; requests read snapshots, which cost it nothing.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from kwapi.energy import MAX_GAP, EnergyRegister, Instant, gap_limit
from kwapi.measurement import Column, Message
from kwapi.plugins.ownership import Conflicts, Publishers, has_lapsed

LOG = logging.getLogger(__name__)


class Reading(NamedTuple):
    """A probe as the API shows it: Unix seconds of the last watts, those watts, and kWh since we know the probe."""

    timestamp: float
    w: float
    kwh: float


@dataclass(slots=True)
class _Probe:
    wattmeter: str
    interval: float
    heard_at: float  # our clock
    energy: EnergyRegister = field(default_factory=EnergyRegister)


class Collector:
    """Keeps the readings of all probes; who may report one, ownership.py decides."""

    def __init__(
        self,
        *,
        cleaning_interval: float = 300.0,
        max_gap: float = MAX_GAP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.conflicts = Conflicts()
        self._publishers = Publishers(cleaning_interval, self.conflicts)
        self._cleaning_interval = cleaning_interval
        self._max_gap = max_gap
        self._clock = clock
        self._probes: dict[str, _Probe] = {}
        self._readings: dict[str, Reading] = {}

    def add(self, message: Message) -> None:
        """Take one message of the bus; they come in order for each wattmeter."""
        now = self._clock()
        if not self._publishers.admit(message, now):
            return
        at = Instant(message.boot, message.timestamp, message.monotonic)
        max_gap = gap_limit(self._max_gap, message.interval)
        nothing: Column = [None] * len(message.probes)
        columns = zip(
            message.probes, message.w or nothing, message.kwh or nothing, message.kwh_wrap or nothing, strict=True
        )
        for name, watts, kwh, kwh_wrap in columns:
            probe = self._probes.get(name)
            if probe is None or probe.wattmeter != message.wattmeter:
                probe = self._claim(name, probe, message, now)
                if probe is None:
                    continue
            probe.heard_at, probe.interval = now, message.interval
            event = probe.energy.add(at, watts, kwh, kwh_wrap, max_gap)
            if event is not None:
                LOG.warning("the energy register of %s: %s, %.3f to %.3f kWh", name, *event)
            if watts is not None:
                self._readings[name] = Reading(message.timestamp, watts, probe.energy.kwh)
            elif kwh is not None and (last := self._readings.get(name)) is not None:
                self._readings[name] = last._replace(kwh=probe.energy.kwh)

    def readings(self) -> dict[str, Reading]:
        """Return the readings of all probes that are not silent, by id, in the order they were first heard."""
        heard_since = self._clock() - self._cleaning_interval
        readings, probes = self._readings.copy(), self._probes
        return {name: reading for name, reading in readings.items() if probes[name].heard_at >= heard_since}

    def reading(self, name: str) -> Reading | None:
        """Return one probe's reading, None if there is no such probe or it is silent."""
        reading, probe = self._readings.get(name), self._probes.get(name)
        if reading is None or probe is None or probe.heard_at < self._clock() - self._cleaning_interval:
            return None
        return reading

    def _claim(self, name: str, owned: _Probe | None, message: Message, now: float) -> _Probe | None:
        """Return the probe if the message's wattmeter may report it, None if another one does."""
        if owned is None:
            self._probes[name] = _Probe(message.wattmeter, message.interval, now)
        elif has_lapsed(now - owned.heard_at, owned.interval, self._cleaning_interval):
            LOG.info("probe %s moved from %s to %s", name, owned.wattmeter, message.wattmeter)
            owned.wattmeter = message.wattmeter
            owned.energy.change_source()
        else:
            self.conflicts.note(name, "two wattmeters report the probe %s")
            return None
        return self._probes[name]
