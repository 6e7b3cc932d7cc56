"""What kwapi-rrd serves as pictures: the graph of a probe, and the summary of all."""

import math
from collections.abc import Callable

from flask import Response, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from kwapi.plugins.rrd.graph import PERIODS, Graphs
from kwapi.plugins.rrd.store import Probe, Store


class Images:
    """The views of pictures, drawn by ``graphs``."""

    def __init__(self, graphs: Graphs, clock: Callable[[], float]) -> None:
        self._graphs = graphs
        self._clock = clock

    def summary(self, period: str) -> AnyResponse:
        check_period(period)
        return self._png(period, None)

    def probe(self, period: str, probe: str) -> AnyResponse:
        check_period(period)
        return self._png(period, find(self._graphs.store, probe).name)

    def _png(self, period: str, probe: str | None) -> AnyResponse:
        graph = self._graphs.graph(period, probe, dark="dark" in request.args)
        response = Response(graph.png, content_type="image/png")
        response.set_etag(graph.etag)
        response.cache_control.private = True
        response.cache_control.max_age = max(0, math.ceil(graph.fresh_until - self._clock()))
        return response.make_conditional(request)


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
