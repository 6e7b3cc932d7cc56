"""The RRD files of 2013, taken over with their history.

Their names are the UUID (version 5, of the namespace DNS) of a probe's name. They have one data source, ``w``, a GAUGE
with a step of a second, and for each period but one the archives that files have now (archive.py): averages, of which
the rows of less than half known time are unknown. What a row says is written into a new file as if it had been measured
all the row long; the newest stretch from the finest archive, what is older from the next one. So the averages are
exact, and the extremes of what is older are those of its rows.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from uuid import NAMESPACE_DNS, uuid5

from kwapi.plugins.rrd.archive import ARCHIVES, WEEK, Archive, create, file_name
from kwapi.plugins.rrd.tool import HERE, Tool

SOURCE = "w"
HEARTBEAT = 600  # seconds, as it was
AT_ONCE = 500  # values for each call of rrdtool

Row = tuple[int, float | None]  # the second with which it ends, and watts


def old_name(probe: str) -> str:
    """Return the name that a probe's file had."""
    return f"{uuid5(NAMESPACE_DNS, probe)}.rrd"


def take_over(old: Path, directory: Path, probe: str, tool: Tool = HERE) -> int:
    """Write the history of an old file into a new one; return how many rows had a value.

    Raise OSError, or an error of rrdtool, if it is none, has no ``w``, or the new one is there already. The old one is
    only read.
    """
    path = directory / file_name(probe)
    if path.exists():
        raise FileExistsError(0, "is there already, and stays as it is", str(path))
    layout = tool.call("info", str(old))
    if f"ds[{SOURCE}].type" not in layout:
        raise OSError(0, f"has no source {SOURCE}, so no power", str(old))
    rows = list(rows_of(old, tool))
    known = [row for row in rows if row[1] is not None]
    if not known:
        raise OSError(0, "has no value", str(old))
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    hidden = directory / ".migrated"
    hidden.mkdir(exist_ok=True)
    made = hidden / path.name
    try:
        create(made, 2 * WEEK, rows[0][0] - 1, tool=tool)
        arguments = [f"{end}:{'U' if watts is None else repr(watts)}:{int(watts is not None)}" for end, watts in rows]
        for first in range(0, len(arguments), AT_ONCE):
            tool.call("update", str(made), arguments[first : first + AT_ONCE])
        tool.call("tune", str(made), "--heartbeat", f"{SOURCE}:{HEARTBEAT}")
        os.link(made, path)  # unlike a rename this never replaces a file
    finally:
        made.unlink(missing_ok=True)
        hidden.rmdir()
    return len(known)


def rows_of(path: Path, tool: Tool = HERE) -> Iterator[Row]:
    """Yield the rows that together tell the whole history of a file, each from where the one before ends."""
    last = int(tool.call("last", str(path)))
    periods = sorted(ARCHIVES.values(), reverse=True)  # the coarsest first
    begins = [(last // period.resolution - period.rows) * period.resolution for period in periods]
    archives = [_archive(path, *each, last, tool) for each in zip(periods, begins, strict=True)]
    for number, period in enumerate(periods):
        is_finest = number == len(periods) - 1
        cut = last if is_finest else begins[number + 1]  # where a finer archive takes over
        for end, watts in archives[number].items():
            if end <= cut:
                yield end, watts
            elif end - period.resolution < cut:
                finer = periods[number + 1].resolution
                rest = [archives[number + 1].get(second) for second in range(cut + finer, end + 1, finer)]
                yield cut, _before(watts, rest, finer, period.resolution)


def _archive(path: Path, period: Archive, begin: int, last: int, tool: Tool) -> dict[int, float | None]:
    """Return the averages of an archive by the second with which each ends."""
    window = ["-r", str(period.resolution), "-s", str(begin), "-e", str(last - 1)]
    (start, _, step), names, values = tool.call("fetch", str(path), "AVERAGE", *window)
    if step != period.resolution:
        raise OSError(0, f"has no archive of {period.resolution} s", str(path))
    source = names.index(SOURCE)
    rows = {int(start + number * step): row[source] for number, row in enumerate(values, 1)}
    return {end: watts for end, watts in rows.items() if begin < end <= last}


def _before(watts: float | None, rest: list[float | None], finer: int, resolution: int) -> float | None:
    """Return the average of the first part of a row, of which the rest is known by finer rows."""
    known = [each for each in rest if each is not None]
    if watts is None or len(known) < len(rest):
        return watts
    return max((watts * resolution - sum(known) * finer) / (resolution - len(rest) * finer), 0.0)
