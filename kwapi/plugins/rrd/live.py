"""What changes on an open page between two pictures: watts and states, as JSON under /live."""

import threading
import time
from collections.abc import Callable, Hashable, Mapping

import msgspec
from flask import Response, request

from kwapi.plugins.rrd.probe import Probe
from kwapi.plugins.rrd.selection import MOST, Selection, show
from kwapi.plugins.rrd.store import Store

_encode = msgspec.json.Encoder().encode


class Row(msgspec.Struct, frozen=True):
    """A probe as it stands now; watts are null where it is not measured, the time is Unix seconds."""

    watts: float | None
    state: str
    timestamp: float | None
    reason: str


class Standing(msgspec.Struct, frozen=True):
    """What a view adds up to, and the probes that were asked for by ``see``."""

    time: float
    watts: float | None
    measured: int
    counted: int
    number: int
    states: dict[str, int]
    probes: dict[str, Row]


class Present:
    """The probes as they stood within the last ``lifetime`` seconds, and what was made of them; for any thread.

    Requests of that time share it: to list 10 000 probes takes tens of milliseconds.
    """

    def __init__(self, store: Store, lifetime: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._lifetime = lifetime
        self._clock = clock
        self._lock = threading.Lock()
        self._until = float("-inf")
        self._probes: list[Probe] = []
        self._by_name: dict[str, Probe] = {}
        self._made: dict[Hashable, bytes] = {}

    def probes(self) -> list[Probe]:
        """Return all probes by name; not for changing."""
        with self._lock:
            if self._clock() >= self._until:
                self._probes = self._store.probes()
                self._by_name = {probe.name: probe for probe in self._probes}
                self._made = {}
                self._until = self._clock() + self._lifetime
            return self._probes

    def by_name(self) -> Mapping[str, Probe]:
        """Return all probes; not for changing."""
        self.probes()
        with self._lock:
            return self._by_name

    def made(self, key: Hashable, make: Callable[[], bytes]) -> bytes:
        """Return what ``make`` returns, made once of these probes."""
        self.probes()
        with self._lock:
            made = self._made  # of these probes, also when it is ready only after they were listed anew
            if key in made:
                return made[key]
        answer = make()
        made[key] = answer
        return answer


class Live:
    """The view of /live, which takes the arguments of a page."""

    def __init__(self, present: Present, clock: Callable[[], float]) -> None:
        self._present = present
        self._clock = clock

    def answer(self) -> Response:
        selection = Selection.of(request.args)
        seen = tuple(request.args.getlist("see")[:MOST])
        body = self._present.made((selection.query(), seen), lambda: _encode(self._standing(selection, seen)))
        return Response(body, content_type="application/json", headers={"Cache-Control": "no-store"})

    def _standing(self, selection: Selection, seen: tuple[str, ...]) -> Standing:
        shown = show(selection, self._present.probes(), {})
        known = self._present.by_name()
        rows = {name: row_of(known[name]) for name in seen if name in known}
        total = shown.sum
        return Standing(
            round(self._clock(), 3), total.watts, total.measured, total.counted, shown.number, shown.states, rows
        )


def row_of(probe: Probe) -> Row:
    """Return what is live of a probe."""
    state = "broken" if probe.broken else probe.state
    return Row(None if probe.stale else probe.watts, state, probe.timestamp, probe.reason)
