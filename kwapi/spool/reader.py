"""Reads a spool while its daemon writes to it. For one thread; what is damaged is passed over, and told once."""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from heapq import merge
from itertools import chain
from pathlib import Path
from typing import TypeVar

from kwapi.errors import KwapiError
from kwapi.spool.contents import Contents, Run
from kwapi.spool.segment import ERRORS, identity, log_of
from kwapi.spool.store import segment_paths

LOOK = 0.5  # seconds after which the directory is looked at in any case
LOG = logging.getLogger(__name__)
T = TypeVar("T")
LOCKED = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_CANTOPEN)  # for a moment, or for want of files


class CannotRead(KwapiError):
    """The spool cannot be read now, so that nobody can say what there is."""


class Reader:
    """What a spool's directory holds. CannotRead from anything, for a moment."""

    def __init__(self, directory: str | Path, damaged: Callable[[Path], None] = lambda _: None) -> None:
        """``damaged`` is told of each segment in which damage was found."""
        self._directory = Path(directory)
        self._damaged = damaged
        self._segments: dict[Path, Contents] = {}
        self._paths: list[Path] = []  # the oldest first
        self._changed_at: int | None = None  # the directory, when it was looked at
        self._looked_at = 0.0
        self._told: set[Path] = set()  # of their damage

    def runs(self, prefix: bytes, since: float = 0.0) -> list[Run]:
        """Return what is there, from a timestamp on, of each run of the publishers whose topics begin so."""
        return _united(self._read(lambda segment: segment.runs(prefix, since)))

    def runs_of(self, topic: bytes) -> list[Run]:
        """Return what is there of each run of one publisher."""
        return _united(self._read(lambda segment: segment.runs_of(topic)))

    def frames(self, topic: bytes, boot: int, first: int, last: int, max_bytes: int) -> dict[int, bytes]:
        """Return the frames of a run by seq, in order, from the first to the last, what is there of them.

        They end earlier when they would be more than max_bytes, but there is always one if there is any.
        """
        return dict(limited(merge(*self._read(lambda segment: segment.frames(topic, boot, first, last))), max_bytes))

    def close(self) -> None:
        """Close all files."""
        for segment in self._segments.values():
            segment.close()
        self._segments.clear()

    def _read(self, read: Callable[[Contents], Iterable[T]]) -> list[Iterator[T]]:
        """Return what is read from each segment, the oldest first."""
        try:
            self._look()
        except OSError as error:
            raise CannotRead(str(error)) from error
        return [self._read_one(path, read) for path in self._paths]

    def _look(self) -> None:
        """Find out which segments there are, unless nothing has changed since a moment ago."""
        now, changed_at = time.monotonic(), _changed_at(self._directory)
        if changed_at == self._changed_at and now - self._looked_at < LOOK:
            return
        self._paths = segment_paths(self._directory)
        self._changed_at, self._looked_at = changed_at, now
        for path, segment in list(self._segments.items()):
            if path not in self._paths or segment.identity != identity(path) or segment.is_left != self._is_left(path):
                self._forget(path)

    def _is_left(self, path: Path) -> bool:
        return path != self._paths[-1] and _is_empty(log_of(path))

    def _read_one(self, path: Path, read: Callable[[Contents], Iterable[T]]) -> Iterator[T]:
        try:
            yield from read(self._open(path))
        except FileNotFoundError:
            self._forget(path)  # it was just removed
        except (OSError, *ERRORS) as error:
            self._forget(path)
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in LOCKED:
                raise CannotRead(f"{path}: {error}") from error
            if path not in self._told and path.exists():
                LOG.warning("%s is damaged, what cannot be read of it cannot be repaired: %s", path, error)
                self._told.add(path)
                self._damaged(path)

    def _open(self, path: Path) -> Contents:
        if path not in self._segments:
            self._segments[path] = Contents(path, is_left=self._is_left(path))
        return self._segments[path]

    def _forget(self, path: Path) -> None:
        if (segment := self._segments.pop(path, None)) is not None:
            segment.close()


def _changed_at(directory: Path) -> int | None:
    try:
        return directory.stat().st_mtime_ns
    except FileNotFoundError:
        return None


def _is_empty(path: Path) -> bool:
    """Return whether a write-ahead log has nothing, so that the segment itself has all."""
    try:
        return path.stat().st_size == 0
    except FileNotFoundError:
        return True


def limited(frames: Iterable[tuple[int, bytes]], max_bytes: int) -> Iterator[tuple[int, bytes]]:
    """Yield frames as long as they are no more than max_bytes together, and the first in any case."""
    size = 0
    for seq, frame in frames:
        if size and size + len(frame) > max_bytes:
            return
        size += len(frame)
        yield seq, frame


def _united(parts: Iterable[Iterable[Run]]) -> list[Run]:
    """Return one run for what several segments, the oldest first, have of it."""
    runs: dict[tuple[bytes, int], Run] = {}
    for run in chain.from_iterable(parts):
        before = runs.get(run[:2])
        if before is not None:
            first, first_at = min(before[2::3], run[2::3])
            last, timestamp = max(before[3:5], run[3:5])
            run = Run(run.topic, run.boot, first, last, timestamp, first_at)
        runs[run[:2]] = run
    return list(runs.values())
