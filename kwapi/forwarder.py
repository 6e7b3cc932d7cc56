"""kwapi-forwarder: carries the bus across a network.

Messages pass untouched, so it needs no secret; subscriptions pass the other way, so that only what somebody watches
crosses the network, and once.
"""

import logging
from collections.abc import Sequence

from kwapi import service
from kwapi.bus import Proxy
from kwapi.config import load, parse_arguments
from kwapi.errors import ConfigError

LOG = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run kwapi-forwarder; return its exit status."""
    arguments = parse_arguments("forwarder", argv)
    try:
        conf = load("forwarder", arguments.files)
    except ConfigError as error:
        return service.refuse(error)
    if arguments.check_only:
        return 0
    service.start_logging(conf.log_level)
    service.block_signals()
    LOG.info("passing on %s as %s", ", ".join(conf.probes_endpoint), conf.forwarder_endpoint)
    proxy = Proxy(conf.probes_endpoint, conf.forwarder_endpoint)
    task = service.Task("proxy", lambda _: proxy.run(ready=lambda: service.notify("READY=1")))
    task.start()
    status = service.wait([task])
    service.notify("STOPPING=1")
    proxy.stop()
    service.stop([task])
    return status
