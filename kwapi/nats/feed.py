"""What a NATS server has stored, in order and from where we left off; for a thread that polls the feed's descriptor.

Each filter has a consumer of its own, from which we pull: so nobody who is slow holds up another one. It is made anew
with each connection, from the message after the last that came, since the server may have sent some that never did.
The position is ours, and the server's durable consumer shows how far behind we are.
"""

import asyncio
import json
import logging
import os
import re
import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, StreamInfo
from nats.js.errors import NotFoundError, ServiceUnavailableError

from kwapi.nats.connection import NO_JETSTREAM, PATIENCE, Arrival, Connection, Unusable, taking, together
from kwapi.nats.login import Login
from kwapi.stream import Mark

LOG = logging.getLogger(__name__)
BATCH = 1_000  # messages that are asked for at a time
WAITING = 4_000  # messages that wait for our reader, until no more are asked for
EXPIRES = 5.0  # seconds for which the server keeps a question
NANO = 10**9
STATUS = b"NATS/1.0 "  # begins the headers of what the server says of a question, and then its status
LEFT = re.compile(rb"Nats-Pending-Messages: *(\d{1,9})\b")
SLACK = 60.0  # seconds before the time of the last message from where on a stream that is another one is read
UNUSED = 3 * 86400.0  # seconds until the server forgets the consumer of a daemon that is gone
UNUSED_BRIEF = 60.0  # that of one without a name


class Stored(NamedTuple):
    """A frame out of the stream, by the filter that it came with."""

    frame: bytes
    filter: str
    mark: Mark
    pending: int  # how many are still to come


class Feed:
    """Frames of an endpoint's stream; take() is for one thread."""

    def __init__(
        self,
        endpoint: str,
        login: Login,
        filters: Sequence[str],
        *,
        consumer: str = "",
        marks: Mapping[str, Mark] | None = None,
        failures: "Counter[str] | None" = None,
    ) -> None:
        """``consumer`` is the name of ours, none for one that lasts as long as we do.

        What is not in ``marks`` is read from now on.
        """
        self._login = login
        self._consumer = consumer
        self.begun: dict[str, Mark] = {}  # where filters began that had no mark
        self._marks = dict(marks or {})  # of what came
        self._filters = filters
        self._waiting: deque[Stored] = deque()
        self._room = asyncio.Event()
        self._has_room = True
        self._behind = set(self._marks)  # filters of which more is to come that was stored before
        self.fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._connection = Connection(endpoint, login, self._read, failures)
        self._connection.start()

    def take(self, most: int) -> list[Stored]:
        """Return what has come, so many at most; with none at all the descriptor tells of what comes next only."""
        self._connection.check()
        with suppress(BlockingIOError):
            os.eventfd_read(self.fd)
        taken = [self._waiting.popleft() for _ in range(min(most, len(self._waiting)))]
        if self._waiting and most:
            os.eventfd_write(self.fd, 1)
        if not self._has_room and len(self._waiting) < WAITING // 2:
            self._has_room = True
            self._connection.call(self._room.set)
        return taken

    @property
    def is_behind(self) -> bool:
        """Whether some of what was stored while we did not read is still to come; for any thread."""
        return bool(self._behind)

    def close(self) -> None:
        """End it."""
        self._connection.stop()
        os.close(self.fd)

    async def _read(self, client: Client) -> None:
        """Read with all filters for as long as the connection lives."""
        await together(*(self._consume(client, each) for each in self._filters))

    async def _consume(self, client: Client, subjects: str) -> None:
        stream = client.jetstream(timeout=PATIENCE)
        try:
            info = await stream.stream_info(self._login.stream)
        except NotFoundError as error:
            raise Unusable(f"there is no stream {self._login.stream}; kwapi nats init makes it") from error
        except ServiceUnavailableError as error:
            raise Unusable(error.description or NO_JETSTREAM) from error
        name = await self._make(stream, subjects, info)
        self._connection.well()
        await _Pull(self, client, subjects, name, created(info)).run()

    async def _make(self, stream: JetStreamContext, subjects: str, info: StreamInfo) -> str:
        """Make the consumer, from our position on; return its name."""
        mark = self._marks.get(subjects)
        start: dict[str, object]
        if mark is None:
            mark = self._marks[subjects] = Mark(created(info), info.state.last_seq, time.time())
            self.begun[subjects] = mark
        if mark.since == created(info) and mark.seq <= info.state.last_seq:
            start = {"deliver_policy": DeliverPolicy.BY_START_SEQUENCE, "opt_start_seq": mark.seq + 1}
        else:
            at = datetime.fromtimestamp(mark.at - SLACK, UTC)
            start = {"deliver_policy": DeliverPolicy.BY_START_TIME, "opt_start_time": at}
            LOG.warning("the stream %s is another one than before, it is read from %s on", self._login.stream, at)
        if self._consumer:
            name = consumer_of(self._consumer, subjects)
            with suppress(NotFoundError):
                await stream.delete_consumer(self._login.stream, name)
            start |= {"durable_name": name, "inactive_threshold": UNUSED}
        else:
            start |= {"inactive_threshold": UNUSED_BRIEF}
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, filter_subject=subjects, **start)  # type: ignore[arg-type]
        made = await stream.add_consumer(self._login.stream, config)
        if made.num_pending:
            self._behind.add(subjects)
        else:
            self._behind.discard(subjects)
        return made.name

    def _add(self, stored: Stored) -> None:
        self._marks[stored.filter] = stored.mark
        self._waiting.append(stored)
        if not stored.pending:
            self._behind.discard(stored.filter)
        if len(self._waiting) == 1:
            os.eventfd_write(self.fd, 1)

    async def _until_room(self) -> None:
        """Wait for our reader."""
        while len(self._waiting) >= WAITING:
            self._room.clear()
            self._has_room = False
            if len(self._waiting) >= WAITING // 2:
                await self._room.wait()


class _Pull:
    """The messages of one consumer, as they are asked for."""

    def __init__(self, feed: Feed, client: Client, subjects: str, consumer: str, stream: str) -> None:
        self._feed = feed
        self._client = client
        self._subjects = subjects
        self._stream = stream
        self._question = f"$JS.API.CONSUMER.MSG.NEXT.{feed._login.stream}.{consumer}"
        self._inbox = client.new_inbox()
        self._due = 1  # the consumer's number of the next message
        self._asked_for = 0
        self._heard_at = time.monotonic()
        self._news = asyncio.Event()
        self._problem = ""

    async def run(self) -> None:
        """Ask for as long as all is well."""
        async with taking(self._client, self._inbox, self._note):
            while not self._problem:
                await self._feed._until_room()
                if self._asked_for <= BATCH // 2:
                    question = {"batch": BATCH, "expires": int(EXPIRES * NANO)}
                    await self._client.publish(self._question, json.dumps(question).encode(), reply=self._inbox)
                    self._asked_for += BATCH
                    self._heard_at = max(self._heard_at, time.monotonic() - PATIENCE)
                self._news.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(EXPIRES + PATIENCE):
                        await self._news.wait()
                if time.monotonic() - self._heard_at > EXPIRES + PATIENCE:
                    self._problem = "it is silent"
        raise Unusable(self._problem)

    def _note(self, message: Arrival) -> None:
        self._heard_at = time.monotonic()
        if message.reply:  # as all have that are stored; headers say whatever those liked who stored them
            self._take(message)
            if self._problem or self._asked_for <= BATCH // 2:
                self._news.set()
            return
        status, _, _ = message.headers.removeprefix(STATUS).partition(b"\r\n")
        if status.startswith((b"404", b"408")):  # it has kept the question for long enough
            found = LEFT.search(message.headers)
            left = int(found[1]) if found else self._asked_for
            if found and left == self._asked_for == BATCH:  # it had nothing at all
                self._feed._behind.discard(self._subjects)  # be it that what was there has expired meanwhile
            self._asked_for = max(self._asked_for - left, 0)
        elif not status.startswith(b"100"):
            self._problem = status.decode("ascii", "replace")
        self._news.set()

    def _take(self, message: Arrival) -> None:
        # $JS.ACK.(domain.account.)stream.consumer.delivered.stream seq.consumer seq.timestamp.pending(.random)
        words = message.reply.split(b".")
        place = 5 if len(words) == 9 else 7
        try:
            seq, number, at, pending = map(int, words[place : place + 4])
            mark = Mark(self._stream, seq, at / NANO)
        except (ValueError, OverflowError):
            self._problem = f"a message has no number: {message.reply!r}"
            return
        if number != self._due:
            self._problem = f"message {self._due} of the consumer did not come"
        if self._problem:
            return
        self._due += 1
        self._asked_for -= 1
        self._feed._add(Stored(message.data, self._subjects, mark, pending))


def created(info: StreamInfo) -> str:
    """Return what tells a stream from another one of its name."""
    return str(info.created)


def consumer_of(name: str, subjects: str) -> str:
    """Return the name of the consumer of a filter; there is one for each."""
    return name + "-" + subjects.removesuffix(".>").replace(".", "_").replace("%", "=")
