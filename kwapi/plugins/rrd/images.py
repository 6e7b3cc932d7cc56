"""What kwapi-rrd serves beside its pages: pictures, the numbers behind them, and the RRD files.

/graph/PERIOD/ (?site=SITE, or ?probe=NAME as often as needed) and /graph/PERIOD/PROBE/, in the format that the request
accepts; with a suffix in place of the last slash, .png or .svg, in that one. ?dark=1, ?zoom=2, ?width=, ?height= and
?bare=1 say how it looks. /data/PERIOD/ and /data/PERIOD/PROBE/ likewise as .json or .csv; JSON says where the plot is
in a picture of the same size, if the query has one. /rrd/PROBE is the file.
"""

import math
import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flask import Response, request
from werkzeug.exceptions import BadRequest, NotFound
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd.archive import file_name
from kwapi.plugins.rrd.graph import Graphs, next_row
from kwapi.plugins.rrd.look import CHOSEN, CONTENT_TYPES, HEIGHTS, WIDTHS, ZOOMS, Look, Target
from kwapi.plugins.rrd.numbers import to_csv, to_json
from kwapi.plugins.rrd.probe import Probe
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.words import say

Route = tuple[str, str, Callable[..., AnyResponse]]
NUMBERS = {"json": "application/json", "csv": "text/csv"}  # by format
PLACED = {"width", "height", "zoom", "bare"}  # say how large a picture is, and so where its plot is


class Images:
    """The views, over ``graphs``."""

    def __init__(self, graphs: Graphs, clock: Callable[[], float]) -> None:
        self._graphs = graphs
        self._store = graphs.store
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return path, endpoint and view of each."""
        routes: list[Route] = [("/rrd/<probe>", "rrd_file", self.file)]
        for name, view, formats in (("graph", self.graph, CONTENT_TYPES), ("data", self.numbers, NUMBERS)):
            suffix = f"<any({','.join(formats)}):form>"
            for of, path in (("summary", f"/{name}/<period>"), ("probe", f"/{name}/<period>/<probe>")):
                routes += [(f"{path}/", f"{of}_{name}", view), (f"{path}.{suffix}", f"{of}_{name}", view)]
        return routes

    def graph(self, period: str, probe: str | None = None, form: str = "") -> AnyResponse:
        check_period(period)
        target, look = asked_target(self._store, probe), asked_look(asked_format(form, CONTENT_TYPES))
        graph = self._graphs.graph(period, target, look)
        response = Response(graph.image, content_type=graph.content_type)
        response.set_etag(graph.etag)
        response.last_modified = datetime.fromtimestamp(graph.modified, UTC)
        return self._kept(response, graph.fresh_until)

    def numbers(self, period: str, probe: str | None = None, form: str = "") -> AnyResponse:
        check_period(period)
        target, form = asked_target(self._store, probe), asked_format(form, NUMBERS)
        graphs = self._graphs
        plot = graphs.plot(period, target, asked_look("png")) if PLACED & set(request.args) else None
        reading = graphs.reader.read(period, target)
        content = to_csv(reading) if form == "csv" else to_json(period, target, reading, graphs.currency, plot)
        response = Response(content, content_type=f"{NUMBERS[form]}; charset=utf-8")
        response.add_etag()
        return self._kept(response, next_row(period, self._clock()))

    def file(self, probe: str) -> AnyResponse:
        name = find(self._store, probe).name
        self._store.flush([name])
        try:
            content = self._store.path(name).read_bytes()
        except FileNotFoundError as error:
            raise NotFound(say("no_file", probe=name)) from error
        response = Response(content, content_type="application/octet-stream")
        response.headers.set("Content-Disposition", "attachment", filename=file_name(name))
        response.cache_control.no_cache = True
        response.add_etag()
        return response.make_conditional(request)

    def _kept(self, response: Response, fresh_until: float) -> AnyResponse:
        """Let a browser keep what shows a graph for as long as that stays as it is."""
        response.cache_control.private = True
        response.cache_control.max_age = max(0, math.ceil(fresh_until - self._clock()))
        response.vary.add("Accept")
        return response.make_conditional(request)


def asked_target(store: Store, probe: str | None) -> Target:
    """Return what is asked for: a probe, a site, chosen probes, or all; NotFound if there are none such."""
    if probe is not None:
        return Target("probe", (find(store, probe).name,))
    if names := request.args.getlist("probe"):
        if len(names) > CHOSEN:
            raise BadRequest(say("too_many", most=CHOSEN))
        return Target("chosen", tuple(dict.fromkeys(find(store, name).name for name in names)))
    site = request.args.get("site")
    if site is None:
        return Target()
    if not os.path.exists(store.total_path(site)) and site not in store.sites():  # the name may be too long for Path
        raise NotFound(say("no_site_named", site=site))
    return Target("site", (site,))


def asked_format(form: str, formats: Mapping[str, str]) -> str:
    """Return the format that the address says, or else the request prefers."""
    accepted = form or request.accept_mimetypes.best_match(list(formats.values()))
    return form or next((name for name, kind in formats.items() if kind == accepted), next(iter(formats)))


def asked_look(form: str) -> Look:
    """Return the look that a request asks for, in a format."""
    plain = Look()
    return Look(
        _flag("dark"),
        _number("zoom", plain.zoom, ZOOMS),
        _number("width", plain.width, WIDTHS),
        _number("height", plain.height, HEIGHTS),
        form,
        _flag("bare"),
    )


def _flag(key: str) -> bool:
    return request.args.get(key, "0") not in ("", "0")


def _number(key: str, default: int, allowed: range) -> int:
    text = request.args.get(key, str(default))
    if not (text.isascii() and text.isdecimal() and int(text[:9]) in allowed):
        raise BadRequest(say("out_of_bounds", key=key, least=allowed[0], most=allowed[-1], given=text))
    return int(text)


def find(store: Store, name: str) -> Probe:
    """Return the probe of a name; NotFound if there is none."""
    if probe := store.probe(name):
        return probe
    raise NotFound(say("no_probe", probe=name))


def check_period(period: str) -> None:
    """Raise NotFound unless there is such a period."""
    if period not in PERIODS:
        raise NotFound(say("no_period", period=period, periods=", ".join(PERIODS)))
