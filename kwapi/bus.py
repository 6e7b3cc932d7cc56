"""The bus: Publisher and Subscriber, and the proxy that forwarders run. The only user of ZeroMQ.

A frame is one ZeroMQ part; its layout stands in signing.py. A subscription to ``lyon`` asks for the prefix ``lyon.``,
so that it takes all of Lyon and never ``lyonel``. Every socket is made and closed in the thread that uses it, except
the publisher's PUB socket, which all workers use behind its one lock.
"""

import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock

import msgspec
import zmq

from kwapi.errors import BadMessage, ConfigError
from kwapi.health import TOPIC, Health, decode_health, encode_health, health_topic
from kwapi.measurement import (
    RESERVED,
    VERSION,
    Measurement,
    Message,
    check_names,
    check_values,
    decode,
    encode,
    to_columns,
    topic_of,
)
from kwapi.signing import Key, KeyRing, sign

LOG = logging.getLogger(__name__)
OWN_TOPICS, HEALTH_TOPICS = RESERVED.encode(), TOPIC.encode()  # of Kwapi itself
QUEUE_MESSAGES = 20_000  # per connection and direction; 60 MB of 48-outlet PDUs
MAX_FRAME = 1 << 20  # bytes
HEARTBEAT = 5_000  # ms; a peer that is silent for three of them is reconnected, as after a pulled cable
MAX_BOOTS = 16  # remembered per wattmeter; older ones are guarded by max_age
POLL = 200  # ms until a stop is noticed


class Publisher:
    """Numbers, signs and sends what the workers of one process measure, and how its wattmeters are.

    It binds its endpoint; a process beside others connects to one that a Proxy has bound.
    """

    def __init__(self, endpoint: str, key: Key, *, boot: int | None = None, bind: bool = True) -> None:
        self.boot = time.time_ns() if boot is None else boot
        self._key = key
        self._seq: dict[bytes, int] = {}  # by topic
        self._lock = Lock()
        self._context = zmq.Context()
        self._socket = _socket(self._context, zmq.PUB)
        try:
            (_bind if bind else _connect)(self._socket, endpoint)
        except ConfigError:
            self.close()
            raise

    def sender(self, wattmeter: str, interval: float) -> "Sender":
        """Return the right to publish for a wattmeter, to be revoked when its worker is given up."""
        return Sender(self, wattmeter, interval)

    def tell(self, health: Health) -> None:
        """Send how a wattmeter is; boot and seq are ours."""
        topic = health_topic(health.wattmeter)
        with self._lock:
            if self._socket.closed:
                return
            seq = self._seq.get(topic, 0)
            numbered = msgspec.structs.replace(health, boot=self.boot, seq=seq)
            self._socket.send(sign(self._key, topic, encode_health(numbered)))
            self._seq[topic] = seq + 1

    def close(self) -> None:
        """Send what is queued, at most half a second long, and close the socket."""
        with self._lock:
            self._socket.close(linger=500)
        self._context.term()

    def _send(self, sender: "Sender", measurements: Sequence[Measurement], timestamp: float, monotonic: float) -> bool:
        columns = to_columns(measurements)
        with self._lock:
            if sender.revoked or self._socket.closed:
                return False
            seq = self._seq.get(sender.topic, 0)
            message = Message(
                version=VERSION,
                type="measurement",
                wattmeter=sender.wattmeter,
                boot=self.boot,
                seq=seq,
                timestamp=timestamp,
                monotonic=monotonic,
                interval=sender.interval,
                **columns,
            )
            check_values(message)
            self._socket.send(sign(self._key, sender.topic, encode(message)))
            self._seq[sender.topic] = seq + 1
        return True

    def _revoke(self, sender: "Sender") -> None:
        with self._lock:
            sender.revoked = True


class Sender:
    """One worker's right to publish. After revoke() has returned nothing more is sent through it."""

    def __init__(self, publisher: Publisher, wattmeter: str, interval: float) -> None:
        self.wattmeter = wattmeter
        self.interval = interval
        self.topic = topic_of(wattmeter)
        self.revoked = False
        self._publisher = publisher

    def publish(self, measurements: Sequence[Measurement], timestamp: float, monotonic: float) -> bool:
        """Send one poll; return False if the worker was given up. BadMessage means that the driver has a bug."""
        return self._publisher._send(self, measurements, timestamp, monotonic)

    def revoke(self) -> None:
        """Refuse everything from now on."""
        self._publisher._revoke(self)


@dataclass(slots=True)
class _Source:
    """What is known of the messages of one topic."""

    highest: dict[int, int] = field(default_factory=dict)  # seq by boot
    probes: list[str] | None = None  # the last names that were checked


class Gate:
    """Decides frame by frame what a subscriber believes; counts the rest by reason, the lost ones too."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        max_age: float = 600.0,
        max_skew: float = 60.0,
        health: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.accepted = 0
        self.lost = 0
        self.rejected: Counter[str] = Counter()
        self.skew: dict[str, float] = {}  # seconds that our clock is ahead of a wattmeter's timestamps
        self._keys = keys
        self._max_age = max_age
        self._max_skew = max_skew
        self._health = health
        self._clock = clock
        self._sources: dict[bytes, _Source] = {}

    def take(self, frame: bytes) -> Message | Health | None:
        """Return the message of a frame that is signed, new and well formed, None for any other bytes.

        Health messages too are taken by a gate that was made for them.
        """
        try:
            if len(frame) > MAX_FRAME:
                raise BadMessage("wrong size", f"{len(frame)} bytes")
            topic, payload = self._keys.verify(frame)
            if topic.startswith(OWN_TOPICS):
                wanted = self._health and topic.startswith(HEALTH_TOPICS)
                return self._check_health(topic, payload) if wanted else None
            message = self._check(topic, payload)
        except BadMessage as error:
            self._count(error)
            return None
        self.accepted += 1
        return message

    def counts(self) -> dict[str, object]:
        """Return what was accepted, lost and rejected, and how many seconds each wattmeter's clock is behind ours."""
        return {
            "accepted": self.accepted,
            "lost": self.lost,
            "rejected": dict(self.rejected),
            "skew": {name: round(seconds, 3) for name, seconds in self.skew.copy().items()},
        }

    def _count(self, error: BadMessage) -> None:
        """Count a drop, and log the first, the tenth, the hundredth ... of its reason."""
        self.rejected[error.reason] += 1
        count = self.rejected[error.reason]
        if count == 10 ** (len(str(count)) - 1):
            LOG.warning("%d messages dropped so far, the last one: %s", count, error)
            if error.reason == "unknown key":
                LOG.warning("is the file signing_key_file here the same as where kwapi-drivers runs?")

    def _check(self, topic: bytes, payload: bytes) -> Message:
        message = decode(payload)
        if topic != topic_of(message.wattmeter):
            raise BadMessage("wrong topic", f"{topic!r} for {message.wattmeter!r}")
        source = self._sources.get(topic) or _Source()
        if message.probes != source.probes:
            check_names(message)
        self.skew[message.wattmeter] = self._check_order(source, message)
        source.probes = message.probes
        self._sources[topic] = source
        return message

    def _check_health(self, topic: bytes, payload: bytes) -> Health:
        health = decode_health(payload)
        if topic != health_topic(health.wattmeter):
            raise BadMessage("wrong topic", f"{topic!r} for {health.wattmeter!r}")
        source = self._sources.get(topic) or _Source()
        self._check_order(source, health)
        self._sources[topic] = source
        return health

    def _check_order(self, source: _Source, message: Message | Health) -> float:
        """Return the message's age in seconds; raise BadMessage if it is a replay or too far from our time."""
        boot, seq = message.boot, message.seq
        age = self._clock() - message.timestamp
        highest = source.highest.get(boot)
        if highest is None:
            if age > self._max_age:
                raise BadMessage("too old", f"{age:.0f} s")
            if -age > self._max_skew:
                raise BadMessage("from the future", f"{-age:.0f} s")
            if len(source.highest) >= MAX_BOOTS:
                del source.highest[next(iter(source.highest))]
        elif seq <= highest:
            raise BadMessage("seen before", f"{message.wattmeter} {seq}")
        elif isinstance(message, Message):
            self.lost += seq - highest - 1
        source.highest[boot] = seq
        return age


class Subscriber:
    """Hands every believed message of some endpoints to a plugin, in order per wattmeter."""

    def __init__(self, endpoints: Sequence[str], wattmeters: Iterable[str], gate: Gate) -> None:
        self.gate = gate
        self._endpoints = endpoints
        self._names = list(wattmeters) or [""]

    def run(
        self, stop: Event, add: Callable[[Message], None] | None, add_health: Callable[[Health], None] | None = None
    ) -> None:
        """Receive until stop is set. Bad input never raises; what add() raises is a bug of the plugin and does.

        add_health() is given the health messages, if the gate takes them; without add() there are only these.
        """
        context = zmq.Context()
        socket = _socket(context, zmq.SUB)
        try:
            for name in self._names:
                if add is not None:
                    socket.subscribe(topic_of(name) if name else b"")
                if add_health is not None:
                    socket.subscribe(health_topic(name))
            for endpoint in self._endpoints:
                _connect(socket, endpoint)
            while not stop.is_set():
                if socket.poll(POLL):
                    self._drain(socket, stop, add, add_health)
        finally:
            socket.close(linger=0)
            context.term()

    def _drain(
        self,
        socket: "zmq.Socket[bytes]",
        stop: Event,
        add: Callable[[Message], None] | None,
        add_health: Callable[[Health], None] | None,
    ) -> None:
        """Take what has come, without asking poll() for each: that call costs more than the message."""
        while not stop.is_set():
            try:
                frame = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            # Should somebody send several parts, each is judged as a frame of its own.
            taken = self.gate.take(frame)
            if isinstance(taken, Message):
                if add is not None:
                    add(taken)
            elif taken is not None and add_health is not None:
                add_health(taken)


class Proxy:
    """Passes messages downstream and subscriptions upstream, in C.

    libzmq merges equal subscriptions, so what nobody watches does not travel and what several watch travels once.
    """

    def __init__(self, upstream: Sequence[str], downstream: str, *, bind_upstream: bool = False) -> None:
        self._upstream = upstream
        self._downstream = downstream
        self._bind_upstream = bind_upstream  # publishers connect to us
        self._context = zmq.Context()

    def run(self, ready: Callable[[], None]) -> None:
        """Pass until stop() is called from another thread; ready() is called once the endpoint is bound."""
        front, back = _socket(self._context, zmq.XPUB), _socket(self._context, zmq.XSUB)
        try:
            _bind(front, self._downstream)
            for endpoint in self._upstream:
                (_bind if self._bind_upstream else _connect)(back, endpoint)
            ready()
            zmq.proxy(front, back)
        except zmq.ContextTerminated:
            LOG.debug("the proxy was asked to stop")
        finally:
            front.close(linger=0)
            back.close(linger=0)

    def stop(self) -> None:
        """End run(); returns when its sockets are closed."""
        self._context.term()


def _socket(context: "zmq.Context[zmq.Socket[bytes]]", kind: int) -> "zmq.Socket[bytes]":
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


def _bind(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"cannot listen on the endpoint {endpoint}: {os.strerror(error.errno or 0)}") from error


def _connect(socket: "zmq.Socket[bytes]", endpoint: str) -> None:
    try:
        socket.connect(endpoint)
    except zmq.ZMQError as error:
        raise ConfigError(f"cannot connect to the endpoint {endpoint}: {os.strerror(error.errno or 0)}") from error
