"""What a subscriber reads of NATS streams, and up to where it has taken that."""

import time
from collections.abc import Iterator, Mapping, Sequence
from threading import Event, Lock

from kwapi.nats.feed import Feed
from kwapi.nats.subjects import filters_of
from kwapi.stream import Mark
from kwapi.streams import Standing, Streams
from kwapi.transport import Transport

AT_ONCE = 1000  # messages that are taken before anything else is looked at
LATE = 10.0  # seconds in the stream after which a message is one that was missed
PATIENCE = 2.0  # seconds for the thread of the bus to say where it stands


class Reading:
    """The feeds of one subscriber. open(), frames(), look() and close() are for the thread of the bus."""

    def __init__(self, endpoints: Sequence[str], transport: Transport, streams: Streams) -> None:
        self.fds: list[int] = []
        self.consumer = ""
        self._endpoints = endpoints
        self._transport = transport
        self._streams = streams
        self._feeds: dict[str, Feed] = {}
        self._marks: dict[str, Mark] = {}  # by key
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
        """Yield each frame that has come, and whether it was missed; it is taken once the next one is wanted."""
        now = time.time()
        for prefix, feed in self._feeds.items():
            for stored in feed.take(AT_ONCE):
                yield stored.frame, now - stored.mark.at > LATE
                if not self._streams.behind():  # or what was passed over would have to be asked for after a restart
                    self._marks[prefix + stored.filter] = stored.mark

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
        self._feeds.clear()
        self.fds.clear()
        self._tell()

    @property
    def is_behind(self) -> bool:
        """Whether some of what was stored before is still to come."""
        return any(feed.is_behind for feed in list(self._feeds.values()))

    def marks(self) -> dict[str, Mark]:
        """Return up to where all was taken, be it nothing so far; for any thread."""
        begun = {
            prefix + each: mark
            for prefix, feed in self._feeds.copy().items()
            for each, mark in feed.begun.copy().items()
        }
        return begun | self._marks

    def standing(self) -> Standing:
        """Return where we stand; for any thread but that of the bus."""
        with self._asking:
            if self._feeds:
                self._told.clear()
                self._asked.set()
                self._told.wait(PATIENCE)
            return self._standing

    def _tell(self) -> None:
        if not self._streams.behind():
            self._standing = Standing(self._streams.exact(), self.marks())
        self._told.set()


def _prefix(place: int) -> str:
    """Return how the keys of a feed begin: by its place, since servers of a cluster come and go."""
    return f"{place} "
