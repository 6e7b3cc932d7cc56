"""kwapi-api: the energy of every probe over REST."""

import ipaddress
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from oslo_config import cfg

from kwapi import service
from kwapi.bus import Gate, Subscriber
from kwapi.config import load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.views import create_app
from kwapi.signing import KeyRing, read_key

LOG = logging.getLogger(__name__)


def check_access(conf: cfg.ConfigOpts) -> None:
    """Raise ConfigError unless it is settled who may read."""
    if conf.acl_enabled:
        raise ConfigError("acl_enabled: this version cannot ask Keystone yet; set acl_enabled = false, on loopback")
    if not _is_loopback(conf.host):
        raise ConfigError(f"acl_enabled: without it anybody could read; listen on loopback, not on host {conf.host}")


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
        conf = load("api", arguments.files)
        check_access(conf)
        if arguments.check_only:
            return 0
        service.start_logging(conf.log_level)
        service.block_signals()
        gate = Gate(KeyRing([read_key(Path(conf.signing_key_file))]), max_age=conf.max_age, max_skew=conf.max_skew)
        collector = Collector(cleaning_interval=conf.cleaning_interval, max_gap=conf.max_gap)
        server = service.HttpServer(create_app(collector), conf.host, conf.port, conf.threads)
    except ConfigError as error:
        return service.refuse(error)
    LOG.warning("acl_enabled is false: anybody on this machine may read")
    subscriber = Subscriber(conf.probes_endpoint, conf.wattmeters, gate)
    tasks = [service.Task("bus", partial(subscriber.run, add=collector.add)), service.Task("http", server.run)]
    for task in tasks:
        task.start()
    LOG.info("answering on http://%s:%d/v1/probes/", conf.host, conf.port)
    service.notify("READY=1")
    status = service.wait(tasks)
    service.notify("STOPPING=1")
    service.stop(tasks)
    return status
