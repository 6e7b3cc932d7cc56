"""What daemons tell Prometheus of themselves: their process, the bus, the spool; and the small server that tells it.

A reason or a client that is not there yet counts 0 where it is known beforehand, since Prometheus sees no rise in a
counter that begins with 1.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

from oslo_config import cfg
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from kwapi import service
from kwapi.connections import FAILED, REFUSED
from kwapi.replay import Service
from kwapi.spool.keeping import MEGABYTE, Keeping
from kwapi.spool.segment import size_of
from kwapi.spool.store import segment_paths
from kwapi.stream import Account

MESSAGES = (  # name, type, attribute of an account, what it is
    ("kwapi_messages_delivered", "counter", "delivered", "Messages of a wattmeter that were taken."),
    ("kwapi_messages_rejected", "counter", "rejected", "Messages that held nothing that could be taken."),
    ("kwapi_messages_lost", "counter", "lost", "Messages that nobody has any more."),
    ("kwapi_messages_awaited", "gauge", "awaited", "Messages that were missed, and are asked for."),
    ("kwapi_messages_duplicate", "counter", "duplicates", "Messages that came again."),
    ("kwapi_messages_repaired", "counter", "repaired", "Messages delivered that had been missed."),
    ("kwapi_messages_unknown_ends", "gauge", "unknown_ends", "Times that the publisher ended without a word."),
)
DROPPED = ("disk", "its wattmeter has its share", "malformed", "too large", "too many publishers", "too many wait")
Source = Callable[[], Iterable[Metric]]


class Uplink(Protocol):
    """What stores messages at NATS servers."""

    @property
    def is_connected(self) -> bool: ...
    @property
    def waiting(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...
    @property
    def late(self) -> int: ...
    @property
    def published(self) -> int: ...
    @property
    def drained(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def dropped(self) -> int: ...


class Told(Collector):
    """Gives what some sources have, whenever it is asked."""

    def __init__(self, *sources: Source) -> None:
        self._sources = sources

    def collect(self) -> Iterator[Metric]:
        for source in self._sources:
            yield from source()


def metrics_page(*sources: Source) -> Any:
    """Return the WSGI application that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(Told(*sources))
    return make_wsgi_app(registry)


def metrics_tasks(conf: cfg.ConfigOpts, *sources: Source) -> list[service.Task]:
    """Return what answers Prometheus, nothing without a port; ConfigError if it cannot listen there."""
    if not conf.metrics_port:
        return []
    server = service.HttpServer(metrics_page(*sources, process), conf.metrics_host, conf.metrics_port, threads=2)
    return [service.Task("metrics", server.run)]


def process() -> Iterable[Metric]:
    """Return CPU, memory and files of this process, by the names that every exporter has for them."""
    return ProcessCollector(registry=None).collect()


def connections(failures: Mapping[str, int]) -> Iterator[Metric]:
    """Yield how many connections of the bus did not come about."""
    about = "Connections of the bus that did not come about."
    yield _counter("kwapi_bus_connections_failed", about, "reason", {REFUSED: 0, FAILED: 0, **failures})


def bus(counts: Mapping[str, Any], conflicts: Mapping[str, int]) -> Iterator[Metric]:
    """Yield what a subscriber counts, and what was dropped because of its name."""
    accepted, lost = counts.get("accepted", 0), counts.get("lost", 0)
    yield CounterMetricFamily("kwapi_bus_messages", "Messages of the bus that were taken.", value=accepted)
    yield CounterMetricFamily("kwapi_bus_lost", "Messages of the bus that never came.", value=lost)
    rejected = counts.get("rejected", {})
    yield _counter("kwapi_bus_rejected", "Messages of the bus that were refused.", "reason", rejected)
    yield from connections(counts.get("connections_failed", {}))
    about = "How far a wattmeter's clock is behind ours."
    skew = GaugeMetricFamily("kwapi_bus_skew_seconds", about, labels=["wattmeter"], unit="seconds")
    for wattmeter, seconds in counts.get("skew", {}).items():
        skew.add_metric([wattmeter], seconds)
    yield skew
    about = "What was dropped, since another wattmeter or publisher has the name."
    yield _counter("kwapi_conflicts", about, "name", conflicts)


def messages(accounts: Mapping[bytes, Account]) -> Iterator[Metric]:
    """Yield what became of the messages of each wattmeter, given by topic."""
    for name, kind, attribute, about in MESSAGES:
        family = (CounterMetricFamily if kind == "counter" else GaugeMetricFamily)(name, about, labels=["wattmeter"])
        for topic, account in accounts.items():
            family.add_metric([topic[:-1].decode()], getattr(account, attribute))
        yield family


def spool_sources(keeping: Keeping | None, megabytes: int) -> list[Source]:
    """Return what tells of a daemon's spool of at most so many megabytes, nothing if it has none."""
    if keeping is None:
        return []
    about_spool = partial(spool, keeping, megabytes * MEGABYTE)
    return [about_spool] if keeping.replay is None else [about_spool, partial(replay, keeping.replay)]


def spool(keeping: Keeping, limit: int) -> Iterator[Metric]:
    """Yield what a spool keeps and what it could not, how large it is and may be."""
    kept, dropped = keeping.spool.kept, keeping.spool.dropped
    yield CounterMetricFamily("kwapi_spool_kept", "Messages that were put into the spool.", value=kept)
    about = "Messages that are not in the spool: what is lost of them cannot be repaired."
    yield _counter("kwapi_spool_dropped", about, "reason", {**dict.fromkeys(DROPPED, 0), **dropped})
    try:
        size = sum(map(size_of, segment_paths(keeping.spool.directory)))
    except OSError:  # of a broken disk nobody knows it
        size = None
    if size is not None:
        yield GaugeMetricFamily("kwapi_spool_bytes", "Size of the spool's files.", value=size)
    yield GaugeMetricFamily("kwapi_spool_limit_bytes", "Size that they may have: spool_size.", value=limit)


def replay(service: Service) -> Iterator[Metric]:
    """Yield what came of the questions for messages that somebody missed."""
    answered, refused = service.answered, service.refused
    yield CounterMetricFamily("kwapi_replay_answered", "Questions for what was missed, answered.", value=answered)
    about = "Questions that are none, or too many at a time, by the name of the client's key."
    yield _counter("kwapi_replay_refused", about, "client", {"": 0, **refused})


def uplink_sources(uplink: Uplink | None) -> list[Source]:
    """Return what tells of what a daemon stores at NATS servers, nothing if it stores nothing there."""
    return [] if uplink is None else [partial(_uplink, uplink)]


def _uplink(uplink: Uplink) -> Iterator[Metric]:
    about = "1 while a NATS server takes what we store."
    yield GaugeMetricFamily("kwapi_nats_connected", about, value=float(uplink.is_connected))
    about = "Messages in memory that wait for a NATS server."
    yield GaugeMetricFamily("kwapi_nats_waiting", about, value=uplink.waiting)
    yield GaugeMetricFamily("kwapi_nats_waiting_bytes", "Their size.", value=uplink.waiting_bytes)
    about = "Wattmeters of which messages wait in the spool for a NATS server."
    yield GaugeMetricFamily("kwapi_nats_behind_wattmeters", about, value=uplink.late)
    about = "Messages that a NATS server has stored."
    yield CounterMetricFamily("kwapi_nats_published", about, value=uplink.published)
    about = "Messages that came out of the spool for it."
    yield CounterMetricFamily("kwapi_nats_drained", about, value=uplink.drained)
    about = "Times that a NATS server did not store a message, which was sent again."
    yield CounterMetricFamily("kwapi_nats_refused", about, value=uplink.refused)
    about = "Messages that no NATS server was given: they are lost to those who read there."
    yield CounterMetricFamily("kwapi_nats_dropped", about, value=uplink.dropped)


def _counter(name: str, about: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(name, about, labels=[label])
    for value, count in dict(counts).items():
        family.add_metric([value], count)
    return family
