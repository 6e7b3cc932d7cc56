"""One RRD file: its name, its layout, and what it tells of itself.

A file has two data sources with a step of 1 s: ``w``, the watts as measured, and ``known``, the share of the time that
was measured: 1 while one measurement follows the other, 0 in a gap. A row of an archive holds the average of those of
its seconds that are known and doesn't say how many they were, so with ``w`` alone a week of which one day was measured
would count as nothing or as a week. watts x known is exact in every archive.

Every archive has averages, the coarse ones the lowest and the highest second too; files made by Kwapi before have no
such extremes, and are read and written as they are. The file of a total has a third source, ``complete`` (totals.py).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

from kwapi.plugins.rrd.tool import ERRORS, HERE, Tool

RRD_ERRORS = ERRORS
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
EXTREMES = ("day", "week", "month", "year")  # with MIN and MAX; those of the hour would make a file 12 kB larger
SUFFIX = ".rrd"


def file_name(probe: str) -> str:
    """Return the name of a probe's file, at most 253 bytes."""
    return f"{quote(probe, safe='')}{SUFFIX}"


def probe_of(name: str) -> str:
    """Return the probe whose file has that name."""
    return unquote(name.removesuffix(SUFFIX))


def create(path: Path, heartbeat: int, timestamp: float, shares: Sequence[str] = ("known",), tool: Tool = HERE) -> None:
    """Create a file that takes values from ``timestamp`` on: watts, and sources that say how much they stand for."""
    # It starts with a row of every archive, so that the time before counts as not known: rrdtool shortens the row in
    # which a file starts.
    start = int(timestamp) // WEEK * WEEK
    temporary = path.with_name(".new")  # short: rrdtool appends to the name, and that of path can be as long as allowed
    sources = [f"DS:w:GAUGE:{heartbeat}:U:U", *(f"DS:{share}:GAUGE:{ALWAYS}:U:U" for share in shares)]
    archives = [_archive("AVERAGE", period) for period in ARCHIVES]
    archives += [_archive(function, period) for function in ("MIN", "MAX") for period in EXTREMES]
    tool.call("create", str(temporary), "--start", str(start), "--step", "1", sources, archives)
    os.replace(temporary, path)


def has_extremes(path: Path, tool: Tool = HERE) -> bool:
    """Return whether a file has MIN and MAX; one that was made before them has not."""
    layout = tool.call("info", str(path))
    return any(layout.get(f"rra[{number}].cf") == "MAX" for number in range(len(ARCHIVES) + 2 * len(EXTREMES)))


def newest(paths: Sequence[Path], tool: Tool = HERE) -> dict[Path, tuple[float, float | None] | Exception]:
    """Return the second of each file's newest value, and the value; or the error why that can't be told."""
    # lastupdate has the time as well, but as local time, which is ambiguous when the clock changes.
    found = tool.calls([(name, str(path)) for path in paths for name in ("last", "lastupdate")])
    return {path: _newest(last, update) for path, last, update in zip(paths, found[::2], found[1::2], strict=True)}


def first_known(path: Path, tool: Tool = HERE) -> float | None:
    """Return about when a file got its first value, as exactly as it still knows; None if it has none."""
    last = tool.call("last", str(path))
    begin, end = float("-inf"), float("inf")  # of the row with the first value
    calls = []
    for resolution, rows in reversed(ARCHIVES.values()):
        newest_row = last // resolution * resolution
        window = ["-r", str(resolution), "-s", str(newest_row - (rows - 1) * resolution), "-e", str(newest_row)]
        calls.append(("fetch", str(path), "AVERAGE", *window))
    for result in tool.calls(calls):
        if isinstance(result, Exception):
            raise result
        (start, _, step), _, found = result
        known = next((start + row * step for row, values in enumerate(found) if values[0] is not None), None)
        if known is not None and begin - step < known < end:
            begin, end = float(known), float(known + step)
    return begin if end < float("inf") else None


def _newest(last: Any, update: Any) -> tuple[float, float | None] | Exception:
    for result in (last, update):
        if isinstance(result, Exception):
            return result
    if "w" not in update["ds"]:
        return OSError(f"it has {', '.join(update['ds'])} instead of w")
    return float(last), update["ds"]["w"]


def _archive(function: str, period: str) -> str:
    resolution, rows = ARCHIVES[period]
    return f"RRA:{function}:{XFF}:{resolution}:{rows}"
