"""kwapi-rrd: graphs of every probe, with energy and cost."""

import logging
from collections.abc import Sequence
from functools import partial

from kwapi import service
from kwapi.config import load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.views import create_app
from kwapi.plugins.subscription import subscriber_of

LOG = logging.getLogger(__name__)


def open_store(directory: str, max_gap: float, cleaning_interval: float) -> Store:
    """Return the store of a directory, which is made if it is missing; ConfigError if that cannot be."""
    try:
        return Store(directory, max_gap=max_gap, cleaning_interval=cleaning_interval)
    except OSError as error:
        raise ConfigError(f"rrd_dir: cannot use {directory}: {error.strerror}") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-rrd; return its exit status."""
    arguments = parse_arguments("rrd", argv)
    try:
        conf = load("rrd", arguments.files)
        if arguments.check_only:
            return 0
        service.start_logging(conf.log_level)
        service.block_signals()
        subscriber = subscriber_of(conf, health=True)
        store = open_store(conf.rrd_dir, conf.max_gap, conf.cleaning_interval)
        pages = create_app(
            store, price=conf.kwh_price, currency=conf.currency, title=conf.title, counts=subscriber.gate.counts
        )
        server = service.HttpServer(pages, conf.host, conf.port, conf.threads)
    except ConfigError as error:
        return service.refuse(error)
    LOG.info("showing graphs on http://%s:%d/", conf.host, conf.port)
    return service.run(
        [
            service.Task("bus", partial(subscriber.run, add=store.add, add_health=store.add_health)),
            service.Task("http", server.run),
            service.Task("store", store.run),  # last to stop, so that it writes what the bus still brought
        ]
    )
