"""The spool of a daemon: a directory of segments, bounded in bytes and in age, the oldest removed first.

One thread writes it, run(), which is handed frames and commits them every few milliseconds; whoever hands them in never
waits for the disk. Readers read the files (reader.py).
"""

import fcntl
import logging
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event

from kwapi.errors import BadMessage, ConfigError
from kwapi.spool.segment import ERRORS, Frame, Segment, is_damage, read_frame, remove, size_of

LOG = logging.getLogger(__name__)

SUFFIX, DAMAGED = ".spool", ".damaged"
SEGMENTS = 16  # into which the spool is divided: as much of it is removed at a time
LOG_PART = 8  # of a segment that its write-ahead log may be
GROUP = 0.005  # seconds in which frames are gathered for one transaction
SYNC = 1.0  # seconds between two fsyncs: what a power loss may cost
RETRY = 5.0  # seconds until a spool that could not be written is tried again
WELL = 60.0  # seconds without a fault until it is over: on a full disk a write succeeds now and then
WAITING = 50_000  # frames that may wait for the disk
MAX_SOURCES = 100_000  # runs of publishers in one segment, since in a forwarder nobody verifies them
SHARE = 0.25  # of a segment that one topic may fill; more where there are few
IDLE = 0.2  # seconds until a stop is noticed


class Spool:
    """Keeps the newest frames on disk; hand() is for any thread, the rest for the one that runs run()."""

    def __init__(
        self,
        directory: str | Path,
        *,
        max_bytes: int,
        max_age: float,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take a directory, which is made if it is missing; ConfigError if it cannot be had."""
        self.directory = Path(directory)
        self.kept = 0
        self.dropped: Counter[str] = Counter()  # by reason
        self._segment_bytes = max(max_bytes // SEGMENTS, 1)
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._steady_clock = steady_clock
        self._queue: SimpleQueue[bytes] = SimpleQueue()
        self._segment: Segment | None = None
        self._used: Counter[bytes] = Counter()  # bytes of each topic in the segment
        self._is_left = False  # the newest segment, for a new one
        self._begun = 0.0  # by our steady clock, when the segment was opened
        self._retry_at = float("-inf")
        self._is_broken = False
        self._lock = _lock(self.directory)

    def hand(self, frame: bytes) -> None:
        """Have a frame kept; it is dropped if too many wait."""
        if self._queue.qsize() < WAITING:
            self._queue.put(frame)
        else:
            self.dropped["too many wait"] += 1

    def run(self, stop: Event) -> None:
        """Keep what is handed in, until stop is set and all of it is written."""
        self._guard(self._open)  # at once: what a kill left half written can be read only after that
        synced_at = self._steady_clock()
        while not (stop.is_set() and self._queue.empty()):
            if frames := self._gather(stop):
                self.keep(frames)
            if (now := self._steady_clock()) - synced_at >= SYNC:
                self._guard(self.tidy)
                synced_at = now
        self._guard(self.tidy)
        self.close()

    def keep(self, frames: Sequence[bytes]) -> None:
        """Write frames now; those that cannot be are dropped, counted and told once."""
        read = []
        for frame in frames:
            try:
                read.append(read_frame(frame))
            except BadMessage:
                self.dropped["malformed"] += 1
        if self._steady_clock() < self._retry_at or not self._guard(lambda: self._write(read)):
            self.dropped["disk"] += len(read)

    def close(self) -> None:
        """Close the files and give the directory free."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _gather(self, stop: Event) -> list[bytes]:
        """Return what was handed in, [] if nothing was for a while."""
        try:
            frames = [self._queue.get(timeout=IDLE)]
        except Empty:
            return []
        stop.wait(GROUP)
        while not self._queue.empty():
            frames.append(self._queue.get())
        return frames

    def _write(self, frames: Sequence[Frame]) -> None:
        segment = self._segment or self._open()
        admitted = [frame for frame in frames if self._admit(frame, segment)]
        segment.add(admitted)
        self.kept += len(admitted)

    def _admit(self, frame: Frame, segment: Segment) -> bool:
        """Return whether a frame may be kept: one topic leaves room for the others."""
        used = self._used[frame.topic] + len(frame.frame)
        if used > max(SHARE, 2 / (len(self._used) or 1)) * self._segment_bytes:
            self.dropped["its wattmeter has its share"] += 1
            return False
        if segment.sources >= MAX_SOURCES:
            self.dropped["too many publishers"] += 1
            return False
        self._used[frame.topic] = used
        return True

    def _open(self) -> Segment:
        """Return the segment to write to: the newest there is, or a new one if that was left or is damaged."""
        paths = segment_paths(self.directory)
        if paths and not self._is_left:
            self._segment = self._resume(paths[-1])
        self._begun = self._steady_clock()
        if self._segment is None:
            self._is_left = False
            number = int(paths[-1].stem) + 1 if paths else 1
            self._segment = Segment(self.directory / f"{number:012}{SUFFIX}", self._segment_bytes // LOG_PART)
            self._used.clear()
        return self._segment

    def _resume(self, path: Path) -> Segment | None:
        try:
            return Segment(path, self._segment_bytes // LOG_PART)
        except ERRORS as error:
            if not is_damage(error):
                raise
            set_aside(path, error)
            return None

    def tidy(self) -> None:
        """Have what was written survive a power loss; leave the segment if it is full; remove the oldest."""
        segment = self._segment
        if segment is not None:
            segment.sync()
            age = self._steady_clock() - self._begun
            if size_of(segment.path) >= self._segment_bytes or age > self._max_age / SEGMENTS:
                segment.close()
                self._segment, self._is_left = None, True
        paths = segment_paths(self.directory)
        room = self._max_bytes - self._segment_bytes - sum(map(size_of, paths))
        for path in paths[:-1]:
            if room >= 0 and self._clock() - path.stat().st_mtime <= self._max_age:
                break
            room += size_of(path)
            remove(path)

    def _guard(self, work: Callable[[], object]) -> bool:
        """Do something with the files; return whether it could be done. A fault is told once, and its end."""
        try:
            work()
        except (OSError, *ERRORS) as error:
            self._retry_at = self._steady_clock() + RETRY
            if not self._is_broken:
                LOG.warning(
                    "cannot keep what passes in %s, what is lost meanwhile cannot be repaired: %s",
                    self.directory,
                    error,
                )
            self._is_broken = True
            segment, self._segment = self._segment, None
            if segment is not None:
                self._give_up(segment, error)
            return False
        if self._is_broken and self._steady_clock() - self._retry_at >= WELL:
            LOG.info("what passes is kept in %s again; %d frames were not", self.directory, self.dropped["disk"])
            self._is_broken = False
        return True

    def _give_up(self, segment: Segment, error: Exception) -> None:
        """Close a segment that failed, and put it aside if it is damaged."""
        with suppress(OSError, *ERRORS):
            segment.close()
        if is_damage(error):
            with suppress(OSError):  # a disk that can only be read; it is tried again with the next segment
                set_aside(segment.path, error)


def segment_paths(directory: Path) -> list[Path]:
    """Return the segments of a spool, the oldest first."""
    return sorted(directory.glob(f"*{SUFFIX}"))


def set_aside(path: Path, error: Exception) -> None:
    """Take a damaged segment out of the spool; the one that was set aside before goes."""
    for old in path.parent.glob(f"*{DAMAGED}"):
        old.unlink()
    path.rename(path.with_suffix(DAMAGED))
    remove(path)
    LOG.warning("%s is damaged and set aside: %s", path, error)


def _lock(directory: Path) -> int:
    """Return a descriptor that keeps other daemons from a directory; raise ConfigError if one has it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ConfigError(f"spool_dir: cannot use {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"spool_dir: another daemon uses {directory}") from error
    return descriptor
