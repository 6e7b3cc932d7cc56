"""What one segment holds, for those who read it while its daemon may be writing to it.

Of a segment that was left a table of its runs is kept in memory, packed, since each question would look for them again.
"""

import math
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple

from kwapi.spool.segment import BUSY, check_format, connect, identity

RUNS = """
    select topic, boot,
        (select seq from frame where source = id order by seq limit 1),
        (select seq from frame where source = id order by seq desc limit 1),
        (select at from frame where source = id order by seq desc limit 1),
        (select at from frame where source = id order by seq limit 1)
    from source
"""
UNDER = f"{RUNS} where topic >= ? and topic < ?"
BEYOND = b"\xff"  # comes after whatever UTF-8 may follow a prefix
SINCE = """
    select seq from frame where source = (select id from source where topic = ? and boot = ?) and at >= ?
    order by seq limit 1
"""
FRAMES = """
    select seq, frame from frame where source = (select id from source where topic = ? and boot = ?)
    and seq between ? and ? order by seq
"""
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


class Contents:
    """The frames of one segment. For one thread; anything may raise ERRORS."""

    def __init__(self, path: Path, *, is_left: bool) -> None:
        """A segment that was left never changes again; another one may be written meanwhile."""
        self.is_left = is_left
        self.identity: tuple[int, int] | None = identity(path)
        self._table: dict[bytes, bytes] | None = None  # packed runs by topic, of one that was left
        self._newest = math.inf  # timestamp in it
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

    def runs_of(self, topic: bytes) -> list[Run]:
        """Return what there is of each run of one publisher."""
        self._learn()
        if self._table is not None:
            return [Run(topic, *numbers) for numbers in PACKED.iter_unpack(self._table.get(topic, b""))]
        return _checked(self._connection.execute(f"{RUNS} where topic = ?", (topic,)).fetchall())

    def frames(self, topic: bytes, boot: int, first: int, last: int) -> Iterator[tuple[int, bytes]]:
        """Yield (seq, frame) of one run, from the first to the last seq, what is there of it."""
        self._learn()
        if self._table is not None and not any(
            run.boot == boot and run.first <= last and run.last >= first for run in self.runs_of(topic)
        ):
            return
        yield from self._connection.execute(FRAMES, (topic, boot, first, last))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _under(self, prefix: bytes) -> list[Run]:
        if self._table is not None:
            return [run for topic in self._table if topic.startswith(prefix) for run in self.runs_of(topic)]
        return _checked(self._connection.execute(UNDER, (prefix, prefix + BEYOND)).fetchall())

    def _learn(self) -> None:
        """Keep in memory what there is, if that does not change any more."""
        if not self.is_left or self._newest < math.inf:
            return
        runs = _checked(self._connection.execute(RUNS).fetchall())
        self._newest = max((run.timestamp for run in runs), default=-math.inf)
        if len(runs) <= MAX_TABLE:
            table: dict[bytes, bytes] = {}
            for topic, *numbers in runs:
                table[topic] = table.get(topic, b"") + PACKED.pack(*numbers)
            self._table = table


def _connect(path: Path, *, is_left: bool) -> sqlite3.Connection:
    """Return a connection; one to a segment that was left needs no lock and no other file."""
    uri = f"{path.absolute().as_uri()}?immutable=1"
    connection = sqlite3.connect(uri, timeout=BUSY, uri=True) if is_left else connect(path, "ro")
    with ExitStack() as undo:
        undo.callback(connection.close)
        check_format(connection)
        undo.pop_all()
    return connection


def _checked(rows: list[tuple[Any, ...]]) -> list[Run]:
    return [Run(*_there(row)) for row in rows]


def _there(row: tuple[Any, ...] | None) -> tuple[Any, ...]:
    """Return a row that must be there; without it the segment is damaged."""
    if row is None or None in row:
        raise sqlite3.DatabaseError("it has no frame of a run that it names")
    return row
