"""One RRD file: its name, its layout, and how measurements become arguments of rrdtool.

A file has two data sources with a step of 1 s: ``w``, the watts as measured, and ``known``, the share of the time that
was measured: 1 while one measurement follows the other, 0 in a gap. A row of an archive holds the average of those of
its seconds that are known and doesn't say how many they were, so with ``w`` alone a week of which one day was measured
would count as nothing or as a week. watts x known is exact in every archive.
"""

import os
from collections.abc import Iterable
from math import ceil
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import rrdtool

RRD_ERRORS = (OSError, rrdtool.OperationalError, rrdtool.ProgrammingError)
WEEK = 7 * 86400  # seconds; a multiple of every resolution

# The share of a row that may be unknown. With 0.5, the usual, a row of which less than half is known loses what was
# measured; with this a single second makes even a row of a week known, and ``known`` says how much of it counts.
XFF = 0.9999999
ALWAYS = 10**9  # seconds; the heartbeat of ``known``, which is known in the longest gap as well


class Archive(NamedTuple):
    """One archive of a file: seconds a row, and rows."""

    resolution: int
    rows: int


ARCHIVES = {
    "minute": Archive(1, 300),
    "hour": Archive(10, 360),
    "day": Archive(900, 96),
    "week": Archive(2 * 3600, 84),
    "month": Archive(6 * 3600, 124),
    "year": Archive(WEEK, 53),
}


def file_name(probe: str) -> str:
    """Return the name of a probe's file, at most 253 bytes; urllib.parse.unquote turns it back."""
    return f"{quote(probe, safe='')}.rrd"


def create(path: Path, heartbeat: int, timestamp: float) -> None:
    """Create a file that takes values from ``timestamp`` on."""
    # It starts with a row of every archive, so that the time before counts as not known: rrdtool shortens the row in
    # which a file starts.
    start = int(timestamp) // WEEK * WEEK
    temporary = path.with_name(".new")  # short: rrdtool appends to the name, and that of path can be as long as allowed
    sources = [f"DS:w:GAUGE:{heartbeat}:U:U", f"DS:known:GAUGE:{ALWAYS}:U:U"]
    archives = [f"RRA:AVERAGE:{XFF}:{resolution}:{rows}" for resolution, rows in ARCHIVES.values()]
    rrdtool.create(str(temporary), "--start", str(start), "--step", "1", sources, archives)
    os.replace(temporary, path)


def update_arguments(values: Iterable[tuple[float, float]], written: float, max_gap: float) -> tuple[list[str], float]:
    """Return the arguments of rrdtool update that write (timestamp, watts), and up to when the file is then written.

    A value stands for the time since the one before. The value after a gap stands for nothing, and known time begins
    at the next whole second: rrdtool would show a second of which only a part is known as a dip.
    """
    arguments = []
    for timestamp, watts in values:
        if timestamp - written > max_gap:
            written = float(ceil(timestamp))
            arguments.append(f"{written:.0f}:U:0")
        elif timestamp > written:
            written = timestamp
            arguments.append(f"{written:.3f}:{watts!r}:1")
    return arguments, written
