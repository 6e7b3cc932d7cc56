"""The probes, and what the bus counts, for Prometheus: what is not current is left out, so that it ends there too."""

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

LABELS = ("wattmeter", "probe")
Counts = Callable[[], Mapping[str, Any]]


class _Moment(Source):
    """The metrics of one snapshot."""

    def __init__(self, probes: Iterable[ProbeState], counts: Mapping[str, Any], conflicts: Mapping[str, int]) -> None:
        self._probes = probes
        self._counts = counts
        self._conflicts = conflicts

    def collect(self) -> Iterator[Metric]:
        power = GaugeMetricFamily("kwapi_power_watts", "Power that a probe measures now.", labels=LABELS, unit="watts")
        energy = CounterMetricFamily("kwapi_energy_joules", "Energy of a probe.", labels=LABELS, unit="joules")
        up = GaugeMetricFamily("kwapi_probe_up", "1 for a probe that is measured, 0 for a stale one.", labels=LABELS)
        for probe in self._probes:
            labels = (probe.wattmeter, probe.id)
            is_up = probe.state == "up"
            up.add_metric(labels, float(is_up))
            if is_up:
                energy.add_metric(labels, probe.kwh * JOULES_PER_KWH, created=probe.kwh_since)
            if probe.w is not None:
                power.add_metric(labels, probe.w)
        yield from (power, energy, up)
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

    def __init__(self, collector: Collector, counts: Counts) -> None:
        self._collector = collector
        self._counts = counts
        self._pages = Pages()

    def answer(self) -> Response:
        """Answer with the metrics."""
        snapshot = self._collector.snapshot()
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))

        def page() -> Page:
            moment = _Moment(snapshot.probes, self._counts(), self._collector.conflicts.counts.copy())
            return Page(encode(moment), content_type)

        return answer(self._pages.get(snapshot.generation, content_type, page))
