"""How long requests take and how they are answered, by path and status.

From when a thread takes the request, before it waits for its turn, until the answer is ready: without its way to the
client, and of a stream until it begins. A request that never becomes one, such as one that is too big, is not counted.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from threading import Lock
from time import perf_counter
from typing import Any

from flask import Flask, Response, request
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

BOUNDS = (0.01, 0.1, 1.0, 10.0)  # seconds
BEGUN = "kwapi.begun"  # of a request's environ: when, by perf_counter()
UNKNOWN = "none"  # the path of what is under no path of ours
Wsgi = Callable[[dict[str, Any], Any], Iterable[bytes]]


class Durations:
    """Counts the requests of an application."""

    def __init__(self, *, clock: Callable[[], float] = perf_counter) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts: dict[tuple[str, int], list[int]] = {}  # by path and status, for each bound and beyond
        self._seconds: dict[tuple[str, int], float] = {}

    def watch(self, app: Flask) -> None:
        """Count the requests of an application from now on."""
        app.wsgi_app = _begun(app.wsgi_app)  # type: ignore[assignment, method-assign]  # Flask says to
        app.after_request(self._note)

    def metrics(self) -> Iterator[Metric]:
        """Yield what was counted."""
        about = "Time that requests took, by path and status."
        family = HistogramMetricFamily("kwapi_http_request_seconds", about, labels=["path", "status"], unit="seconds")
        with self._lock:
            counted = [(*key, [*counts], self._seconds[key]) for key, counts in self._counts.items()]
        for path, status, counts, seconds in counted:
            buckets = list(zip(map(floatToGoString, (*BOUNDS, float("inf"))), accumulate(counts), strict=True))
            family.add_metric([path, str(status)], buckets, seconds)
        yield family

    def _note(self, response: Response) -> Response:
        asked = request._get_current_object()  # type: ignore[attr-defined]  # each look through the proxy costs
        seconds = self._clock() - asked.environ[BEGUN]
        rule = asked.url_rule
        key = (UNKNOWN if rule is None else rule.rule, response.status_code)
        place = bisect_left(BOUNDS, seconds)
        with self._lock:
            if (counts := self._counts.get(key)) is None:
                counts = self._counts[key] = [0] * (len(BOUNDS) + 1)
                self._seconds[key] = 0.0
            counts[place] += 1
            self._seconds[key] += seconds
        return response


def _begun(application: Wsgi) -> Wsgi:
    def begin(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if BEGUN not in environ:
            environ[BEGUN] = perf_counter()
        return application(environ, start_response)

    return begin
