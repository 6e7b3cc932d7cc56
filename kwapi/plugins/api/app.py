"""kwapi-api: the energy of every probe over REST."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from kwapi import service
from kwapi.config import Reader, load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.access import access_problems, read_sections
from kwapi.plugins.api.auth import guard
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.machines import machines_of, read_machines
from kwapi.plugins.api.orders import Orders
from kwapi.plugins.api.registers import DIRECTORY, Registers
from kwapi.plugins.api.views import create_app
from kwapi.plugins.subscription import subscriber_of

LOG = logging.getLogger(__name__)


def read_all_sections(reader: Reader, owners: Mapping[str, str] | None = None) -> list[str]:
    """Read the sections that api.conf may have; return their names. ``owners`` are wattmeters by probe, if known."""
    return [*read_sections(reader), *read_machines(reader, owners)]


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-api; return its exit status."""
    arguments = parse_arguments("api", argv)
    try:
        conf = load("api", arguments.files, access_problems, read_all_sections)
        if arguments.check_only:
            return 0
        service.start_logging(conf.log_level)
        service.block_signals()
        subscriber = subscriber_of(conf)
        directory = Path(conf.state_dir) / DIRECTORY
        registers = Registers(directory)
        collector = Collector(
            registers,
            machines=machines_of(conf),
            cleaning_interval=conf.cleaning_interval,
            max_gap=conf.max_gap,
        )
        application = guard(create_app(collector, subscriber.gate.counts), conf)
        server = service.HttpServer(application, conf.host, conf.port, conf.threads)
    except ConfigError as error:
        return service.refuse(error)
    LOG.info("answering on http://%s:%d/v1/probes/", conf.host, conf.port)
    return service.run(
        [
            service.Task("bus", partial(subscriber.run, add=collector.add)),
            service.Task("orders", Orders(directory, collector).run),
            service.Task("energy", registers.run),  # stops after those who write, and does not wait for those who read
            service.Task("http", server.run),
        ]
    )
