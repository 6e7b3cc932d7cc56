"""The bus: Publisher and Subscriber, and the proxy that forwarders run.

A frame is one ZeroMQ part; its layout stands in signing.py. A subscription to ``lyon`` asks for the prefix ``lyon.``,
so that it takes all of Lyon and never ``lyonel``. Every socket is made and closed in the thread that uses it, except
the publisher's PUB socket, which all workers use behind its one lock.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from kwapi.replay import Client
from kwapi.signing import Key, KeyRing, sign
from kwapi.sockets import MAX_FRAME, POLL, connect, listen, open_socket
from kwapi.streams import Answer, Ask, Streams, Verdict

LOG = logging.getLogger(__name__)
OWN_TOPICS, HEALTH_TOPICS = RESERVED.encode(), TOPIC.encode()  # of Kwapi itself
SUBSCRIBE = b"\1"  # begins a subscription on its way upstream, and b"\0" its end
CAPTURE = "inproc://capture"
DRAINED = 1000  # messages taken before the spools' answers are looked at
CATCHING_UP = 20  # ms until spools are asked again, while something is missing


class Publisher:
    """Numbers, signs and sends what the workers of one process measure, and how its wattmeters are.

    It binds its endpoint; a process beside others connects to one that a Proxy has bound.
    """

    def __init__(
        self,
        endpoint: str,
        key: Key,
        *,
        boot: int | None = None,
        bind: bool = True,
        keep: Callable[[bytes], None] | None = None,
    ) -> None:
        """``keep`` is given each frame of measurements, and must not wait."""
        self._keep = keep
        self.boot = time.time_ns() if boot is None else boot
        self._key = key
        self._seq: dict[bytes, int] = {}  # by topic
        self._lock = Lock()
        self._context = zmq.Context()
        self._socket = open_socket(self._context, zmq.PUB)
        try:
            (listen if bind else connect)(self._socket, endpoint)
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
            frame = sign(self._key, sender.topic, encode(message))
            self._socket.send(frame)
            if self._keep is not None:
                self._keep(frame)
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


class Gate:
    """Decides frame by frame what a subscriber believes; counts the rest by reason, the lost ones too."""

    def __init__(
        self,
        keys: KeyRing,
        *,
        max_age: float = 600.0,
        max_skew: float = 60.0,
        health: bool = False,
        streams: Streams | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.streams = streams or Streams()
        self.accepted = 0
        self.rejected: Counter[str] = Counter()
        self.skew: dict[str, float] = {}  # seconds that our clock is ahead of a wattmeter's timestamps
        self._keys = keys
        self._max_age = max_age
        self._max_skew = max_skew
        self._health = health
        self._clock = clock
        self._health_streams = Streams()
        self._probes: dict[bytes, list[str]] = {}  # the last names that were checked, by topic

    @property
    def lost(self) -> int:
        """Return how many messages are known to be lost."""
        return sum(account.lost for account in self.streams.accounts().values())

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
            self.skew[message.wattmeter] = age = self._clock() - message.timestamp
            if not self._meet(self.streams, topic, message, age):
                return None
        except BadMessage as error:
            self._count(error)
            return None
        self.accepted += 1
        return message

    def believe(self, frame: bytes, ask: Ask) -> Message | None:
        """Return the message of a frame that was asked for, if it is signed and well formed."""
        try:
            if len(frame) > MAX_FRAME:
                raise BadMessage("wrong size", f"{len(frame)} bytes")
            topic, payload = self._keys.verify(frame)
            message = self._check(topic, payload)
            if (topic, message.boot) != (ask.topic, ask.boot):
                raise BadMessage("not asked for", f"{message.wattmeter} {message.seq}")
        except BadMessage as error:
            self._count(error)
            return None
        return message

    def take_again(self, message: Message, ask: Ask) -> bool:
        """Return whether a message that is believed is the next one."""
        is_next = self.streams.repair(ask, message.seq)
        self.accepted += is_next
        return is_next

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
        """Return the message of a payload that is well formed and speaks for its topic."""
        message = decode(payload)
        if topic != topic_of(message.wattmeter):
            raise BadMessage("wrong topic", f"{topic!r} for {message.wattmeter!r}")
        if message.probes != self._probes.get(topic):
            check_names(message)
            self._probes[topic] = message.probes
        return message

    def _check_health(self, topic: bytes, payload: bytes) -> Health | None:
        health = decode_health(payload)
        if topic != health_topic(health.wattmeter):
            raise BadMessage("wrong topic", f"{topic!r} for {health.wattmeter!r}")
        return health if self._meet(self._health_streams, topic, health, self._clock() - health.timestamp) else None

    def _meet(self, streams: Streams, topic: bytes, message: Message | Health, age: float) -> bool:
        """Return whether a message is to be taken now; raise BadMessage if it is a replay or too far from our time."""
        boot, seq = message.boot, message.seq
        if not streams.knows(topic, boot):
            if age > self._max_age:
                raise BadMessage("too old", f"{age:.0f} s")
            if -age > self._max_skew:
                raise BadMessage("from the future", f"{-age:.0f} s")
        verdict = streams.meet(topic, boot, seq)
        if verdict is Verdict.SEEN:
            raise BadMessage("seen before", f"{message.wattmeter} {seq}")
        return verdict is Verdict.TAKE


class Subscriber:
    """Hands every believed message of some endpoints to a plugin, in order per wattmeter.

    What is missing is asked for at the spools, those of the gate's streams; they are told their endpoints here.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        wattmeters: Iterable[str],
        gate: Gate,
        *,
        spools: Sequence[str] = (),
        since: float | None = None,
    ) -> None:
        """Subscribe to wattmeters; given a time, what the spools have since then is asked for as well."""
        self.gate = gate
        self._endpoints = endpoints
        self._names = list(wattmeters) or [""]
        self._spools = spools
        self._since = since

    def run(
        self, stop: Event, add: Callable[[Message], None] | None, add_health: Callable[[Health], None] | None = None
    ) -> None:
        """Receive until stop is set. Bad input never raises; what add() raises is a bug of the plugin and does.

        add_health() is given the health messages, if the gate takes them; without add() there are only these.
        """
        context = zmq.Context()
        socket = open_socket(context, zmq.SUB)
        client = Client(context, self._spools if add is not None else (), self.gate.streams)
        try:
            for name in self._names:
                if add is not None:
                    socket.subscribe(topic_of(name) if name else b"")
                if add_health is not None:
                    socket.subscribe(health_topic(name))
            for endpoint in self._endpoints:
                connect(socket, endpoint)
            if self._since is not None:
                client.search([topic_of(name) if name else b"" for name in self._names], self._since)
            poller = zmq.Poller()
            for each in (socket, *client.sockets):
                poller.register(each, zmq.POLLIN)
            while not stop.is_set():
                poller.poll(CATCHING_UP if self.gate.streams.behind() else POLL)
                self._drain(socket, stop, add, add_health)
                if add is not None and client.sockets:
                    self._repair(client, add)
                    client.ask()
        finally:
            client.close()
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
        for _ in range(DRAINED):
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
            if stop.is_set():
                return

    def _repair(self, client: Client, add: Callable[[Message], None]) -> None:
        """Take what the spools have answered. A frame that is not believed is as good as none, whatever its number."""
        for ask, said, frames in client.answers():
            due, has = ask.first, None
            for frame in frames:
                if (message := self.gate.believe(frame, ask)) is None:
                    continue
                if not self.gate.take_again(message, ask):
                    has = message.seq if message.seq > due else None
                    break
                add(message)
                due += 1
            if has is None and due > ask.first and said.end is not None and said.end >= due:
                has = due
            self.gate.streams.answer(ask, Answer(has, said.end, said.boots))


class Proxy:
    """Passes messages downstream and subscriptions upstream, in C.

    libzmq merges equal subscriptions, so what nobody watches does not travel and what several watch travels once.
    """

    def __init__(
        self,
        upstream: Sequence[str],
        downstream: str,
        *,
        bind_upstream: bool = False,
        keep: Callable[[bytes], None] | None = None,
        kept: Sequence[str] = ("",),
    ) -> None:
        """``keep`` is given each frame of measurements that passes, and ``kept`` is subscribed to for it."""
        self._upstream = upstream
        self._downstream = downstream
        self._bind_upstream = bind_upstream  # publishers connect to us
        self._keep = keep
        self._kept = kept
        self._context = zmq.Context()

    def run(self, ready: Callable[[], None]) -> None:
        """Pass until stop() is called from another thread; ready() is called once the endpoint is bound."""
        front, back = open_socket(self._context, zmq.XPUB), open_socket(self._context, zmq.XSUB)
        capture = open_socket(self._context, zmq.PUB) if self._keep is not None else None
        try:
            if capture is not None:
                capture.bind(CAPTURE)
            listen(front, self._downstream)
            for endpoint in self._upstream:
                (listen if self._bind_upstream else connect)(back, endpoint)
            if capture is not None:
                for name in self._kept:
                    back.send(SUBSCRIBE + (topic_of(name) if name else b""))
            ready()
            zmq.proxy(front, back, capture)
        except zmq.ContextTerminated:
            LOG.debug("the proxy was asked to stop")
        finally:
            for socket in (front, back, capture):
                if socket is not None:
                    socket.close(linger=0)

    def capture(self) -> None:
        """Hand what passes to ``keep`` until stop() is called. What is too much for it is dropped, and passes."""
        if self._keep is None:
            return
        socket = open_socket(self._context, zmq.SUB)
        try:
            socket.subscribe(b"")
            socket.connect(CAPTURE)
            while True:
                frame = socket.recv()
                if frame[:1] > SUBSCRIBE and not frame.startswith(OWN_TOPICS):  # the rest are subscriptions that pass
                    self._keep(frame)
        except zmq.ContextTerminated:
            LOG.debug("the proxy was asked to stop")
        finally:
            socket.close(linger=0)

    def stop(self) -> None:
        """End run() and capture(); returns when their sockets are closed."""
        self._context.term()
