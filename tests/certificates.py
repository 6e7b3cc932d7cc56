"""CURVE certificates of tests, and a wire that is tapped."""

import socket
import threading

from zmq.auth import create_certificates

from kwapi.certificates import Clients, read_certificate
from kwapi.transport import Transport


class Keys:
    """The certificates of a site, and its directories of clients and of servers."""

    def __init__(self, directory):
        self.directory = directory
        for name in ("clients", "servers"):
            (directory / name).mkdir()

    def make(self, name):
        """Make a certificate, unless there is one; return it."""
        path = self.directory / f"{name}.key_secret"
        if not path.exists():
            create_certificates(self.directory, name)
            path.chmod(0o600)  # zmq.auth leaves that to the umask
        return read_certificate(path)

    def allow(self, name):
        """Let somebody in."""
        self.make(name)
        (self.directory / "clients" / f"{name}.key").write_bytes((self.directory / f"{name}.key").read_bytes())

    def refuse(self, name):
        """Let somebody in no more."""
        (self.directory / "clients" / f"{name}.key").unlink()

    def trust(self, endpoint, name):
        """Take the key of NAME for that of who listens on an endpoint."""
        place = self.directory / "servers" / f"{endpoint.removeprefix('tcp://')}.key"
        place.write_bytes((self.directory / f"{name}.key").read_bytes())

    def transport(self, name, clock=None):
        """Return the transport of who has that certificate, made here."""
        clients = Clients(self.directory / "clients", **({} if clock is None else {"clock": clock}))
        return Transport(self.make(name), clients, self.directory / "servers")


class Tap:
    """A relay between who connects to it and a port of loopback, that keeps all it has seen."""

    def __init__(self, port):
        self.seen = bytearray()
        self._port = port
        self._open = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._copies = []

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        for each in self._open:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        for copy in self._copies:
            copy.join(5)
        for each in (*self._open, self._listener):
            each.close()

    def _accept(self):
        try:
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._open += [client, server]
                for way in ((client, server), (server, client)):
                    self._copies.append(threading.Thread(target=self._copy, args=way, daemon=True))
                    self._copies[-1].start()
        except OSError:
            return

    def _copy(self, source, target):
        try:
            while chunk := source.recv(1 << 16):
                self.seen += chunk
                target.sendall(chunk)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
