"""What the bus uses of NATS, imported when an endpoint needs it: its library is an extra."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING

from kwapi.errors import ConfigError
from kwapi.libraries import how_to_install
from kwapi.transport import Transport

if TYPE_CHECKING:
    from kwapi.nats.reading import Reading
    from kwapi.nats.uplink import Uplink
    from kwapi.spool.store import Spool
    from kwapi.streams import Streams


@contextmanager
def needed(endpoint: str) -> Iterator[None]:
    """Say how to install what an endpoint needs."""
    try:
        yield
    except ImportError as error:
        hint = how_to_install("nats")
        raise ConfigError(f"the endpoint {endpoint} needs a library: {error}; install it: {hint}") from error


def new_uplink(endpoint: str, transport: Transport, spool: Spool | None) -> Uplink:
    """Return what stores frames at the servers of an endpoint."""
    with needed(endpoint):
        from kwapi.nats.uplink import Uplink
    return Uplink(endpoint, transport.nats, spool=spool, failures=transport.failures)


def new_reading(endpoints: list[str], transport: Transport, streams: Streams) -> Reading:
    """Return what reads the streams of some endpoints."""
    with needed(endpoints[0]):
        from kwapi.nats.reading import Reading
    return Reading(endpoints, transport, streams)


def consumer_name(path: Path) -> str:
    """Return how the consumers of a daemon are called: as this machine, and by the file where it saves its position."""
    host = "".join(c if c.isalnum() and c.isascii() else "_" for c in socket.gethostname())
    return f"{host}-{blake2b(os.fsencode(path.resolve()), digest_size=6).hexdigest()}"
