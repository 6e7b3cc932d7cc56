"""What a daemon publishes, on its way to a NATS server that stores it; several thousand messages at a time.

A message is done with when the server says that it is stored. Until then it waits in memory, or, where there is a spool
and memory is full or we were started anew, in that alone: it is read from there at a bounded rate, while other
wattmeters go on.
"""

import asyncio
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from typing import TypeVar

from nats.aio.client import Client

from kwapi.errors import BadMessage
from kwapi.health import TOPIC
from kwapi.nats.backlog import UNREAD, Backlog
from kwapi.nats.connection import PATIENCE, RETRY, Arrival, Connection, Unusable, taking, together
from kwapi.nats.lanes import Lanes, Parcel
from kwapi.nats.login import Login
from kwapi.nats.subjects import message_id, subject_of
from kwapi.spool.segment import read_frame
from kwapi.spool.store import Spool

LOG = logging.getLogger(__name__)
HEALTH = TOPIC.encode()
MOST_BYTES = 32 << 20  # that wait in memory
WINDOW = 2_000  # messages on their way
RATE = 5_000  # messages a second that are read from a spool: live ones go first
UNKEPT = 5.0  # seconds until what the spool has not is lost: it may be on its way to the disk
AGAIN = 0.1  # seconds until the spool is asked again
SAVE = 5.0  # seconds
OVERHEAD = 1_024  # bytes that a server counts to a message beside the frame, at most
TOO_LARGE = 10054  # error of a stream with a limit
NO_STREAM = "no stream takes what we publish; kwapi nats init makes it"
T = TypeVar("T")


class Uplink:
    """Stores frames at the servers of an endpoint; send() is for any thread."""

    def __init__(
        self,
        endpoint: str,
        login: Login,
        *,
        spool: Spool | None = None,
        failures: "Counter[str] | None" = None,
        most_bytes: int = MOST_BYTES,
        patience: float = UNREAD,
    ) -> None:
        """``spool`` is one that is handed the same frames; if it cannot be read it is waited for, so many seconds."""
        self.closed = False
        self.refused = 0  # times that a message was, which was sent again
        self._backlog = Backlog(spool, patience=patience) if spool is not None else None
        stored = self._backlog.stored if self._backlog is not None else {}
        self._lanes = Lanes(most_bytes, has_spool=spool is not None, stored=stored)
        self._inbox: deque[bytes] = deque()
        self._is_called = False
        self._is_resumed = asyncio.Event()  # it is known what the spool has
        self._numbers = count()
        self._on_their_way: dict[int, tuple[bytes, float]] = {}  # by number: lane, and since when
        self._refused: list[bytes] = []  # lanes
        self._wake = asyncio.Event()
        self._progress: dict[bytes, float] = {}  # when a lane that is behind last came on
        self._disk = ThreadPoolExecutor(1, "nats disk")
        self._connection = Connection(endpoint, login, self._store, failures)
        if self._backlog is None:
            self._is_resumed.set()
        else:
            self._disk.submit(self._resume, self._backlog).add_done_callback(self._look_at)
        self._connection.start()

    @property
    def is_connected(self) -> bool:
        """Whether a server takes what we store."""
        return self._connection.is_well

    @property
    def published(self) -> int:
        """Return how many messages were stored."""
        return self._lanes.stored

    @property
    def drained(self) -> int:
        """Return how many messages came out of the spool."""
        return self._lanes.drained

    @property
    def dropped(self) -> int:
        """Return how many messages were lost on the way to the server."""
        return self._lanes.dropped

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits in memory."""
        return not self._inbox and self._lanes.size == 0

    @property
    def waiting(self) -> int:
        """Return how many messages wait for the server in memory."""
        return self._lanes.count

    @property
    def waiting_bytes(self) -> int:
        """Return how many bytes these have."""
        return self._lanes.size

    @property
    def late(self) -> int:
        """Return of how many wattmeters messages wait in the spool."""
        return self._lanes.late

    def send(self, frame: bytes, /) -> None:
        """Have a frame stored; never waits."""
        self._connection.check()
        self._inbox.append(frame)
        if not self._is_called:
            self._is_called = True
            self._connection.call(self._take)

    def close(self, linger: int, /) -> None:
        """Store what waits, so many ms long, and end; the rest is in the spool."""
        if self.closed:
            return
        self.closed = True
        end = time.monotonic() + linger / 1000
        while not self.is_idle and time.monotonic() < end:
            time.sleep(0.005)
        self._connection.stop()
        works = []
        if self._backlog is not None:
            works.append(self._disk.submit(self._backlog.save, self._lanes.positions()))
            works.append(self._disk.submit(self._backlog.close))
        self._disk.shutdown()
        for work in works:
            work.result()

    def _resume(self, backlog: Backlog) -> None:
        """Find out what the spool has that is not stored yet: only then may anything else be."""
        newest = backlog.unstored(lambda: self.closed)

        def go_on() -> None:
            for topic, position in newest.items():
                self._lanes.fall_behind(topic, position)
            self._is_resumed.set()

        self._connection.call(go_on)

    def _look_at(self, done: "Future[None]") -> None:
        """End by what was raised beside the connection's thread, as if it had been raised there."""
        if (error := done.exception()) is not None:
            self._connection.fail(error)

    def _take(self) -> None:
        """Let what was sent wait in its lane."""
        self._is_called = False
        while self._inbox:
            try:
                self._hand(self._inbox[0])
            except BadMessage as error:
                LOG.debug("not published: %s", error)
            finally:
                self._inbox.popleft()  # not before it waits in its lane: who looks on would think that nothing waits
        self._wake.set()

    def _hand(self, frame: bytes) -> None:
        is_health = frame.startswith(HEALTH)
        key, boot, seq, _, _ = read_frame(frame[len(HEALTH) :] if is_health else frame)
        if not key.endswith(b"."):
            raise BadMessage("malformed", f"the topic {key!r}")
        topic = HEALTH + key if is_health else key
        self._lanes.hand(key, Parcel(topic, boot, seq, frame, not is_health))

    async def _store(self, client: Client) -> None:
        """Publish what is ready, for as long as a connection lives."""
        inbox = client.new_inbox()

        def answered(message: Arrival) -> None:
            number = message.subject[len(inbox) + 1 :]
            if number.isdigit() and len(number) < 20:  # anybody may send us something
                self._note(int(number), message.data)

        self._on_their_way.clear()
        self._refused.clear()
        self._lanes.all_again()
        async with taking(client, f"{inbox}.*", answered):
            self._connection.well()
            works = [self._publish_on(client, inbox), self._look_on()]
            if self._backlog is not None:
                works += [self._drain(self._backlog), self._save_on(self._backlog)]
            await together(*works)

    async def _publish_on(self, client: Client, inbox: str) -> None:
        await self._is_resumed.wait()
        while True:
            self._wake.clear()
            for key, parcel in self._lanes.ready(WINDOW - len(self._on_their_way)):
                if len(parcel.frame) + OVERHEAD > client.max_payload:
                    self._lanes.done(key, is_stored=False)
                    continue
                number = next(self._numbers)
                self._on_their_way[number] = key, time.monotonic()
                subject = subject_of(parcel.topic)
                headers = {"Nats-Msg-Id": message_id(subject, parcel.boot, parcel.seq)}
                await client.publish(subject, parcel.frame, reply=f"{inbox}.{number}", headers=headers)
            await self._wake.wait()

    def _note(self, number: int, answer: bytes) -> None:
        """Take note of what the server answers to a message."""
        if number not in self._on_their_way:
            return
        key, _ = self._on_their_way.pop(number)
        problem, code = _problem(answer)
        if not problem:
            self._lanes.done(key)
        elif code == TOO_LARGE:
            self._lanes.done(key, is_stored=False)
        else:
            self._connection.tell(Unusable(problem))
            self.refused += 1
            self._refused.append(key)
        self._wake.set()

    async def _look_on(self) -> None:
        """Have sent again what was refused, or got no answer."""
        while True:
            await asyncio.sleep(RETRY)
            now = time.monotonic()
            late = [number for number, (_, since) in self._on_their_way.items() if now - since > PATIENCE]
            if late:
                self._connection.tell(Unusable("it does not answer"))
            elif not self._refused:
                self._connection.well()
            for key in [*self._refused, *(self._on_their_way.pop(number)[0] for number in late)]:
                self._lanes.again(key)
            self._refused.clear()
            self._wake.set()

    async def _drain(self, backlog: Backlog) -> None:
        """Read from the spool what memory did not hold."""
        await self._is_resumed.wait()
        while True:
            for key, stored in self._lanes.behind():
                while self._lanes.is_full:
                    await asyncio.sleep(AGAIN)
                page = await self._by_disk(lambda key=key, stored=stored: backlog.page(key, stored))  # type: ignore[misc]
                begun = self._progress.setdefault(key, time.monotonic())
                if page:
                    self._progress[key] = time.monotonic()
                    self._lanes.add_page(key, page)
                    self._wake.set()
                    await asyncio.sleep(len(page) / RATE)
                elif page is not None and time.monotonic() - begun > UNKEPT:
                    self._lanes.give_up(key)
            self._progress = {key: at for key, at in self._progress.items() if self._lanes.is_behind(key)}
            await asyncio.sleep(AGAIN)

    async def _save_on(self, backlog: Backlog) -> None:
        while True:
            await asyncio.sleep(SAVE)
            stored = self._lanes.positions()
            await self._by_disk(lambda stored=stored: backlog.save(stored))  # type: ignore[misc]

    async def _by_disk(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)


def _problem(answer: bytes) -> tuple[str, int]:
    """Return why a server did not store a message, and its number for that; "" if it did."""
    if not answer:
        return NO_STREAM, 503
    if b'"error"' not in answer:
        return "", 0
    try:
        error = json.loads(answer).get("error")
        if error is None:  # a stream may be called so too
            return "", 0
        return str(error.get("description") or "it refuses"), int(error.get("err_code", 0))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return "an answer that is none", 0
