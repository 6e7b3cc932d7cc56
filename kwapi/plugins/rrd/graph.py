"""Graphs of power: of one probe, with the band between its lowest and highest; of several, stacked, with their total.

A graph is drawn again when its resolution has passed and there is a new row to show; otherwise it stays as it is.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from kwapi.plugins.rrd import drawing
from kwapi.plugins.rrd.archive import ARCHIVES
from kwapi.plugins.rrd.axes import scale
from kwapi.plugins.rrd.cache import Cache, Kept
from kwapi.plugins.rrd.drawing import escape, line, literal
from kwapi.plugins.rrd.legend import cells, flowed, words
from kwapi.plugins.rrd.look import CONTENT_TYPES, Graph, Look, Plot, Target, colour, line_colour, theme
from kwapi.plugins.rrd.ranking import Ranking
from kwapi.plugins.rrd.reading import Reader, Reading
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store
from kwapi.tariff import Tariff

LATE = 60  # seconds that a row may need to be complete: slow wattmeters, and what waits to be written
AGAIN = 5.0  # seconds after which to look again whether there is a row that was due
WHOLE = 0.999  # the share of a total from which on it counts as complete
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
        """Return the graph of a target over a period."""
        key = (period, target, look)
        if (fresh := self._fresh(key)) is not None:
            return fresh
        with self._drawing:
            if (fresh := self._fresh(key)) is not None:  # drawn while we waited
                return fresh
            now, stamp = self._clock(), self.reader.stamp(period, target)
            kept = self._cache.get(key)
            if kept is not None and kept.stamp == stamp:
                graph = replace(kept.graph, fresh_until=now + min(ARCHIVES[period].resolution, AGAIN))
            else:
                graph = self._draw(period, target, look, now, stamp.past)
            self._cache.put(key, Kept(graph, stamp))
        return graph

    def plot(self, period: str, target: Target, look: Look) -> Plot | None:
        """Return where the plot is in a graph of this size, in whatever format and colours it was drawn."""
        alike = [replace(look, dark=dark, format=form) for form in CONTENT_TYPES for dark in (False, True)]
        drawn = (self._fresh((period, target, one)) for one in alike)
        return (next((graph for graph in drawn if graph), None) or self.graph(period, target, look)).plot

    def energies(self, period: str) -> dict[str, float]:
        """Return the kWh of each probe that was measured in a period, as of a while ago: see Ranking."""
        return self.ranking.energies(period)

    def _fresh(self, key: tuple[str, Target, Look]) -> Graph | None:
        kept = self._cache.get(key)
        return kept.graph if kept is not None and self._clock() < kept.graph.fresh_until else None

    def _draw(self, period: str, target: Target, look: Look, now: float, past: bool) -> Graph:
        reading = self.reader.read(period, target)
        fresh_until = next_row(period, now)
        if reading.reason:
            return drawing.message(reading.reason, look, fresh_until, now)
        title = f"{name_of(target)}, last {PERIODS[period]}"
        if past:
            title += time.strftime(" until %d %B %Y, %H:%M", time.localtime(reading.end))
        elements = self._single(reading, look) if target.kind == "probe" else self._stack(reading, look)
        axis = scale(*_limits(reading, target), drawing.plot_size(look)[1])
        return drawing.picture(title, period, reading.start, reading.end, axis, elements, look, fresh_until, now)

    def _single(self, reading: Reading, look: Look) -> list[str]:
        [band] = reading.bands
        shade, path = colour(band.probe.number), escape(str(band.path))
        elements = [f"DEF:w={path}:w:AVERAGE"]
        if reading.rows.extremes:
            elements += [f"DEF:low={path}:w:MIN", f"DEF:high={path}:w:MAX", "CDEF:span=high,low,-"]
            elements += ["AREA:low", f"AREA:span#{shade}50::STACK"]
        elements += [f"AREA:w#{shade}38", f"LINE1:w#{line_colour(shade, theme(look).back)}"]
        return elements + self._legend(reading, look)

    def _stack(self, reading: Reading, look: Look) -> list[str]:
        """Return what draws the bands on top of each other, as much of each as it is of the total's time."""
        colours = theme(look)
        elements = []
        for number, band in enumerate(reading.bands):
            path = escape(str(band.path))
            elements += [f"DEF:w{number}={path}:w:AVERAGE", f"DEF:m{number}={path}:known:AVERAGE"]
            elements.append(f"CDEF:d{number}=w{number},UN,0,w{number},m{number},*,IF")
        drawn = [f"d{number}" for number in range(len(reading.bands))]
        if reading.path is not None:
            path = escape(str(reading.path))
            elements += [f"DEF:{name}={path}:{name}:AVERAGE" for name in ("w", "known", "complete")]
        else:
            shares = [f"k{number}" for number in range(len(drawn))]
            elements += [f"CDEF:k{number}=w{number},UN,0,m{number},IF" for number in range(len(drawn))]
            elements.append(f"CDEF:known={_reduced(shares, 'MAX')}")
            elements.append(f"CDEF:complete={_reduced(shares, '+')},{reading.counted},/")
            elements.append(f"CDEF:w=known,0,GT,{_reduced(drawn, '+')},known,/,UNKN,IF")
        elements += [f"CDEF:partly=complete,{WHOLE},LT,w,UN,0,1,IF,*", f"TICK:partly#{colours.others}50:1.0"]
        rows = [(band.probe.name, band.figures) for band in reading.bands]
        said = cells(rows, drawing.characters(look)) if rows else []
        parting: list[str] = []
        for number, (band, (text, end)) in enumerate(zip(reading.bands, said, strict=True)):
            elements.append(f"CDEF:b{number}=w,UN,UNKN,d{number},known,/,IF")
            shade = colour(band.probe.number)
            elements.append(f"AREA:b{number}#{shade}:{escape(literal(text))}{end}:STACK")
            if number and shade == colour(reading.bands[number - 1].probe.number):  # a line parts them
                below = _reduced([f"b{other}" for other in range(number)], "+")
                parting += [f"CDEF:below{number}={below}", f"LINE1:below{number}#{colours.back}"]
        if reading.others:
            named = _reduced([f"b{number}" for number in range(len(drawn))], "+") if drawn else "0"
            elements.append(f"CDEF:others=w,{named},-,0,MAX")
            elements.append(f"AREA:others#{colours.others}:{reading.others} others\\l:STACK")
        return [*elements, *parting, *self._legend(reading, look, "total")]

    def _legend(self, reading: Reading, look: Look, name: str = "") -> list[str]:
        said = words(reading.figures, self.currency)
        if name:
            said[0] = f"{name}: {said[0]}"
        lines = flowed(said, drawing.characters(look))
        if missing := reading.counted - reading.measured:
            lines.append(f"{missing} of {reading.counted} probes without a measurement in this time.")
        return [line(one) for one in lines]


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


def _reduced(names: Sequence[str], operator: str) -> str:
    """Return the expression that combines variables by an operator."""
    first, *others = names
    return "".join([first, *(f",{name},{operator}" for name in others)])


def _limits(reading: Reading, target: Target) -> tuple[float, float]:
    """Return the lowest and the highest watts that are drawn."""
    if target.kind == "probe":
        return reading.figures.minimum or 0.0, reading.figures.maximum or 0.0
    watts = [watts for watts in reading.rows.watts if watts is not None]
    below = sum(min(band.figures.minimum or 0.0, 0.0) for band in reading.bands)  # others stand on top of those
    return min(*watts, below, 0.0), max(*watts, 0.0) - below
