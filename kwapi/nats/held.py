"""Frames of a stream that came before their turn: they wait until what is missing before them is there, or lost. Pure.

They need not be asked for again then, as what comes by ZeroMQ has to be, since a stream may have what no spool has.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kwapi.stream import Mark

MOST_BYTES = 64 << 20  # that wait, until nothing more is read


class Waiter(NamedTuple):
    """A frame, its number in a stream, and the key under which that is counted."""

    frame: bytes
    key: str
    mark: Mark


class Held:
    """What waits, in order per wattmeter; for one thread."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._size = 0
        self._waiting: dict[bytes, deque[Waiter]] = {}  # by topic

    def add(self, waiter: Waiter) -> None:
        """Let a frame wait."""
        topic = waiter.frame[: waiter.frame.index(0)]
        self._waiting.setdefault(topic, deque()).append(waiter)
        self._size += len(waiter.frame)

    def due(self, most: int, is_behind: Callable[[bytes], bool]) -> Iterator[Waiter]:
        """Yield those whose topics lack nothing before them, so many at most; one that is early again stays."""
        for topic, waiting in list(self._waiting.items()):
            while waiting and most and not is_behind(topic):
                yield waiting[0]
                most -= 1
                if not is_behind(topic):
                    self._size -= len(waiting.popleft().frame)
            if not waiting:
                del self._waiting[topic]

    @property
    def is_full(self) -> bool:
        """Whether nothing more should be read."""
        return self._size >= self._most_bytes

    def begins(self) -> dict[str, Mark]:
        """Return by key up to where nothing waits."""
        firsts: dict[str, Mark] = {}
        for waiting in self._waiting.values():
            for _, key, mark in waiting:
                firsts[key] = min(mark, firsts.get(key, mark), key=lambda mark: mark.seq)
        return {key: mark._replace(seq=mark.seq - 1) for key, mark in firsts.items()}
