"""The probes of version 2: a list by filter and page, one probe, and what its energy register did."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable
from dataclasses import astuple
from operator import attrgetter
from urllib.parse import urlencode

import msgspec
from flask import Flask, Response, request
from werkzeug.exceptions import NotFound

from kwapi.plugins.api import schemas
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.pages import Page, Pages, answer, encode_list
from kwapi.plugins.api.query import FILTERS, Arguments, Cursor, Filter, read_cursor, read_filter, refuse_others
from kwapi.plugins.api.states import ProbeState, Snapshot
from kwapi.stream import Account

_encode = msgspec.json.Encoder().encode
_by_id = attrgetter("id")
AccountOf = Callable[[str], Account | None]


class Probes:
    """The views, over a collector's snapshots."""

    def __init__(self, collector: Collector, account_of: AccountOf) -> None:
        self._collector = collector
        self._account_of = account_of
        self._pages = Pages()

    def add_routes(self, app: Flask) -> None:
        """Have the application answer with these views."""
        routes: tuple[tuple[str, Callable[..., Response]], ...] = (
            ("/v2/probes", self.page),
            ("/v2/probes/<probe>", self.probe),
            ("/v2/probes/<probe>/events", self.events),
        )
        for path, view in routes:
            app.add_url_rule(path, endpoint=path, view_func=view)

    def page(self) -> Response:
        """Answer with some of the probes, in the order of their ids."""
        refuse_others(request.args, (*FILTERS, "limit", "after"))
        wanted, cursor = read_filter(request.args), read_cursor(request.args)
        snapshot, path = self._collector.snapshot(), f"{request.script_root}/v2/probes"
        key = (path, request.query_string)
        arguments = request.args
        return answer(
            self._pages.get(snapshot.generation, key, lambda: self._page(snapshot, wanted, cursor, path, arguments))
        )

    def probe(self, probe: str) -> Response:
        """Answer with one probe."""
        refuse_others(request.args, ())
        state = _find(self._collector.snapshot().probes, probe)
        if state is None:
            raise NotFound(f"there is no probe {probe!r}")
        return answer(Page(_encode(_shown(state))))

    def events(self, probe: str) -> Response:
        """Answer with what the probe's energy register did other than count on."""
        refuse_others(request.args, ())
        events = self._collector.events(probe)
        if not events and _find(self._collector.snapshot().probes, probe) is None:
            raise NotFound(f"there is no probe {probe!r}")
        shown = [schemas.Event(event.timestamp, event.kind, event.before, event.after) for event in events]
        return answer(Page(_encode(schemas.EventList(shown))))

    def _page(self, snapshot: Snapshot, wanted: Filter, cursor: Cursor, path: str, arguments: Arguments) -> Page:
        """Return the page of the probes wanted that begins after the cursor."""
        found: list[schemas.Probe] = []
        more = False
        for state in _candidates(snapshot.probes, wanted, cursor.after):
            if wanted.takes_wattmeter(state.wattmeter) and wanted.takes_state(state.state):
                if len(found) == cursor.limit:
                    more = True
                    break
                found.append(_shown(state))
        following = _following(path, arguments, found[-1].id) if more else None
        accounts = {name: self._account_of(name) for name in dict.fromkeys(probe.wattmeter for probe in found)}
        messages = {name: _messages(account) for name, account in accounts.items() if account is not None}
        tail = b',"messages":%s,"next":%s}' % (_encode(messages), _encode(following))
        return Page(encode_list(found, b'{"probes":', tail))


def _messages(account: Account) -> schemas.Messages:
    return schemas.Messages(account.produced, *astuple(account))


def _candidates(probes: tuple[ProbeState, ...], wanted: Filter, after: str) -> Iterable[ProbeState]:
    """Yield the probes after an id, only those asked for by id if any are."""
    if not wanted.ids:
        start = bisect_right(probes, after, key=_by_id) if after else 0
        return (probes[place] for place in range(start, len(probes)))
    states = (_find(probes, name) for name in sorted(wanted.ids) if name > after)
    return (state for state in states if state is not None)


def _find(probes: tuple[ProbeState, ...], name: str) -> ProbeState | None:
    place = bisect_left(probes, name, key=_by_id)
    return probes[place] if place < len(probes) and probes[place].id == name else None


def _following(path: str, arguments: Arguments, after: str) -> str:
    """Return where the page after an id is, of the same query."""
    others = [(name, value) for name, value in arguments.items(multi=True) if name != "after"]
    return f"{path}?{urlencode([*others, ('after', after)])}"


def _shown(state: ProbeState) -> schemas.Probe:
    return schemas.Probe(
        state.id,
        state.wattmeter,
        state.level,
        state.timestamp,
        state.w,
        state.v,
        state.a,
        state.va,
        state.kwh,
        state.kwh_since,
        state.unknown_seconds,
        state.coverage,
        "up" if state.state == "up" else "stale",
    )
