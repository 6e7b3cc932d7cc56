"""kwapi-drivers: reads every wattmeter of its configuration, publishes what it measures, and how each one is."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from oslo_config import cfg

from kwapi import service
from kwapi.bus import Publisher
from kwapi.config import Reader, parse_arguments
from kwapi.drivers.boots import FILE_NAME as BOOTS
from kwapi.drivers.boots import next_boot
from kwapi.drivers.manager import Changes, Manager, summary
from kwapi.drivers.metrics import health_metrics
from kwapi.drivers.mutes import FILE_NAME as MUTES
from kwapi.drivers.mutes import Mutes
from kwapi.drivers.orders import Orders
from kwapi.drivers.shares import Shares, new_endpoint
from kwapi.drivers.wattmeter import Wattmeter, read_wattmeters
from kwapi.errors import ConfigError
from kwapi.health import Health
from kwapi.keys import KeyFile, make_key_file
from kwapi.logs import counted
from kwapi.metrics import connections, metrics_tasks, spool_sources, uplink_sources
from kwapi.nats.bridge import new_proxy
from kwapi.options import OPTIONS
from kwapi.proxy import Passage
from kwapi.spool.keeping import Keeping
from kwapi.spool.store import Spool
from kwapi.transport import Transport, transport_of

LOG = logging.getLogger(__name__)
LIVE_OPTIONS = {"log_level"}  # of [DEFAULT]: those that a reload changes


class Fleet(Protocol):
    """All wattmeters of the daemon, in this process (Manager) or shared out (Shares)."""

    def check(self) -> bool: ...
    def reload(self, wattmeters: Sequence[Wattmeter]) -> Changes: ...
    def counts(self) -> Counter[str]: ...
    def healths(self) -> list[Health]: ...
    def stop(self) -> None: ...


def read_configuration(files: Sequence[Path]) -> tuple[cfg.ConfigOpts, list[Wattmeter]]:
    """Return the options and the wattmeters of drivers.conf; raise ConfigError with every mistake."""
    reader = Reader("drivers", files)
    wattmeters = read_wattmeters(reader)
    return reader.finish(), wattmeters


class Daemon:
    """What kwapi-drivers does between start and stop."""

    def __init__(
        self, files: Sequence[Path], conf: cfg.ConfigOpts, wattmeters: Sequence[Wattmeter], keys: KeyFile
    ) -> None:
        self.tasks: list[service.Task] = []
        self._files = files
        self._values = _values(conf)
        self._status = ""
        self._closing: list[Callable[[], None]] = []
        self._can_be_heard = threading.Event()
        self._keys = keys
        mutes, boots = Path(conf.state_dir) / MUTES, Path(conf.state_dir) / BOOTS
        transport = transport_of(conf)
        keeping = Keeping(conf, transport) if conf.spool_dir else None
        spool = None if keeping is None else keeping.spool
        self.tasks += [] if keeping is None else keeping.tasks
        self.fleet: Fleet
        if conf.workers:
            self.fleet = self._share_out(conf, wattmeters, keys, mutes, boots, spool, transport)
        else:
            publisher = Publisher(
                conf.probes_endpoint,
                keys,
                boot=next_boot(boots),
                keep=None if spool is None else spool.hand_numbered,
                spool=spool,
                transport=transport,
            )
            self._uplink = publisher.uplink
            self._closing.append(publisher.close)
            self._can_be_heard.set()
            self.fleet = Manager(wattmeters, publisher, max_hung=conf.max_hung_workers, mutes=Mutes(mutes))
        self.tasks += metrics_tasks(
            conf,
            partial(health_metrics, self.fleet.healths),
            partial(connections, transport.failures),
            *spool_sources(keeping, conf.spool_size),
            *uplink_sources(self._uplink),
        )

    def start(self) -> bool:
        """Start all; return whether measurements can be heard, False if a task has ended instead."""
        for task in self.tasks:
            task.start()
        while not self._can_be_heard.wait(service.TICK) and all(task.is_alive() for task in self.tasks):
            LOG.debug("waiting for the bus")
        return self._can_be_heard.is_set() and self.check()

    def check(self) -> bool:
        """Look after the wattmeters, and tell systemd how they are."""
        self._keys.look()  # for worker processes that are started later
        usable = self.fleet.check()
        if (status := summary(self.fleet.counts())) != self._status:
            self._status = status
            service.notify(f"STATUS={status}")
        return usable

    def reload(self) -> None:
        """Read the configuration again; one with a mistake changes nothing."""
        try:
            conf, wattmeters = read_configuration(self._files)
        except ConfigError as error:
            for mistake in error.mistakes:
                LOG.error("not reloaded: %s", mistake)
            return
        values = _values(conf)
        for name in sorted(name for name in values if values[name] != self._values[name] and name not in LIVE_OPTIONS):
            LOG.warning("%s has changed, which takes a restart", name)
        logging.getLogger().setLevel(conf.log_level.upper())
        changes = self.fleet.reload(wattmeters)
        warn_of_intervals(wattmeters)
        LOG.info(
            "reloaded: %s new, %d removed, %d changed, %d as before",
            counted(changes.added, "wattmeter"),
            changes.removed,
            changes.changed,
            changes.kept,
        )

    def stop(self) -> None:
        """Stop all that was started."""
        self.fleet.stop()
        for close in self._closing:
            close()
        service.stop(self.tasks)

    def _share_out(
        self,
        conf: cfg.ConfigOpts,
        wattmeters: Sequence[Wattmeter],
        keys: KeyFile,
        mutes: Path,
        boots: Path,
        spool: Spool | None,
        transport: Transport,
    ) -> Shares:
        endpoint = new_endpoint()
        keep = None if spool is None else spool.hand
        passage = Passage(
            [endpoint], conf.probes_endpoint, bind_upstream=True, keep=keep, spool=spool, transport=transport
        )
        proxy = new_proxy(passage)
        self._uplink = proxy.uplink
        self._closing.append(proxy.stop)
        self.tasks.append(service.Task("bus", lambda _: proxy.run(ready=self._can_be_heard.set)))
        if keep:
            self.tasks.append(service.Task("capture", lambda _: proxy.capture()))

        def orders(number: int) -> Orders:
            program = f"kwapi-drivers[{number}]"
            return Orders(program, endpoint, keys, conf.max_hung_workers, mutes, boots, conf.log_format)

        return Shares(wattmeters, orders, conf.workers)


def warn_of_intervals(wattmeters: Sequence[Wattmeter]) -> None:
    """Log, in one line for all, that a wattmeter is polled less often than its section says."""
    slowed = [wattmeter for wattmeter in wattmeters if wattmeter.asked_interval is not None]
    if slowed:
        others = f" and {len(slowed) - 1} more" if len(slowed) > 1 else ""
        text = "[%s]%s: interval = %g is less than min_interval; polled every %g s"
        LOG.warning(text, slowed[0].name, others, slowed[0].asked_interval, slowed[0].interval)


def _values(conf: cfg.ConfigOpts) -> dict[str, object]:
    return {option.dest: conf[option.dest] for option in OPTIONS["drivers"]}


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-drivers; return its exit status."""
    arguments = parse_arguments("drivers", argv)
    try:
        conf, wattmeters = read_configuration(arguments.files)
        if arguments.check_only:
            return 0
        service.start_logging("drivers", conf)
        service.block_signals(reloads=True)
        service.keep_memory_together()
        key_file = Path(conf.signing_key_file)
        if make_key_file(key_file):
            LOG.info("made a signing key in %s; every plugin needs a copy of this file", key_file)
        daemon = Daemon(arguments.files, conf, wattmeters, KeyFile(key_file))
    except ConfigError as error:
        return service.refuse(error)
    warn_of_intervals(wattmeters)
    LOG.info("measuring %s, publishing on %s", counted(len(wattmeters), "wattmeter"), conf.probes_endpoint)
    if daemon.start():
        service.notify("READY=1")
    status = service.wait(daemon.tasks, daemon.check, daemon.reload)
    service.notify("STOPPING=1")
    daemon.stop()
    return status
