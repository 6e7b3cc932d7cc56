"""Columns of probes as records of slots: what their own records (record.py) do not say since they fell into step.

A record stands for itself, and for at most MOST probes; of more there are several. It names each probe by its slot in
the file of the probes' own records and by a checksum of what that says of its names: it never counts for another one.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from zlib import crc32

from kwapi.energy import Instant
from kwapi.plugins.api.columns import Columns, Now
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.record import Unreadable

VERSION = 1
SECTORS = 4  # of a copy
MOST = 48  # probes; with more a record would not fit
_HEAD = Struct("<BBQddd")  # version, probes, boot, timestamp, monotonic, seconds since they fell into step
_BOOT = (1 << 64) - 1


@lru_cache
def _fixed(count: int) -> Struct:
    """Return what does not change as long as they are in step: slots, checksums, seconds measured until then."""
    return Struct(f"<{count}I{count}I{count}d")


@lru_cache
def _columns(count: int) -> Struct:
    """Return what does: kWh, watts, the most watts so far."""
    return Struct(f"<{count}d{count}d{count}d")


class Packer:
    """Makes the records of columns."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns
        self._parts = [
            (slice(first, first + MOST), _fixed_of(columns.probes[first : first + MOST]))
            for first in range(0, len(columns.probes), MOST)
        ]

    def __len__(self) -> int:
        return len(self._parts)

    def pack(self, now: Now) -> Iterator[bytes]:
        """Yield the record of each part."""
        at, peaks = self._columns.at, self._columns.peaks
        for part, fixed in self._parts:
            kwh = now.kwh[part]
            count = len(kwh)
            head = _HEAD.pack(VERSION, count, at.boot & _BOOT, at.timestamp, at.monotonic, now.measured)
            yield head + fixed + _columns(count).pack(*kwh, *now.watts[part], *peaks[part])


def settle(record: bytes, probes: Mapping[int, Probe], now: float, wall_now: float) -> list[Probe]:
    """Have probes, given by slot, stand as a record says; return those that it is newer for. Raise Unreadable."""
    if len(record) < _HEAD.size or record[0] != VERSION:
        raise Unreadable(f"{len(record)} bytes of version {record[:1]!r}")
    _, count, boot, timestamp, monotonic, seconds = _HEAD.unpack_from(record)
    end = _HEAD.size + _fixed(count).size
    if len(record) != end + _columns(count).size:
        raise Unreadable(f"{len(record)} bytes for {count} probes")
    fixed, columns = _fixed(count).unpack_from(record, _HEAD.size), _columns(count).unpack_from(record, end)
    at, newer = Instant(boot, timestamp, monotonic), []
    rows = zip(*(all_[n : n + count] for all_ in (fixed, columns) for n in range(0, 3 * count, count)), strict=True)
    for slot, checksum, measured, kwh, watts, peak in rows:
        probe = probes.get(slot)
        if probe is None or crc32(probe.identity) != checksum or not _is_later(at, probe.energy.last_at):
            continue
        energy = probe.energy
        energy.total.kwh, energy.total.measured = kwh, measured + seconds
        energy.watts_at, energy.peak_watts = at, peak
        probe.watts, probe.watts_timestamp, probe.timestamp = watts, timestamp, timestamp
        probe.heard_at = now - max(wall_now - timestamp, 0.0)
        newer.append(probe)
    return newer


def _is_later(at: Instant, last_at: Instant | None) -> bool:
    """Return whether the columns went on after the probe's own record was written, which is of the same boot."""
    return last_at is not None and at.boot == last_at.boot and at.monotonic > last_at.monotonic


def _fixed_of(probes: Sequence[Probe]) -> bytes:
    measured = [probe.energy.total.measured for probe in probes]
    checksums = [crc32(probe.identity) for probe in probes]
    return _fixed(len(probes)).pack(*(probe.slot for probe in probes), *checksums, *measured)
