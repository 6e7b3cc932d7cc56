"""Version 1 of the energy API, as Ceilometer's pollster has read it since 2013. Nothing of it may change.

The list of all probes is put together at most ten times a second, however many ask for it.
"""

import time
from collections.abc import Callable
from typing import Any

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import NotFound

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.pages import JSON, Page, Pages, body_answer, joined

METERS = ("timestamp", "kwh", "w")
VERSION = {"id": "v1.0", "status": "CURRENT", "links": [{"rel": "self", "href": "/v1/"}]}
ENCODINGS = 10  # in a second
_encode = msgspec.json.Encoder().encode


class Readings:
    """The views, over a collector's readings."""

    def __init__(self, collector: Collector, clock: Callable[[], float] = time.monotonic) -> None:
        self._collector = collector
        self._clock = clock
        self._pages = Pages()

    def add_routes(self, app: Flask) -> None:
        """Have the application answer with these views."""
        routes: tuple[tuple[str, Callable[..., Response]], ...] = (
            ("/v1/", lambda: json_answer({"version": VERSION})),
            ("/v1/probe-ids/", lambda: json_answer({"probe_ids": list(self._collector.readings())})),
            ("/v1/probes/", self.all),
            ("/v1/probes/<probe>/", lambda probe: json_answer({probe: self._find(probe)})),
            ("/v1/probes/<probe>/<meter>/", lambda probe, meter: json_answer({probe: self._find_meter(probe, meter)})),
        )
        for path, view in routes:
            app.add_url_rule(path, endpoint=path, view_func=view)

    def all(self) -> Response:
        """Answer with all probes."""
        page = self._pages.get(int(self._clock() * ENCODINGS), "all", self._encode_all)
        return body_answer(page.body, JSON)

    def _encode_all(self) -> Page:
        return Page(joined(self._collector.encoded_readings(), b'{"probes":{', b"}}"))

    def _find(self, probe: str) -> dict[str, float]:
        reading = self._collector.reading(probe)
        if reading is None:
            raise NotFound(f"there is no probe {probe!r}")
        return msgspec.structs.asdict(reading)

    def _find_meter(self, probe: str, meter: str) -> dict[str, float]:
        values = self._find(probe)
        if meter not in METERS:
            raise NotFound(f"there is no meter {meter!r}; a probe has {', '.join(METERS)}")
        return {meter: values[meter]}


def json_answer(value: Any, status: int = 200) -> Response:
    """Return an answer that is made for one request."""
    return Response(_encode(value), status=status, content_type=JSON)
