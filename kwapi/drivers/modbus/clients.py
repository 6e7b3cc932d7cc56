"""pymodbus's clients, mended: what they wait for, by which clock, and what they take for an answer.

As they come they wait by the wall clock, which may be set meanwhile, and up to twice the timeout; with more than 1024
files open in the process they take every connection for closed; they say nothing of why there is no connection; and
over TCP bytes that nobody asked for are taken for the next answer.
"""

import socket
import time
from contextlib import suppress
from typing import Any

from pymodbus.client import ModbusSerialClient, ModbusTcpClient
from pymodbus.exceptions import ConnectionException

from kwapi.drivers.names import Names, connect
from kwapi.drivers.serial_line import open_port

LONGEST = 1 << 16  # bytes taken at once; a frame has 260 at most


class TcpClient(ModbusTcpClient):
    """A connection to a meter or to a gateway."""

    names: Names
    _until = 0.0  # when the answer must be there

    def connect(self) -> bool:
        """Connect unless connected; an error keeps its reason."""
        if not self.socket:
            line = self.comm_params
            self.socket = connect(self.names.addresses(line.host), line.port, line.timeout_connect)
        return True

    def send(self, request: bytes, addr: Any = None) -> int:
        """Send a request, after throwing away what came in before it."""
        connection = self._connection()
        try:
            connection.setblocking(False)
            with suppress(BlockingIOError):
                if not connection.recv(LONGEST):
                    raise ConnectionException("closed by the other side")
            self._until = time.monotonic() + self.comm_params.timeout_connect
            connection.settimeout(self.comm_params.timeout_connect)
            connection.sendall(request)
        except OSError as error:
            raise ConnectionException(str(error)) from error
        return len(request)

    def recv(self, size: int | None) -> bytes:
        """Return what has come in, nothing when the time is over."""
        connection = self._connection()
        connection.settimeout(max(self._until - time.monotonic(), 0.001))
        try:
            received = connection.recv(LONGEST)
        except TimeoutError:
            return b""
        except OSError as error:
            raise ConnectionException(str(error)) from error
        if not received:
            raise ConnectionException("closed by the other side")
        return received

    def _connection(self) -> socket.socket:
        if not self.socket:
            raise ConnectionException("not connected")
        return self.socket


class SerialClient(ModbusSerialClient):
    """A serial line. What came in before a request, pymodbus throws away itself."""

    _until = 0.0

    def connect(self) -> bool:
        """Open the port, which no other program may use meanwhile, unless it is open; an error keeps its reason."""
        if not self.socket:
            line = self.comm_params
            self.socket = open_port(line.host, f"{line.baudrate} {line.bytesize}{line.parity}{line.stopbits}")
        return True

    def send(self, request: bytes, addr: Any = None) -> int:
        """Send a request."""
        self._until = time.monotonic() + self.comm_params.timeout_connect
        return super().send(request, addr)

    def recv(self, size: int | None) -> bytes:
        """Return what has come in, nothing when the time is over."""
        if not self.socket:
            raise ConnectionException("not open")
        try:
            while not (first := self.socket.read(1)) and time.monotonic() < self._until:
                pass
            return bytes(first + self.socket.read(self.socket.in_waiting))
        except OSError as error:
            raise ConnectionException(str(error)) from error
