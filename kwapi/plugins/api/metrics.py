"""The probes, and what the bus counts, for Prometheus: what is not current is left out, so that it ends there too.

prometheus_client writes what the bus counts. The lines of probes, of which there may be 40 000, are put together here,
in a twelfth of the 250 ms that it takes.
Source: OpenMetrics 1.0, "Text format"; Prometheus, "Exposition formats", text format 0.0.4.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain, compress, islice
from typing import Any

from flask import Response, request
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.exposition import choose_encoder

from kwapi.energy import JOULES_PER_KWH
from kwapi.metrics import MESSAGES, Told, bus, process
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.durations import Durations
from kwapi.plugins.api.pages import Page, Pages, answer
from kwapi.plugins.api.states import ProbeState
from kwapi.stream import Account

KINDS = ("wrap", "reset", "step back", "jump", "replaced", "power loss")  # of events, as states.py has them
OPENMETRICS = "application/openmetrics-text"
LINES = 2_000  # put together in one go
Counts = Callable[[], Mapping[str, Any]]


class Metrics:
    """The page that Prometheus reads, as OpenMetrics or in its older form, whichever it asks for."""

    def __init__(
        self, collector: Collector, counts: Counts, account_of: Callable[[str], Account | None], durations: Durations
    ) -> None:
        self._collector = collector
        self._account_of = account_of
        self._others = Told(
            lambda: bus(counts(), collector.conflicts.counts),
            lambda: register_events(collector.noted()),
            durations.metrics,
            process,
        )
        self._pages = Pages()

    def answer(self) -> Response:
        """Answer with the metrics."""
        snapshot = self._collector.snapshot()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))

        def page() -> Page:
            is_open = content_type.startswith(OPENMETRICS)
            accounts = {
                name: self._account_of(name) for name in dict.fromkeys(each.wattmeter for each in snapshot.probes)
            }
            known = {name: each for name, each in accounts.items() if each is not None}
            body = bytearray()  # of 100,000 probes 55 MB, which are here once
            for part in chain(
                probe_families(snapshot.probes, is_open=is_open), message_families(known, is_open=is_open)
            ):
                body += part
            body += encode(self._others)
            return Page(body, content_type)

        return answer(self._pages.get(snapshot.generation, content_type, page))


def probe_families(probes: Sequence[ProbeState], *, is_open: bool) -> Iterator[bytes]:
    """Yield power, energy and state of the probes, as OpenMetrics or in the older form, in parts."""
    # Columns, and no list of pairs: the garbage collector would walk 100,000 of them.
    labels, is_up = list(map(_labels, probes)), [probe.state == "up" for probe in probes]
    live_labels, live_probes = list(compress(labels, is_up)), list(compress(probes, is_up))
    every = partial(zip, labels, probes, strict=True)
    live = partial(zip, live_labels, live_probes, strict=True)
    power = (f"kwapi_power_watts{label} {probe.w!r}\n" for label, probe in every() if probe.w is not None)
    energy = (f"kwapi_energy_joules_total{label} {probe.kwh * JOULES_PER_KWH!r}\n" for label, probe in live())
    created = (f"kwapi_energy_joules_created{label} {probe.kwh_since!r}\n" for label, probe in live())
    unknown = (f"kwapi_energy_unknown_seconds_total{label} {probe.unknown_seconds!r}\n" for label, probe in live())
    up = (f"kwapi_probe_up{label} {probe.state == 'up':d}\n" for label, probe in every())
    yield from _family(
        "kwapi_power_watts", "gauge", "Power that a probe measures now.", power, unit="watts" if is_open else ""
    )
    if is_open:
        both = chain.from_iterable(zip(energy, created, strict=True))
        yield from _family("kwapi_energy_joules", "counter", "Energy of a probe.", both, unit="joules")
    else:
        yield from _family("kwapi_energy_joules_total", "counter", "Energy of a probe.", energy)
        about = "Since when it is counted, in Unix seconds."
        yield from _family("kwapi_energy_joules_created", "gauge", about, created)
    name = "kwapi_energy_unknown_seconds" if is_open else "kwapi_energy_unknown_seconds_total"
    about = "Time for which a probe's energy is not known."
    yield from _family(name, "counter", about, unknown, unit="seconds" if is_open else "")
    yield from _family("kwapi_probe_up", "gauge", "1 for a probe that is measured, 0 for a stale one.", up)


def register_events(noted: Mapping[str, int]) -> Iterator[Metric]:
    """Yield what energy registers did other than count on."""
    about = "What energy registers did other than count on, since the start."
    family = CounterMetricFamily("kwapi_energy_events", about, labels=["kind"])
    for kind, count in {**dict.fromkeys(KINDS, 0), **noted}.items():
        family.add_metric([kind], count)
    yield family


def message_families(accounts: Mapping[str, Account], *, is_open: bool) -> Iterator[bytes]:
    """Yield what became of the messages of each wattmeter, as OpenMetrics or in the older form."""
    for name, kind, attribute, about in MESSAGES:
        total = "_total" if kind == "counter" else ""
        lines = (
            f'{name}{total}{{wattmeter="{_escaped(wattmeter)}"}} {getattr(account, attribute)}\n'
            for wattmeter, account in accounts.items()
        )
        yield from _family(name if is_open else name + total, kind, about, lines)


def _family(name: str, kind: str, about: str, lines: Iterator[str], *, unit: str = "") -> Iterator[bytes]:
    """Yield what a family is, and its lines in parts: all of them at once would take many times their memory."""
    told = f"# UNIT {name} {unit}\n" if unit else ""
    yield f"# HELP {name} {about}\n# TYPE {name} {kind}\n{told}".encode()
    while part := "".join(islice(lines, LINES)):
        yield part.encode()


def _labels(probe: ProbeState) -> str:
    return f'{{probe="{_escaped(probe.id)}",wattmeter="{_escaped(probe.wattmeter)}",level="{probe.level}"}}'


def _escaped(name: str) -> str:
    """Return a name as the value of a label; it has no newline, which would be the third to escape."""
    return name.replace("\\", r"\\").replace('"', r"\"")
