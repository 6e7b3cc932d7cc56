"""kwapi-forwarder: carries the bus across a network.

Messages pass untouched, so it needs no secret; subscriptions pass the other way, so that only what somebody watches
crosses the network, and once. With a spool it keeps what passes, and answers plugins that missed some of it.
"""

import logging
from collections.abc import Sequence
from functools import partial

from kwapi import service
from kwapi.config import load, parse_arguments
from kwapi.errors import ConfigError
from kwapi.metrics import connections, metrics_tasks, spool_sources, uplink_sources
from kwapi.nats.bridge import new_proxy
from kwapi.proxy import Passage
from kwapi.spool.keeping import Keeping
from kwapi.transport import transport_of

LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-forwarder; return its exit status."""
    arguments = parse_arguments("forwarder", argv)
    try:
        conf = load("forwarder", arguments.files)
        if arguments.check_only:
            return 0
        service.start_logging("forwarder", conf)
        service.block_signals()
        service.keep_memory_together()
        transport = transport_of(conf)
        keeping = Keeping(conf, transport) if conf.spool_dir else None
        spool = keeping.spool if keeping else None
        passage = Passage(
            conf.probes_endpoint,
            conf.forwarder_endpoint,
            keep=spool.hand if spool else None,
            kept=conf.spool_topics,
            spool=spool,
            transport=transport,
        )
        proxy = new_proxy(passage)
        about_spool, about_uplink = spool_sources(keeping, conf.spool_size), uplink_sources(proxy.uplink)
        tasks = metrics_tasks(conf, partial(connections, transport.failures), *about_spool, *about_uplink)
    except ConfigError as error:
        return service.refuse(error)

    def ready() -> None:
        LOG.info("passing on %s as %s", ", ".join(conf.probes_endpoint), conf.forwarder_endpoint)
        service.notify("READY=1")

    tasks += [service.Task("proxy", lambda _: proxy.run(ready))]
    if keeping:
        tasks += [service.Task("capture", lambda _: proxy.capture()), *keeping.tasks]
    for task in tasks:
        task.start()
    status = service.wait(tasks)
    service.notify("STOPPING=1")
    proxy.stop()
    service.stop(tasks)
    return status
