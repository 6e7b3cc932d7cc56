"""The routes of version 1 of the energy API, as Ceilometer's pollster has read them since 2013. All JSON."""

import logging
from collections.abc import Callable

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException, InternalServerError, NotFound

from kwapi.plugins.api.collector import Collector

LOG = logging.getLogger(__name__)
METERS = ("timestamp", "kwh", "w")
VERSION_1 = {"id": "v1.0", "status": "CURRENT", "links": [{"rel": "self", "href": "/v1/"}]}
_encode = msgspec.json.Encoder().encode


def create_app(collector: Collector, counts: Callable[[], dict[str, object]] = dict) -> Flask:
    """Return the WSGI application that shows a collector's readings, and under /healthz what the bus counts."""
    app = Flask(__name__, static_folder=None)
    app.url_map.strict_slashes = False  # a pollster that forgets the slash needs no second request
    routes: tuple[tuple[str, Callable[..., Response]], ...] = (
        ("/", lambda: _json({"versions": [VERSION_1]})),
        ("/v1/", lambda: _json({"version": VERSION_1})),
        ("/v1/probe-ids/", lambda: _json({"probe_ids": list(collector.readings())})),
        ("/v1/probes/", lambda: _json({"probes": _as_dicts(collector)})),
        ("/v1/probes/<probe>/", lambda probe: _json({probe: _find(collector, probe)})),
        ("/v1/probes/<probe>/<meter>/", lambda probe, meter: _json({probe: _find_meter(collector, probe, meter)})),
        ("/healthz", lambda: _json({"status": "ok", **counts(), "conflicts": collector.conflicts.counts})),
    )
    for path, view in routes:
        app.add_url_rule(path, endpoint=path, view_func=view)
    app.register_error_handler(Exception, _error)
    return app


def _as_dicts(collector: Collector) -> dict[str, dict[str, float]]:
    return {name: reading._asdict() for name, reading in collector.readings().items()}


def _find(collector: Collector, probe: str) -> dict[str, float]:
    reading = collector.reading(probe)
    if reading is None:
        raise NotFound(f"there is no probe {probe!r}")
    return reading._asdict()


def _find_meter(collector: Collector, probe: str, meter: str) -> dict[str, float]:
    values = _find(collector, probe)
    if meter not in METERS:
        raise NotFound(f"there is no meter {meter!r}; a probe has {', '.join(METERS)}")
    return {meter: values[meter]}


def _json(value: object) -> Response:
    return Response(_encode(value), content_type="application/json")


def _error(error: Exception) -> Response:
    """Return any error as JSON; one of ours is logged with its traceback and shown without."""
    if not isinstance(error, HTTPException):
        LOG.error("a request failed by an error of ours", exc_info=error)
        error = InternalServerError("an error of the server; its log has the details")
    response = Response()
    response.headers = error.get_response().headers  # which methods are allowed, where to go instead
    response.status_code = error.code or 500
    response.data = _encode({"error": {"code": response.status_code, "message": error.description}})
    response.content_type = "application/json"
    return response
