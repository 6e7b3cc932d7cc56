"""kwapi-api: the energy of every probe over REST."""

import ipaddress
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from oslo_config import cfg

from kwapi import service
from kwapi.config import load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.machines import machines_of, read_machines
from kwapi.plugins.api.orders import Orders
from kwapi.plugins.api.registers import DIRECTORY, Registers
from kwapi.plugins.api.views import create_app
from kwapi.plugins.subscription import subscriber_of

LOG = logging.getLogger(__name__)


def access_problems(conf: cfg.ConfigOpts) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) unless it is settled who may read."""
    if conf.acl_enabled:
        yield "acl_enabled", "this version cannot ask Keystone yet; set acl_enabled = false, on loopback"
    elif not _is_loopback(conf.host):
        yield "host", f"anybody could read on {conf.host} without acl_enabled; listen on loopback"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-api; return its exit status."""
    arguments = parse_arguments("api", argv)
    try:
        conf = load("api", arguments.files, access_problems, read_machines)
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
        server = service.HttpServer(create_app(collector, subscriber.gate.counts), conf.host, conf.port, conf.threads)
    except ConfigError as error:
        return service.refuse(error)
    LOG.warning("acl_enabled is false: anybody on this machine may read")
    LOG.info("answering on http://%s:%d/v1/probes/", conf.host, conf.port)
    return service.run(
        [
            service.Task("bus", partial(subscriber.run, add=collector.add)),
            service.Task("orders", Orders(directory, collector).run),
            service.Task("energy", registers.run),  # stops after those who write, and does not wait for those who read
            service.Task("http", server.run),
        ]
    )
