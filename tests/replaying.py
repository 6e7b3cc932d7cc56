"""A publisher with a spool, and subscribers that come and go, over real sockets."""

import time
from contextlib import ExitStack

from kwapi.bus import Publisher, Subscriber
from kwapi.endpoints import is_nats
from kwapi.gate import Gate
from kwapi.measurement import Measurement
from kwapi.replay import Service
from kwapi.signing import KeyRing
from kwapi.spool.store import Spool
from kwapi.streams import Streams
from tests.messages import KEY
from tests.threads import running
from tests.waiting import eventually


class Site:
    """A publisher with a spool, and subscribers that come and go."""

    def __init__(self, directory, bus=None):
        """``bus`` is another endpoint than a socket in the directory."""
        self.bus, self.replay = bus or f"ipc://{directory}/bus", f"ipc://{directory}/replay"
        self.forgets = False  # the spool
        self._closing = ExitStack()
        self.spool = Spool(directory / "spool", max_bytes=16 << 20, max_age=3600.0)
        self._closing.enter_context(running(self.spool.run))
        self._directory = directory
        self.open_replay()
        self.start()

    def open_replay(self):
        self._replay = ExitStack()
        self._replay.enter_context(running(Service(self.replay, self._directory / "spool").run))

    def close_replay(self):
        self._replay.close()

    def start(self):
        self.publisher = Publisher(self.bus, KEY, keep=self._keep)
        self.senders = {}

    def _keep(self, *frame):
        if not self.forgets:
            self.spool.hand_numbered(*frame)

    def restart(self):
        self.publisher.close()
        self.start()

    def publish(self, count, wattmeter="lyon.pdu1"):
        sender = self.senders.setdefault(wattmeter, self.publisher.sender(wattmeter, 1.0))
        for _ in range(count):
            sender.publish([Measurement(f"{wattmeter}-1", watts=1.0)], time.time(), time.monotonic())
        if is_nats(self.bus):  # who reads it from now on finds none of these there
            eventually(lambda: self.publisher._socket.is_idle)

    def close(self):
        self.publisher.close()
        self.close_replay()
        self._closing.close()


class LossyGate(Gate):
    """One that every third message does not reach."""

    heard = 0

    def take(self, frame, **how):
        self.heard += 1
        return super().take(frame, **how) if self.heard % 3 else None


class DeafGate(Gate):
    """One that hears of health only, while it is so."""

    heard, is_deaf = 0, False

    def take(self, frame, **how):
        if self.is_deaf and not frame.startswith(b"kwapi."):
            self.heard += 1
            return None
        return super().take(frame, **how)


class Plugin:
    """A subscriber that writes down what it is given."""

    def __init__(self, site, positions=None, since=None, key=KEY, gate=Gate, spools=None):
        self.taken, self.late, self.shown = [], [], []
        self.streams = Streams(positions, spools=1)
        self.gate = gate(KeyRing([key]), streams=self.streams)
        self.subscriber = Subscriber([site.bus], [], self.gate, spools=spools or [site.replay], since=since)

    def running(self):
        return running(
            lambda stop: self.subscriber.run(stop, self.add, add_late=self.add_late, show=self._noting(self.shown))
        )

    def add(self, message):
        self._noting(self.taken)(message)

    def add_late(self, message):
        self.add(message)
        self._noting(self.late)(message)

    def _noting(self, notes):
        return lambda message: notes.append((message.wattmeter, message.boot, message.seq))


def heard(plugin, site, wattmeter="lyon.pdu1"):
    """Publish until the plugin hears it, once it knows that there is a spool."""
    eventually(lambda: plugin.streams.is_helped)

    def is_heard():
        site.publish(1, wattmeter)
        return any(taken[0] == wattmeter for taken in plugin.taken)

    eventually(is_heard)


def all_of(site, plugin, wattmeter="lyon.pdu1"):
    """Return what the publisher has sent of a wattmeter since the plugin first heard it."""
    first = next(seq for name, _, seq in plugin.taken if name == wattmeter)
    end = site.publisher._lines[f"{wattmeter}.".encode()].next
    return [(wattmeter, site.publisher.boot, seq) for seq in range(first, end)]
