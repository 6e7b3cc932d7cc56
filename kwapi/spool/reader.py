"""Reads a spool while its daemon writes to it. For one thread; a damaged segment is passed over, and told once."""

import logging
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import TypeVar

from kwapi.errors import KwapiError
from kwapi.spool.segment import ERRORS, Run, SegmentReader, is_damage
from kwapi.spool.store import segment_paths

LOG = logging.getLogger(__name__)
T = TypeVar("T")


class CannotRead(KwapiError):
    """A segment cannot be read now, so that nobody can say what there is."""


class Reader:
    """What a spool's directory holds. CannotRead from anything, for a moment."""

    def __init__(self, directory: str | Path) -> None:
        self._directory = Path(directory)
        self._readers: dict[Path, SegmentReader] = {}
        self._damaged: set[Path] = set()

    def runs(self, prefix: bytes, since: float = 0.0) -> list[Run]:
        """Return what is there, from a timestamp on, of each run of the publishers whose topics begin so."""
        runs: dict[tuple[bytes, int], Run] = {}
        for run in chain.from_iterable(self._read(lambda segment: segment.runs(prefix, since))):
            before = runs.get((run.topic, run.boot), run)
            runs[run.topic, run.boot] = run._replace(
                first=min(before.first, run.first),
                last=max(before.last, run.last),
                timestamp=max(before.timestamp, run.timestamp),
            )
        return list(runs.values())

    def frames(self, topic: bytes, boot: int, first: int, last: int, max_bytes: int) -> dict[int, bytes]:
        """Return the frames of a run by seq, in order, from the first to the last, what is there of them.

        They end earlier when they would be more than max_bytes, but there is always one if there is any.
        """
        return dict(limited(merge(*self._read(lambda segment: segment.frames(topic, boot, first, last))), max_bytes))

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _read(self, read: Callable[[SegmentReader], Iterable[T]]) -> list[Iterator[T]]:
        """Return what is read from each segment, the oldest first."""
        paths = segment_paths(self._directory)
        for gone in self._readers.keys() - set(paths):
            self._readers.pop(gone).close()
        return [self._read_one(path, read) for path in paths if path not in self._damaged]

    def _read_one(self, path: Path, read: Callable[[SegmentReader], Iterable[T]]) -> Iterator[T]:
        try:
            if path not in self._readers:
                self._readers[path] = SegmentReader(path)
            yield from read(self._readers[path])
        except ERRORS as error:
            if is_damage(error):
                LOG.warning("%s is damaged, what it holds cannot be repaired: %s", path, error)
                self._damaged.add(path)
            elif path.exists():  # and was not just removed
                raise CannotRead(f"{path}: {error}") from error


def limited(frames: Iterable[tuple[int, bytes]], max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield frames as long as they are no more than max_bytes together, and the first in any case."""
    size = 0
    for seq, frame in frames:
        if size and size + len(frame) > max_bytes:
            return
        size += len(frame)
        yield seq, frame
