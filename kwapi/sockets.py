"""ZeroMQ sockets as Kwapi has them: bounded queues and messages, heartbeats, IPv6."""

import ctypes
import os
import sys
from collections.abc import Callable
from errno import EINTR
from importlib import import_module
from threading import Lock
from typing import Any

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


def quick_send(socket: "zmq.Socket[bytes]") -> Callable[[bytes], None]:
    """Return what sends on a socket that never waits, as PUB does, for any thread; who sends sees that it is open.

    Python's lock is kept meanwhile, so that no other is needed. pyzmq gives it away for each message: threads that
    publish behind a lock of their own then find that taken, and wake each other for nothing (docs/adr/0018).
    """
    try:
        send = ctypes.PyDLL(import_module("zmq.backend.cython._zmq").__file__, use_errno=True).zmq_send
    except (ImportError, OSError, AttributeError):  # pyzmq of another make
        return _send_in_turn(socket)
    is_python_locked = getattr(sys, "_is_gil_enabled", lambda: True)
    return _send_by(socket, send) if is_python_locked() else _send_in_turn(socket)


def _send_by(socket: "zmq.Socket[bytes]", send: Any) -> Callable[[bytes], None]:
    """Return what sends by libzmq's zmq_send()."""
    send.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int]
    handle = socket.underlying

    def send_now(frame: bytes) -> None:
        while send(handle, frame, len(frame), zmq.NOBLOCK) < 0:
            if (number := ctypes.get_errno()) != EINTR:
                raise zmq.ZMQError(number)

    return send_now


def _send_in_turn(socket: "zmq.Socket[bytes]") -> Callable[[bytes], None]:
    """Return what sends by pyzmq, one thread after the other."""
    lock = Lock()

    def send_next(frame: bytes) -> None:
        with lock:
            socket.send(frame)

    return send_next


def _spare_heartbeats(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    """Leave out heartbeats on this machine: a peer that ends is noticed, and one that is stopped for long goes on.

    To connect anew would lose what is on its way, and no spool has that of a worker process.
    """
    socket.setsockopt(zmq.HEARTBEAT_IVL, 0 if endpoint.startswith("ipc://") else HEARTBEAT)
