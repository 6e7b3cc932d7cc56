"""GET /v2/stream: what is measured, as it comes, as server-sent events.

Since the first stream the thread of the bus leaves each message in a ring; streams look into it ten times a second. An
event is what a message says of the probes asked for. Its id is the start of this daemon and the number of the message:
a reader that names the last one it got (Last-Event-ID) is given what it has missed, as far as the ring goes back. A
reader that is too slow to take everything gets the newest of each wattmeter's probes. What is left out is told by an
event ``gap``. The machines that the probes of a message feed follow it, as a message of their own.

Source: HTML Living Standard, 9.2 Server-sent events.
"""

import time
from collections.abc import Callable, Iterator
from threading import BoundedSemaphore, Event

import msgspec
from flask import Response, request
from werkzeug.exceptions import ServiceUnavailable

from kwapi.measurement import Column, Message, encode, stale_after
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.query import FILTERS, Filter, read_filter, refuse_others
from kwapi.plugins.api.schemas import Gap, Measurement, Measurements

KEPT = 2_000  # messages; 10 s of 10 000 probes in PDUs
BATCH = 100  # messages sent in one go, to a reader that is not too slow
LOOK = 0.1  # seconds
SLOW = 1.0  # seconds between two looks, when the reader did not take what was sent
COMMENT_PERIOD = 15.0  # seconds, so that nothing on the way takes the connection for dead
RETRY_AFTER = 10  # seconds, for a reader that finds all streams taken
FIRST, COMMENT = b"retry: 2000\n\n", b":\n\n"
EVENT_STREAM = "text/event-stream"
Entry = tuple[int, str, bytes]  # number, wattmeter, payload
_encode = msgspec.json.Encoder().encode
_decode = msgspec.msgpack.Decoder(Message).decode  # of what was judged when it came; machines are no probes


class Ring:
    """The newest messages, numbered from 0; one thread fills it and any may read, without a lock.

    They are kept as payloads: messages would be 18 000 lists for the garbage collector, which stops all threads.
    """

    def __init__(
        self, kept: int = KEPT, *, boot: int | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.boot = time.time_ns() if boot is None else boot
        self.count = 0
        self._clock = clock
        self._first: int | None = None  # that is kept
        self._entries: list[Entry] = [(-1, "", b"")] * kept
        self._fresh_until = float("-inf")

    @classmethod
    def of(cls, collector: Collector) -> "Ring":
        """Return a ring that is filled with what a collector takes from now on."""
        ring = cls()
        collector.subscribe(ring.add)
        return ring

    def begin(self) -> None:
        """Keep what comes from now on: before the first stream nobody could miss anything."""
        if self._first is None:
            self._first = self.count

    def add(self, message: Message) -> None:
        """Keep a message in the place of the oldest one."""
        if self._first is not None:
            self._entries[self.count % len(self._entries)] = (self.count, message.wattmeter, encode(message))
        self.count += 1
        self._fresh_until = max(self._fresh_until, self._clock() + stale_after(message.interval))

    def since(self, number: int, most: int = KEPT) -> list[Entry]:
        """Return the messages from a number on that are still kept, the oldest first."""
        kept, end = len(self._entries), self.count
        start = max(number, end - kept, end if self._first is None else self._first)
        entries = ((number, self._entries[number % kept]) for number in range(start, min(end, start + most)))
        return [entry for number, entry in entries if entry[0] == number]  # else it was overwritten just now

    def is_fresh(self) -> bool:
        """Return whether a message has come that is not stale yet."""
        return self._clock() <= self._fresh_until

    def name(self, number: int) -> str:
        """Return the id under which readers know a message."""
        return f"{self.boot:x}-{number}"

    def number_after(self, name: str) -> int | None:
        """Return the number of the message after the one with an id, None if the id is not one of ours."""
        boot, _, number = name.partition("-")
        if boot != f"{self.boot:x}" or not (number.isascii() and number.isdigit()) or len(number) > 18:
            return None
        return int(number) + 1 if int(number) < self.count else None


class Stream:
    """The events for one reader, as the iterable of a WSGI response; whoever iterates it closes it."""

    def __init__(
        self,
        ring: Ring,
        wanted: Filter,
        last: str,
        stopping: Event,
        release: Callable[[], None],
        *,
        seconds: float,
        has_gone: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ring = ring
        self._wanted = wanted
        self._stopping = stopping
        self._release: Callable[[], None] | None = release
        self._has_gone = has_gone
        self._clock = clock
        self._looked_at = self._sent_at = clock()
        self._ends_at = self._sent_at + seconds
        ring.begin()
        number = ring.number_after(last) if last else ring.count
        self._number = ring.count if number is None else number
        self._first = FIRST if number is not None else FIRST + _gap(None)
        self._has_more = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._first:
            first, self._first = self._first, b""
            return first
        while not self._stopping.wait(0 if self._has_more else LOOK) and not self._has_gone():
            now = self._clock()
            if now >= self._ends_at:
                break
            if (events := self._look(now)) or now - self._sent_at >= COMMENT_PERIOD:
                self._sent_at = now
                return events or COMMENT
        raise StopIteration

    def close(self) -> None:
        """Let another reader have the place."""
        if self._release is not None:
            self._release()
            self._release = None

    def _look(self, now: float) -> bytes:
        """Return the events for what came since the last look."""
        is_slow = now - self._looked_at > SLOW
        self._looked_at = now
        entries = self._ring.since(self._number) if is_slow else self._ring.since(self._number, BATCH)
        self._has_more = len(entries) == BATCH
        if not entries:
            return b""
        missed = entries[0][0] - self._number
        self._number = entries[-1][0] + 1
        if is_slow:
            probes = ((number, wattmeter, _decode(payload).probes) for number, wattmeter, payload in entries)
            newest = sorted({(wattmeter, *names): number for number, wattmeter, names in probes}.values())
            missed += len(entries) - len(newest)
            kept = set(newest)
            entries = [entry for entry in entries if entry[0] in kept]
        return (_gap(missed) if missed else b"") + b"".join(self._event(*entry) for entry in entries)

    def _event(self, number: int, wattmeter: str, payload: bytes) -> bytes:
        """Return the event for a message, nothing if it has none of the probes asked for."""
        wanted = self._wanted
        if not (wanted.takes_wattmeter(wattmeter) and wanted.takes_state("up")):
            return b""
        message = _decode(payload)
        found = [measurement for measurement in _measurements(message) if wanted.takes_probe(measurement.id)]
        if not found:
            return b""
        event = _encode(Measurements(wattmeter, message.timestamp, found))
        return b"id: %s\ndata: %s\n\n" % (self._ring.name(number).encode(), event)


class Streams:
    """Gives a stream to at most so many readers, each for at most so many seconds: it holds a thread all the time."""

    def __init__(self, ring: Ring, most: int = 16, seconds: float = 300.0) -> None:
        self.ring = ring
        self._most = most
        self._seconds = seconds
        self._places = BoundedSemaphore(most)
        self._stopping = Event()

    def answer(self) -> Response:
        """Answer the current request with a stream."""
        refuse_others(request.args, FILTERS)
        wanted = read_filter(request.args)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}  # the latter is for nginx
        if request.method == "HEAD":
            return Response(content_type=EVENT_STREAM, headers=headers)
        if not self._places.acquire(blocking=False):
            raise ServiceUnavailable(f"all {self._most} streams are taken", retry_after=RETRY_AFTER)
        stream = Stream(
            self.ring,
            wanted,
            request.headers.get("Last-Event-ID", ""),
            self._stopping,
            self._places.release,
            seconds=self._seconds,
            has_gone=request.environ.get("waitress.client_disconnected", lambda: False),
        )
        return Response(stream, content_type=EVENT_STREAM, headers=headers)

    def stop(self) -> None:
        """End all streams at their next look."""
        self._stopping.set()


def _measurements(message: Message) -> list[Measurement]:
    count = len(message.probes)
    nothing: Column = [None] * count
    columns = (message.w or nothing, message.v or nothing, message.a or nothing, message.va or nothing)
    return list(map(Measurement, message.probes, message.level or ["device"] * count, *columns))


def _gap(missed: int | None) -> bytes:
    return b"event: gap\ndata: %s\n\n" % _encode(Gap(missed))
