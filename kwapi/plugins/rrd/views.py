"""The pages of kwapi-rrd: all probes over a period, and one probe over all periods."""

import logging
import time
from collections.abc import Callable
from datetime import datetime

from flask import Flask, Response, jsonify, redirect, render_template, url_for
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd.archive import ARCHIVES
from kwapi.plugins.rrd.figures import amount
from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.images import Images, check_period, find
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store

LOG = logging.getLogger(__name__)
SLOWEST_REFRESH = 60  # seconds; the numbers of a page are live whatever its period


def create_app(
    store: Store,
    *,
    graphs: Graphs | None = None,
    title: str = "Kwapi",
    refresh: int = 5,
    counts: Callable[[], dict[str, object]] = dict,
    clock: Callable[[], float] = time.time,
) -> Flask:
    """Return the WSGI application that shows a store; pages load themselves again after ``refresh`` seconds or more.

    ``counts`` gives what the bus counts, shown under /healthz.
    """
    app = Flask(__name__)
    pages = Pages(store, refresh)
    images = Images(graphs or Graphs(store, clock=clock), clock)
    routes: tuple[tuple[str, str, Callable[..., AnyResponse | str]], ...] = (
        ("/", "home", pages.home),
        ("/last/<period>/", "last", pages.last),
        ("/probe/<probe>/", "probe", pages.probe),
        *images.routes(),
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
    """The pages, over a store."""

    def __init__(self, store: Store, refresh: int) -> None:
        self._store = store
        self._refresh = refresh

    def home(self) -> AnyResponse:
        return redirect(url_for("last", period="minute"))

    def last(self, period: str) -> str:
        check_period(period)
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
        return render_template("probe.html", probe=find(self._store, probe), refresh=self._refresh)
