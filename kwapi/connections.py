"""What becomes of the connections of a socket, as ZeroMQ's monitor tells it, and who is let in where clients have keys.

Each socket that is watched has a thread for that, which ends with the socket or its context.
"""

import logging
import os
import socket as sockets
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from threading import Thread

import zmq
from zmq.utils import z85
from zmq.utils.monitor import parse_monitor_message

from kwapi.certificates import LOOK, Certificate, Clients
from kwapi.endpoints import addresses_of

LOG = logging.getLogger(__name__)
Context = zmq.Context["zmq.Socket[bytes]"]
Socket = zmq.Socket[bytes]

ZAP = "inproc://zeromq.zap.01"  # where libzmq asks, ZeroMQ RFC 27
DOMAIN = b"kwapi"
REFUSED, FAILED = "refused", "failed handshake"  # what is counted
FAILURES = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
EVENTS = FAILURES | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_MONITOR_STOPPED
TRIES = zmq.EVENT_CONNECT_RETRIED | zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECTED
MISMATCH = 0x11000002  # ZMQ_PROTOCOL_ERROR_ZMTP_MECHANISM_MISMATCH: one side encrypts
RETRY = 2.0  # seconds until a connection that ZeroMQ has given up is made again
LOOK_MS = int(LOOK * 1000)
TOLD = 1000  # addresses that are remembered to have been told of


class Door:
    """Watches who connects to a socket that listens; with a certificate, lets in whose key is known."""

    def __init__(
        self,
        socket: Socket,
        endpoint: str,
        failures: "Counter[str]",
        certificate: Certificate | None = None,
        clients: Clients | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._failures = failures
        self._certificate = certificate
        self._clients = clients
        self._removals = clients.removals if clients else 0
        self._told: set[str] = set()
        self._opened = ExitStack()
        self._zap: Socket | None = None
        if certificate is not None:
            self._zap = socket.context.socket(zmq.REP)
            self._opened.callback(self._zap.close, linger=0)
            self._zap.bind(ZAP)  # before the socket listens: without somebody here libzmq lets everybody in
            socket.curve_server = True
            socket.curve_secretkey = certificate.secret
            socket.zap_domain = DOMAIN
            socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # and with this nobody
        self._monitor = _monitor(socket, EVENTS)
        self._opened.callback(self._monitor.close, linger=0)

    def open(self, port: int) -> None:
        """Begin, now that the socket listens at a port."""
        Thread(target=self._watch, args=(port,), name="door", daemon=True).start()

    def close(self) -> None:
        """Give up before the beginning."""
        self._opened.close()

    def _watch(self, port: int) -> None:
        poller = zmq.Poller()
        poller.register(self._monitor, zmq.POLLIN)
        if self._zap is not None:
            poller.register(self._zap, zmq.POLLIN)
        with self._opened:
            try:
                while self._look(dict(poller.poll(None if self._clients is None else LOOK_MS)), port):
                    pass
            except zmq.ContextTerminated:
                LOG.debug("nobody listens at %s any more", self._endpoint)

    def _look(self, ready: dict[Socket, int], port: int) -> bool:
        """Do what there is to do; return whether there may be more."""
        if self._zap in ready and self._zap is not None:
            self._zap.send_multipart(self._judge(self._zap.recv_multipart()))
        if self._clients is not None:
            self._clients.look()
            if self._removals != self._clients.removals:
                self._removals = self._clients.removals
                count = end_connections(port)
                LOG.info("%d connections to %s ended; who still may is back at once", count, self._endpoint)
        if self._monitor not in ready:
            return True
        happened, value, _ = _event(self._monitor)
        if happened & FAILURES:
            self._failures[FAILED] += 1
            if (self._certificate or value == MISMATCH) and FAILED not in self._told:  # or it broke off
                self._told.add(FAILED)
                text = "it encrypts, and curve_key_file is not set here"
                if self._certificate:
                    text = f"it does not encrypt, or has another key for us than {self._certificate.name}.key"
                LOG.warning("a connection to %s failed: %s", self._endpoint, text)
        return happened != zmq.EVENT_MONITOR_STOPPED

    def _judge(self, request: list[bytes]) -> list[bytes]:
        """Return the answer to libzmq's question whether somebody may connect."""
        version, number, _, came_from, _, _, *credentials = request
        address = came_from.decode().removeprefix("::ffff:")
        key = z85.encode(credentials[0]) if len(credentials) == 1 else b""
        if (name := self._name_of(key)) is not None:
            self._told.discard(address)
            return [version, number, b"200", b"OK", name.encode(errors="replace"), b""]
        self._failures[REFUSED] += 1
        if self._clients is not None and address not in self._told and len(self._told) < TOLD:
            self._told.add(address)
            text = "%s is refused at %s: its public key %s is in no file NAME.key of %s"
            LOG.warning(text, address, self._endpoint, key.decode(), self._clients.directory)
        return [version, number, b"400", b"not allowed", b"", b""]

    def _name_of(self, key: bytes) -> str | None:
        """Return the name of who has a public key; whoever has our own, such as kwapi status, is let in."""
        if self._certificate is not None and key == self._certificate.public:
            return self._certificate.name
        return None if self._clients is None else self._clients.name_of(key)


class Link:
    """The connections of a socket to some endpoints.

    ZeroMQ gives a connection up for ever when it was refused or what came was no ZMTP of its kind; mend() makes it
    again. Who does not come to call it, since it runs zmq.proxy_steerable(), is woken through its control socket.
    """

    def __init__(
        self,
        connect: Callable[[str], None],
        endpoints: Sequence[str],
        failures: "Counter[str]",
        name: str | None,
        control: str = "",
    ) -> None:
        """``name`` is that of our certificate, if we encrypt."""
        self._connect = connect
        self._endpoints = endpoints
        self._failures = failures
        self._name = name
        self._control = control
        self._given_up: SimpleQueue[str] = SimpleQueue()
        self._told: set[str] = set()
        self._socket: Socket | None = None

    def watch(self, socket: Socket) -> None:
        """Begin, before the socket connects."""
        self._socket = socket
        monitor = _monitor(socket, EVENTS | TRIES | zmq.EVENT_DISCONNECTED)
        Thread(target=self._watch, args=(monitor,), name="link", daemon=True).start()

    def mend(self) -> None:
        """Connect again where ZeroMQ does not; called by the socket's own thread."""
        while self._socket is not None and not self._given_up.empty():
            endpoint = self._given_up.get()
            try:
                self._socket.disconnect(endpoint)
            except zmq.ZMQError as error:
                LOG.debug("there is no connection to %s: %s", endpoint, error)
            self._connect(endpoint)

    def _watch(self, monitor: Socket) -> None:
        ended: dict[str, float] = {}  # by endpoint, and when: what ZeroMQ has not tried to connect again so far
        with ExitStack() as opened:
            opened.callback(monitor.close, linger=0)
            control = monitor.context.socket(zmq.PAIR) if self._control else None
            if control is not None:
                opened.callback(control.close, linger=0)
            try:
                if control is not None:
                    control.connect(self._control)
                while True:
                    if monitor.poll(int(RETRY * 1000) if ended else None):
                        happened, value, place = _event(monitor)
                        if happened == zmq.EVENT_MONITOR_STOPPED:
                            return
                        endpoint = self._ours(place)
                        self._tell(happened, value, endpoint)
                        if happened == zmq.EVENT_DISCONNECTED:
                            ended[endpoint] = time.monotonic()
                        elif happened & TRIES:
                            ended.pop(endpoint, None)
                    for endpoint in [each for each, at in ended.items() if time.monotonic() - at >= RETRY]:
                        del ended[endpoint]
                        self._given_up.put(endpoint)
                        if control is not None:
                            control.send(b"TERMINATE")
            except zmq.ContextTerminated:
                LOG.debug("the connections are given up")

    def _ours(self, place: str) -> str:
        """Return the endpoint of ours that ZeroMQ speaks of: it names some by the address that it has connected to."""
        if place in self._endpoints:
            return place
        if len(self._endpoints) == 1:
            return self._endpoints[0]
        meant = addresses_of(place)
        return next((endpoint for endpoint in self._endpoints if meant & addresses_of(endpoint)), place)

    def _tell(self, happened: int, value: int, endpoint: str) -> None:
        """Log once what is wrong with a connection, and that it is well again."""
        if happened == zmq.EVENT_HANDSHAKE_SUCCEEDED:
            if endpoint in self._told:
                self._told.remove(endpoint)
                LOG.info("connected to %s", endpoint)
            return
        if happened == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            reason, text = REFUSED, f"it refuses our key; copy {self._name}.key into its curve_clients_dir"
        elif happened & FAILURES and self._name is None:
            if value != MISMATCH:  # it broke off, as where a server is stopped
                return
            reason, text = FAILED, "it encrypts; set curve_key_file here"
        elif happened & FAILURES:
            reason, text = FAILED, "it does not encrypt, or the key in curve_servers_dir is not its public key"
        else:
            return
        self._failures[reason] += 1
        if endpoint not in self._told:
            self._told.add(endpoint)
            LOG.warning("cannot connect to %s: %s", endpoint, text)


def end_connections(port: int) -> int:
    """End each connection that this process has accepted at a TCP port; return how many.

    The descriptors are those of libzmq, which finds them closed by the other side, and closes them. They are not
    duplicated to look at them: closing a duplicate of what has become a file meanwhile would end the file's locks.
    """
    ended = 0
    for descriptor in [int(name) for name in os.listdir("/proc/self/fd")]:
        try:
            connection = sockets.socket(fileno=descriptor)
        except OSError:  # it is no socket, or closed
            continue
        try:
            if connection.type == sockets.SOCK_STREAM and connection.family in (sockets.AF_INET, sockets.AF_INET6):
                connection.getpeername()  # what listens has none
                if connection.getsockname()[1] == port:
                    connection.shutdown(sockets.SHUT_RDWR)
                    ended += 1
        except OSError as error:
            LOG.debug("not a connection: %s", error)
        finally:
            connection.detach()
    return ended


def _monitor(socket: Socket, events: int) -> Socket:
    """Return a socket that tells what happens to another one."""
    address = f"inproc://monitor-{socket.underlying}"
    socket.monitor(address, events)
    monitor: Socket = socket.context.socket(zmq.PAIR)
    monitor.connect(address)
    return monitor


def _event(monitor: Socket) -> tuple[int, int, str]:
    """Return what has happened, its value, and where."""
    told = parse_monitor_message(monitor.recv_multipart())
    return int(told["event"]), int(told["value"]), told["endpoint"].decode()
