"""The health of the wattmeters, for Prometheus."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

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


def health_metrics(healths: Callable[[], Iterable[Health]]) -> Iterator[Metric]:
    """Yield the health of all wattmeters."""
    each = list(healths())
    state = GaugeMetricFamily(
        "kwapi_wattmeter_state", "1 for the state a wattmeter is in.", labels=["wattmeter", "driver", "state"]
    )
    for health in each:
        for name in STATES:
            state.add_metric([health.wattmeter, health.driver, name], float(health.state == name))
    yield state
    for attribute, about in COUNTERS:
        counter = CounterMetricFamily(f"kwapi_wattmeter_{attribute}", about, labels=["wattmeter"])
        for health in each:
            counter.add_metric([health.wattmeter], getattr(health, attribute))
        yield counter
    for attribute, name, about in GAUGES:
        gauge = GaugeMetricFamily(f"kwapi_wattmeter_{name}", about, labels=["wattmeter"])
        for health in each:
            if (value := getattr(health, attribute)) is not None:
                gauge.add_metric([health.wattmeter], value)
        yield gauge
