"""What the energy API knows of each probe: its last watts, when they were measured, and its energy.

add() is called by the one thread that reads the bus; requests read snapshots, which cost it nothing.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from kwapi.energy import MAX_GAP, EnergyRegister, Instant
from kwapi.measurement import Column, Message

LOG = logging.getLogger(__name__)
MAX_BOOTS = 16  # remembered per wattmeter
GAP_INTERVALS = 2.5  # a hole shorter than this many intervals is no gap, whatever max_gap says


class Reading(NamedTuple):
    """A probe as the API shows it: Unix seconds of the last watts, those watts, and kWh since we know the probe."""

    timestamp: float
    w: float
    kwh: float


@dataclass(slots=True)
class _Probe:
    wattmeter: str
    heard_at: float  # our clock
    energy: EnergyRegister = field(default_factory=EnergyRegister)


class Collector:
    """Keeps the readings of all probes.

    A probe that two wattmeters list belongs to the first, until that one has been silent for ``cleaning_interval``
    seconds; the other's values are dropped and counted. So are messages of a boot that a newer one has replaced.
    """

    def __init__(
        self,
        *,
        cleaning_interval: float = 300.0,
        max_gap: float = MAX_GAP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.conflicts: Counter[str] = Counter()  # by probe, or by wattmeter where two publish under one name
        self._cleaning_interval = cleaning_interval
        self._max_gap = max_gap
        self._clock = clock
        self._probes: dict[str, _Probe] = {}
        self._readings: dict[str, Reading] = {}
        self._boots: dict[str, list[int]] = {}  # by wattmeter, the newest last

    def add(self, message: Message) -> None:
        """Take one message of the bus; they come in order for each wattmeter."""
        if not self._is_newest_boot(message):
            return
        now = self._clock()
        at = Instant(message.boot, message.timestamp, message.monotonic)
        max_gap = max(self._max_gap, GAP_INTERVALS * message.interval)
        nothing: Column = [None] * len(message.probes)
        columns = zip(
            message.probes, message.w or nothing, message.kwh or nothing, message.kwh_wrap or nothing, strict=True
        )
        for name, watts, kwh, kwh_wrap in columns:
            probe = self._probes.get(name)
            if probe is None or probe.wattmeter != message.wattmeter:
                probe = self._claim(name, probe, message.wattmeter, now)
                if probe is None:
                    continue
            probe.heard_at = now
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

    def _is_newest_boot(self, message: Message) -> bool:
        boots = self._boots.setdefault(message.wattmeter, [])
        if message.boot not in boots:
            boots.append(message.boot)
            del boots[:-MAX_BOOTS]
        if boots[-1] == message.boot:
            return True
        self._count_conflict(message.wattmeter, "two publishers use the name of wattmeter %s")
        return False

    def _claim(self, name: str, owned: _Probe | None, wattmeter: str, now: float) -> _Probe | None:
        """Return the probe if the wattmeter may report it, None if another one does."""
        if owned is None:
            self._probes[name] = _Probe(wattmeter, now)
        elif now - owned.heard_at > self._cleaning_interval:
            LOG.info("probe %s moved from %s to %s", name, owned.wattmeter, wattmeter)
            owned.wattmeter = wattmeter
            owned.energy.change_source()
        else:
            self._count_conflict(name, "two wattmeters report the probe %s")
            return None
        return self._probes[name]

    def _count_conflict(self, name: str, text: str) -> None:
        self.conflicts[name] += 1
        if self.conflicts[name] == 1:
            LOG.warning(text, name)
