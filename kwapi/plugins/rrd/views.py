"""The web application of kwapi-rrd: pages, pictures, what is live, and who may look."""

import gzip
import logging
import time
from collections.abc import Callable
from datetime import datetime
from urllib.parse import quote

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd import pictures
from kwapi.plugins.rrd.figures import amount, power
from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.images import Images
from kwapi.plugins.rrd.live import Live, Present
from kwapi.plugins.rrd.login import Login
from kwapi.plugins.rrd.look import LIGHT, colour
from kwapi.plugins.rrd.pages import Pages, Settings
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.words import say
from kwapi.plugins.subscription import public_health

LOG = logging.getLogger(__name__)
POLICY = (  # nothing but our own files; pictures come as blobs too, when they are drawn anew
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
SHORT = 1400  # bytes that are not worth packing


def create_app(
    store: Store,
    *,
    graphs: Graphs | None = None,
    settings: Settings | None = None,
    login: Login | None = None,
    shared_for: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> Flask:
    """Return the WSGI application that shows a store.

    Requests within ``shared_for`` seconds see the probes as the first of them did; ``login`` says who may look.
    """
    app = Flask(__name__)
    settings = settings or Settings()
    present = Present(store, shared_for)
    graphs = graphs or Graphs(store, clock=clock)
    pages = Pages(present, graphs, settings)
    routes: tuple[tuple[str, str, Callable[..., AnyResponse | str]], ...] = (
        ("/", "home", pages.home),
        ("/last/<period>/", "last", pages.last),
        ("/probe/<probe>/", "probe", pages.probe),
        ("/live", "live", Live(present, clock).answer),
        *Images(graphs, clock).routes(),
        ("/healthz", "healthz", lambda: jsonify(public_health(settings.counts(), store.conflicts.counts))),
    )
    for path, endpoint, view in routes:
        app.add_url_rule(path, endpoint, view)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.jinja_env.globals.update(title=settings.title, zone=settings.zone, currency=graphs.currency)
    app.jinja_env.globals.update(periods=PERIODS, query="", say=say)
    app.jinja_env.globals.update(picture=pictures.picture, sizes=pictures.SIZES, shade=shade)
    app.jinja_env.filters.update(amount=amount, power=power, moment=moment, when=when, quoted=quoted)
    app.context_processor(lambda: {"root": request.script_root})
    app.register_error_handler(Exception, error_page)
    if login is not None:
        app.before_request(login.check)
    app.after_request(finish)
    return app


def moment(timestamp: float) -> datetime:
    """Return a time as this machine's clock shows it, as the graphs do."""
    return datetime.fromtimestamp(timestamp).astimezone().replace(microsecond=0)


def when(timestamp: float) -> str:
    """Return a time in words, with its day unless that is today."""
    given, now = moment(timestamp), moment(time.time())
    return f"{given:%H:%M:%S}" if given.date() == now.date() else f"{given:%d %B %Y, %H:%M:%S}"


def quoted(name: str) -> str:
    """Return a name as a part of an address."""
    return quote(name, safe="")


def shade(number: int | None) -> str:
    """Return the colour of a probe's number; without one that of all others, which both light and dark bear."""
    return LIGHT.others if number is None else colour(number)


def finish(response: Response) -> Response:
    """Forbid the browser anything that doesn't come from here, and pack what is long."""
    response.headers.update(HEADERS)
    if response.mimetype in ("text/html", "application/json") and not response.is_streamed:
        response.vary.add("Accept-Encoding")
        body = response.get_data()
        if (
            len(body) > SHORT
            and request.accept_encodings.quality("gzip")
            and "Content-Encoding" not in response.headers
        ):
            response.set_data(gzip.compress(body, 1, mtime=0))
            response.headers["Content-Encoding"] = "gzip"
    return response


def error_page(error: Exception) -> AnyResponse:
    """Return any error as a page; one of ours is logged with its traceback and shown without."""
    if not isinstance(error, HTTPException):
        LOG.error("a request failed by an error of ours", exc_info=error)
        error = InternalServerError(say("our_error"))
    response = error.get_response()  # with the methods that are allowed, or the address to go to instead
    if response.status_code >= 400:
        words = say("no_page") if error.description == NotFound.description else error.description
        response.set_data(render_template("error.html", name=error.name, words=words))
    return response
