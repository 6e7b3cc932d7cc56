"""The spool of a daemon: a directory of segments, bounded in bytes and in age, the oldest removed first.

One thread writes it, run(), which is handed frames and commits them every few milliseconds; whoever hands them in never
waits for the disk. Another thread has what is committed reach it every second. A disk that is full, broken or not there
costs what passes meanwhile, is told once, and tried again.

Readers read the files (reader.py).
"""

import fcntl
import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Lock, Thread

from kwapi.errors import BadMessage, ConfigError
from kwapi.spool.quota import Quota
from kwapi.spool.segment import ERRORS, Row, Segment, identity, is_damage, read_frame, remove, size_of

LOG = logging.getLogger(__name__)

SUFFIX, DAMAGED = ".spool", ".damaged"
SEGMENTS = 16  # into which the spool is divided: as much of it is removed at a time
LOG_PART = 8  # of a segment that its write-ahead log may be, and the frames of a transaction
GROUP = 0.007  # seconds in which frames are gathered for one transaction
SYNC = 1.0  # seconds between two fsyncs, which is what a power loss may cost, and between two looks at the files
RETRY = 5.0  # seconds until a spool that could not be written is tried again
WELL = 60.0  # seconds without a fault until it is over: on a full disk a write succeeds now and then
WAITING, WAITING_BYTES = 50_000, 32 << 20  # frames that may wait for the disk
BEYOND = 1.5  # of a segment's size that it may have when its last transaction is written
MOST_SEGMENTS = 4 * SEGMENTS  # where faults have made them small
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
        """Take a directory, which is made if it is missing; ConfigError if it can be none, or is another daemon's."""
        self.directory = Path(directory)
        self.kept = 0
        self.dropped: Counter[str] = Counter()  # by reason
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // SEGMENTS, 1)
        self._log_bytes = max(self._segment_bytes // LOG_PART, 1)
        self._segment_seconds = max_age / SEGMENTS
        self._max_age = max_age
        self._clock = clock
        self._steady_clock = steady_clock
        self._waiting: deque[Row] = deque()
        self._waiting_bytes = 0
        self._counting = Lock()  # of what those drop who hand in
        self._has_some = Event()
        self.opened = Event()  # once run() has opened what there was before, so that all of it can be read
        self._segment: Segment | None = None
        self._quota = Quota(self._segment_bytes)
        self._newest = 0  # number of the segment that was made last; none is used again
        self._is_left = False  # the newest segment, for a new one
        self._distrusted: Path | None = None
        self._fault: OSError | None = None  # met by the thread that syncs
        self._begun = 0.0  # by our steady clock, when the segment was opened
        self._retry_at = float("-inf")
        self._is_broken = False
        self._lock = -1  # descriptor of a file that keeps other daemons from the directory
        try:
            self._take_directory()
        except BlockingIOError as error:
            raise ConfigError(f"spool_dir: another daemon uses {directory}") from error
        except (FileExistsError, NotADirectoryError) as error:
            raise ConfigError(f"spool_dir: cannot use {directory}: {error.strerror}") from error
        except OSError as error:
            self._fail(error)

    def hand(self, frame: bytes) -> None:
        """Have a frame kept; it is dropped if it is none, or too many wait."""
        try:
            self.hand_numbered(*read_frame(frame))
        except BadMessage:
            with self._counting:
                self.dropped["malformed"] += 1

    def hand_numbered(self, topic: bytes, boot: int, seq: int, timestamp: float, frame: bytes) -> None:
        """Have a frame kept, by one who knows what it says of itself; it is dropped if too many wait.

        Threads that hand in do not wait for each other (docs/adr/0018), so what may wait is exceeded by some frames of
        each at most, until all of them are taken.
        """
        size = len(frame)
        if self._waiting_bytes + size > WAITING_BYTES or len(self._waiting) >= WAITING:
            with self._counting:
                self.dropped["too many wait"] += 1
            return
        self._waiting.append((topic, boot, seq, timestamp, frame))
        self._waiting_bytes += size
        if not self._has_some.is_set():
            self._has_some.set()

    def distrust(self, path: Path) -> None:
        """Have a segment left, since a reader found it damaged; the writer may never see it."""
        self._distrusted = path

    def run(self, stop: Event) -> None:
        """Keep what is handed in, until stop is set and all of it is written."""
        self._guard(self._open)  # at once: what a kill left half written can be read only after that
        self.opened.set()
        tidied_at = self._steady_clock()
        syncing = Thread(target=self._sync_on, args=(done := Event(),), name="spool sync", daemon=True)
        syncing.start()
        while not stop.is_set() or self._waiting:
            if self._has_some.wait(IDLE):
                stop.wait(GROUP)
                self.flush()
            if (now := self._steady_clock()) - tidied_at >= SYNC:
                self._guard(self.tidy)
                tidied_at = now
        done.set()
        syncing.join()
        self._guard(self.tidy)
        self.close()

    def flush(self) -> None:
        """Write what was handed in; what cannot be is dropped, counted and told once."""
        self._has_some.clear()  # first: who hands in after this sets it again
        frames = [self._waiting.popleft() for _ in range(len(self._waiting))]
        self._waiting_bytes = 0
        for some in self._transactions(frames):
            if self._steady_clock() < self._retry_at or not self._guard(self._open):
                self.dropped["disk"] += len(some)
            elif not self._guard(partial(self._write, admitted := self._admit(some))):
                self.dropped["disk"] += len(admitted)
            else:
                self._guard(self._put_in_order)

    def close(self) -> None:
        """Close the files and give the directory free."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def tidy(self) -> None:
        """Look whether all is well; leave a segment that is full or old; remove the oldest."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
        segment = self._segment
        if segment is not None and segment.path == self._distrusted:
            self._segment, self._is_left = None, True
            with suppress(OSError, *ERRORS):
                segment.leave()
        elif segment is not None:
            segment.check()
            self._put_in_order()
        self._make_room()

    def _sync_on(self, done: Event) -> None:
        """Have what was written survive a power loss, beside the thread that writes: a disk may take its time."""
        is_last = False
        while not is_last:
            is_last = done.wait(SYNC)
            segment = self._segment
            try:
                if segment is not None:
                    segment.sync()
            except OSError as error:
                self._fault = error

    def _transactions(self, frames: Sequence[Row]) -> Iterator[list[Row]]:
        """Yield frames that are written together: so many that a segment can be left in time."""
        together: list[Row] = []
        size = 0
        for frame in frames:
            length = len(frame[-1])
            if length > self._log_bytes:
                self.dropped["too large"] += 1
                continue
            size += length
            if size > self._log_bytes:
                yield together
                together, size = [], length
            together.append(frame)
        if together:
            yield together

    def _admit(self, frames: Sequence[Row]) -> list[Row]:
        """Return the frames that may be kept, so that one wattmeter leaves room for the others."""
        elapsed = (self._steady_clock() - self._begun) / self._segment_seconds
        admitted = []
        for frame in frames:
            if reason := self._quota.refuse(frame, elapsed):
                self.dropped[reason] += 1
            else:
                admitted.append(frame)
        return admitted

    def _write(self, frames: Sequence[Row]) -> None:
        if self._segment is not None and frames:
            self._segment.add(frames)
            self.kept += len(frames)

    def _open(self) -> None:
        """Have a segment to write to: the newest there is, or a new one if that was left or is damaged."""
        if self._segment is not None:
            return
        self._take_directory()
        paths = segment_paths(self.directory)
        self._newest = max(self._newest, int(paths[-1].stem) if paths else 0)
        if paths and not self._is_left:
            self._segment = self._resume(paths[-1])
        if self._segment is None:
            path = self.directory / f"{self._newest + 1:012}{SUFFIX}"
            self._segment = Segment(path, self._log_bytes)
            self._newest += 1
        self._is_left = False
        self._begun = self._steady_clock()
        self._quota = Quota(self._segment_bytes, sources=self._segment.sources, before=self._quota.topics)

    def _resume(self, path: Path) -> Segment | None:
        try:
            return Segment(path, self._log_bytes)
        except ERRORS as error:
            if not is_damage(error):
                raise
            set_aside(path, error)
            return None

    def _put_in_order(self) -> None:
        """Leave the segment if it is full or old."""
        segment = self._segment
        if segment is None:
            return
        segment.shorten_tail()
        age = self._steady_clock() - self._begun
        if self._quota.is_full or size_of(segment.path) >= self._segment_bytes or age > self._segment_seconds:
            self._segment, self._is_left = None, True
            segment.leave()
            self._make_room()

    def _make_room(self) -> None:
        """Remove the oldest segments, so that there is room for one more."""
        paths = segment_paths(self.directory)
        room = self._max_bytes - int(BEYOND * self._segment_bytes) - sum(map(size_of, paths[:-1]))
        if self._segment is None and paths:
            room -= size_of(paths[-1])
        for number, path in enumerate(paths[:-1]):
            is_old = self._clock() - path.stat().st_mtime > self._max_age
            if room >= 0 and not is_old and len(paths) - number <= MOST_SEGMENTS:
                break
            room += size_of(path)
            remove(path)

    def _take_directory(self) -> None:
        """Make the directory and keep other daemons from it, unless that was done and nobody has removed it."""
        path = self.directory / "lock"
        if self._lock >= 0:
            status = os.fstat(self._lock)
            with suppress(FileNotFoundError):
                if identity(path) == (status.st_dev, status.st_ino):
                    return
            os.close(self._lock)
            self._lock = -1
        self.directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
            raise
        self._lock = descriptor

    def _guard(self, work: Callable[[], object]) -> bool:
        """Do something with the files; return whether it could be done. A fault is told once, and its end."""
        try:
            work()
        except (OSError, *ERRORS) as error:
            self._fail(error)
            return False
        if self._is_broken and self._steady_clock() - self._retry_at >= WELL:
            LOG.info("what passes is kept in %s again; %d frames were not", self.directory, self.dropped["disk"])
            self._is_broken = False
        return True

    def _fail(self, error: Exception) -> None:
        self._retry_at = self._steady_clock() + RETRY
        if not self._is_broken:
            LOG.warning(
                "cannot keep what passes in %s, what is lost meanwhile cannot be repaired: %s", self.directory, error
            )
        self._is_broken = True
        segment, self._segment = self._segment, None
        if segment is None:
            return
        with suppress(OSError, *ERRORS):
            segment.close()
        if is_damage(error):
            self._is_left = True  # the one before was, and does not change again
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
