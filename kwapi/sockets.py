"""ZeroMQ sockets as Kwapi has them: bounded queues and messages, heartbeats, IPv6."""

import ctypes
import os
from collections.abc import Callable
from importlib import import_module

import zmq

from kwapi.errors import ConfigError

QUEUE_MESSAGES = 20_000  # per connection and direction; 60 MB of 48-outlet PDUs
MAX_FRAME = 1 << 20  # bytes
HEARTBEAT = 5_000  # ms; a peer that is silent for three of them is reconnected, as after a pulled cable
POLL = 200  # ms until a stop is noticed


def open_socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
    """Return a socket with the bounds and heartbeats that all of ours have."""
    socket = context.socket(kind)
    socket.setsockopt(zmq.SNDHWM, QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, QUEUE_MESSAGES)
    socket.setsockopt(zmq.MAXMSGSIZE, MAX_FRAME)
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.RECONNECT_IVL, 100)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, 5_000)
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, 3 * HEARTBEAT)
    return socket


def listen(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Listen on an endpoint; raise ConfigError if that cannot be."""
    _spare_heartbeats(socket, endpoint)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"cannot listen on the endpoint {endpoint}: {os.strerror(error.errno or 0)}") from error


def connect(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Connect to an endpoint, now or as soon as somebody listens there; raise ConfigError if it is none."""
    _spare_heartbeats(socket, endpoint)
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"cannot connect to the endpoint {endpoint}: {os.strerror(error.errno or 0)}") from error


def quick_send(socket: "zmq.Socket[bytes]") -> Callable[[bytes], object]:
    """Return what sends on a socket that never waits, as PUB does, and keeps Python's lock meanwhile.

    pyzmq gives it away for each message. Threads that publish behind a lock of their own then find that taken, and
    wake each other for nothing: twice the CPU (bench/README.md). Who sends sees to it that the socket is open.
    """
    try:
        library = ctypes.PyDLL(import_module("zmq.backend.cython._zmq").__file__)  # or what that was linked with
        send = library.zmq_send
    except (ImportError, OSError, AttributeError):  # pyzmq of another make
        return socket.send
    send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    handle = socket.underlying

    def send_now(frame: bytes) -> None:
        if send(handle, frame, len(frame), zmq.NOBLOCK) < 0:
            socket.send(frame)  # which tries again after a signal, and raises what is wrong

    return send_now


def _spare_heartbeats(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Leave out heartbeats on this machine: a peer that ends is noticed, and one that is stopped for long goes on.

    To connect anew would lose what is on its way, and no spool has that of a worker process.
    """
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0 if endpoint.startswith("ipc://") else HEARTBEAT)
