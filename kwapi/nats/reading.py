"""What a subscriber reads of NATS streams, and up to where it has taken that."""

import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Event, Lock

from kwapi.nats.feed import Feed
from kwapi.nats.held import Held, Waiter
from kwapi.nats.subjects import filters_of
from kwapi.stream import Mark
from kwapi.streams import Standing, Streams
from kwapi.transport import Transport

AT_ONCE = 1000  # messages that are taken before anything else is looked at
LATE = 10.0  # seconds in the stream after which a message is one that was missed
PATIENCE = 2.0  # seconds for the thread of the bus to say where it stands


class Reading:
    """The feeds of one subscriber; standing() and is_behind are for any thread, all else is for that of the bus.

    A standing is of one moment between two messages: positions and accounts, and from where on streams are to be read
    for what comes after these: after the last message that came, or before the first one that waits for its turn.
    """

    def __init__(self, endpoints: Sequence[str], transport: Transport, streams: Streams) -> None:
        self.fds: list[int] = []
        self.consumer = ""
        self._endpoints = endpoints
        self._transport = transport
        self._streams = streams
        self._feeds: dict[str, Feed] = {}
        self._held = Held()
        self._is_early = False
        self._marks: dict[str, Mark] = {}  # by key, of what came
        self._standing = Standing(streams.exact(), {})  # until there is another one: it is saved in place of the last
        self._asking = Lock()
        self._asked, self._told = Event(), Event()

    def resume(self, consumer: str, marks: Mapping[str, Mark]) -> None:
        """Have consumers of a name, which go on where ``marks`` say."""
        self.consumer = consumer
        self._marks = dict(marks)
        self._standing = Standing(self._streams.exact(), self._marks.copy())

    def open(self, prefixes: Sequence[bytes]) -> None:
        """Begin to read what has topics that begin so."""
        filters = filters_of(prefixes)
        for place, endpoint in enumerate(self._endpoints):
            self._feeds[_prefix(place)] = feed = Feed(
                endpoint,
                self._transport.nats,
                filters,
                consumer=self.consumer,
                marks={each: mark for each in filters if (mark := self._marks.get(_prefix(place) + each))},
                failures=self._transport.failures,
            )
            self.fds.append(feed.fd)
        self._told.clear()

    def frames(self) -> Iterator[tuple[bytes, bool]]:
        """Yield each frame whose turn it may be, and whether it was missed; it is taken once the next one is wanted."""
        now, most = time.time(), AT_ONCE
        self._streams.is_more_to_come = self.is_behind
        for waiter in self._held.due(most, self._streams.is_behind):
            yield waiter.frame, True
            most -= 1
        for prefix, feed in self._feeds.items():
            for stored in feed.take(0 if self._held.is_full else most):  # or one could overtake what is held
                self._is_early = False
                yield stored.frame, now - stored.mark.at > LATE
                key = prefix + stored.filter
                if self._is_early:
                    self._held.add(Waiter(stored.frame, key, stored.mark))
                self._marks[key] = stored.mark

    def hold(self) -> None:
        """Let the frame that was yielded wait for its turn."""
        self._is_early = True

    def look(self) -> None:
        """Say where we stand, if somebody has asked: between two messages, so that all before is taken."""
        if self._asked.is_set():
            self._asked.clear()
            self._tell()

    def close(self) -> None:
        """End it."""
        for feed in self._feeds.values():
            feed.close()
        self._marks = self.marks()
        self._held = Held()
        self._feeds.clear()
        self.fds.clear()
        self._tell()

    @property
    def is_behind(self) -> bool:
        """Whether some of what was stored before is still to come."""
        return any(feed.is_behind for feed in list(self._feeds.values()))

    def marks(self) -> dict[str, Mark]:
        """Return up to where nothing waits, be it nothing so far."""
        marks: dict[str, Mark] = {}
        for prefix, feed in self._feeds.items():
            marks |= {prefix + each: mark for each, mark in feed.begun.copy().items()}
        return marks | self._marks | self._held.begins()

    def standing(self) -> Standing:
        """Return where we stand; if the thread of the bus has no time to say so, where we stood before."""
        with self._asking:
            if self._feeds:
                self._told.clear()
                self._asked.set()
                self._told.wait(PATIENCE)
            return self._standing

    def _tell(self) -> None:
        self._standing = Standing(self._streams.exact(), self.marks())
        self._told.set()


def _prefix(place: int) -> str:
    """Return how the keys of a feed begin: by its place, since servers of a cluster come and go."""
    return f"{place} "
