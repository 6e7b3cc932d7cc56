"""Asking a spool for what was missed: the service that answers, the client that asks.

The service verifies nothing, since a forwarder has no key: the client does.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from pathlib import Path
from threading import Event

import msgspec
import zmq

from kwapi.connections import Link
from kwapi.errors import ConfigError
from kwapi.fairness import WAITING, Turns
from kwapi.logs import counted
from kwapi.measurement import name_problem
from kwapi.questions import (
    HELLO,
    LAST,
    NO_QUESTION,
    Frames,
    Runs,
    Since,
    Wanted,
    encode,
    page_of,
    read_question,
)
from kwapi.sockets import POLL, open_socket
from kwapi.spool.reader import CannotRead, Reader
from kwapi.stream import Ask
from kwapi.streams import Streams
from kwapi.transport import Transport
from kwapi.upstream import Answer, Upstream, answers_at, up_to_hole

LOG = logging.getLogger(__name__)

PAGE_BYTES = 256 << 10  # of frames in one answer
RATE = 32 << 20  # bytes a second that a service sends; live traffic goes first
MAX_QUESTION = 1024  # bytes
QUESTION_PARTS = 3  # with the name that ZeroMQ has for the connection
REFUSAL = 0.01  # seconds that a question which is none costs its client
AT_ONCE = 32  # questions of one client that wait for an answer
PATIENCE = 5.0  # seconds for an answer


class Service:
    """Answers from a spool at an endpoint; run() is the work of a thread."""

    def __init__(
        self,
        endpoint: str,
        directory: str | Path,
        *,
        upstream: Sequence[str] = (),
        rate: float = RATE,
        damaged: Callable[[Path], None] = lambda _: None,
        transport: Transport | None = None,
    ) -> None:
        """What the spool in the directory lacks is asked of the spools at the endpoints upstream.

        ``damaged`` is told of files of the spool that cannot be read.
        """
        transport = transport or Transport()
        self.answered = 0
        self.refused: Counter[str] = Counter()  # questions, by the name of the client's key; empty without one
        self._turns: Turns[list[bytes]] = Turns()
        self._directory = directory
        self._damaged = damaged
        self._rate = rate
        self._context = zmq.Context()
        self._socket = open_socket(self._context, zmq.ROUTER)
        self._socket.setsockopt(zmq.MAXMSGSIZE, MAX_QUESTION)
        self._socket.setsockopt(zmq.RCVHWM, WAITING)
        self._socket.setsockopt(zmq.SNDHWM, WAITING)  # answers that a client does not take
        try:
            transport.listen(self._socket, endpoint)
            self._upstream = Upstream(self._context, upstream, transport)
        except ConfigError:
            self._socket.close(linger=0)
            self._context.term()
            raise

    def run(self, stop: Event) -> None:
        """Answer until stop is set."""
        reader = Reader(self._directory, self._damaged)
        poller = zmq.Poller()
        for socket in (self._socket, *self._upstream.sockets):
            poller.register(socket, zmq.POLLIN)
        try:
            while not stop.is_set():
                poller.poll(int(1000 * self._turns.pause(POLL / 1000)))
                self._take()
                for answer in self._upstream.answers():
                    stop.wait(self._send(answer) / self._rate)
                if (turn := self._turns.next()) is not None:
                    began = time.monotonic()
                    stop.wait(self._answer(reader, turn[1]) / self._rate)
                    self._turns.charge(turn[0], time.monotonic() - began)
        finally:
            reader.close()
            self.close()

    def close(self) -> None:
        """Close the endpoint."""
        self._upstream.close()
        self._socket.close(linger=0)
        self._context.term()

    def _take(self) -> None:
        """Let what has come wait for its turn. A client is whoever has a key, or a connection where nobody has one."""
        for _ in range(WAITING):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            name, parts = name_of(frames[-1]), [frame.bytes for frame in frames]
            if len(parts) != QUESTION_PARTS or not self._turns.add(name or parts[0], [*parts, name.encode()]):
                self._refuse(name, "too many wait" if len(parts) == QUESTION_PARTS else "it is none")

    def _refuse(self, name: str, reason: str) -> None:
        """Count a question that is not answered, and log the first, the tenth, the hundredth ... of a client."""
        self.refused[name] += 1
        count = self.refused[name]
        if count == 10 ** (len(str(count)) - 1):
            asked = counted(count, "question")
            LOG.warning("%s of %s refused so far, the last one: %s", asked, name or "somebody", reason)

    def _answer(self, reader: Reader, asked: list[bytes]) -> float:
        """Answer one question; return the bytes that were sent. Without an answer the client asks again."""
        client, number, asked_for, name = asked
        try:
            question = read_question(asked_for)
            answer = Answer(client, number, *answer_to(question, reader))
        except NO_QUESTION as error:
            self._refuse(name.decode(), str(error))
            return REFUSAL * self._rate
        except CannotRead as error:
            LOG.warning("a question is not answered: %s", error)
            return MAX_QUESTION
        if self._upstream.sockets:
            if answer.lacks(question):
                self._upstream.ask(question, answer)
                return MAX_QUESTION
            answer.frames = up_to_hole(answer.frames)
        return self._send(answer)

    def _send(self, answer: Answer) -> int:
        parts = answer.parts()
        try:
            self._socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            LOG.debug("a client takes no answers")
        self.answered += 1
        return sum(map(len, parts))


def name_of(frame: zmq.Frame) -> str:
    """Return the name of the key that a frame came with, empty if it was not encrypted."""
    try:
        return str(frame.get("User-Id"))
    except zmq.ZMQError:
        return ""


def answer_to(question: Wanted | Since, reader: Reader) -> tuple[Frames | Runs, list[bytes]]:
    """Return the answer to a question, and the frames that follow it."""
    if isinstance(question, Since):
        runs = reader.runs(question.prefix, question.timestamp)
        return page_of((run.topic, run.boot, run.first) for run in runs if run.topic > question.after), []
    runs_of_topic = reader.runs_of(question.topic)
    end = next((run.last for run in runs_of_topic if run.boot == question.boot), None)
    last = LAST if question.last is None else question.last
    frames = reader.frames(question.topic, question.boot, question.first, last, PAGE_BYTES)
    return Frames(end, [run.boot for run in runs_of_topic]), list(frames.values())


def is_run(topic: bytes, boot: int, first: int) -> bool:
    """Return whether a publisher may have such a run: a forwarder keeps, and tells of, whatever somebody has sent."""
    try:
        name = topic.decode()
    except UnicodeDecodeError:
        return False
    is_topic = name.endswith(".") and name_problem(name[:-1]) is None
    return is_topic and 0 <= boot <= LAST and 0 <= first <= LAST


class Client:
    """Asks the spools at some endpoints for what streams lack; for one thread, which polls its sockets."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoints: Sequence[str],
        streams: Streams,
        *,
        transport: Transport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        transport = transport or Transport()
        self._streams = streams
        self._clock = clock
        self._numbers = count()
        self._asked: dict[int, tuple[Ask, float]] = {}  # by number, and when
        self._searches: dict[int, tuple[int, Since]] = {}  # by number: spool and question, until it is answered
        for spool in range(len(endpoints)):
            self._seek(spool, HELLO)
        self._search_at = float("-inf")
        self.sockets: list[zmq.Socket[bytes]] = []
        self._links: list[Link] = []
        for endpoint in endpoints:
            self.sockets.append(open_socket(context, zmq.DEALER))
            self._links.append(transport.connect(self.sockets[-1], [endpoint]))

    def search(self, prefixes: Sequence[bytes], timestamp: float) -> None:
        """Find out what was published since a time under some prefixes, so that it is asked for."""
        for spool in range(len(self.sockets)):
            for prefix in prefixes:
                self._seek(spool, Since(prefix, timestamp))

    def ask(self) -> None:
        """Send what is to be asked now, and give up what got no answer."""
        now = self._clock()
        for link in self._links:
            link.mend()
        for number, (ask, at) in list(self._asked.items()):
            if now - at > PATIENCE:
                del self._asked[number]
                self._streams.unanswered(ask)
                self._seek(ask.spool, HELLO)  # once it is given up it is asked nothing else
        if self._searches and now - self._search_at > PATIENCE:
            self._search_at = now
            for number, (spool, since) in self._searches.items():
                self._send(spool, number, since)
        if len(self._asked) > AT_ONCE // 2:
            return  # to look through all that streams lack is worth it for some questions, not for one
        for ask in islice(self._streams.asks(), AT_ONCE - len(self._asked)):
            number = next(self._numbers)
            self._asked[number] = ask, now
            self._send(ask.spool, number, Wanted(ask.topic, ask.boot, ask.first, ask.last))

    def answers(self) -> Iterator[tuple[Ask, Frames, list[bytes]]]:
        """Yield each answer that has come, to what it was asked, and its frames."""
        for spool, socket in enumerate(self.sockets):
            for key, said, frames in answers_at(socket, AT_ONCE):
                if isinstance(said, Runs):
                    if key in self._searches and self._searches[key][0] == spool:
                        self._found(key, said)
                elif key in self._asked and self._asked[key][0].spool == spool:
                    yield self._asked.pop(key)[0], said, frames

    def close(self) -> None:
        """Close the sockets."""
        for socket in self.sockets:
            socket.close(linger=0)

    def _seek(self, spool: int, question: Since) -> None:
        if (spool, question) not in self._searches.values():
            self._searches[next(self._numbers)] = spool, question

    def _found(self, number: int, said: Runs) -> None:
        spool, question = self._searches.pop(number) if said.is_complete else self._searches[number]
        if said.is_complete and said.last is not None:
            self._seek(spool, msgspec.structs.replace(question, after=said.last))
            self._search_at = float("-inf")
        self._streams.heard_of_spool(spool)
        for topic, boot, first in sorted(said.runs):
            if topic.startswith(question.prefix) and is_run(topic, boot, first):
                self._streams.discover(topic, boot, first)

    def _send(self, spool: int, number: int, question: Wanted | Since) -> None:
        try:
            self.sockets[spool].send_multipart([number.to_bytes(8, "big"), encode(question)], zmq.NOBLOCK)
        except zmq.Again:
            LOG.debug("nobody takes questions at the spool %d", spool)
