"""What answers for the devices of one kind, on ports of loopback that the farm's relays lead to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from kwapi.simulator.device import Device

USER = "kwapi"  # of every BMC
CERTIFICATE = "certificate.pem"  # of every server that speaks TLS, in the farm's directory


@dataclass(frozen=True, slots=True)
class Served:
    """A device and its community or password."""

    device: Device
    secret: str = field(repr=False)


class Server(Protocol):
    """What answers for one device."""

    async def open(self) -> int:
        """Start to answer and return the port."""

    async def close(self) -> None:
        """Answer no more."""


class Servers(Protocol):
    """What answers for several."""

    async def open(self) -> list[int]:
        """Start to answer and return the port of each device."""

    async def close(self) -> None:
        """Answer no more."""


class NewServers(Protocol):
    """Makes what answers for several; ``directory`` is for files that their clients need."""

    def __call__(self, served: Sequence[Served], directory: Path) -> Servers: ...


class Group:
    """A server for each of several devices."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._servers = list(servers)

    async def open(self) -> list[int]:
        """Start to answer and return the port of each device."""
        return [await server.open() for server in self._servers]

    async def close(self) -> None:
        """Answer no more."""
        for server in self._servers:
            await server.close()
