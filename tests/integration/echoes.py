"""Devices that are out of order in the worst way: what they are told they say back, so that errors may show it."""

import json
import select
import socket
import ssl
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

VERSIONS = (
    b'{"versions": {"values": [{"id": "v3.14", "status": "stable", "links": [{"rel": "self", "href": "HERE/v3/"}],'
    b' "media-types": []}]}}'
)
CHALLENGES = ('Digest realm="a", nonce="b", qop="auth"', 'Basic realm="a"')


class _Echo(BaseHTTPRequestHandler):
    """Refuses a request in an answer that has all of it."""

    protocol_version = "HTTP/1.1"

    def _say(self, status: int, said: bytes) -> None:
        self.send_response(status, said.decode("latin-1").replace("\r", " ").replace("\n", " "))
        for challenge in CHALLENGES:
            self.send_header("WWW-Authenticate", challenge)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(said)

    def do_GET(self) -> None:
        """Answer, or be found as a Keystone if that is asked."""
        if self.server.is_keystone and self.command == "GET" and "tokens" not in self.path:
            self._say(300, VERSIONS.replace(b"HERE", f"http://127.0.0.1:{self.server.server_port}".encode()))
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = f"{self.requestline}\n{self.headers}\n".encode() + body
        if self.server.is_keystone:
            said = json.dumps({"error": {"code": self.server.status, "message": said.decode(), "title": "a"}}).encode()
        self._say(self.server.status, said)

    do_POST = do_HEAD = do_DELETE = do_GET  # noqa: N815 -- of http.server

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Echoes:
    """Servers on free ports of loopback, all ended at the end of the ``with``."""

    def __init__(self) -> None:
        self._servers: list[ThreadingHTTPServer] = []
        self._sockets: list[socket.socket] = []
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "Echoes":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join(5)
        for each in self._sockets:
            each.close()

    def http(self, status: int, certificate: Path | None = None, *, is_keystone: bool = False) -> int:
        """Return the port of an HTTP server that answers everything with a status, and with what it was asked."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
        server.status, server.is_keystone = status, is_keystone  # type: ignore[attr-defined]
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        self._servers.append(server)
        self._start(lambda: server.serve_forever(0.05))
        return int(server.server_address[1])

    def raw(self, kind: int) -> int:
        """Return the port of a server, SOCK_STREAM or SOCK_DGRAM, that sends back every byte."""
        listener = socket.socket(socket.AF_INET, kind)
        listener.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            listener.listen()
        self._sockets.append(listener)
        self._start(lambda: self._answer(listener, kind))
        return int(listener.getsockname()[1])

    def _answer(self, listener: socket.socket, kind: int) -> None:
        callers: list[socket.socket] = []
        while not self._stopping.is_set():
            readable, _, _ = select.select([listener, *callers], [], [], 0.05)
            for each in readable:
                with suppress(OSError):
                    if each is listener and kind == socket.SOCK_STREAM:
                        callers.append(listener.accept()[0])
                    elif each is listener:
                        listener.sendto(*listener.recvfrom(65536))
                    elif not (heard := each.recv(65536)):
                        callers.remove(each)
                        each.close()
                    else:
                        each.sendall(heard)
        for caller in callers:
            caller.close()

    def _start(self, work) -> None:  # type: ignore[no-untyped-def]
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)
