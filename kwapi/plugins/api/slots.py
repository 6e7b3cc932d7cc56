"""A memory-mapped file of slots, each of which holds one short record and is never read half written.

A slot has two copies, written in turn, each with its generation and a checksum: whatever happens to the one that is
being written, the other is whole. A copy fills a disk sector of its own. What is written is the kernel's at once, so
that it outlives this process; sync() puts it on the disk.

    0         FORMAT, which ends in the version
    1024      slot 0: copy 0, copy 1
    2048      slot 1 ...
    copy:     CRC-32 of the rest (4 bytes), generation (8), length of the record (2), record, zeros

The places are those of copies of one sector; where records are longer all of it is as many times as large.
"""

import errno
import mmap
import os
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from struct import Struct
from zlib import crc32

SECTOR = 512
SLOT = HEAD = 2 * SECTOR
CHECKSUM = Struct("<I")
PREFIX = Struct("<QH")  # generation, length
MAX_RECORD = SECTOR - CHECKSUM.size - PREFIX.size
FIRST_SLOTS = 256
READ_ATTEMPTS = 5  # while another process writes


class Slots:
    """The slots of a file, which is made if it is not there; for one writer, and any number of readers.

    ``found`` is the number of slots that the file had when it was opened.
    """

    def __init__(self, path: Path, form: bytes, *, sectors: int = 1, read_only: bool = False) -> None:
        """A copy is so many sectors."""
        self._copy, self._slot = sectors * SECTOR, sectors * SLOT
        flags = os.O_RDONLY if read_only else os.O_RDWR | os.O_CREAT
        self._file = os.open(path, flags | os.O_CLOEXEC, 0o640)
        try:
            size = os.fstat(self._file).st_size
            self.found = max(size - self._slot, 0) // self._slot
            if not read_only:
                size = max(self._slot * (1 + FIRST_SLOTS), size + -size % self._slot)
                # Reserved, not only declared: where the disk is full, writing to a hole of a mapping is a SIGBUS.
                os.posix_fallocate(self._file, 0, size)
            self._map = mmap.mmap(self._file, size, access=mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE)
        except (OSError, ValueError):  # the latter of a file that is empty
            os.close(self._file)
            raise
        self._count = max(size - self._slot, 0) // self._slot  # the head is as long as a slot
        self._generations = array("Q", [0]) * self._count
        if not read_only:
            self._map[: len(form)] = form

    def __len__(self) -> int:
        return self._count

    def read(self, number: int) -> bytes | None:
        """Return the newest whole record of a slot, b"" if nothing was written yet, None if it is damaged."""
        for _ in range(READ_ATTEMPTS):
            place = (1 + number) * self._slot
            slot = self._map[place : place + self._slot]
            found = [copy for copy in map(_parse, (slot[: self._copy], slot[self._copy :])) if copy is not None]
            if found:
                self._generations[number], record = max(found)
                return record
        return None if any(slot) else b""

    def write(self, number: int, record: bytes) -> None:
        """Replace the record of a slot."""
        generation = self._generations[number] + 1
        body = PREFIX.pack(generation, len(record)) + record
        place = (1 + number) * self._slot + (generation & 1) * self._copy
        self._map[place : place + CHECKSUM.size + len(body)] = CHECKSUM.pack(crc32(body)) + body
        self._generations[number] = generation

    def grow(self) -> None:
        """Double the number of slots; OSError if the disk is full."""
        size = (1 + 2 * self._count) * self._slot
        os.posix_fallocate(self._file, 0, size)
        self._map.resize(size)
        self._generations.extend([0] * self._count)
        self._count *= 2

    def sync(self) -> None:
        """Have the disk hold all that was written; OSError if it cannot.

        What is written beyond the end of a file that was cut is lost, or ends this process by a SIGBUS.
        """
        status = os.fstat(self._file)
        if not status.st_nlink or status.st_size < len(self._map):
            raise OSError(errno.ESTALE, "somebody has removed or cut it")
        os.fsync(self._file)  # which covers the mapping, and unlike mmap.flush() lets other threads run

    def close(self) -> None:
        """Leave the file; what was written stays."""
        self._map.close()
        os.close(self._file)


class Room:
    """The free slots of a file, which grows when they are used up; for its writer."""

    def __init__(self, slots: Slots, free: list[int], tell: Callable[[OSError], None]) -> None:
        """``tell`` is called once where the disk is full."""
        self._slots = slots
        self._free = free
        self._tell = tell
        self._is_full = self._is_told = False

    def take(self, count: int = 1) -> list[int]:
        """Return so many slots, [] where there is no room for them."""
        if len(self._free) < count:
            self._grow()
        if len(self._free) < count:
            return []
        return [self._free.pop() for _ in range(count)]

    def give_back(self, numbers: Iterable[int]) -> None:
        """Have slots be free, and empty."""
        for number in numbers:
            self._slots.write(number, b"")
            self._free.append(number)

    def try_again(self) -> None:
        """Take it that there may be room by now."""
        self._is_full = False

    def _grow(self) -> None:
        if self._is_full:
            return
        before = len(self._slots)
        try:
            self._slots.grow()
        except OSError as error:
            if not self._is_told:
                self._tell(error)
            self._is_full = self._is_told = True
            return
        self._is_told = False
        self._free += range(len(self._slots) - 1, before - 1, -1)


def set_aside(path: Path) -> Path:
    """Rename a file to a name that is free; return that."""
    number = 1
    while (aside := path.with_name(f"{path.name}.aside-{number}")).exists():
        number += 1
    return path.rename(aside)


def _parse(copy: bytes) -> tuple[int, bytes] | None:
    """Return generation and record of a copy, None if it is not whole."""
    (checksum,) = CHECKSUM.unpack_from(copy)
    generation, length = PREFIX.unpack_from(copy, CHECKSUM.size)
    end = CHECKSUM.size + PREFIX.size + length
    if generation == 0 or end > len(copy) or crc32(copy[CHECKSUM.size : end]) != checksum:
        return None
    return generation, copy[CHECKSUM.size + PREFIX.size : end]
