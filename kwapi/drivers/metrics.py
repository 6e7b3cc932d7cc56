"""The health of the wattmeters, and of the bus, for Prometheus."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kwapi.health import STATES, Health

COUNTERS = (  # attribute of Health, what it counts
    ("polls", "Polls that ended or were given up."),
    ("failures", "Polls that gave no answer."),
    ("missed", "Polls left out because the one before took longer than the interval."),
    ("restarts", "Workers that were replaced because they hung or ended by an error."),
)
GAUGES = (  # attribute of Health, name, what it is
    ("poll_seconds", "poll_seconds", "Duration of the last poll."),
    ("last_success", "last_success_timestamp_seconds", "When it was last measured, in Unix seconds."),
    ("since", "state_since_timestamp_seconds", "Since when it is in its state, in Unix seconds."),
    ("interval", "interval_seconds", "Seconds between two polls."),
)


class HealthCollector(Collector):
    """Gives the health of all wattmeters, and who could not connect by reason, whenever it is asked."""

    def __init__(self, healths: Callable[[], Iterable[Health]], failures: Mapping[str, int]) -> None:
        self._healths = healths
        self._failures = failures

    def collect(self) -> Iterator[Metric]:
        healths = list(self._healths())
        state = GaugeMetricFamily(
            "kwapi_wattmeter_state", "1 for the state a wattmeter is in.", labels=["wattmeter", "driver", "state"]
        )
        for health in healths:
            for name in STATES:
                state.add_metric([health.wattmeter, health.driver, name], float(health.state == name))
        yield state
        for attribute, about in COUNTERS:
            counter = CounterMetricFamily(f"kwapi_wattmeter_{attribute}", about, labels=["wattmeter"])
            for health in healths:
                counter.add_metric([health.wattmeter], getattr(health, attribute))
            yield counter
        for attribute, name, about in GAUGES:
            gauge = GaugeMetricFamily(f"kwapi_wattmeter_{name}", about, labels=["wattmeter"])
            for health in healths:
                if (value := getattr(health, attribute)) is not None:
                    gauge.add_metric([health.wattmeter], value)
            yield gauge
        failed = CounterMetricFamily(
            "kwapi_bus_connections_failed", "Connections of others that did not come about.", labels=["reason"]
        )
        for reason, count in dict(self._failures).items():
            failed.add_metric([reason], count)
        yield failed


def metrics_page(healths: Callable[[], Iterable[Health]], failures: Mapping[str, int]) -> Any:
    """Return the WSGI application that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(HealthCollector(healths, failures))
    return make_wsgi_app(registry)
