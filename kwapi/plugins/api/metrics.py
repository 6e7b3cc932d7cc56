"""The probes, and what the bus counts, for Prometheus: what is not current is left out, so that it ends there too.

prometheus_client writes what the bus counts. The lines of probes, of which there may be 40 000, are put together here,
in a twelfth of the 250 ms that it takes.
Source: OpenMetrics 1.0, "Text format"; Prometheus, "Exposition formats", text format 0.0.4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
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
            families = [
                *probe_families(snapshot.probes, is_open=is_open),
                *message_families({name: each for name, each in accounts.items() if each is not None}, is_open=is_open),
            ]
            return Page(b"".join([*families, encode(self._others)]), content_type)

        return answer(self._pages.get(snapshot.generation, content_type, page))


def probe_families(probes: Iterable[ProbeState], *, is_open: bool) -> Iterator[bytes]:
    """Yield power, energy and state of the probes, as OpenMetrics or in the older form."""
    power: list[str] = []
    energy: list[str] = []
    created = energy if is_open else []  # in the older form it is a gauge
    unknown: list[str] = []
    up: list[str] = []
    for probe in probes:
        names = f'probe="{_escaped(probe.id)}",wattmeter="{_escaped(probe.wattmeter)}"'
        labels = f'{{{names},level="{probe.level}"}}'
        is_up = probe.state == "up"
        up.append(f"kwapi_probe_up{labels} {is_up:d}\n")
        if is_up:
            energy.append(f"kwapi_energy_joules_total{labels} {probe.kwh * JOULES_PER_KWH!r}\n")
            created.append(f"kwapi_energy_joules_created{labels} {probe.kwh_since!r}\n")
            unknown.append(f"kwapi_energy_unknown_seconds_total{labels} {probe.unknown_seconds!r}\n")
        if probe.w is not None:
            power.append(f"kwapi_power_watts{labels} {probe.w!r}\n")
    yield _family("kwapi_power_watts", "gauge", "Power that a probe measures now.", power, "watts" if is_open else "")
    if is_open:
        yield _family("kwapi_energy_joules", "counter", "Energy of a probe.", energy, "joules")
    else:
        yield _family("kwapi_energy_joules_total", "counter", "Energy of a probe.", energy)
        yield _family("kwapi_energy_joules_created", "gauge", "Since when it is counted, in Unix seconds.", created)
    about = "Time for which a probe's energy is not known."
    if is_open:
        yield _family("kwapi_energy_unknown_seconds", "counter", about, unknown, "seconds")
    else:
        yield _family("kwapi_energy_unknown_seconds_total", "counter", about, unknown)
    yield _family("kwapi_probe_up", "gauge", "1 for a probe that is measured, 0 for a stale one.", up)


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
        lines = [
            f'{name}{total}{{wattmeter="{_escaped(wattmeter)}"}} {getattr(account, attribute)}\n'
            for wattmeter, account in accounts.items()
        ]
        yield _family(name if is_open else name + total, kind, about, lines)


def _family(name: str, kind: str, about: str, lines: list[str], unit: str = "") -> bytes:
    head = [f"# HELP {name} {about}\n", f"# TYPE {name} {kind}\n", *([f"# UNIT {name} {unit}\n"] if unit else ())]
    return "".join([*head, *lines]).encode()


def _escaped(name: str) -> str:
    """Return a name as the value of a label; it has no newline, which would be the third to escape."""
    return name.replace("\\", r"\\").replace('"', r"\"")
