"""One file of a spool: signed frames as they came, found by topic, boot and seq. An SQLite database.

    source (id, topic, boot)              who sent; a boot is one run of a publisher
    frame  (source, seq, at, frame)       as they came; at: the frame's own timestamp
    place  (source, seq, at, row)         where to find them: row is the rowid of a frame
    placed (row)                          up to which row they have a place

Writing appends. Places are given to many frames together, in the order of the key, since of 200 wattmeters each frame
would change another page, and cost twice. Those that have none yet, the tail, whoever reads goes through.

SQLite costs more than LMDB, but a damaged file is an error with it, and a crash with LMDB (docs/adr/0008). For the same
reason the index of the write-ahead log is in memory (unix-excl) and not in a file that is mapped: one process, that of
the daemon, opens a segment that is written. One that was left is complete and never changes again.
"""

import os
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress
from errno import ENOENT
from math import isfinite
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from kwapi.errors import BadMessage
from kwapi.measurement import NAME_BYTES
from kwapi.signing import split

FORMAT = 2  # user_version of the file
PAGE = 4096  # bytes; each commit writes one at least
LAYOUT = f"""
    pragma page_size = {PAGE};
    pragma journal_mode = wal;
    begin;
    create table source (id integer primary key, topic blob not null, boot int not null, unique (topic, boot));
    create table frame (source int not null, seq int not null, at real not null, frame blob not null);
    create table place (source int not null, seq int not null, at real not null, row int not null,
                        primary key (source, seq)) without rowid;
    create table placed (row int not null);
    insert into placed values (0);
    pragma user_version = {FORMAT};
    commit;
"""  # noqa: S608 -- numbers of ours
INSERT = "insert into frame values"
PLACE = """
    insert or ignore into place select source, seq, at, rowid from frame where rowid > (select row from placed)
    order by source, seq, rowid
"""
PLACED = "update placed set row = coalesce((select max(rowid) from frame), 0)"
MAX_TAIL = 16_384  # frames; with as many they are given their places, which takes 25 ms
TOGETHER = 128  # rows in one statement: Python gives its lock away at each, and takes it back
STATEMENTS = TOGETHER + 8  # that are kept compiled: one for each number of rows
ERRORS = (sqlite3.Error, UnicodeDecodeError)  # the latter where a damaged file has words that are none
BUSY = 1.0  # seconds to wait for a reader that has the file locked
MAX_TOPIC = NAME_BYTES + len(".")


Integer = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]  # as SQLite has it


class Frame(NamedTuple):
    """A signed frame and what its payload says of itself, which nobody has verified."""

    topic: bytes
    boot: int
    seq: int
    timestamp: float
    frame: bytes


Row = tuple[bytes, int, int, float, bytes]  # as in a Frame, which takes longer to make


class _Numbers(msgspec.Struct, gc=False):
    boot: Integer
    seq: Integer
    timestamp: float


_numbers = msgspec.msgpack.Decoder(_Numbers)


def read_frame(frame: bytes) -> Frame:
    """Return the numbers of a frame without verifying it; raise BadMessage if it has none."""
    topic, _, payload = split(frame)
    if len(topic) > MAX_TOPIC:
        raise BadMessage("malformed", f"a topic of {len(topic)} bytes")
    try:
        numbers = _numbers.decode(payload)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadMessage("malformed", str(error)) from error
    if not isfinite(numbers.timestamp):  # SQLite has no such number
        raise BadMessage("malformed", f"its timestamp is {numbers.timestamp}")
    return Frame(topic, numbers.boot, numbers.seq, numbers.timestamp, frame)


class Segment:
    """A file to write to, with a write-ahead log of so many bytes. For one thread.

    Anything may raise ERRORS or OSError; after that it is to be closed.
    """

    def __init__(self, path: Path, max_log_bytes: int) -> None:
        self.path = path
        if not path.exists():
            _create(path)
        self._connection = connect(path, "rw")
        self._log = -1  # descriptor of the write-ahead log
        with ExitStack() as undo:
            undo.callback(self.close)
            check_format(self._connection)
            self._connection.execute("pragma synchronous = normal")
            self._connection.execute("pragma cache_spill = off")  # or a large transaction is written twice
            self._connection.execute("pragma temp_store = memory")  # where places are sorted
            self._connection.execute(f"pragma wal_autocheckpoint = {max(max_log_bytes // PAGE, 4)}")
            rows = self._connection.execute("select topic, boot, id from source")
            self._sources = {(topic, boot): number for topic, boot, number in rows}
            self._max_tail_bytes = max_log_bytes
            self._tail = self._tail_bytes = 0
            self._place()
            self._log = os.open(log_of(path), os.O_RDONLY)
            self._files = self._find_files()
            sync_directory(path.parent)
            undo.pop_all()

    @property
    def sources(self) -> Iterable[tuple[bytes, int]]:
        """Return the runs of publishers that it has frames of."""
        return self._sources.keys()

    def add(self, rows: Sequence[Row]) -> None:
        """Write frames, all or none. One that is there already is written in vain: the first is found."""
        values: list[object] = []
        for topic, boot, *columns in rows:
            values += (self._sources.get((topic, boot)) or self._new_source(topic, boot), *columns)
        if len(rows) > TOGETHER:
            self._begin()
        for begin in range(0, len(values), 4 * TOGETHER):
            some = values[begin : begin + 4 * TOGETHER]
            self._connection.execute(f"{INSERT} {', '.join(['(?, ?, ?, ?)'] * (len(some) // 4))}", some)  # noqa: S608
        if self._connection.in_transaction:
            self._connection.execute("commit")
        self._tail += len(rows)
        self._tail_bytes += sum(len(row[-1]) for row in rows)

    def shorten_tail(self) -> None:
        """Give the frames of the tail their places, if there are many."""
        if self._tail >= MAX_TAIL or self._tail_bytes >= self._max_tail_bytes:
            self._place()

    def sync(self) -> None:
        """Have what was added survive a power loss; for any thread, also while this one writes or closes it."""
        try:
            log = os.dup(self._log)
        except OSError:
            return  # it was closed
        try:
            os.fdatasync(log)
        finally:
            os.close(log)

    def check(self) -> None:
        """Raise FileNotFoundError if somebody has removed the files."""
        if self._find_files() != self._files:
            raise FileNotFoundError(ENOENT, "somebody has removed or replaced it", str(self.path))

    def leave(self) -> None:
        """Close it for good: from now on it is one file, which never changes again."""
        try:
            self._place()
            self._connection.execute("pragma wal_checkpoint(truncate)")
        finally:
            self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
        if self._log >= 0:
            os.close(self._log)
            self._log = -1

    def _place(self) -> None:
        self._begin()
        self._connection.execute(PLACE)
        self._connection.execute(PLACED)
        self._connection.execute("commit")
        self._tail = self._tail_bytes = 0

    def _find_files(self) -> list[tuple[int, int]]:
        return [identity(path) for path in (self.path, log_of(self.path))]

    def _begin(self) -> None:
        """Make one transaction of several statements."""
        if not self._connection.in_transaction:
            self._connection.execute("begin immediate")

    def _new_source(self, topic: bytes, boot: int) -> int:
        self._begin()
        number = len(self._sources) + 1
        self._connection.execute("insert into source values (?, ?, ?)", (number, topic, boot))
        self._sources[topic, boot] = number
        return number


def _create(path: Path) -> None:
    """Make an empty segment; whoever reads sees all of it or nothing."""
    temporary = path.with_suffix(".new")
    remove(temporary)
    with closing(connect(temporary, "rwc")) as connection:
        connection.executescript(LAYOUT)
    temporary.replace(path)


def connect(path: Path, mode: str) -> sqlite3.Connection:
    """Return a connection to a segment that is, or may be, written by this process."""
    uri = f"{path.absolute().as_uri()}?mode={mode}&vfs=unix-excl"
    return sqlite3.connect(uri, timeout=BUSY, isolation_level=None, uri=True, cached_statements=STATEMENTS)


def check_format(connection: sqlite3.Connection) -> None:
    """Raise sqlite3.DatabaseError unless a file is a segment as we write it."""
    (version,) = connection.execute("pragma user_version").fetchone()
    if version != FORMAT:
        raise sqlite3.DatabaseError(f"its format is {version}, not {FORMAT}")


def is_damage(error: Exception) -> bool:
    """Return whether a file is no segment any more, rather than locked, full or not to be written."""
    if isinstance(error, sqlite3.OperationalError):  # its tables are others, or a part of it is missing
        return error.sqlite_errorcode in (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR_SHORT_READ)
    return isinstance(error, sqlite3.DatabaseError | UnicodeDecodeError)


def log_of(path: Path) -> Path:
    """Return the path of a segment's write-ahead log."""
    return path.with_name(f"{path.name}-wal")


def identity(path: Path) -> tuple[int, int]:
    """Return what tells a file from another that takes its name."""
    status = path.stat()
    return status.st_dev, status.st_ino


def size_of(path: Path) -> int:
    """Return the bytes of a segment's files."""
    sizes = 0
    for file in (path, log_of(path)):
        with suppress(FileNotFoundError):
            sizes += file.stat().st_size
    return sizes


def remove(path: Path) -> None:
    """Remove a segment's files, and those of one that was written by an older version."""
    for file in (log_of(path), path.with_name(f"{path.name}-shm"), path):
        file.unlink(missing_ok=True)


def sync_directory(directory: Path) -> None:
    """Have the names of new files survive a power loss."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
