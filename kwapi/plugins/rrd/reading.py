"""What a target comes to over a period: its rows, its figures, and the probes that it is made of.

A period ends with the newest row of what is shown, not now: so nothing changes where nothing is measured any more.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES, RRD_ERRORS
from kwapi.plugins.rrd.figures import Figures, figures
from kwapi.plugins.rrd.look import Target
from kwapi.plugins.rrd.probe import Probe
from kwapi.plugins.rrd.ranking import Ranking
from kwapi.plugins.rrd.rows import ROWS, Rows, read, together, window
from kwapi.plugins.rrd.store import Store
from kwapi.tariff import Tariff

NOTHING = "Nothing was measured yet."
SOON = "The first point comes after {}."
UNUSABLE = "The file can't be used, see the log."
PAST = 900.0  # seconds after which a total that has nothing newer is one of the past


class Stamp(NamedTuple):
    """How far a target has come: the same as long as no row is new, and it goes on being measured or not."""

    rows: tuple[int, ...]
    past: bool  # not measured now


@dataclass(frozen=True, slots=True)
class Band:
    """A probe as part of a graph."""

    probe: Probe
    path: Path
    figures: Figures


@dataclass(frozen=True, slots=True)
class Reading:
    """What a target comes to; where nothing is known ``reason`` says why.

    ``bands`` are the probes that are shown one by one, ``counted`` how many make up the target, ``measured`` how many
    of those were in this period. ``path`` is the file of the whole; chosen probes have none.
    """

    start: int
    end: int
    rows: Rows = Rows()
    figures: Figures = Figures()
    bands: Sequence[Band] = ()
    path: Path | None = None
    counted: int = 0
    measured: int = 0
    reason: str = ""

    @property
    def others(self) -> int:
        """How many of the measured are not shown one by one."""
        return max(self.measured - len(self.bands), 0)


class Reader:
    """Reads from a store what graphs show; for any thread."""

    def __init__(
        self, store: Store, ranking: Ranking, tariff: Tariff | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._ranking = ranking
        self._tariff = tariff
        self._clock = clock
        self._settled_at = 0.0

    def stamp(self, period: str, target: Target) -> Stamp:
        """Return how far a target has come in a period."""
        resolution = ARCHIVES[period].resolution
        if target.kind in ("all", "site"):
            newest = self._newest_total(target)
            return Stamp((newest // resolution,), self._clock() - newest > PAST)
        probes = self._probes(target)
        rows = tuple(int(probe.timestamp or 0.0) // resolution for probe in probes)
        return Stamp(rows, all(probe.stale for probe in probes))

    def read(self, period: str, target: Target) -> Reading:
        """Return what a target comes to over a period."""
        if target.kind in ("all", "site"):
            return self._read_total(period, target)
        return self._read_probes(period, target)

    def _read_total(self, period: str, target: Target) -> Reading:
        site = target.names[0] if target.kind == "site" else None
        largest = self._ranking.largest(period, site)
        probes = [probe for name in largest.names if (probe := self._store.probe(name)) and not probe.broken]
        self._store.flush(probe.name for probe in probes)
        path, newest = self._store.total_path(site), self._newest_total(target)
        if not newest:
            return Reading(0, 0, reason=NOTHING)
        ahead = [last for probe in probes if (last := _last(self._store.path(probe.name)))]
        start, end = window(period, max([newest, *ahead]), newest)
        whole = _read(path, period, start, end)
        if whole is None:
            return Reading(start, end, reason=UNUSABLE)
        prices = self._prices(whole)
        bands = [band for probe in probes if (band := self._band(probe, period, whole, prices))]
        total = figures(whole, prices)
        return _known(Reading(start, end, whole, total, bands, path, largest.counted, largest.measured), period)

    def _read_probes(self, period: str, target: Target) -> Reading:
        probes = self._probes(target)
        self._store.flush(probe.name for probe in probes)
        sound = [probe for probe in self._probes(target) if not probe.broken]
        lasts = [last for probe in sound if (last := _last(self._store.path(probe.name)))]
        if not lasts:
            return Reading(0, 0, reason=UNUSABLE if len(sound) < len(probes) else NOTHING)
        start, end = window(period, max(lasts))
        found = {probe: _read(self._store.path(probe.name), period, start, end) for probe in sound}
        known = {probe: rows for probe, rows in found.items() if rows is not None}
        if not known:
            return Reading(start, end, reason=UNUSABLE)
        prices = self._prices(next(iter(known.values())))
        of_each = {probe: figures(one, prices) for probe, one in known.items()}
        bands = [Band(probe, self._store.path(probe.name), one) for probe, one in of_each.items() if one.seconds]
        whole = together(list(known.values()))
        if target.kind == "probe":
            [(probe, whole)] = known.items()
            return _known(Reading(start, end, whole, of_each[probe], bands, self._store.path(probe.name), 1, 1), period)
        total = replace(figures(whole, prices), kwh=_sum(bands, "kwh"), cost=_sum(bands, "cost"))
        return _known(Reading(start, end, whole, total, bands, None, len(target.names), len(bands)), period)

    def _band(self, probe: Probe, period: str, whole: Rows, prices: Sequence[float] | None) -> Band | None:
        path = self._store.path(probe.name)
        rows = _read(path, period, whole.start, whole.end)
        return Band(probe, path, figures(rows, prices)) if rows else None

    def _probes(self, target: Target) -> list[Probe]:
        return [probe for name in target.names if (probe := self._store.probe(name))]

    def _newest_total(self, target: Target) -> int:
        """Return when the total's file ends, 0 if there is none; it has a new second only every second."""
        if not 0 <= self._clock() - self._settled_at < 1:
            self._settled_at = self._clock()
            self._store.flush_totals()
        return _last(self._store.total_path(target.names[0] if target.kind == "site" else None)) or 0

    def _prices(self, rows: Rows) -> list[float] | None:
        if self._tariff is None:
            return None
        return self._tariff.means(rows.start, rows.step, len(rows.watts))


def _known(reading: Reading, period: str) -> Reading:
    """Return a reading that says so if no row of it is complete."""
    return reading if reading.figures.seconds else replace(reading, reason=SOON.format(ROWS[period]))


def _sum(bands: Sequence[Band], name: str) -> float | None:
    values = [value for band in bands if (value := getattr(band.figures, name)) is not None]
    return sum(values) if values else None


def _last(path: Path) -> int | None:
    """Return when a file ends; None if it can't be used."""
    try:
        return int(rrdtool.last(str(path)))
    except RRD_ERRORS:
        return None


def _read(path: Path, period: str, start: int, end: int) -> Rows | None:
    """Return the rows of a file; None if it can't be used."""
    try:
        return read(path, period, start, end)
    except (LookupError, *RRD_ERRORS):
        return None
