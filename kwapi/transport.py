"""How a daemon's sockets listen and connect: encrypted with CURVE over TCP, with mode and owner as Unix sockets."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import zmq
from oslo_config import cfg

from kwapi import sockets
from kwapi.certificates import Certificate, Clients, read_certificate, read_public_key
from kwapi.connections import Door, Link, Socket
from kwapi.endpoints import IPC, TCP, Ipc, endpoints_of, host_and_port, is_nats, listen_at
from kwapi.errors import ConfigError
from kwapi.nats.login import Login, login_of

ABSTRACT = IPC + "@"


@dataclass(frozen=True, slots=True)
class Transport:
    """The keys of a daemon and of those it speaks with, and who may use its Unix sockets. For several threads.

    Without a certificate nothing is encrypted.
    """

    certificate: Certificate | None = None
    clients: Clients | None = None  # who may connect to us, beside those with our own key
    servers: Path | None = None  # directory with the public keys of those we connect to
    server: bytes | None = None  # the public key of all of them instead
    ipc: Ipc = field(default_factory=Ipc)
    nats: Login = field(default_factory=Login)
    failures: Counter[str] = field(default_factory=Counter)  # connections that did not come about, by reason

    def listen(self, socket: Socket, endpoint: str) -> None:
        """Listen on an endpoint; raise ConfigError if that cannot be."""
        if endpoint.startswith(ABSTRACT):
            socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())  # it has neither mode nor owner
        elif endpoint.startswith(IPC):
            self._listen_at(socket, endpoint)
            return
        if not endpoint.startswith(TCP):
            sockets.listen(socket, endpoint)
            return
        door = Door(socket, endpoint, self.failures, self.certificate, self.clients)
        try:
            sockets.listen(socket, endpoint)
        except ConfigError:
            door.close()
            raise
        _, port = host_and_port(socket.getsockopt_string(zmq.LAST_ENDPOINT))
        door.open(int(port))

    def connect(self, socket: Socket, endpoints: Sequence[str], control: str = "") -> Link:
        """Connect to endpoints, now or as soon as somebody listens there; raise ConfigError if one is none.

        ``control`` is the endpoint of a control socket of zmq.proxy_steerable(), which then ends for mend().
        """
        encrypted = [endpoint for endpoint in endpoints if self.certificate and endpoint.startswith(TCP)]
        keys = {endpoint: self.server_key(endpoint) for endpoint in encrypted}

        def connect(endpoint: str) -> None:
            self._connect(socket, endpoint, keys.get(endpoint))

        name = self.certificate.name if self.certificate else None
        link = Link(connect, endpoints, self.failures, name, control)
        if any(endpoint.startswith(TCP) for endpoint in endpoints):
            link.watch(socket)
        for endpoint in endpoints:
            connect(endpoint)
        return link

    def towards_itself(self) -> "Transport":
        """Return the transport of who connects to a daemon with the daemon's own configuration."""
        return replace(self, server=self.certificate.public) if self.certificate else self

    def server_key(self, endpoint: str) -> bytes:
        """Return the public key of who listens on an endpoint: the file HOST:PORT.key, or HOST.key of all ports."""
        if self.server is not None:
            return self.server
        host, port = host_and_port(endpoint)
        directory = self.servers or Path()
        path = directory / f"{host}:{port}.key"
        if not path.exists():
            path = directory / f"{host}.key"
        try:
            return read_public_key(path)
        except OSError as error:
            problem = f"cannot read {path}: {error.strerror}; copy the public key of {endpoint} there"
        except ValueError as error:
            problem = f"{path}: {error}"
        raise ConfigError(f"curve_servers_dir: {problem}")

    def _connect(self, socket: Socket, endpoint: str, server_key: bytes | None) -> None:
        socket.curve_server = False  # and with it, nothing is encrypted; each endpoint takes what is set now
        if self.certificate is not None and server_key is not None:
            socket.curve_publickey = self.certificate.public
            socket.curve_secretkey = self.certificate.secret
            socket.curve_serverkey = server_key
        sockets.connect(socket, endpoint)

    def _listen_at(self, socket: Socket, endpoint: str) -> None:
        listener = listen_at(Path(endpoint.removeprefix(IPC)), self.ipc)
        with listener:
            socket.setsockopt(zmq.USE_FD, listener.fileno())
            sockets.listen(socket, endpoint)
            listener.detach()  # it is closed with the socket
        socket.setsockopt(zmq.USE_FD, -1)


def transport_of(conf: cfg.ConfigOpts) -> Transport:
    """Return the transport of a daemon's configuration; raise ConfigError if a file of it cannot be used."""
    ipc = Ipc(conf.ipc_mode, *conf.ipc_owner) if "ipc_mode" in conf else Ipc()
    nats = login_of(conf)
    if any(is_nats(endpoint) for _, endpoint, _ in endpoints_of(conf)):
        nats.check()
    if not conf.curve_key_file:
        return Transport(ipc=ipc, nats=nats)
    certificate = read_certificate(Path(conf.curve_key_file))
    encrypted = [(endpoint, bound) for _, endpoint, bound in endpoints_of(conf) if endpoint.startswith(TCP)]
    listens = any(bound for _, bound in encrypted)
    clients = Clients(Path(conf.curve_clients_dir)) if listens else None
    servers = Path(conf.curve_servers_dir) if "curve_servers_dir" in conf else None
    transport = Transport(certificate, clients, servers, ipc=ipc, nats=nats)
    for endpoint, bound in encrypted:
        if not bound:
            transport.server_key(endpoint)  # or its thread would find out
    return transport
