"""What carries the bus from ZeroMQ to NATS servers, or from these to ZeroMQ; frames pass untouched.

Towards NATS all that is kept passes, since nobody there says what is watched. From NATS it comes in order, and from
where a bridge with a spool was when it ended; who misses some of it downstream asks that spool.
"""

import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import zmq

from kwapi.bus import Out
from kwapi.connections import Link
from kwapi.endpoints import is_nats
from kwapi.errors import ConfigError
from kwapi.gate import OWN_TOPICS
from kwapi.health import health_topic
from kwapi.measurement import topic_of
from kwapi.nats.opening import consumer_name, new_reading, new_uplink
from kwapi.proxy import Passage, Proxy
from kwapi.sockets import POLL, open_socket
from kwapi.stream import Mark
from kwapi.streams import Streams

if TYPE_CHECKING:
    from kwapi.nats.uplink import Uplink

LOG = logging.getLogger(__name__)
AT_ONCE = 1000  # frames that are taken before anything else is looked at
FILE_NAME = "nats-marks.json"
SAVE = 5.0  # seconds
LINGER = 500  # ms


def new_proxy(passage: Passage) -> "Proxy | Bridge":
    """Return what passes messages between endpoints: in C where all are of ZeroMQ."""
    return Bridge(passage) if any(map(is_nats, (*passage.upstream, passage.downstream))) else Proxy(passage)


class Bridge:
    """Passes messages between ZeroMQ and NATS, as Proxy does between ZeroMQ endpoints."""

    def __init__(self, passage: Passage) -> None:
        self._passage = passage
        self._upstream = [endpoint for endpoint in passage.upstream if not is_nats(endpoint)]
        names = passage.kept
        self._prefixes = [prefix for name in names for prefix in (topic_of(name) if name else b"", health_topic(name))]
        self._begun, self._stop, self._ended = Event(), Event(), Event()
        self._path = passage.spool.directory / FILE_NAME if passage.spool is not None else None
        streams = [endpoint for endpoint in passage.upstream if is_nats(endpoint)]
        self._reading = new_reading(streams, passage.transport, Streams()) if streams else None
        if self._reading is not None and self._path is not None:
            self._reading.resume(consumer_name(self._path), load(self._path))
        self.uplink: Uplink | None = None
        if is_nats(passage.downstream):
            if streams:
                raise ConfigError(f"forwarder_endpoint: {passage.downstream} and probes_endpoint are both NATS servers")
            self.uplink = new_uplink(passage.downstream, passage.transport, passage.spool)

    def run(self, ready: Callable[[], None]) -> None:
        """Pass until stop() is called from another thread; ready() is called once it can."""
        self._begun.set()
        context = zmq.Context()
        try:
            self._pass(context, ready)
        finally:
            context.term()
            self._ended.set()

    def capture(self) -> None:
        """Wait until the end; what passes is kept as it does."""
        self._ended.wait()

    def stop(self) -> None:
        """End run(); return when its sockets are closed."""
        self._stop.set()
        if self._begun.is_set():
            self._ended.wait()
        elif self.uplink is not None:
            self.uplink.close(LINGER)

    def _pass(self, context: "zmq.Context[zmq.Socket[bytes]]", ready: Callable[[], None]) -> None:
        source, poller = open_socket(context, zmq.SUB), zmq.Poller()
        out: Out | None = self.uplink
        try:
            for prefix in self._prefixes:
                source.subscribe(prefix)
            if out is None:
                out = target = open_socket(context, zmq.PUB)
                self._passage.transport.listen(target, self._passage.downstream)
            if self._passage.bind_upstream:
                for endpoint in self._upstream:
                    self._passage.transport.listen(source, endpoint)
            link = self._passage.transport.connect(source, [] if self._passage.bind_upstream else self._upstream)
            if self._reading is not None:
                self._reading.open(self._prefixes)
            for each in (source, *(self._reading.fds if self._reading is not None else ())):
                poller.register(each, zmq.POLLIN)
            ready()
            self._pass_on(source, poller, link, out)
        finally:
            if self._reading is not None:
                self._reading.close()
            source.close(linger=0)
            if out is not None:
                out.close(LINGER)

    def _pass_on(self, source: "zmq.Socket[bytes]", poller: zmq.Poller, link: Link, out: Out) -> None:
        saved_at, marks = time.monotonic(), self._reading.marks() if self._reading is not None else {}
        while not self._stop.is_set():
            poller.poll(POLL)
            self._drain(source, out)
            if self._reading is not None:
                for frame, _ in self._reading.frames():
                    self._hand(frame, out)
                if self._path is not None and time.monotonic() - saved_at > SAVE:
                    saved_at, older, marks = time.monotonic(), marks, self._reading.marks()
                    save(self._path, older)  # what was handed since then may not be in the spool yet
            link.mend()

    def _drain(self, source: "zmq.Socket[bytes]", out: Out) -> None:
        for _ in range(AT_ONCE):
            try:
                frame = source.recv(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._hand(frame, out)

    def _hand(self, frame: bytes, out: Out) -> None:
        if self._passage.keep is not None and not frame.startswith(OWN_TOPICS):
            self._passage.keep(frame)
        out.send(frame)


def load(path: Path) -> dict[str, Mark]:
    """Return the marks that were saved, none if there are none."""
    try:
        return {key: Mark(str(since), int(seq), float(at)) for key, (since, seq, at) in _read(path).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        LOG.warning("%s cannot be used, only what is stored from now on is passed: %r", path, error)
        return {}


def _read(path: Path) -> dict[str, tuple[str, int, float]]:
    found: dict[str, tuple[str, int, float]] = json.loads(path.read_text("utf-8"))
    return found


def save(path: Path, marks: dict[str, Mark]) -> None:
    """Write down marks."""
    temporary = path.with_suffix(".new")
    with suppress(OSError):  # of a broken disk the spool tells
        temporary.write_text(json.dumps(marks), "utf-8")
        os.replace(temporary, path)
