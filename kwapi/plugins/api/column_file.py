"""The file of the columns that are counted now: a slot for each record of them (column_record.py).

The probes' own records stand for themselves: a file that is missing or damaged costs what came since they were written,
which columns.py limits.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from kwapi.plugins.api.column_record import SECTORS, VERSION, Packer, settle
from kwapi.plugins.api.columns import Columns, Now
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.record import Unreadable
from kwapi.plugins.api.slots import Room, Slots, set_aside

LOG = logging.getLogger(__name__)
FORMAT = b"kwapi columns %d\n" % VERSION


class ColumnFile:
    """For one writer, the thread of the bus; OSError if it cannot be had."""

    def __init__(self, path: Path) -> None:
        self._path = path
        _keep_aside_unless_ours(path)
        self._slots = Slots(path, FORMAT, sectors=SECTORS)
        self._room = Room(self._slots, list(range(len(self._slots)))[::-1], self._tell_that_it_is_full)
        self._packers: dict[Columns, tuple[Packer, list[int]]] = {}  # and their slots

    def load(self, probes: Mapping[int, Probe], now: float, wall_now: float) -> tuple[list[Probe], int]:
        """Have probes, by slot, stand as the columns say; return those that have changed, and how many are damaged."""
        changed, damaged = [], 0
        for record in records(self._slots):
            try:
                changed += settle(record or b"", probes, now, wall_now)
            except Unreadable:
                damaged += 1
        return changed, damaged

    def clear(self) -> None:
        """Forget what was loaded, once the probes' own records say it."""
        for number in range(len(self._slots)):
            if self._slots.read(number) != b"":
                self._slots.write(number, b"")

    def begin(self, columns: Columns) -> bool:
        """Have room for columns; return False if there is none, or one of the probes has no record of its own."""
        if not all(probe.slot for probe in columns.probes):
            return False
        packer = Packer(columns)
        if not (slots := self._room.take(len(packer))):
            return False
        self._packers[columns] = packer, slots
        for probe in columns.probes:
            probe.identity = b""  # 170 bytes of each, not needed until it is written by itself again
        return True

    def begun(self) -> list[Columns]:
        """Return the columns that have room here."""
        return list(self._packers)

    def write(self, columns: Columns, now: Now) -> None:
        """Make the record of columns what they are now."""
        packer, slots = self._packers[columns]
        for slot, record in zip(slots, packer.pack(now), strict=True):
            self._slots.write(slot, record)

    def end(self, columns: Columns) -> None:
        """Forget columns, once the probes' own records say what they said."""
        _, slots = self._packers.pop(columns)
        self._room.give_back(slots)

    def sync(self) -> None:
        """Have the disk hold what was written; OSError if it cannot."""
        self._room.try_again()
        self._slots.sync()

    def close(self) -> None:
        """Leave the file as it is."""
        self._slots.close()

    def _tell_that_it_is_full(self, error: OSError) -> None:
        LOG.warning("%s has no room for more, which are written one by one: %s", self._path, error)


def records(slots: Slots) -> Iterator[bytes | None]:
    """Yield the records of a file, None for one that is damaged."""
    for number in range(len(slots)):
        if (record := slots.read(number)) != b"":
            yield record


def read_columns(path: Path) -> list[bytes]:
    """Return the records of a file, also while a kwapi-api writes it; none where it is missing or empty."""
    try:
        slots = Slots(path, b"", sectors=SECTORS, read_only=True)
    except (FileNotFoundError, ValueError):  # the latter of one that was made where the disk is full
        return []
    try:
        return [record for record in records(slots) if record]
    finally:
        slots.close()


def settle_all(records: Iterable[bytes], probes: Mapping[int, Probe]) -> None:
    """Have probes, by slot, stand as records say, read before the probes' own."""
    for record in records:
        with suppress(Unreadable):
            settle(record, probes, 0.0, 0.0)


def _keep_aside_unless_ours(path: Path) -> None:
    """Rename a file of another version; one of which only the beginning is damaged stays."""
    with suppress(FileNotFoundError):
        with path.open("rb") as file:
            head = file.read(len(FORMAT))
        if head.startswith(FORMAT[:-2]) and head != FORMAT:
            LOG.error("%s has another version: it is kept as %s", path, set_aside(path).name)
