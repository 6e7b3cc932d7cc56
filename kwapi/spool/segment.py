"""One file of a spool: signed frames as they came, found by topic, boot and seq. An SQLite database.

    source (id, topic, boot)              who sent; a boot is one run of a publisher
    frame  (source, seq, at, frame)       at: the frame's own timestamp

Rows lie in the order they came, so that writing appends; the key is an index beside them. SQLite costs twice what LMDB
does (6 and 3 us a frame), but a damaged file is an error with it, and a crash with LMDB (docs/adr/0008).
"""

import math
import os
import sqlite3
import struct
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from kwapi.errors import BadMessage
from kwapi.signing import split

FORMAT = 1  # user_version of the file
PAGE = 8192  # bytes
LAYOUT = f"""
    pragma page_size = {PAGE};
    pragma journal_mode = wal;
    begin;
    create table source (id integer primary key, topic blob not null, boot int not null, unique (topic, boot));
    create table frame (source int not null, seq int not null, at real not null, frame blob not null,
                        primary key (source, seq));
    pragma user_version = {FORMAT};
    commit;
"""
FIRST = "select seq, at from frame where source = ? order by seq limit 1"
NEXT = "select seq, at from frame where source = ? and seq >= ? order by seq limit 1"
LAST = "select seq, at from frame where source = ? order by seq desc limit 1"
ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the latter where a damaged file has words that are none
BEYOND = b"\xff"  # comes after whatever UTF-8 may follow a prefix
BUSY = 1.0  # seconds to wait for a reader that has the file locked


class Frame(NamedTuple):
    """A signed frame and what its payload says of itself, which nobody has verified."""

    topic: bytes
    boot: int
    seq: int
    timestamp: float
    frame: bytes


class Run(NamedTuple):
    """What a spool has of one run of a publisher: the first and the last seq, and the timestamp of the last."""

    topic: bytes
    boot: int
    first: int
    last: int
    timestamp: float


class _Numbers(msgspec.Struct):
    boot: int
    seq: int
    timestamp: float


_numbers = msgspec.msgpack.Decoder(_Numbers)


def read_frame(frame: bytes) -> Frame:
    """Return the numbers of a frame without verifying it; raise BadMessage if it has none."""
    topic, _, payload = split(frame)
    try:
        numbers = _numbers.decode(payload)
        struct.pack("qqd", numbers.boot, numbers.seq, numbers.timestamp)
    except (msgspec.MsgspecError, struct.error, UnicodeError, RecursionError) as error:
        raise BadMessage("malformed", str(error)) from error
    if not math.isfinite(numbers.timestamp):  # SQLite has no such number
        raise BadMessage("malformed", f"its timestamp is {numbers.timestamp}")
    return Frame(topic, numbers.boot, numbers.seq, numbers.timestamp, frame)


class Segment:
    """A file to write to, with a write-ahead log of so many bytes. For one thread; anything may raise ERRORS."""

    def __init__(self, path: Path, max_log_bytes: int) -> None:
        self.path = path
        if not path.exists():
            _create(path)
        self._connection = sqlite3.connect(path, timeout=BUSY, isolation_level=None)
        self._log = -1  # descriptor of the write-ahead log
        try:
            check_format(self._connection)
            self._connection.execute("pragma synchronous = normal")
            self._connection.execute(f"pragma wal_autocheckpoint = {max(max_log_bytes // PAGE, 4)}")
            self._sources = self._read_sources()
            self._log = os.open(f"{path}-wal", os.O_RDONLY)
        except BaseException:
            self.close()
            raise

    @property
    def sources(self) -> int:
        """Return how many runs of publishers it has frames of."""
        return len(self._sources)

    def add(self, frames: Iterable[Frame]) -> None:
        """Write frames, all or none; one that is there already stays as it is."""
        connection = self._connection
        try:
            connection.execute("begin immediate")
            rows = [(self._source(each.topic, each.boot), *each[2:]) for each in frames]
            connection.executemany("insert or ignore into frame values (?, ?, ?, ?)", rows)
            connection.execute("commit")
        except BaseException:
            if connection.in_transaction:
                connection.execute("rollback")
            self._sources = self._read_sources()  # those of this transaction are gone
            raise

    def sync(self) -> None:
        """Have what was added survive a power loss."""
        os.fdatasync(self._log)

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _read_sources(self) -> dict[tuple[bytes, int], int]:
        return {(topic, boot): number for number, topic, boot in self._connection.execute("select * from source")}

    def _source(self, topic: bytes, boot: int) -> int:
        number = self._sources.get((topic, boot))
        if number is None:
            number = len(self._sources) + 1
            self._connection.execute("insert into source values (?, ?, ?)", (number, topic, boot))
            self._sources[topic, boot] = number
        return number


class SegmentReader:
    """A file to read from, while another thread or process may write to it. Anything may raise ERRORS."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", timeout=BUSY, uri=True)
        try:
            check_format(self._connection)
        except BaseException:
            self.close()
            raise

    def runs(self, prefix: bytes, since: float) -> Iterator[Run]:
        """Yield what is there of each run of the publishers whose topics begin with the prefix, from a timestamp on."""
        sources = self._connection.execute(
            "select id, topic, boot from source where topic >= ? and topic < ?", (prefix, prefix + BEYOND)
        ).fetchall()
        for source, topic, boot in sources:
            (first, _), (last, last_at) = self._row(FIRST, source), self._row(LAST, source)
            if last_at >= since:
                yield Run(topic, boot, self._first_since(source, first, last, since), last, last_at)

    def frames(self, topic: bytes, boot: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, frame) of one run, from the first to the last seq, what is there of it."""
        yield from self._connection.execute(
            "select seq, frame from frame where source = (select id from source where topic = ? and boot = ?)"
            " and seq between ? and ? order by seq",
            (topic, boot, first, last),
        )

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _row(self, query: str, *values: int) -> tuple[int, float]:
        """Return the seq and the timestamp of a frame, which is there unless the file is damaged."""
        row = self._connection.execute(query, values).fetchone()
        if row is None:
            raise sqlite3.DatabaseError("it has no frame of a run that it names")
        seq, at = row
        return seq, at

    def _first_since(self, source: int, first: int, last: int, since: float) -> int:
        """Return the first seq that is young enough, by halves: timestamps grow, but for a clock that was stepped."""
        while first < last:
            middle = (first + last) // 2
            seq, at = self._row(NEXT, source, middle)
            if at >= since:
                last = middle
            else:
                first = seq + 1
        return first


def _create(path: Path) -> None:
    """Make an empty segment; whoever reads sees all of it or nothing."""
    temporary = path.with_suffix(".new")
    remove(temporary)
    with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
        connection.executescript(LAYOUT)
    temporary.replace(path)


def check_format(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError unless a file is a segment as we write it."""
    (version,) = connection.execute("pragma user_version").fetchone()
    if version != FORMAT:
        raise sqlite3.DatabaseError(f"its format is {version}, not {FORMAT}")


def is_damage(error: Exception) -> bool:
    """Return whether a file is no segment any more, rather than locked, full or not to be written."""
    if isinstance(error, sqlite3.OperationalError):
        return error.sqlite_errorcode == sqlite3.SQLITE_ERROR  # its tables are others
    return isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError)


def size_of(path: Path) -> int:
    """Return the bytes of a segment's files."""
    sizes = 0
    for name in (str(path), f"{path}-wal", f"{path}-shm"):
        with suppress(FileNotFoundError):
            sizes += os.stat(name).st_size
    return sizes


def remove(path: Path) -> None:
    """Remove a segment's files."""
    for name in (f"{path}-wal", f"{path}-shm", str(path)):
        Path(name).unlink(missing_ok=True)
