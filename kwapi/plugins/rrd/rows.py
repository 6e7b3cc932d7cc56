"""What a file holds of a period: rows of an archive, in columns.

A row says what was between two times ``step`` seconds apart: the mean, the lowest and the highest of the watts known,
and the share of the time for which they were.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import rrdtool

from kwapi.energy import JOULES_PER_KWH
from kwapi.plugins.rrd.archive import ARCHIVES

PERIODS = {  # as in "the last ..."
    "minute": "5 minutes",
    "hour": "hour",
    "day": "day",
    "week": "week",
    "month": "month",
    "year": "year",
}
ROWS = {  # what each is a mean of
    "minute": "a second",
    "hour": "10 seconds",
    "day": "15 minutes",
    "week": "2 hours",
    "month": "6 hours",
    "year": "a week",
}
SOURCES = ("w", "known")
SPARE = 5  # seconds, or one row: what files may lose of their beginning while others are still to be read

Column = Sequence[float | None]


class Row(NamedTuple):
    """One row, with the Unix seconds at its end."""

    timestamp: int
    watts: float | None
    minimum: float | None
    maximum: float | None
    known: float


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of watts from ``start`` on."""

    start: int = 0
    step: int = 1
    watts: Column = ()
    lowest: Column = ()
    highest: Column = ()
    known: Sequence[float] = ()

    def __iter__(self) -> Iterator[Row]:
        """Return the rows."""
        ends = range(self.start + self.step, self.end + 1, self.step)
        return map(Row, ends, self.watts, self.lowest, self.highest, self.known)

    @property
    def end(self) -> int:
        """The end of the last row."""
        return self.start + self.step * len(self.watts)

    @property
    def extremes(self) -> bool:
        """Whether lowest and highest are more than the watts again."""
        return self.lowest is not self.watts


def window(period: str, newest: float, oldest: float | None = None) -> tuple[int, int]:
    """Return start and end of the rows of a period that every file has whose last value is between two times."""
    resolution, rows = ARCHIVES[period]
    spare = max(SPARE // resolution, 1)
    end = int(newest if oldest is None else oldest) // resolution * resolution
    return min(int(newest) // resolution * resolution - (rows - spare) * resolution, end - resolution), end


def read(path: Path, period: str, start: int, end: int) -> Rows:
    """Return the rows of a file between two times on the edges of rows."""
    resolution = ARCHIVES[period].resolution
    watts, known, *_ = _columns(path, "AVERAGE", resolution, start, end)
    lowest, highest = (_extreme(path, function, watts, resolution, start, end) for function in ("MIN", "MAX"))
    shares = [0.0 if power is None or share is None else share for power, share in zip(watts, known, strict=True)]
    return Rows(start, resolution, watts, lowest, highest, shares)


def consumed_kwh(path: Path, period: str, start: int, end: int) -> float | None:
    """Return the energy of a file's rows between two times; None if none is known."""
    resolution = ARCHIVES[period].resolution
    watts, known, *_ = _columns(path, "AVERAGE", resolution, start, end)
    rows = [power * share for power, share in zip(watts, known, strict=True) if power is not None and share]
    return sum(power for power in rows if power > 0) * resolution / JOULES_PER_KWH if rows else None


def _extreme(path: Path, function: str, watts: Column, resolution: int, start: int, end: int) -> Column:
    """Return the lowest or the highest of each row; the watts themselves where the file has no such archive."""
    if resolution == 1:
        return watts
    try:
        extremes, *_ = _columns(path, function, resolution, start, end)
    except LookupError:
        return watts
    return [power if extreme is None else extreme for power, extreme in zip(watts, extremes, strict=True)]


def _columns(path: Path, function: str, resolution: int, start: int, end: int) -> list[Column]:
    """Return a column for each source of a file; LookupError if it has no such archive or is of another format."""
    arguments = ["-r", str(resolution), "-s", str(start), "-e", str(end - 1)]
    try:
        (begin, _, step), sources, found = rrdtool.fetch(str(path), function, *arguments)
    except SystemError as error:  # a header whose names are damaged
        raise OSError(f"{path} is damaged") from error
    except rrdtool.OperationalError as error:
        if function == "AVERAGE":
            raise
        raise LookupError(function) from error
    count = (end - start) // resolution
    if sources[:2] != SOURCES:
        raise LookupError(f"{path} has other sources: {sources!r}")
    if (begin, step) != (start, resolution):
        raise LookupError(f"{path} has no rows of {resolution} s from {start} on")
    columns: list[Column] = list(zip(*found[:count], strict=True))
    return columns


def together(parts: Sequence[Rows]) -> Rows:
    """Return the sum of the rows of several files over a window, as a total's file has it.

    Power is the sum of what is known. The lowest and highest of a sum are not known, only those of its rows.
    """
    first = parts[0]
    watts: list[float | None] = []
    shares: list[float] = []
    for row, powers in enumerate(zip(*(part.watts for part in parts), strict=True)):
        known = [part.known[row] for part in parts]
        share = max(known)
        drawn = sum(power * part for power, part in zip(powers, known, strict=True) if power is not None)
        watts.append(drawn / share if share else None)
        shares.append(share)
    return Rows(first.start, first.step, watts, watts, watts, shares)
