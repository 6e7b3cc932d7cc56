"""kwapi-api: the energy of every probe over REST."""

import faulthandler
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from threading import Event

from oslo_config import cfg

from kwapi import service
from kwapi.config import Reader, load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.access import access_problems, read_sections
from kwapi.plugins.api.auth import guard
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.cors import allow_origins
from kwapi.plugins.api.machines import machines_of, read_machines
from kwapi.plugins.api.orders import Orders
from kwapi.plugins.api.registers import DIRECTORY, Registers
from kwapi.plugins.api.serving import keep_pauses_short, serving_problems, serving_tasks
from kwapi.plugins.api.stream import Ring, Streams
from kwapi.plugins.api.views import create_app
from kwapi.plugins.positions import FILE_NAME, Positions
from kwapi.plugins.subscription import subscriber_of

LOG = logging.getLogger(__name__)


def read_all_sections(reader: Reader, owners: Mapping[str, str] | None = None) -> list[str]:
    """Read the sections that api.conf may have; return their names. ``owners`` are wattmeters by probe, if known."""
    return [*read_sections(reader), *read_machines(reader, owners)]


def problems(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) for what the options' own types cannot see."""
    yield from access_problems(conf)
    yield from serving_problems(conf)


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-api; return its exit status."""
    arguments = parse_arguments("api", argv)
    try:
        conf = load("api", arguments.files, problems, read_all_sections)
        if arguments.check_only:
            return 0
        service.start_logging("api", conf)
        faulthandler.enable()  # a file that is cut while it is mapped ends a process by a SIGBUS, without a word
        service.block_signals()
        service.keep_memory_together()
        keep_pauses_short()
        tasks = tasks_of(conf)
    except ConfigError as error:
        return service.refuse(error)
    LOG.info("answering on http%s://%s:%d/", "s" if conf.tls_certificate_file else "", conf.host, conf.port)
    return service.run(tasks)


def tasks_of(conf: cfg.ConfigOpts) -> list[service.Task]:
    """Return all that kwapi-api does, in the order in which it stops; ConfigError if something cannot be had."""
    directory = Path(conf.state_dir) / DIRECTORY
    positions = Positions(directory / FILE_NAME)
    subscriber = subscriber_of(conf, health=True, saved=positions.load(), repair=positions.path)
    with ExitStack() as undo:
        registers = Registers(directory)
        undo.callback(registers.close)  # or the next start after one of the machine would tell of a loss of power
        collector = Collector(
            registers,
            machines=machines_of(conf),
            cleaning_interval=conf.cleaning_interval,
            max_gap=conf.max_gap,
        )
        orders = Orders(directory, collector)
        undo.callback(orders.close)
        streams = Streams(Ring.of(collector), conf.streams, conf.stream_seconds)
        keystone = (lambda: True) if conf.acl_enabled else None  # a configuration without one was refused
        application = create_app(
            collector,
            subscriber.counts,
            account_of=subscriber.gate.account,
            streams=streams,
            keystone=keystone,
            metrics_public=conf.metrics_public,
        )
        serving = serving_tasks(conf, allow_origins(guard(application, conf), conf.cors_origins), directory)
        undo.pop_all()

    def hear(stopping: Event) -> None:
        subscriber.run(stopping, add=collector.add, add_late=collector.add_late, show=collector.show)
        streams.stop()  # nothing more comes, and they hold the threads of those that answer

    def save_positions(stopping: Event) -> None:
        positions.run(stopping, subscriber.standing)

    return [
        service.Task("bus", hear),
        service.Task("positions", save_positions, hang_limit=service.DISK_LIMIT),
        service.Task("orders", orders.run),
        # Stops after those who write, and does not wait for those who read.
        service.Task("energy", registers.run, hang_limit=service.DISK_LIMIT),
        *serving,
    ]
