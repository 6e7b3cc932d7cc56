"""A TCP connection to a plug, which with all that is sent and received on it ends at a deadline.

A timeout of the socket alone begins anew with every byte, so a plug that drips could hold a worker for hours.
"""

import socket
from typing import Any

from kwapi.drivers.base import Clock
from kwapi.drivers.names import Names, connect


def address(host: str, port: int) -> str:
    """Return a host and a port as people write them."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection(socket.socket):
    """A connection; read it as a file, by makefile(), which is also what http.client does."""

    def __init__(self, host: str, port: int, names: Names, end: float, clock: Clock) -> None:
        self._end = end
        self._clock = clock
        addresses = names.addresses(host, self._left())
        super().__init__(fileno=connect(addresses, port, self._left()).detach())

    def sendall(self, *args: Any) -> None:
        """Send all of it before the deadline."""
        self.settimeout(self._left())
        super().sendall(*args)

    def recv_into(self, *args: Any) -> int:
        """Receive what has come before the deadline; called by the file."""
        self.settimeout(self._left())
        return super().recv_into(*args)

    def _left(self) -> float:
        if (left := self._end - self._clock()) <= 0:
            raise TimeoutError
        return left
