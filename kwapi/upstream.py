"""What the spool of a forwarder lacks, asked of the spools before it. For one thread, which polls the sockets.

Nothing is verified here: who asked does that. What comes is passed on and not kept, for the same reason.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count

import zmq

from kwapi.errors import BadMessage
from kwapi.questions import HELLO, LAST, NO_QUESTION, Frames, Runs, Since, Wanted, encode, page_of, read_answer
from kwapi.sockets import open_socket
from kwapi.spool.segment import read_frame
from kwapi.transport import Transport

LOG = logging.getLogger(__name__)
PATIENCE = 2.0  # seconds for an answer; who asked us waits for 5
AT_ONCE = 1000  # questions that wait for an answer


@dataclass(slots=True)
class Answer:
    """What is known so far of the answer to a question, and to whom it goes."""

    client: bytes
    number: bytes
    said: Frames | Runs
    frames: list[bytes]

    def parts(self) -> list[bytes]:
        """Return the answer as it is sent."""
        return [self.client, self.number, encode(self.said), *self.frames]

    def lacks(self, question: Wanted | Since) -> bool:
        """Return whether another spool may know more."""
        if isinstance(question, Since):
            return question != HELLO
        return first_of(self.frames) != question.first

    def learn(self, said: Frames | Runs, frames: list[bytes]) -> None:
        """Add what another spool says to the same question."""
        if isinstance(said, Runs) and isinstance(self.said, Runs):
            firsts = {(topic, boot): first for topic, boot, first in self.said.runs}
            for topic, boot, first in said.runs:
                firsts[topic, boot] = min(first, firsts.get((topic, boot), first))
            last = min((each.last for each in (self.said, said) if each.last is not None), default=None)
            runs = ((*run, first) for run, first in firsts.items() if last is None or run[0] <= last)
            self.said = page_of(runs, last, is_complete=self.said.is_complete and said.is_complete)
        elif isinstance(said, Frames) and isinstance(self.said, Frames):
            ends = [end for end in (self.said.end, said.end) if end is not None]
            self.said = Frames(max(ends, default=None), sorted({*self.said.boots, *said.boots}))
            if first_of(frames) < first_of(self.frames):
                self.frames = up_to_hole(frames)


@dataclass(slots=True)
class _Pending:
    question: Wanted | Since
    answer: Answer
    asked: set[int]  # spools that have not answered
    deadline: float


class Upstream:
    """The spools at some endpoints."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        endpoints: Sequence[str],
        transport: Transport,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._numbers = count()
        self._pending: dict[int, _Pending] = {}
        self.sockets = [open_socket(context, zmq.DEALER) for _ in endpoints]
        self._links = [
            transport.connect(socket, [endpoint]) for socket, endpoint in zip(self.sockets, endpoints, strict=True)
        ]

    def ask(self, question: Wanted | Since, answer: Answer) -> None:
        """Ask for what an answer lacks; what is too much is not asked, nor answered."""
        if len(self._pending) >= AT_ONCE:
            return
        number = next(self._numbers)
        for spool in range(len(self.sockets)):
            self._send(spool, [number.to_bytes(8, "big"), encode(question)])
        self._pending[number] = _Pending(question, answer, set(range(len(self.sockets))), self._clock() + PATIENCE)

    def answers(self) -> Iterator[Answer]:
        """Yield the answers that are complete, and of runs also those that have waited long enough.

        Without a word from one that may have what ours lacks there is no answer, and it is asked for again: to say that
        we have it not would be to lose it.
        """
        for link in self._links:
            link.mend()
        for spool in range(len(self.sockets)):
            yield from self._heard(spool)
        now = self._clock()
        for number in [number for number, pending in self._pending.items() if pending.deadline < now]:
            answer = self._pending.pop(number).answer
            if isinstance(answer.said, Runs):
                answer.said = Runs(answer.said.runs, answer.said.last, is_complete=False)
                yield answer

    def close(self) -> None:
        """Close the sockets."""
        for socket in self.sockets:
            socket.close(linger=0)

    def _heard(self, spool: int) -> Iterator[Answer]:
        for key, said, frames in answers_at(self.sockets[spool], AT_ONCE):
            pending = self._pending.get(key)
            if pending is None or spool not in pending.asked:
                continue
            pending.asked.discard(spool)
            pending.answer.learn(said, frames)
            if not pending.asked or not pending.answer.lacks(pending.question):
                del self._pending[key]
                yield pending.answer

    def _send(self, spool: int, parts: list[bytes]) -> None:
        try:
            self.sockets[spool].send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            LOG.debug("nobody takes questions at the spool %d before us", spool)


def answers_at(socket: "zmq.Socket[bytes]", most: int) -> Iterator[tuple[int, Frames | Runs, list[bytes]]]:
    """Yield what has come at a socket, so many at most: the number of the question, its answer and the frames.

    A spool that sends more than it was asked for keeps nobody from anything else.
    """
    for _ in range(most):
        try:
            number, answer, *frames = socket.recv_multipart(zmq.NOBLOCK)
            said = read_answer(answer)
        except zmq.Again:
            return
        except NO_QUESTION as error:
            LOG.debug("an answer that is none: %s", error)
            continue
        yield int.from_bytes(number, "big"), said, frames


def up_to_hole(frames: Sequence[bytes]) -> list[bytes]:
    """Return the frames up to the first after which one is missing: another spool may have that."""
    found: list[bytes] = []
    with suppress(BadMessage):
        for due, frame in enumerate(frames, int(min(first_of(frames), LAST))):
            if read_frame(frame).seq != due:
                break
            found.append(frame)
    return found


def first_of(frames: Sequence[bytes]) -> float:
    """Return the seq of the first of some frames, infinity if there is none."""
    try:
        return read_frame(frames[0]).seq
    except (IndexError, BadMessage):
        return float("inf")
