"""What one segment holds, for those who read it while its daemon may be writing to it.

Of a segment that was left a table of its runs is kept in memory, packed, since each question would look for them again.
"""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from heapq import merge
from operator import itemgetter
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

from kwapi.spool.segment import BUSY, check_format, connect, identity

RUNS = """
    select topic, boot,
        (select seq from place where source = id order by seq limit 1),
        (select seq from place where source = id order by seq desc limit 1),
        (select at from place where source = id order by seq desc limit 1),
        (select at from place where source = id order by seq limit 1)
    from source
"""
UNDER = f"{RUNS} where topic >= ? and topic < ?"
BEYOND = b"\xff"  # comes after whatever UTF-8 may follow a prefix
SINCE = """
    select seq from place where source = (select id from source where topic = ? and boot = ?) and at >= ?
    order by seq limit 1
"""
FRAMES = """
    select place.seq, frame from place join frame on frame.rowid = row
    where place.source = (select id from source where topic = ? and boot = ?)
    and place.seq between ? and ? order by place.seq
"""
NEW_FRAMES = """
    select frame.rowid, topic, boot, seq, at from frame join source on id = source
    where frame.rowid > ? order by frame.rowid
"""
FRAME = "select frame from frame where rowid = ?"
PACKED = Struct("qqqdd")  # a run without its topic
NOT_WRITABLE = (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
MAX_TABLE = 30_000  # runs of a segment that are kept in memory: 4 MB


class Run(NamedTuple):
    """What a spool has of one run of a publisher: the first and the last seq; timestamps of the last and the first."""

    topic: bytes
    boot: int
    first: int
    last: int
    timestamp: float
    first_at: float


class _Tail:
    """The frames of a segment that have no place yet, as far as they were gone through."""

    def __init__(self) -> None:
        self._placed = self._last = 0  # rows
        self._sources: dict[bytes, dict[int, dict[int, tuple[float, int]]]] = {}  # by topic, boot, seq: at, row

    def look(self, connection: sqlite3.Connection) -> None:
        """Go through those that are new."""
        (placed,) = _there(connection.execute("select row from placed").fetchone())
        if placed != self._placed:
            self._placed = self._last = placed
            self._sources.clear()
        for row, topic, boot, seq, at in connection.execute(NEW_FRAMES, (self._last,)):
            self._sources.setdefault(topic, {}).setdefault(boot, {}).setdefault(seq, (at, row))
            self._last = row

    def runs(self, prefix: bytes, since: float = -math.inf) -> Iterator[Run]:
        """Yield what there is from a timestamp on of each run of the publishers whose topics begin so."""
        for topic in self._sources:
            if topic.startswith(prefix):
                yield from self.runs_of(topic, since)

    def runs_of(self, topic: bytes, since: float = -math.inf) -> Iterator[Run]:
        """Yield what there is from a timestamp on of each run of one publisher."""
        for boot, frames in self._sources.get(topic, {}).items():
            if seqs := [seq for seq, (at, _) in frames.items() if at >= since]:
                first, last = min(seqs), max(seqs)
                yield Run(topic, boot, first, last, frames[last][0], frames[first][0])

    def rows(self, topic: bytes, boot: int, first: int, last: int) -> list[tuple[int, int]]:
        """Return (seq, row) of a run's frames, in order."""
        frames = self._sources.get(topic, {}).get(boot, {})
        return sorted((seq, row) for seq, (_, row) in frames.items() if first <= seq <= last)


class Contents:
    """The frames of one segment. For one thread; anything may raise ERRORS.

    Of one run there may be two parts: what has a place, and the tail.
    """

    def __init__(self, path: Path, *, is_left: bool) -> None:
        """A segment that was left never changes again; another one may be written meanwhile."""
        self.is_left = is_left
        self.identity: tuple[int, int] | None = identity(path)
        self._table: dict[bytes, bytes] | None = None  # packed runs by topic, of one that was left
        self._newest = math.inf  # timestamp in it
        self._tail = _Tail()
        try:
            self._connection = _connect(path, is_left=is_left)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in NOT_WRITABLE:
                raise
            self._connection = _connect(path, is_left=True)  # what was written before the disk could only be read
            self.identity = None  # to be opened anew next time

    def runs(self, prefix: bytes, since: float) -> Iterator[Run]:
        """Yield what there is from a timestamp on of each run of the publishers whose topics begin so."""
        self._learn()
        if self._newest < since:
            return
        for run in self._under(prefix):
            if run.first_at >= since:
                yield run
            elif run.timestamp >= since:
                row = self._connection.execute(SINCE, (run.topic, run.boot, since)).fetchone()
                yield run._replace(first=_there(row)[0], first_at=since)
        yield from self._tail.runs(prefix, since)

    def runs_of(self, topic: bytes) -> list[Run]:
        """Return what there is of each run of one publisher."""
        self._learn()
        if self._table is not None:
            placed = [Run(topic, *numbers) for numbers in PACKED.iter_unpack(self._table.get(topic, b""))]
        else:
            placed = self._query(f"{RUNS} where topic = ?", topic)
        return [*placed, *self._tail.runs_of(topic)]

    def frames(self, topic: bytes, boot: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, frame) of one run, from the first to the last seq, what is there of it."""
        self._learn()
        if self._table is not None and not any(
            run.boot == boot and run.first <= last and run.last >= first for run in self.runs_of(topic)
        ):
            return
        placed = self._connection.execute(FRAMES, (topic, boot, first, last))
        before = None
        for seq, frame in merge(placed, self._in_tail(topic, boot, first, last), key=itemgetter(0)):
            if seq != before:  # in both, the first is in its place
                yield seq, frame
            before = seq

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _in_tail(self, topic: bytes, boot: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        for seq, row in self._tail.rows(topic, boot, first, last):
            yield seq, _there(self._connection.execute(FRAME, (row,)).fetchone())[0]

    def _under(self, prefix: bytes) -> list[Run]:
        """Return what there is of the publishers whose topics begin so, but for the tail."""
        if self._table is None:
            return self._query(UNDER, prefix, prefix + BEYOND)
        topics = [topic for topic in self._table if topic.startswith(prefix)]
        return [Run(topic, *numbers) for topic in topics for numbers in PACKED.iter_unpack(self._table[topic])]

    def _learn(self) -> None:
        """Find out what is new, or keep in memory what there is if that does not change any more."""
        if self.is_left and self._newest < math.inf:
            return
        self._tail.look(self._connection)
        if not self.is_left:
            return
        runs = self._query(RUNS)
        self._newest = max((run.timestamp for run in (*runs, *self._tail.runs(b""))), default=-math.inf)
        if len(runs) <= MAX_TABLE:
            table: dict[bytes, bytes] = {}
            for topic, *numbers in runs:
                table[topic] = table.get(topic, b"") + PACKED.pack(*numbers)
            self._table = table

    def _query(self, query: str, *parameters: object) -> list[Run]:
        """Return runs of which frames have a place; of one of which none has they are in the tail, or just came."""
        rows = self._connection.execute(query, parameters).fetchall()
        if self.is_left:
            in_tail = {run[:2] for run in self._tail.runs(b"")}
            rows = [row for row in rows if row[2] is not None or row[:2] not in in_tail]
            return [Run(*_there(row)) for row in rows]
        return [Run(*_there(row)) for row in rows if row[2] is not None]


def _connect(path: Path, *, is_left: bool) -> sqlite3.Connection:
    """Return a connection; one to a segment that was left needs no lock and no other file."""
    uri = f"{path.absolute().as_uri()}?immutable=1"
    connection = sqlite3.connect(uri, timeout=BUSY, uri=True) if is_left else connect(path, "ro")
    with ExitStack() as undo:
        undo.callback(connection.close)
        check_format(connection)
        undo.pop_all()
    return connection


def _there(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Return a row that must be there; without it the segment is damaged."""
    if row is None or None in row:
        raise sqlite3.DatabaseError("it has no frame of a run that it names")
    return row
