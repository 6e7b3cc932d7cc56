"""A port in front of a server's own, over which everything goes, so that whatever it serves can misbehave.

    silent       requests are swallowed; a connection is held
    slow         answers come so many seconds late
    refused      the port is closed, and so is every connection
    cut          an answer ends half way, and the connection with it
    garbage      random bytes in place of an answer

One datagram is one answer; of a connection it is what the server sends at a time. A port that is refused stays ours, as
Linux has it: a listening socket that was shut down can listen again if its port was asked for by number, and a UDP
socket that is connected elsewhere refuses everybody else.
"""

import asyncio
import random
import socket
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Protocol

from kwapi.simulator.device import Fault

LINE_FAULTS = ("silent", "slow", "refused", "cut", "garbage")
MAX_CLIENTS = 8  # of a UDP port, remembered at a time
BIGGEST = 65535  # bytes of a datagram
BACKLOG = 100
NOBODY = ("127.0.0.1", 9)  # discard, to which nothing is sent
HERE = "127.0.0.1"

Draw = Callable[[int], bytes]  # so many random bytes


class Line(Protocol):
    """What carries a wattmeter's answers."""

    def switch(self, fault: Fault | None) -> None:
        """Misbehave so from now on; None for not at all."""

    def drop(self) -> None:
        """Forget every connection, as a device does that starts anew."""

    def close(self) -> None:
        """Answer no more."""


def spoiled(answer: bytes, fault: Fault | None, draw: Draw = random.randbytes) -> bytes:
    """Return what becomes of an answer."""
    match fault:
        case Fault("cut"):
            return answer[: len(answer) // 2]
        case Fault("garbage"):
            return draw(len(answer))
    return answer


def is_silent(fault: Fault | None) -> bool:
    return fault is not None and fault.kind in ("silent", "refused")


def delay(fault: Fault | None) -> float:
    """Return the seconds by which an answer is late."""
    return fault.seconds if fault is not None and fault.kind == "slow" else 0.0


class UdpRelay:
    """A UDP port; each client gets a socket of its own towards the server."""

    def __init__(self, draw: Draw = random.randbytes) -> None:
        self._fault: Fault | None = None
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._address: Any = None
        self._server = 0
        self._sockets: OrderedDict[Any, socket.socket] = OrderedDict()  # towards the server, by client

    def open(self, server: int, address: str = HERE, port: int = 0) -> int:
        """Relay to the server's port from now on, and return our own; OSError if it is taken."""
        self._server = server
        self._open((address, port))
        return int(self._address[1])

    def switch(self, fault: Fault | None) -> None:
        """Misbehave so from now on; None for not at all."""
        is_open = self._fault is None or self._fault.kind != "refused"
        self._fault = fault
        before = self._socket
        if before is None:
            return
        if fault is not None and fault.kind == "refused":
            self._loop.remove_reader(before)
            before.connect(NOBODY)  # and so refuses everybody else
        elif not is_open:
            self._open(self._address)
            before.close()

    def drop(self) -> None:
        """Forget every client."""
        while self._sockets:
            self._forget_oldest()

    def close(self) -> None:
        """Answer no more."""
        self.drop()
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _open(self, address: Any) -> None:
        port = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            if self._address is not None:
                port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            port.bind(address)
        except OSError:
            port.close()
            raise
        port.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # for our next one; after bind() others are kept off
        port.setblocking(False)
        self._socket, self._address = port, port.getsockname()
        self._loop.add_reader(port, self._take_request, port)

    def _take_request(self, port: socket.socket) -> None:
        try:
            request, client = port.recvfrom(BIGGEST)
        except OSError:
            return
        if is_silent(self._fault):
            return
        if seconds := delay(self._fault):
            self._loop.call_later(seconds, self._ask, request, client)
        else:
            self._ask(request, client)

    def _ask(self, request: bytes, client: Any) -> None:
        if self._socket is None:
            return
        if client in self._sockets:
            self._sockets.move_to_end(client)
        else:
            self._add(client)
        try:
            self._sockets[client].send(request)
        except OSError:  # the server is gone, or busy: datagrams get lost
            return

    def _add(self, client: Any) -> None:
        if len(self._sockets) == MAX_CLIENTS:
            self._forget_oldest()
        towards = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        towards.setblocking(False)
        towards.connect((HERE, self._server))
        self._sockets[client] = towards
        self._loop.add_reader(towards, self._take_answer, towards, client)

    def _forget_oldest(self) -> None:
        _, towards = self._sockets.popitem(last=False)
        self._loop.remove_reader(towards)
        towards.close()

    def _take_answer(self, towards: socket.socket, client: Any) -> None:
        try:
            answer = towards.recv(BIGGEST)
            if self._socket is not None and not is_silent(self._fault):
                self._socket.sendto(spoiled(answer, self._fault, self._draw), client)
        except OSError:
            return


def bound(address: str, port: int) -> socket.socket:
    """Return a socket that can listen at this address and port, as soon as no other does."""
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tcp.setblocking(False)
        tcp.bind((address, port))
    except OSError:
        tcp.close()
        raise
    return tcp


class TcpRelay:
    """A TCP port; each connection is one of its own to the server."""

    def __init__(self, draw: Draw = random.randbytes) -> None:
        self.fault: Fault | None = None
        self.draw = draw
        self.loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._server = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()

    def open(self, server: int, address: str = HERE, port: int = 0) -> int:
        """Relay to the server's port from now on, and return our own; OSError if it is taken."""
        self._server = server
        with bound(address, port) as any_free:
            port = int(any_free.getsockname()[1])
            self._socket = bound(address, port)
        self._listen(self._socket)
        return port

    def switch(self, fault: Fault | None) -> None:
        """Misbehave so from now on; None for not at all."""
        was_closed = self.fault is not None and self.fault.kind == "refused"
        is_closed = fault is not None and fault.kind == "refused"
        self.fault = fault
        if self._socket is None or was_closed == is_closed:
            return
        if is_closed:
            self.loop.remove_reader(self._socket)
            self._socket.shutdown(socket.SHUT_RDWR)
            self.drop()
        else:
            self._listen(self._socket)

    def drop(self) -> None:
        """Break off every connection."""
        for task in self._connecting:
            task.cancel()
        for connection in list(self._connections):
            connection.abort()

    def close(self) -> None:
        """Answer no more."""
        self.drop()
        if self._socket is not None:
            self.loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _listen(self, port: socket.socket) -> None:
        port.listen(BACKLOG)
        self.loop.add_reader(port, self._accept, port)

    def _accept(self, listening: socket.socket) -> None:
        try:
            accepted, _ = listening.accept()
        except OSError:  # the client has left already
            return
        task = self.loop.create_task(self._connect(accepted))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, accepted: socket.socket) -> None:
        connection = Connection(self)
        try:
            await self.loop.create_connection(lambda: connection.server, HERE, self._server)
            await self.loop.connect_accepted_socket(lambda: connection.client, accepted)
        except OSError:  # the server is not there, or the client is not any more
            connection.abort()
            accepted.close()
        except asyncio.CancelledError:
            connection.abort()
            accepted.close()
            raise
        else:
            self._connections.add(connection)
            connection.on_end = self._connections.discard


class Side(asyncio.Protocol):
    """One side of a relayed connection."""

    def __init__(self, take: Callable[[bytes], None], end: Callable[[], None]) -> None:
        self.transport: asyncio.Transport | None = None
        self._take = take
        self._end = end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # of TCP

    def data_received(self, data: bytes) -> None:
        self._take(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._end()

    def write(self, data: bytes) -> None:
        """Send, if that is still possible."""
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """Close once everything is sent."""
        if self.transport is not None:
            self.transport.close()


class Connection:
    """A relayed connection: the side of the client and that of the server."""

    def __init__(self, relay: TcpRelay) -> None:
        self._relay = relay
        self._last_at = 0.0  # when the last of what is late goes out
        self.client = Side(self._take_request, self._client_left)
        self.server = Side(self._take_answer, self._server_left)
        self.on_end: Callable[[Connection], None] = lambda connection: None

    def abort(self) -> None:
        """Break off on both sides."""
        for side in (self.client, self.server):
            if side.transport is not None:
                side.transport.abort()

    def _take_request(self, request: bytes) -> None:
        if not is_silent(self._relay.fault):
            self.server.write(request)

    def _take_answer(self, answer: bytes) -> None:
        fault = self._relay.fault
        if is_silent(fault):
            return
        self._in_order(delay(fault), self.client.write, spoiled(answer, fault, self._relay.draw))
        if fault is not None and fault.kind == "cut":
            self.client.close()

    def _in_order(self, seconds: float, do: Callable[..., None], *arguments: Any) -> None:
        """Do it so many seconds later, but not before what is to be done already."""
        now = self._relay.loop.time()
        if not seconds and now >= self._last_at:
            do(*arguments)
        else:
            self._last_at = max(self._last_at, now + seconds)
            self._relay.loop.call_at(self._last_at, do, *arguments)

    def _client_left(self) -> None:
        self.server.close()
        self.on_end(self)

    def _server_left(self) -> None:
        self._in_order(0.0, self.client.close)
