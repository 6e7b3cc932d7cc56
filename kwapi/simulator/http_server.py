"""A small HTTP/1.1 server on asyncio: one function answers every request, over TLS where there is a context for it.

What it does not understand it answers with 400, and hangs up.
"""

import asyncio
import json
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.parser import BytesParser
from http import HTTPStatus
from typing import Any

HERE = "127.0.0.1"
MAX_REQUEST = 65536  # bytes
HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks; the names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    """What it is told: something that becomes JSON."""

    content: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = Callable[[Request], Response]


def parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    """Return method, path and headers; ValueError if it is no head of a request."""
    first, _, rest = head.partition(b"\r\n")
    method, path, version = first.decode("ascii").split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError(f"unknown version {version!r}")
    headers = {name.lower(): value for name, value in BytesParser().parsebytes(rest, headersonly=True).items()}
    return method, path, headers


def to_bytes(response: Response, closes: bool) -> bytes:
    """Return a response as it travels."""
    body = json.dumps(response.content).encode()
    headers = {"Content-Type": "application/json", **response.headers, "Content-Length": str(len(body))}
    if closes:
        headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Conversation(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, answer: Answer, connections: set["Conversation"]) -> None:
        self.transport: asyncio.Transport
        self._answer = answer
        self._connections = connections
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # of TCP or TLS
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self)

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            while (request := self._take_request()) is not None:
                closes = request.headers.get("connection", "").lower() == "close"
                self.transport.write(to_bytes(self._answer(request), closes))
                if closes:
                    self.transport.close()
                    return
        except ValueError:
            self.transport.write(to_bytes(Response({"error": "malformed request"}, 400), closes=True))
            self.transport.close()

    def _take_request(self) -> Request | None:
        """Return the next request, None if it is not complete."""
        head, end, rest = self._received.partition(HEAD_END)
        if len(self._received) > MAX_REQUEST:
            raise ValueError("a request that does not end")
        if not end:
            return None
        method, path, headers = parse_head(head)
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return None
        self._received = rest[length:]
        return Request(method, path, headers, rest[:length])


class HttpServer:
    """A port of loopback, answered while the event loop in which it was opened runs."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self._answer = answer
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._connections: set[Conversation] = set()

    async def open(self) -> int:
        """Start to answer and return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Conversation(self._answer, self._connections), HERE, 0, ssl=self._tls
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            self._server.close()
        for conversation in list(self._connections):
            conversation.transport.abort()
