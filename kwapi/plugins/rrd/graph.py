"""Graphs of power: of one probe, with the band between its lowest and highest; of several, stacked, with their total.

A graph is drawn again when its resolution has passed and there is a new row to show; otherwise it stays as it is.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate

from kwapi.plugins.rrd import drawing
from kwapi.plugins.rrd.archive import ARCHIVES, RRD_ERRORS
from kwapi.plugins.rrd.axes import scale
from kwapi.plugins.rrd.cache import Cache, Kept, Key
from kwapi.plugins.rrd.elements import legend, single, stack
from kwapi.plugins.rrd.legend import shortened
from kwapi.plugins.rrd.look import CONTENT_TYPES, Graph, Look, Plot, Target
from kwapi.plugins.rrd.ranking import Ranking
from kwapi.plugins.rrd.reading import UNUSABLE, Reader, Reading
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store
from kwapi.tariff import Tariff

LATE = 60  # seconds that a row may need to be complete: slow wattmeters, and what waits to be written
MOMENT = 5.0  # seconds that a graph may be late rather than to wait for others
AGAIN = 5.0  # seconds after which to look again whether there is a row that was due
NAME = 40  # characters of a name in a title at most
CACHE = 32 * 1024 * 1024  # bytes


def next_row(period: str, now: float) -> float:
    """Return when the archive of a period has its next row, once slow wattmeters have reported too."""
    resolution = ARCHIVES[period].resolution
    late = min(resolution, LATE)
    return float(((now - late) // resolution + 1) * resolution + late)


class Graphs:
    """Draws the graphs of a store and keeps them, up to ``cache_size`` bytes; for any thread.

    One for each process, since it draws one graph at a time.
    """

    def __init__(
        self,
        store: Store,
        *,
        tariff: Tariff | None = None,
        currency: str = "EUR",
        cache_size: int = CACHE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.currency = currency
        self.ranking = Ranking(store, clock=clock)
        self.reader = Reader(store, self.ranking, tariff, clock)
        self._clock = clock
        self._cache = Cache(cache_size)
        self._drawing = threading.Lock()  # one thread at a time may draw

    def graph(self, period: str, target: Target, look: Look) -> Graph:
        """Return the graph of a target over a period; while others are drawn, one that was due a moment ago."""
        key = (period, target, look)
        if (fresh := self._fresh(key)) is not None:
            return fresh
        if self._drawing.locked() and (recent := self._fresh(key, MOMENT)) is not None:
            return recent
        with self._drawing:
            return self._fresh(key) or self._renewed(key)  # it may have been drawn while we waited

    def plot(self, period: str, target: Target, look: Look) -> Plot | None:
        """Return where the plot is in a graph of this size, in whatever format and colours it was drawn."""
        alike = [replace(look, dark=dark, format=form) for form in CONTENT_TYPES for dark in (False, True)]
        drawn = (self._fresh((period, target, one)) for one in alike)
        return (next((graph for graph in drawn if graph), None) or self.graph(period, target, look)).plot

    def energies(self, period: str) -> dict[str, float]:
        """Return the kWh of each probe that was measured in a period, as of a while ago: see Ranking."""
        return self.ranking.energies(period)

    def _fresh(self, key: Key, late: float = 0.0) -> Graph | None:
        """Return a graph that is kept and not due, or not for longer than some seconds."""
        kept = self._cache.get(key)
        return kept.graph if kept is not None and self._clock() < kept.graph.fresh_until + late else None

    def _renewed(self, key: Key) -> Graph:
        """Return a graph as it is kept if there is nothing new, or else draw it."""
        period, target, look = key
        now, stamp, kept = self._clock(), self.reader.stamp(period, target), self._cache.get(key)
        if kept is not None and kept.stamp == stamp:
            graph = replace(kept.graph, fresh_until=now + min(ARCHIVES[period].resolution, AGAIN))
        else:
            graph = self._draw(period, target, look, now, stamp.past)
        self._cache.put(key, Kept(graph, stamp))
        return graph

    def _draw(self, period: str, target: Target, look: Look, now: float, past: bool) -> Graph:
        reading = self.reader.read(period, target)
        fresh_until = next_row(period, now)
        if reading.reason:
            return drawing.message(reading.reason, look, fresh_until, now)
        when = f"last {PERIODS[period]}"
        if past:
            when += time.strftime(" until %d %b %Y, %H:%M", time.localtime(reading.end))
        title = f"{shortened(name_of(target), NAME)}, {when}"
        is_one = target.kind == "probe"
        elements = single(reading, look) if is_one else stack(reading, look)
        elements += legend(reading, look, self.currency, "" if is_one else "total")
        axis = scale(*_limits(reading, target), drawing.plot_size(look)[1])
        try:
            return drawing.picture(title, period, reading.start, reading.end, axis, elements, look, fresh_until, now)
        except RRD_ERRORS:  # a file that could be read a moment ago
            return drawing.message(UNUSABLE, look, fresh_until, now)


def name_of(target: Target) -> str:
    """Return what a target is called."""
    match target.kind:
        case "all":
            return "All probes"
        case "site":
            return target.names[0] or "Probes of no site"
        case "probe":
            return target.names[0]
    return f"{len(target.names)} probes"


def _limits(reading: Reading, target: Target) -> tuple[float, float]:
    """Return the lowest and the highest watts that are drawn."""
    if target.kind == "probe":
        return reading.figures.minimum or 0.0, reading.figures.maximum or 0.0
    watts = [watts for watts in reading.rows.watts if watts is not None]
    bands = [band.figures for band in reading.bands]
    if all((band.minimum or 0.0) >= 0 for band in bands):
        return min(watts), max(watts)
    lows = accumulate(band.minimum or 0.0 for band in bands)  # one below zero takes down those above it
    highs = accumulate(band.maximum or 0.0 for band in bands)
    return min(*watts, *lows), max(*watts, *highs)
