"""Graphs that were drawn for one request and are good for others, up to so many bytes in all."""

import threading
from collections import OrderedDict
from dataclasses import dataclass

from kwapi.plugins.rrd.look import Graph, Look, Target

Key = tuple[str, Target, Look]  # with the period
OVERHEAD = 2000  # bytes of an entry beside its picture, about


@dataclass(frozen=True, slots=True)
class Kept:
    """A graph, and what it was drawn of: as long as that is the same, so is the graph."""

    graph: Graph
    stamp: object

    @property
    def size(self) -> int:
        """Bytes."""
        return len(self.graph.image) + OVERHEAD


class Cache:
    """Forgets the least used; for any thread."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[Key, Kept] = OrderedDict()

    def get(self, key: Key) -> Kept | None:
        """Return what is kept under a key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Key, kept: Kept) -> None:
        """Keep a graph in place of what was kept under its key."""
        with self._lock:
            if key in self._kept:
                self._size -= self._kept.pop(key).size
            self._kept[key] = kept
            self._size += kept.size
            while self._size > self._limit:
                self._size -= self._kept.popitem(last=False)[1].size
