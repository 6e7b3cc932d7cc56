"""The bus: Publisher and Subscriber.

A frame is one ZeroMQ part; its layout stands in signing.py. A subscription to ``lyon`` asks for the prefix ``lyon.``,
so that it takes all of Lyon and never ``lyonel``. Every socket is made and closed in the thread that uses it, except
the publisher's PUB socket, on which all workers send (quick_send). None of them waits for another (docs/adr/0018).
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec
import zmq

from kwapi.endpoints import is_nats
from kwapi.errors import ConfigError, NoKey
from kwapi.gate import OWN_TOPICS, Early, Gate
from kwapi.health import Health, encode_health, health_topic
from kwapi.measurement import (
    END,
    MEASUREMENT,
    VERSION,
    Layout,
    Measurement,
    Message,
    check_columns,
    encode,
    to_columns,
    topic_of,
)
from kwapi.nats.opening import new_reading, new_uplink
from kwapi.replay import Client
from kwapi.signing import Key, KeyRing, sign
from kwapi.silence import Silence
from kwapi.sockets import POLL, open_socket, quick_send
from kwapi.spool.store import Spool
from kwapi.stream import Answer
from kwapi.streams import Standing
from kwapi.transport import Transport

if TYPE_CHECKING:
    from kwapi.nats.reading import Reading
    from kwapi.nats.uplink import Uplink

LOG = logging.getLogger(__name__)
DRAINED = 1000  # messages taken before the spools' answers are looked at
LINGER = 500  # ms
TERM = 3.0  # seconds until a context that does not end is left
Take = Callable[[Message], None]
CATCHING_UP = 20  # ms until spools are asked again, while something is missing


class Out(Protocol):
    """Where a publisher sends: a ZeroMQ socket, or what stores at NATS servers."""

    def send(self, frame: bytes, /) -> object: ...
    def close(self, linger: int, /) -> None: ...


@dataclass(slots=True)
class _Line:
    """What is sent under one topic, one after the other: who sends holds the lock."""

    topic: bytes
    is_closed: bool
    next: int = 0  # seq; what was before is sent
    lock: Lock = field(default_factory=Lock)


class Publisher:
    """Numbers, signs and sends what the workers of one process measure, and how its wattmeters are.

    It binds its endpoint; a process beside others connects to one that a Proxy has bound.
    """

    def __init__(
        self,
        endpoint: str,
        keys: KeyRing | Key,
        *,
        boot: int | None = None,
        bind: bool = True,
        keep: Callable[[bytes, int, int, float, bytes], None] | None = None,
        spool: Spool | None = None,
        transport: Transport | None = None,
    ) -> None:
        """``keep`` is given (topic, boot, seq, timestamp, frame) of measurements, and must not wait. A key signs all.

        NATS servers are connected to; what waits for them in a ``spool``, which keep() fills, outlives us.
        """
        transport = transport or Transport()
        self._keep = keep
        self.boot = time.time_ns() if boot is None else boot
        self._keys = KeyRing([keys]) if isinstance(keys, Key) else keys
        self._lines: dict[bytes, _Line] = {}  # by topic
        self._lock = Lock()  # of which lines there are
        self._is_closed = False
        self._context = zmq.Context()
        self._socket: Out
        self._send_frame: Callable[[bytes], object]
        self.uplink: Uplink | None = None
        if is_nats(endpoint):
            self._socket = self.uplink = new_uplink(endpoint, transport, spool)
            self._send_frame = self.uplink.send
            return
        self._socket = socket = open_socket(self._context, zmq.PUB)
        self._send_frame = quick_send(socket)
        try:
            if bind:
                transport.listen(socket, endpoint)
            else:
                transport.connect(socket, [endpoint])
        except ConfigError:
            self.close()
            raise

    def sender(self, wattmeter: str, interval: float) -> "Sender":
        """Return the right to publish for a wattmeter, to be revoked when its worker is given up."""
        return Sender(self, self._line(topic_of(wattmeter)), wattmeter, interval)

    def tell(self, health: Health) -> None:
        """Send how a wattmeter is; boot, seq and the last measurement's are ours."""
        line, topic = self._line(health_topic(health.wattmeter)), topic_of(health.wattmeter)
        self._keys.look()
        with line.lock:
            if line.is_closed:
                return
            sent = self._line(topic).next
            numbered = msgspec.structs.replace(
                health, boot=self.boot, seq=line.next, last_seq=sent - 1 if sent else None
            )
            line.next += 1
            try:
                key = self._keys.newest(topic, health.timestamp)
            except NoKey as error:
                LOG.debug("not told how %s is: %s", health.wattmeter, error)
            else:
                self._send_frame(sign(key, line.topic, encode_health(numbered)))

    def close(self) -> None:
        """Say of each wattmeter that nothing more comes, send what is queued, at most half a second long, and close."""
        with self._lock:
            self._is_closed = True
            lines = list(self._lines.values())
        try:
            for line in lines:
                with line.lock:
                    is_open, line.is_closed = not line.is_closed, True
                    if is_open and line.next and not line.topic.startswith(OWN_TOPICS):
                        self._end(line)
        finally:
            for line in lines:
                with line.lock:
                    line.is_closed = True
            self._socket.close(LINGER)
        # Once in a great while libzmq waits for ever here, if the other side goes in the same moment.
        term = Thread(target=self._context.term, name="end of ZeroMQ", daemon=True)
        term.start()
        term.join(TERM)

    def _send(self, sender: "Sender", measurements: Sequence[Measurement], timestamp: float, monotonic: float) -> bool:
        columns = to_columns(measurements)
        probes, level, layout = columns["probes"], columns.get("level"), sender.layout
        if layout is None or (layout.probes, layout.level) != (probes, level):
            sender.layout = layout = Layout.of(probes, level)
        self._keys.look()  # not under the lock: a disk may be slow
        line = sender.line
        with line.lock:
            if sender.revoked or line.is_closed:
                return False
            message = Message(
                version=VERSION,
                type=MEASUREMENT,
                wattmeter=sender.wattmeter,
                boot=self.boot,
                seq=line.next,
                timestamp=timestamp,
                monotonic=monotonic,
                interval=sender.interval,
                **columns,
            )
            check_columns(message)
            try:
                self._pass_on(line.topic, message, layout)
            finally:
                line.next += 1  # also of what nobody can sign: it is missed then, and counts as lost
        return True

    def _line(self, topic: bytes) -> _Line:
        if (line := self._lines.get(topic)) is None:
            with self._lock:
                line = self._lines.setdefault(topic, _Line(topic, self._is_closed))
        return line

    def _end(self, line: _Line) -> None:
        message = Message(
            version=VERSION,
            type=END,
            wattmeter=line.topic[:-1].decode(),
            boot=self.boot,
            seq=line.next,
            timestamp=time.time(),
            monotonic=time.monotonic(),
            interval=1.0,
            probes=[],
        )
        with suppress(NoKey):
            self._pass_on(line.topic, message)

    def _pass_on(self, topic: bytes, message: Message, layout: Layout | None = None) -> None:
        frame = sign(self._keys.newest(topic, message.timestamp), topic, encode(message, layout))
        self._send_frame(frame)
        if self._keep is not None:
            self._keep(topic, message.boot, message.seq, message.timestamp, frame)


class Sender:
    """One worker's right to publish. After revoke() has returned nothing more is sent through it."""

    def __init__(self, publisher: Publisher, line: _Line, wattmeter: str, interval: float) -> None:
        self.wattmeter = wattmeter
        self.interval = interval
        self.line = line
        self.revoked = False
        self.layout: Layout | None = None  # of the last poll
        self._publisher = publisher

    def publish(self, measurements: Sequence[Measurement], timestamp: float, monotonic: float) -> bool:
        """Send one poll; return False if the worker was given up. BadMessage means that the driver has a bug.

        NoKey means that no key may sign it: it is not sent, and has a number all the same.
        """
        return self._publisher._send(self, measurements, timestamp, monotonic)

    def revoke(self) -> None:
        """Refuse everything from now on."""
        with self.line.lock:
            self.revoked = True


class _Take(NamedTuple):
    """Who takes what of a subscriber: what is next, what is next and comes late, what comes early, and health."""

    next: Take | None
    late: Take | None
    early: Take | None
    health: Callable[[Health], None] | None


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
        transport: Transport | None = None,
    ) -> None:
        """Subscribe to wattmeters; given a time, what the spools have since then is asked for as well."""
        self.gate = gate
        self._endpoints = [endpoint for endpoint in endpoints if not is_nats(endpoint)]
        self._names = list(wattmeters) or [""]
        self._spools = spools
        self._since = since
        self._transport = transport or Transport()
        nats = [endpoint for endpoint in endpoints if is_nats(endpoint)]
        self.reading = new_reading(nats, self._transport, gate.streams) if nats else None

    def counts(self) -> dict[str, object]:
        """Return what the gate counts, and by reason how many connections did not come about."""
        return {**self.gate.counts(), "connections_failed": dict(self._transport.failures)}

    def standing(self) -> Standing:
        """Return up to where all was given; for any thread but that of run()."""
        return self.reading.standing() if self.reading is not None else Standing(self.gate.streams.standings(), {})

    def is_behind(self) -> bool:
        """Return whether some of what was missed is still to come."""
        return self.gate.streams.behind() > 0 or (self.reading is not None and self.reading.is_behind)

    def run(
        self,
        stop: Event,
        add: Take | None,
        add_health: Callable[[Health], None] | None = None,
        *,
        add_late: Take | None = None,
        show: Take | None = None,
    ) -> None:
        """Receive until stop is set. Bad input never raises; what add() raises is a bug of the plugin and does.

        add() is given each wattmeter's messages in order, or add_late() those that were missed and come from a spool;
        meanwhile show() is given what comes live, to be shown and not to be counted: add_late() gets it in its turn.
        add_health() is given the health messages, if the gate takes them; without add() there are only these.
        """
        take = _Take(add, add_late or add, show, add_health)
        context = zmq.Context()
        socket = open_socket(context, zmq.SUB)
        spools = self._spools if add is not None else ()
        client = Client(context, spools, self.gate.streams, transport=self._transport)
        try:
            prefixes = self._prefixes(take)
            for prefix in prefixes:
                socket.subscribe(prefix)
            if self.reading is not None:
                self.reading.open(prefixes)
            link = self._transport.connect(socket, self._endpoints)
            if self._since is not None:
                client.search([topic_of(name) if name else b"" for name in self._names], self._since)
            poller = zmq.Poller()
            for each in (socket, *client.sockets, *(self.reading.fds if self.reading else ())):
                poller.register(each, zmq.POLLIN)
            silence = Silence(self._endpoints)
            while not stop.is_set():
                self.gate.look()
                poller.poll(CATCHING_UP if self.gate.streams.behind() else POLL)
                silence.look(was_heard=self._drain(socket, stop, take))
                if self.reading is not None:
                    self._read(self.reading, stop, take)
                link.mend()
                if take.late is not None and client.sockets:
                    self._repair(client, take.late)
                    client.ask()
        finally:
            if self.reading is not None:
                self.reading.close()
            client.close()
            self.gate.close()
            socket.close(linger=0)
            context.term()

    def _prefixes(self, take: "_Take") -> list[bytes]:
        """Return what is subscribed to."""
        measured = [topic_of(name) if name else b"" for name in self._names] if take.next is not None else []
        return measured + ([health_topic(name) for name in self._names] if self.gate.health else [])

    def _drain(self, socket: "zmq.Socket[bytes]", stop: Event, take: "_Take") -> bool:
        """Take what has come, return whether it was anything. To ask poll() for each costs more than the message."""
        for number in range(DRAINED):
            try:
                frame = socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                return number > 0
            # Should somebody send several parts, each is judged as a frame of its own.
            self._hand(self.gate.take(frame), take)
            if stop.is_set():
                break
        return True

    def _read(self, reading: "Reading", stop: Event, take: "_Take") -> None:
        """Take what has come out of streams."""
        for frame, was_missed in reading.frames():
            taken = self.gate.take(frame, is_stored=True)
            if isinstance(taken, Early):
                reading.hold()
            self._hand(taken, take, was_missed=was_missed)
            if stop.is_set():
                return
        reading.look()

    def _hand(self, taken: Message | Early | Health | None, take: "_Take", *, was_missed: bool = False) -> None:
        if isinstance(taken, Message):
            give = take.late if was_missed else take.next
            if give is not None:
                give(taken)
        elif isinstance(taken, Early):
            if take.early is not None and taken.message.type == MEASUREMENT:
                take.early(taken.message)
        elif taken is not None and take.health is not None:
            take.health(taken)

    def _repair(self, client: Client, add: Take) -> None:
        """Take what the spools have answered. A frame that is not believed is as good as none, whatever its number."""
        for ask, said, frames in client.answers():
            due, has, refused = ask.first, None, 0
            for frame in frames:
                if (message := self.gate.believe(frame, ask)) is None:
                    refused += 1
                    continue
                if not self.gate.take_again(message, ask):
                    has = message.seq if message.seq > due else None
                    break
                if message.type == MEASUREMENT:
                    add(message)
                due += 1
            if has is None and due > ask.first and said.end is not None and said.end >= due:
                has = due
            self.gate.streams.answer(ask, Answer(has, said.end, said.boots, refused))
