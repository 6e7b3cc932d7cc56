"""Pictures of power: a graph of one probe, and a summary that stacks all probes that count to the total.

A graph shows one archive, to the end of the row in progress, so that the archive still reaches its beginning (rrdtool
takes the next coarser one otherwise). It is drawn again when the archive has a new row.
"""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import rrdtool

from kwapi.plugins.rrd.archive import ARCHIVES
from kwapi.plugins.rrd.figures import Figures, amount, combined, escape, known_count, literal, measure, watts
from kwapi.plugins.rrd.look import CONTENT_TYPES, Look, Plot, Target, Theme, colour, theme
from kwapi.plugins.rrd.store import Probe, Store

PERIODS = {  # as in "the last ..."
    "minute": "5 minutes",
    "hour": "hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year",
}
NAMED = 20  # probes a summary names, the largest; the others are one band
NAME_WIDTH = 32  # characters in a legend
CELL_WIDTHS = (11, 11, 11, 11, 14, 14)  # of its columns
BOX = "  "  # as wide as the coloured box of a line that has one
LATE = 60  # seconds that a row may need to be complete: slow wattmeters, and what waits to be written


@dataclass(frozen=True, slots=True)
class Graph:
    """A picture with its type and fingerprint, when it was drawn and until when it stays as it is (Unix seconds).

    ``plot`` is None where there is nothing but a message.
    """

    image: bytes
    content_type: str
    etag: str
    modified: float
    fresh_until: float
    plot: Plot | None


Key = tuple[str, Target, Look]


def window(period: str, now: float) -> tuple[int, int]:
    """Return the start and the end of a period's graph: the end of the row in progress, and all rows before it."""
    resolution, rows = ARCHIVES[period]
    end = (int(now) // resolution + 1) * resolution
    return end - rows * resolution, end


def known_until(period: str, end: int, probes: Sequence[Probe]) -> int:
    """Return the end of the newest row that all live probes can have, at most LATE seconds before the end.

    Beyond it a total would be one of some probes only.
    """
    resolution = ARCHIVES[period].resolution
    newest = min((int(probe.timestamp) for probe in probes if probe.timestamp and not probe.stale), default=end)
    earliest = end - max(resolution, LATE // resolution * resolution)
    return min(max(newest // resolution * resolution, earliest), end)


def next_row(period: str, now: float) -> float:
    """Return when the archive of a period has its next row, once slow wattmeters have reported too."""
    resolution = ARCHIVES[period].resolution
    late = min(resolution, LATE)
    return float(((now - late) // resolution + 1) * resolution + late)


def shortened(name: str) -> str:
    """Return a name of at most NAME_WIDTH characters; host names differ at either end."""
    half = (NAME_WIDTH - 1) // 2
    return name if len(name) <= NAME_WIDTH else f"{name[:half]}…{name[-half:]}"


class Graphs:
    """Draws the graphs of a store and keeps the newest of each, ``cache_size`` in all; for any thread.

    One for each process, since it draws one graph at a time.
    """

    def __init__(
        self,
        store: Store,
        *,
        price: float = 0.0,
        currency: str = "EUR",
        cache_size: int = 512,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.store = store
        self.price = price  # a kWh; without one no cost is shown
        self.currency = currency
        self._cache_size = cache_size
        self._clock = clock
        self._lock = threading.Lock()
        # librrd 1.7.2 with two threads in Pango at once: pictures without text, and crashes.
        self._drawing = threading.Lock()
        self._cache: OrderedDict[Key, Graph] = OrderedDict()

    def graph(self, period: str, target: Target, look: Look) -> Graph:
        """Return the graph of a target over a period."""
        key = (period, target, look)
        if (kept := self._kept(key)) is not None:
            return kept
        with self._drawing:
            if (kept := self._kept(key)) is not None:  # drawn while we waited
                return kept
            graph = self._draw(period, target, look)
            with self._lock:
                self._cache[key] = graph
                self._cache.move_to_end(key)
                if len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        return graph

    def _kept(self, key: Key) -> Graph | None:
        with self._lock:
            graph = self._cache.get(key)
            if graph is None or graph.fresh_until <= self._clock():
                return None
            self._cache.move_to_end(key)
            return graph

    def _draw(self, period: str, target: Target, look: Look) -> Graph:
        now = self._clock()
        probes = [probe for probe in self.store.probes() if _shown(probe, target)]
        self.store.flush(probe.name for probe in probes)
        start, end = window(period, max([now, *(probe.timestamp or 0.0 for probe in probes)]))
        end = known_until(period, end, probes)
        if target.kind != "probe" and ARCHIVES[period].resolution < LATE:
            start += 2 * ARCHIVES[period].resolution  # rows that some files lose while others are still to be read
        title = f"{literal(_title(target))}, last {PERIODS[period]}"
        plot = ["--start", str(start), "--end", str(end), *([] if look.bare else ["--title", title])]
        usable = [probe for probe in probes if not probe.broken and self.store.readable(probe.name)]
        if not usable:
            return _message("No probe to show.", plot, look, now, now)
        fresh_until = next_row(period, now)
        figures, total = measure([self.store.path(probe.name) for probe in usable], start, end)
        seen = [(probe, one) for probe, one in zip(usable, figures, strict=True) if one.seconds]
        if not seen:
            due = time.strftime("%d %B %Y, %H:%M:%S", time.localtime(fresh_until))
            return _message(f"No point in this time. The next may come at {due}.", plot, look, now, fresh_until)
        if target.kind == "probe":
            return _picture(plot, self._single(*seen[0]), look, now, fresh_until)
        if len(seen) < len(usable):
            _, total = measure([self.store.path(probe.name) for probe, _ in seen], start, end)
        elements = self._stack(seen, total, start, end, theme(look))
        if missing := len(probes) - len(seen):
            elements.append(f"COMMENT:{missing} of {len(probes)} probes without a measurement in this time.\\l")
        if total.partly:
            elements.append("COMMENT:Where the graph is shaded some probes were not measured.\\l")
        return _picture(plot, elements, look, now, fresh_until)

    def _single(self, probe: Probe, figures: Figures) -> list[str]:
        shade = colour(probe.number)
        area = f"AREA:w0#{shade}70:{self.legend_line('', figures)}"
        return [watts(0, self.store.path(probe.name)), self._heading(), area, f"LINE1.3:w0#{shade}"]

    def _stack(
        self, seen: Sequence[tuple[Probe, Figures]], total: Figures, start: int, end: int, theme: Theme
    ) -> list[str]:
        """Return what draws all probes on top of each other, the smaller ones of many as one."""
        by_size = sorted(seen, key=lambda one: one[1].kwh or 0.0, reverse=True)
        largest = {probe.name for probe, _ in by_size[:NAMED]}
        named = [one for one in seen if one[0].name in largest]
        others = [self.store.path(probe.name) for probe, _ in by_size[NAMED:]]
        paths = [*(self.store.path(probe.name) for probe, _ in named), *others]
        elements = [watts(column, path) for column, path in enumerate(paths)]
        elements.append(self._heading())
        for column, (probe, figures) in enumerate(named):
            elements.append(f"AREA:w{column}#{colour(probe.number)}:{self.legend_line(probe.name, figures)}:STACK")
        if others:
            _, figures = measure(others, start, end)
            elements.append(f"CDEF:others={combined('w', range(len(named), len(paths)))}")
            elements.append(f"AREA:others#{theme.others}:{self.legend_line(f'{len(others)} others', figures)}:STACK")
        known = f"CDEF:known={known_count(range(len(paths)))}"
        partly = f"CDEF:partly=known,0,GT,known,{len(paths)},LT,*"
        elements += [known, partly, f"TICK:partly#{theme.others}50:1.0"]  # the stack lacks somebody there
        for column in range(len(named)):  # a thin line parts neighbours of like colours
            elements.append(f"CDEF:top{column}={combined('w', range(column + 1))}")
            elements.append(f"LINE0.6:top{column}#{theme.back}")
        elements.append(f"COMMENT:{BOX}{self.legend_line('total', total)}")
        return elements

    def _heading(self) -> str:
        cells = ["minimum", "average", "maximum", "last", "energy"] + ["cost"] * bool(self.price)
        return f"COMMENT:{BOX}{_row('', cells)}"

    def legend_line(self, name: str, figures: Figures) -> str:
        """Return a row of the legend, as the last part of an argument of rrdtool."""
        power = (figures.minimum, figures.average, figures.maximum, figures.last)
        cells = [f"{amount(value)} W" for value in power] + [f"{amount(figures.kwh)} kWh"]
        if self.price:
            cost = None if figures.kwh is None else figures.kwh * self.price
            cells.append(f"{amount(cost, 2)} {self.currency}")
        return _row(name, cells)


def _row(name: str, cells: Sequence[str]) -> str:
    columns = "".join(f"{cell:>{width}}" for cell, width in zip(cells, CELL_WIDTHS, strict=False))
    return escape(literal(f"{shortened(name):{NAME_WIDTH}}{columns}")) + "\\l"


def _shown(probe: Probe, target: Target) -> bool:
    """Return whether a graph of the target is of this probe too."""
    if target.kind in ("probe", "chosen"):
        return probe.name in target.names
    return probe.counted and (target.kind == "all" or site_of(probe.wattmeter) in target.names)


def site_of(wattmeter: str) -> str:
    """Return the first part of a dotted name; a name without a dot belongs to the site ""."""
    site, dot, _ = wattmeter.partition(".")
    return site if dot else ""


def _title(target: Target) -> str:
    match target.kind:
        case "all":
            return "All probes"
        case "site":
            return target.names[0] or "Probes of no site"
        case "probe":
            return target.names[0]
    return f"{len(target.names)} probes"


def _message(text: str, plot: Sequence[str], look: Look, now: float, fresh_until: float) -> Graph:
    elements = ["HRULE:0#00000000", f"COMMENT:{escape(text)}\\c"]
    shown = [*plot, "--y-grid", "none", *(["--title", text] if look.bare else [])]
    return replace(_picture(shown, elements, look, now, fresh_until), plot=None)


def _picture(plot: Sequence[str], elements: Sequence[str], look: Look, now: float, fresh_until: float) -> Graph:
    """Draw; it never touches the disk."""
    size = ["--width", str(look.width), "--height", str(look.height), "--zoom", str(look.zoom)]
    style = ["--imgformat", look.format.upper(), "--border", "0", "--lower-limit", "0", *theme(look).arguments()]
    style += ["--disable-rrdtool-tag", "--dynamic-labels"]
    style += (
        ["--full-size-mode", "--no-legend", "--units-length", "5", "--alt-autoscale-max"]
        if look.bare
        else ["--vertical-label", "W"]
    )
    default, title = (8, 8) if look.bare else (9, 11)  # points
    fonts = ["--font", f"DEFAULT:{default}:DejaVu Sans", "--font", f"TITLE:{title}:DejaVu Sans"]
    fonts += ["--font", "LEGEND:9:DejaVu Sans Mono"]
    drawn = rrdtool.graphv("-", *size, *style, *fonts, list(plot), list(elements))
    image: bytes = drawn["image"]
    left, top, width, height, start, end = (
        drawn[f"graph_{part}"] for part in ("left", "top", "width", "height", "start", "end")
    )
    place = Plot(left, top, width, height, start, end, lower=drawn["value_min"], upper=drawn["value_max"])
    etag = hashlib.sha256(image).hexdigest()[:32]
    return Graph(image, CONTENT_TYPES[look.format], etag, now, fresh_until, place)
