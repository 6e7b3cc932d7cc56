"""The questions that wait at a spool, those of each client apart, so that none of them keeps another waiting."""

import time
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

WAITING = 64  # questions of one client; ours has half as many
ALL_WAITING = 4096  # of all clients

T = TypeVar("T")


@dataclass(slots=True)
class _Client(Generic[T]):
    due: float  # when it may have its next answer, of the monotonic clock
    questions: deque[T] = field(default_factory=deque)


class Turns(Generic[T]):
    """Whose question is answered next: of the client whose turn has come first.

    After an answer a client's next turn comes when as much time has passed as the answer took.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._clients: dict[Hashable, _Client[T]] = {}
        self._waiting = 0

    def add(self, client: Hashable, question: T) -> bool:
        """Let a question wait; return False if too many do so already."""
        known = self._clients.get(client)
        if self._waiting >= ALL_WAITING or (known is not None and len(known.questions) >= WAITING):
            return False
        if known is None:
            known = self._clients[client] = _Client(self._clock())
        known.questions.append(question)
        self._waiting += 1
        return True

    def next(self) -> tuple[Hashable, T] | None:
        """Return the client whose turn it is and its question, None if nobody's is yet."""
        now = self._clock()
        for client in [each for each, known in self._clients.items() if not known.questions and known.due <= now]:
            del self._clients[client]
        waiting = [(known.due, client) for client, known in self._clients.items() if known.questions]
        due, client = min(waiting, key=lambda turn: turn[0], default=(float("inf"), None))
        if due > now:
            return None
        self._waiting -= 1
        return client, self._clients[client].questions.popleft()

    def charge(self, client: Hashable, seconds: float) -> None:
        """Note how long a client's answer took."""
        if (known := self._clients.get(client)) is not None:
            known.due = max(known.due, self._clock()) + seconds

    def pause(self, longest: float) -> float:
        """Return the seconds until it is somebody's turn, at most so many."""
        due = min((known.due for known in self._clients.values() if known.questions), default=float("inf"))
        return min(max(due - self._clock(), 0.0), longest)
