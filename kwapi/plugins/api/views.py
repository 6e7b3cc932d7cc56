"""The web application: both versions of the API, and what stands beside them. All JSON, but for the manual."""

from collections.abc import Callable

import msgspec
from flask import Flask, Response, render_template, request
from werkzeug.exceptions import RequestURITooLarge

from kwapi.plugins.api import v1
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.durations import Durations
from kwapi.plugins.api.metrics import Counts, Metrics
from kwapi.plugins.api.openapi import document
from kwapi.plugins.api.pages import Page, answer
from kwapi.plugins.api.problems import error_answer
from kwapi.plugins.api.schemas import Readiness
from kwapi.plugins.api.stream import Ring, Streams
from kwapi.plugins.api.v1 import json_answer
from kwapi.plugins.api.v2 import AccountOf, Probes
from kwapi.plugins.subscription import public_health

VERSION_2 = {"id": "v2.0", "status": "SUPPORTED", "links": [{"rel": "self", "href": "/v2/"}]}
LONGEST_URL = 8_192  # bytes
_encode = msgspec.json.Encoder().encode


def create_app(
    collector: Collector,
    counts: Counts = dict,
    *,
    account_of: AccountOf = lambda wattmeter: None,
    streams: Streams | None = None,
    keystone: Callable[[], bool] | None = None,
    metrics_public: bool = False,
) -> Flask:
    """Return the WSGI application that shows what a collector knows.

    ``counts`` gives what the bus counts, ``account_of`` what it counts of one wattmeter, ``streams`` what comes of it;
    ``keystone`` says, where Keystone is asked, whether it is configured; ``metrics_public`` whether metrics need no
    token there.
    """
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False  # a pollster that forgets the slash needs no second request
    app.url_map.merge_slashes = False  # and one that has too many is not sent to where the Host header says
    streams = streams or Streams(Ring.of(collector))
    described = document(has_keystone=keystone is not None, metrics_public=metrics_public)
    openapi = Page(_encode(described))
    durations = Durations()
    routes: tuple[tuple[str, Callable[..., Response]], ...] = (
        ("/", lambda: json_answer({"versions": [v1.VERSION, VERSION_2]})),
        ("/v2/", lambda: json_answer({"version": VERSION_2})),
        ("/v2/openapi.json", lambda: answer(openapi)),
        ("/v2/stream", streams.answer),
        ("/docs", lambda: _manual(described)),
        ("/metrics", Metrics(collector, counts, account_of, durations).answer),
        ("/healthz", lambda: json_answer(public_health(counts(), collector.conflicts.counts))),
        ("/readyz", lambda: _readiness(streams.ring.is_fresh(), keystone and keystone())),
    )
    for path, view in routes:
        app.add_url_rule(path, endpoint=path, view_func=view)
    v1.Readings(collector).add_routes(app)
    Probes(collector, account_of).add_routes(app)
    app.before_request(_refuse_long_urls)
    app.register_error_handler(Exception, error_answer)
    durations.watch(app)
    return app


def _readiness(has_bus: bool, has_keystone: bool | None) -> Response:
    is_ready = has_bus and has_keystone is not False
    return json_answer(Readiness(is_ready, has_bus, has_keystone), 200 if is_ready else 503)


def _manual(described: dict[str, object]) -> Response:
    """Return the page for people, made of the OpenAPI document; it needs nothing from anywhere else."""
    response = Response(render_template("docs.html", document=described), content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _refuse_long_urls() -> None:
    if len(request.environ.get("REQUEST_URI", request.full_path)) > LONGEST_URL:
        raise RequestURITooLarge(f"the address is longer than {LONGEST_URL} bytes")
