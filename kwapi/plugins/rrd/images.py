"""What kwapi-rrd serves as pictures: the graph of a probe, of chosen ones, and the summaries.

/graph/PERIOD/ (?site=SITE, or ?probe=NAME as often as needed) and /graph/PERIOD/PROBE/, in the format that the request
accepts; with a suffix in place of the last slash, .png or .svg, in that one. ?dark=1, ?zoom=2, ?width=, ?height= and ?bare=1
say how it looks.
"""

import math
from collections.abc import Callable
from datetime import UTC, datetime

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd.graph import PERIODS, Graph, Graphs, site_of
from kwapi.plugins.rrd.look import CHOSEN, CONTENT_TYPES, HEIGHTS, WIDTHS, ZOOMS, Look, Target
from kwapi.plugins.rrd.store import Probe, Store

Route = tuple[str, str, Callable[..., AnyResponse]]
FORMAT = f"<any({','.join(CONTENT_TYPES)}):form>"


class Images:
    """The views of pictures, drawn by ``graphs``."""

    def __init__(self, graphs: Graphs, clock: Callable[[], float]) -> None:
        self._graphs = graphs
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """Return path, endpoint and view of each."""
        return (
            ("/graph/<period>/", "summary_graph", self.summary),
            (f"/graph/<period>.{FORMAT}", "summary_graph", self.summary),
            ("/graph/<period>/<probe>/", "probe_graph", self.probe),
            (f"/graph/<period>/<probe>.{FORMAT}", "probe_graph", self.probe),
        )

    def summary(self, period: str, form: str = "") -> AnyResponse:
        check_period(period)
        return self._answer(self._graphs.graph(period, asked_target(self._graphs.store), asked_look(form)))

    def probe(self, period: str, probe: str, form: str = "") -> AnyResponse:
        check_period(period)
        target = Target("probe", (find(self._graphs.store, probe).name,))
        return self._answer(self._graphs.graph(period, target, asked_look(form)))

    def _answer(self, graph: Graph) -> AnyResponse:
        response = Response(graph.image, content_type=graph.content_type)
        response.set_etag(graph.etag)
        response.last_modified = datetime.fromtimestamp(graph.modified, UTC)
        response.cache_control.private = True
        response.cache_control.max_age = max(0, math.ceil(graph.fresh_until - self._clock()))
        response.vary.add("Accept")
        return response.make_conditional(request)


def asked_target(store: Store) -> Target:
    """Return what a summary is asked for: a site, probes, or all; NotFound if there are none such."""
    if names := request.args.getlist("probe"):
        if len(names) > CHOSEN:
            raise BadRequest(f"A graph is of {CHOSEN} probes at most.")
        return Target("chosen", tuple(dict.fromkeys(find(store, name).name for name in names)))
    site = request.args.get("site")
    if site is None:
        return Target()
    if all(site_of(probe.wattmeter) != site for probe in store.probes()):
        raise NotFound(f"There is no site {site}.")
    return Target("site", (site,))


def asked_look(form: str) -> Look:
    """Return the look that a request asks for, in this format or else one that it accepts."""
    plain = Look()
    if not form:
        accepted = request.accept_mimetypes.best_match(list(CONTENT_TYPES.values()))
        form = next((name for name, kind in CONTENT_TYPES.items() if kind == accepted), plain.format)
    return Look(
        request.args.get("dark", "0") not in ("", "0"),
        _number("zoom", plain.zoom, ZOOMS),
        _number("width", plain.width, WIDTHS),
        _number("height", plain.height, HEIGHTS),
        form,
        request.args.get("bare", "0") not in ("", "0"),
    )


def _number(key: str, default: int, allowed: range) -> int:
    text = request.args.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and int(text[:9]) in allowed):
        raise BadRequest(f"{key} is {allowed[0]} to {allowed[-1]}, not {text}.")
    return int(text)


def find(store: Store, name: str) -> Probe:
    """Return the probe of a name; NotFound if there is none."""
    for probe in store.probes():
        if probe.name == name:
            return probe
    raise NotFound(f"There is no probe {name}.")


def check_period(period: str) -> None:
    """Raise NotFound unless there is such a period."""
    if period not in PERIODS:
        raise NotFound(f"There is no period {period}. There are {', '.join(PERIODS)}.")
