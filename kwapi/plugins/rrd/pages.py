"""The pages of kwapi-rrd: all probes over a period, and one probe over all periods."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from flask import redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.images import check_period, find
from kwapi.plugins.rrd.live import Present
from kwapi.plugins.rrd.look import CHOSEN, Target
from kwapi.plugins.rrd.probe import natural
from kwapi.plugins.rrd.reading import Reading
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.selection import MOST, Selection, Shown, show
from kwapi.plugins.rrd.words import FOR_SCRIPT, TEXT, say

RELOAD = 60  # seconds, without a script: a page that loads itself again forgets what was typed into it
# Seconds until a script asks for the whole page again: order, energy and legend of a view, the figures of a probe.
VIEW_AGAIN, PROBE_AGAIN = 60, 15


@dataclass(frozen=True, slots=True)
class Settings:
    """What the pages say of the installation; ``refresh`` is in seconds, ``counts`` gives what the bus counts.

    ``zone`` is the name of the time zone of the graphs, empty if it has none.
    """

    title: str = "Kwapi"
    refresh: float = 5.0
    endpoints: Sequence[str] = ()
    counts: Callable[[], Mapping[str, object]] = dict
    zone: str = ""


class Pages:
    """The pages, over the present probes and their graphs."""

    def __init__(self, present: Present, graphs: Graphs, settings: Settings) -> None:
        self._present = present
        self._graphs = graphs
        self._settings = settings

    def home(self) -> AnyResponse:
        return redirect(url_for("last", period="minute"))

    def last(self, period: str) -> str:
        check_period(period)
        selection = Selection.of(request.args)
        probes = self._present.probes()
        if not probes:
            return self._first(period)
        energies = self._graphs.energies(period)
        shown = show(selection, probes, energies)
        target = target_of(selection, shown)
        reading = None if target is None else self._graphs.reader.read(period, target)
        return render_template(
            "last.html",
            period=period,
            query=selection.query(),
            heading=_heading(selection),
            selection=selection,
            shown=shown,
            energies=energies,
            graph=None if target is None else query_of(target),
            reading=reading,
            until=None if target is None or reading is None else self._until(period, target, reading),
            most_in_graph=CHOSEN,
            sites=sorted({probe.site for probe in probes}, key=natural),
            wattmeters=sorted({probe.wattmeter for probe in probes}, key=natural),
            unseen=sorted(set(selection.chosen) - {probe.name for probe in shown.probes}),
            reload=max(RELOAD, self._settings.refresh),
            script=self._script(selection, shown.number, VIEW_AGAIN),
        )

    def probe(self, probe: str) -> str:
        one = self._present.by_name().get(probe) or find(self._graphs.store, probe)
        target = Target("probe", (one.name,))
        readings = {period: self._graphs.reader.read(period, target) for period in PERIODS}
        return render_template(
            "probe.html",
            probe=one,
            figures={period: reading.figures for period, reading in readings.items()},
            until={period: self._until(period, target, reading) for period, reading in readings.items()},
            reload=self._settings.refresh,
            script=self._script(Selection(chosen=(one.name,)), 1, PROBE_AGAIN),
        )

    def _until(self, period: str, target: Target, reading: Reading) -> int | None:
        """Return when a reading ends, where that is not now since nothing is measured any more."""
        past = self._graphs.reader.stamp(period, target).past
        return reading.end if past and not reading.reason else None

    def _first(self, period: str) -> str:
        """Return the page of an installation that has measured nothing yet."""
        counts = self._settings.counts()
        rejected = counts.get("rejected")
        return render_template(
            "first.html",
            period=period,
            endpoints=self._settings.endpoints,
            accepted=counts.get("accepted", 0),
            rejected=rejected if isinstance(rejected, Mapping) else {},
            reload=self._settings.refresh,
            script=self._script(Selection(), 0, VIEW_AGAIN),
        )

    def _script(self, selection: Selection, number: int, again: float) -> dict[str, object]:
        """Return what the script needs to know."""
        return {
            "refresh": self._settings.refresh,
            "again": max(again, self._settings.refresh),
            "live": f"{request.script_root}/live{selection.query()}",
            "address": selection.query(first=selection.first) or "?",
            "number": number,
            "chosen": selection.chosen,
            "only_chosen": selection.only_chosen,
            "most": MOST,
            "words": {key: TEXT[key] for key in FOR_SCRIPT},
        }


def target_of(selection: Selection, shown: Shown) -> Target | None:
    """Return what a graph of just what is shown would be of; None if there can be none."""
    if selection.search or selection.state:
        return None
    if selection.only_chosen or selection.wattmeter:
        names = tuple(probe.name for probe in shown.summed)
        return Target("chosen", names) if 0 < len(names) <= CHOSEN else None
    return Target() if selection.site is None else Target("site", (selection.site,))


def query_of(target: Target) -> str:
    """Return how the address of a graph says what it is of."""
    key = {"site": "site", "chosen": "probe"}.get(target.kind, "")
    return urlencode([(key, name) for name in target.names])


def _heading(selection: Selection) -> str:
    if selection.only_chosen:
        return say("chosen")
    if selection.search or selection.state:
        return say("found")
    if selection.wattmeter or selection.site is not None:
        return selection.wattmeter or selection.site or say("no_site")
    return say("all")
