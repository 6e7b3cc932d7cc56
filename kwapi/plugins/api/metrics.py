"""The probes, and what the bus counts, for Prometheus: what is not current is left out, so that it ends there too.

prometheus_client writes what the bus counts. The lines of probes, of which there may be 40 000, are put together here,
in a twelfth of the 250 ms that it takes.
Source: OpenMetrics 1.0, "Text format"; Prometheus, "Exposition formats", text format 0.0.4.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from flask import Response, request
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as Source

from kwapi.energy import JOULES_PER_KWH
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.pages import Page, Pages, answer
from kwapi.plugins.api.states import ProbeState
from kwapi.stream import Account

OPENMETRICS = "application/openmetrics-text"
MESSAGES = (  # name, type, attribute of an account, what it is
    ("kwapi_messages_delivered", "counter", "delivered", "Messages of a wattmeter that were taken."),
    ("kwapi_messages_rejected", "counter", "rejected", "Messages that held nothing that could be taken."),
    ("kwapi_messages_lost", "counter", "lost", "Messages that nobody has any more."),
    ("kwapi_messages_awaited", "gauge", "awaited", "Messages that were missed, and are asked for."),
    ("kwapi_messages_duplicate", "counter", "duplicates", "Messages that came again."),
    ("kwapi_messages_repaired", "counter", "repaired", "Messages delivered that had been missed."),
    ("kwapi_messages_unknown_ends", "gauge", "unknown_ends", "Times that the publisher ended without a word."),
)
Counts = Callable[[], Mapping[str, Any]]


class _Bus(Source):
    """What the bus counts."""

    def __init__(self, counts: Mapping[str, Any], conflicts: Mapping[str, int]) -> None:
        self._counts = counts
        self._conflicts = conflicts

    def collect(self) -> Iterator[Metric]:
        yield CounterMetricFamily(
            "kwapi_bus_messages", "Messages of the bus that were taken.", value=self._counts.get("accepted", 0)
        )
        yield CounterMetricFamily(
            "kwapi_bus_lost", "Messages of the bus that never came.", value=self._counts.get("lost", 0)
        )
        rejected = CounterMetricFamily(
            "kwapi_bus_rejected", "Messages of the bus that were refused.", labels=["reason"]
        )
        for reason, count in self._counts.get("rejected", {}).items():
            rejected.add_metric([reason], count)
        yield rejected
        failed = CounterMetricFamily(
            "kwapi_bus_connections_failed", "Connections to the bus that did not come about.", labels=["reason"]
        )
        for reason, count in self._counts.get("connections_failed", {}).items():
            failed.add_metric([reason], count)
        yield failed
        skew = GaugeMetricFamily(
            "kwapi_bus_skew_seconds",
            "How far a wattmeter's clock is behind ours.",
            labels=["wattmeter"],
            unit="seconds",
        )
        for wattmeter, seconds in self._counts.get("skew", {}).items():
            skew.add_metric([wattmeter], seconds)
        yield skew
        conflicts = CounterMetricFamily(
            "kwapi_conflicts", "What was dropped, since another wattmeter or publisher has the name.", labels=["name"]
        )
        for name, count in self._conflicts.items():
            conflicts.add_metric([name], count)
        yield conflicts


class Metrics:
    """The page that Prometheus reads, as OpenMetrics or in its older form, whichever it asks for."""

    def __init__(self, collector: Collector, counts: Counts, account_of: Callable[[str], Account | None]) -> None:
        self._collector = collector
        self._counts = counts
        self._account_of = account_of
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
            bus = _Bus(self._counts(), self._collector.conflicts.counts.copy())
            return Page(b"".join([*families, encode(bus)]), content_type)

        return answer(self._pages.get(snapshot.generation, content_type, page))


def probe_families(probes: Iterable[ProbeState], *, is_open: bool) -> Iterator[bytes]:
    """Yield power, energy and state of the probes, as OpenMetrics or in the older form."""
    power: list[str] = []
    energy: list[str] = []
    created = energy if is_open else []  # in the older form it is a gauge
    up: list[str] = []
    for probe in probes:
        labels = f'{{probe="{_escaped(probe.id)}",wattmeter="{_escaped(probe.wattmeter)}"}}'
        is_up = probe.state == "up"
        up.append(f"kwapi_probe_up{labels} {is_up:d}\n")
        if is_up:
            energy.append(f"kwapi_energy_joules_total{labels} {probe.kwh * JOULES_PER_KWH!r}\n")
            created.append(f"kwapi_energy_joules_created{labels} {probe.kwh_since!r}\n")
        if probe.w is not None:
            power.append(f"kwapi_power_watts{labels} {probe.w!r}\n")
    yield _family("kwapi_power_watts", "gauge", "Power that a probe measures now.", power, "watts" if is_open else "")
    if is_open:
        yield _family("kwapi_energy_joules", "counter", "Energy of a probe.", energy, "joules")
    else:
        yield _family("kwapi_energy_joules_total", "counter", "Energy of a probe.", energy)
        yield _family("kwapi_energy_joules_created", "gauge", "Since when it is counted, in Unix seconds.", created)
    yield _family("kwapi_probe_up", "gauge", "1 for a probe that is measured, 0 for a stale one.", up)


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
