"""Which probes used most energy in a period: the energy of every probe, read from all files again from time to time.

A period ends when any of them was last measured, as that of their total does.

Ten thousand files take most of a second, so it is done ahead of requests, for the periods that are asked for, and as
often as a hundredth of one core allows.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES, RRD_ERRORS
from kwapi.plugins.rrd.probe import Probe
from kwapi.plugins.rrd.rows import consumed_kwh, window
from kwapi.plugins.rrd.store import Store

LOG = logging.getLogger(__name__)

NAMED = 20  # probes that a summary names
SHARE = 0.01  # of one core
SLOWEST = 60.0  # seconds; a row takes longer in most periods, but there are new probes
WANTED = 600.0  # seconds for which a period is kept ready after it was asked for


@dataclass(frozen=True, slots=True)
class Largest:
    """The probes that count to a total: the largest by name, in the store's order, and how many there are in all."""

    names: tuple[str, ...] = ()
    counted: int = 0
    measured: int = 0  # of those, in this period


@dataclass(slots=True)
class _Ranks:
    """What was found, and until when it is good."""

    good_until: float
    kept_until: float
    energies: dict[str, float] = field(default_factory=dict)
    largest: dict[str | None, Largest] = field(default_factory=dict)  # by site; None: over all


class Ranking:
    """The energies of all probes of a store, by period; for any thread."""

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        cpu_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._store = store
        self._clock = clock
        self._cpu_clock = cpu_clock
        self._ranks: dict[str, _Ranks] = {}
        self._asked: dict[str, float] = {}
        self._reading = threading.Lock()

    def energies(self, period: str) -> dict[str, float]:
        """Return the kWh of each probe that was measured in a period, as of a while ago."""
        return self._current(period).energies

    def largest(self, period: str, site: str | None) -> Largest:
        """Return the largest of a site, or of all."""
        return self._current(period).largest.get(site, Largest())

    def run(self, stop: threading.Event) -> None:
        """Keep ready what is asked for."""
        while not stop.wait(1.0):
            self.renew()

    def renew(self) -> None:
        """Read again what is asked for and no longer good."""
        now = self._clock()
        for period, asked in list(self._asked.items()):
            if now - asked > WANTED:
                del self._asked[period]
            elif now >= self._ranks[period].good_until:
                with self._reading:
                    self._ranks[period] = self._read(period)

    def _current(self, period: str) -> _Ranks:
        """Return what is known; that it is renewed ahead is run's work, so it may be somewhat older than good."""
        now = self._clock()
        ranks = self._ranks.get(period)
        if ranks is None or now >= ranks.kept_until:
            with self._reading:
                ranks = self._ranks.get(period)
                if ranks is None or now >= ranks.kept_until:  # nobody read it while we waited
                    ranks = self._ranks[period] = self._read(period)
        self._asked[period] = now
        return ranks

    def _read(self, period: str) -> _Ranks:
        now, begun = self._clock(), self._cpu_clock()
        probes = self._store.probes()
        newest = min(max((probe.timestamp or 0.0 for probe in probes), default=0.0), now)
        sound = [probe for probe in probes if not probe.broken]
        energies = {probe.name: kwh for probe in sound if (kwh := self._energy(period, probe, newest)) is not None}
        largest = {site: _largest(members, energies) for site, members in _by_site(probes).items()}
        pause = max(min(ARCHIVES[period].resolution, SLOWEST), (self._cpu_clock() - begun) / SHARE)
        return _Ranks(now + pause, now + 2 * pause, energies, largest)

    def _energy(self, period: str, probe: Probe, newest: float) -> float | None:
        path = self._store.path(probe.name)
        try:
            try:
                return consumed_kwh(path, period, *window(period, newest))
            except LookupError:  # written further than that
                return consumed_kwh(path, period, *window(period, rrdtool.last(str(path))))
        except (LookupError, *RRD_ERRORS):
            return None  # the store says what is wrong with a file


def _by_site(probes: list[Probe]) -> dict[str | None, list[Probe]]:
    """Return the probes that count, of each site and of all."""
    counted: dict[str | None, list[Probe]] = {None: [probe for probe in probes if probe.counted]}
    for probe in counted[None]:
        counted.setdefault(probe.site, []).append(probe)
    return counted


def _largest(probes: list[Probe], energies: dict[str, float]) -> Largest:
    measured = [probe.name for probe in probes if probe.name in energies]
    named = set(sorted(measured, key=energies.__getitem__, reverse=True)[:NAMED])
    return Largest(tuple(name for name in measured if name in named), len(probes), len(measured))
