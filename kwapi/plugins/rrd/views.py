"""The pages of kwapi-rrd: all probes over a period, one probe over all periods, and their graphs."""

import logging
import math
import time
from collections.abc import Callable
from datetime import datetime

from flask import Flask, Response, jsonify, redirect, render_template, request, url_for
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd.archive import ARCHIVES
from kwapi.plugins.rrd.figures import amount
from kwapi.plugins.rrd.graph import PERIODS, Graphs
from kwapi.plugins.rrd.store import Probe, Store

LOG = logging.getLogger(__name__)
SLOWEST_REFRESH = 60  # seconds; the numbers of a page are live whatever its period


def create_app(
    store: Store,
    *,
    price: float = 0.0,
    currency: str = "EUR",
    title: str = "Kwapi",
    refresh: int = 5,
    counts: Callable[[], dict[str, object]] = dict,
    clock: Callable[[], float] = time.time,
) -> Flask:
    """Return the WSGI application that shows a store; pages load themselves again after ``refresh`` seconds or more.

    ``counts`` gives what the bus counts, shown under /healthz.
    """
    app = Flask(__name__)
    pages = Pages(store, Graphs(store, price=price, currency=currency, clock=clock), refresh, clock)
    routes: tuple[tuple[str, str, Callable[..., AnyResponse | str]], ...] = (
        ("/", "home", pages.home),
        ("/last/<period>/", "last", pages.last),
        ("/probe/<probe>/", "probe", pages.probe),
        ("/graph/<period>/", "summary_graph", pages.summary_graph),
        ("/graph/<period>/<probe>/", "probe_graph", pages.probe_graph),
        ("/healthz", "healthz", lambda: jsonify(status="ok", **counts(), conflicts=store.conflicts.counts)),
    )
    for path, endpoint, view in routes:
        app.add_url_rule(path, endpoint, view)
    app.jinja_env.globals.update(title=title, periods=PERIODS)
    app.jinja_env.filters.update(amount=amount, moment=moment)
    app.register_error_handler(Exception, error_page)
    app.after_request(own_content_only)
    return app


def moment(timestamp: float) -> datetime:
    """Return a time as this machine's clock shows it, as the graphs do."""
    return datetime.fromtimestamp(timestamp).astimezone().replace(microsecond=0)


def own_content_only(response: Response) -> Response:
    """Forbid the browser anything that doesn't come from here."""
    response.headers["Content-Security-Policy"] = "default-src 'self'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def error_page(error: Exception) -> AnyResponse:
    """Return any error as a page; one of ours is logged with its traceback and shown without."""
    if not isinstance(error, HTTPException):
        LOG.error("a request failed by an error of ours", exc_info=error)
        error = InternalServerError("Something went wrong here. The log of kwapi-rrd has the details.")
    response = error.get_response()  # with the methods that are allowed, or the address to go to instead
    if response.status_code >= 400:
        words = "There is no such page." if error.description == NotFound.description else error.description
        response.set_data(render_template("error.html", name=error.name, words=words))
    return response


class Pages:
    """The views, over a store and its graphs."""

    def __init__(self, store: Store, graphs: Graphs, refresh: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._graphs = graphs
        self._refresh = refresh
        self._clock = clock

    def home(self) -> AnyResponse:
        return redirect(url_for("last", period="minute"))

    def last(self, period: str) -> str:
        _check_period(period)
        probes = self._store.probes()
        live = [probe for probe in probes if probe.counted and not probe.stale]
        refresh = max(self._refresh, min(ARCHIVES[period].resolution, SLOWEST_REFRESH))
        return render_template(
            "last.html",
            period=period,
            probes=probes,
            refresh=refresh,
            total=sum(probe.watts for probe in live if probe.watts is not None) if live else None,
            live=len(live),
            counted=sum(probe.counted for probe in probes),
        )

    def probe(self, probe: str) -> str:
        return render_template("probe.html", probe=self._find(probe), refresh=self._refresh)

    def summary_graph(self, period: str) -> AnyResponse:
        _check_period(period)
        return self._png(period, None)

    def probe_graph(self, period: str, probe: str) -> AnyResponse:
        _check_period(period)
        return self._png(period, self._find(probe).name)

    def _png(self, period: str, probe: str | None) -> AnyResponse:
        graph = self._graphs.graph(period, probe, dark="dark" in request.args)
        response = Response(graph.png, content_type="image/png")
        response.set_etag(graph.etag)
        response.cache_control.private = True
        response.cache_control.max_age = max(0, math.ceil(graph.fresh_until - self._clock()))
        return response.make_conditional(request)

    def _find(self, name: str) -> Probe:
        for probe in self._store.probes():
            if probe.name == name:
                return probe
        raise NotFound(f"There is no probe {name}.")


def _check_period(period: str) -> None:
    if period not in PERIODS:
        raise NotFound(f"There is no period {period}. There are {', '.join(PERIODS)}.")
