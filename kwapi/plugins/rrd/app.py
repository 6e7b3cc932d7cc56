"""kwapi-rrd: graphs of every probe, with energy and cost."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

from oslo_config import cfg

from kwapi import service
from kwapi.bus import Subscriber
from kwapi.config import load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.metrics import bus, messages, metrics_tasks
from kwapi.plugins.lock import lock
from kwapi.plugins.positions import FILE_NAME, Positions
from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.login import login_of, login_problems
from kwapi.plugins.rrd.pages import Settings
from kwapi.plugins.rrd.rrdcached import Rrdcached
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.tool import ToolApart
from kwapi.plugins.rrd.views import create_app
from kwapi.plugins.subscription import subscriber_of
from kwapi.tariff import Tariff

LOG = logging.getLogger(__name__)
LIMITS: dict[str, Any] = {  # of waitress
    "connection_limit": 800,  # an open browser keeps up to six; below the 1024 files that a process may open
    "channel_timeout": 60,  # seconds that a connection may be idle
}
SHARED_FOR = 1.0  # seconds; who asks more often sees nothing new
DAY = 86400.0  # seconds
LOCALTIME = Path("/etc/localtime")  # a link to a file of the time zones, on most machines
LAST_FLUSH = 60.0  # seconds that a slow disk has for it; systemd waits for 90


def open_store(conf: cfg.ConfigOpts, positions: Positions, subscriber: Subscriber) -> Store:
    """Return the store of a configuration, whose directory is made if it is missing; ConfigError if that cannot be.

    From here on the directory is ours.
    """
    directory = Path(conf.rrd_dir)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock(directory, "rrd_dir", "kwapi-rrd")
        return Store(
            directory,
            max_gap=conf.max_gap,
            cleaning_interval=conf.cleaning_interval,
            flush_every=conf.flush_interval,
            retention=conf.retention * DAY,
            tool=ToolApart(),
            positions=positions,
            can_resume=lambda: subscriber.gate.streams.can_resume,
            is_behind=subscriber.is_behind,
            updater=Rrdcached(conf.rrdcached_address) if conf.rrdcached_address else None,
        )
    except OSError as error:
        raise ConfigError(f"rrd_dir: cannot use {conf.rrd_dir}: {error.strerror}") from error


def tariff_of(conf: cfg.ConfigOpts) -> Tariff | None:
    """Return what a kWh costs, None if nothing; from here on the process has the time zone of the graphs."""
    if conf.timezone:
        os.environ["TZ"] = conf.timezone
        time.tzset()
    prices = conf.tariff or ([(0, conf.kwh_price)] if conf.kwh_price else [])
    return Tariff(prices) if prices else None


def zone_of(conf: cfg.ConfigOpts, localtime: Path = LOCALTIME) -> str:
    """Return the name of the time zone of the graphs; empty if this machine's has none."""
    if conf.timezone:
        return str(conf.timezone)
    if "TZ" in os.environ:
        return os.environ["TZ"].removeprefix(":") or "UTC"
    if not localtime.exists():
        return "UTC"
    return str(localtime.resolve()).partition("/zoneinfo/")[2]  # empty where it is a copy


def problems(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) for what the options' own types cannot see."""
    yield from login_problems(conf)
    times = [second for second, _ in conf.tariff]
    for second in sorted({second for second in times if times.count(second) > 1}):
        yield "tariff", f"{second // 3600:02}:{second % 3600 // 60:02} stands twice"


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-rrd; return its exit status."""
    arguments = parse_arguments("rrd", argv)
    try:
        conf = load("rrd", arguments.files, problems)
        if arguments.check_only:
            return 0
        service.start_logging("rrd", conf)
        service.block_signals()
        service.keep_memory_together()
        positions = Positions(Path(conf.rrd_dir) / FILE_NAME)
        subscriber = subscriber_of(conf, health=True, repair=positions.path, saved=positions.load())
        positions.standing = subscriber.standing
        store = open_store(conf, positions, subscriber)
        zone = zone_of(conf)
        graphs = Graphs(store, tariff=tariff_of(conf), currency=conf.currency)
        settings = Settings(conf.title, conf.refresh_interval, conf.probes_endpoint, subscriber.counts, zone)
        pages = create_app(store, graphs=graphs, settings=settings, login=login_of(conf), shared_for=SHARED_FOR)
        server = service.HttpServer(pages, conf.host, conf.port, conf.threads, **LIMITS)
        metrics = metrics_tasks(
            conf,
            lambda: bus(subscriber.counts(), store.conflicts.counts),
            lambda: messages(subscriber.gate.streams.accounts()),
        )
    except ConfigError as error:
        return service.refuse(error)
    LOG.info("showing graphs on http://%s:%d/", conf.host, conf.port)

    def hear(stopping: Event) -> None:
        subscriber.run(stopping, add=store.add, add_health=store.add_health, add_late=store.add_late, show=store.show)

    return service.run(
        [
            service.Task("bus", hear),
            service.Task("ranking", graphs.ranking.run, hang_limit=service.DISK_LIMIT),
            service.Task("http", server.run),
            *metrics,
            # Last to stop, so that it writes what the bus still brought.
            service.Task("store", store.run, hang_limit=service.DISK_LIMIT),
        ],
        LAST_FLUSH,
    )
