"""What a graph says in numbers: computed by rrdtool from the rows that the graph draws, and how they are written.

Energy and average use watts x known (see archive.py), so a gap adds nothing to either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import floor, isnan, log10
from pathlib import Path

import rrdtool

from kwapi.energy import JOULES_PER_KWH

SIGNIFICANT = 4  # digits
UNKNOWN = "-"
PRINTED = (  # series and function of each number, as _figures takes them
    ("w", "MINIMUM"),
    ("w", "MAXIMUM"),
    ("w", "LAST"),
    ("drawn", "TOTAL"),
    ("consumed", "TOTAL"),
    ("k", "TOTAL"),
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Watts and energy of the known part of a window, which is ``seconds`` long."""

    minimum: float | None
    average: float | None
    maximum: float | None
    last: float | None
    kwh: float | None
    seconds: float


def escape(text: str) -> str:
    """Return a text or a path for a colon-separated argument of rrdtool; a backslash counts before a colon only."""
    return text.replace(":", "\\:")


def literal(text: str) -> str:
    """Return a text to be drawn as it is: rrdtool makes a tab or a new line of a backslash and a letter.

    A character of no width keeps them apart.
    """
    return text.replace("\\", "\\\u200b")


def watts(column: object, path: Path) -> str:
    """Return what reads the watts of a file as ``w`` of a column."""
    return f"DEF:w{column}={escape(str(path))}:w:AVERAGE"


def definitions(column: object, path: Path) -> list[str]:
    """Return what reads a file: watts ``w``, known share ``k``, and the mean power of all time drawn and consumed."""
    return [
        watts(column, path),
        f"DEF:m{column}={escape(str(path))}:known:AVERAGE",
        f"CDEF:k{column}=w{column},UN,0,m{column},IF",
        f"CDEF:drawn{column}=w{column},k{column},*",
        f"CDEF:consumed{column}=drawn{column},0,MAX",
    ]


def combined(series: str, columns: Iterable[object], operator: str = "ADDNAN") -> str:
    """Return the expression that combines one series of several columns, row by row, past what is unknown."""
    first, *others = columns
    return "".join([f"{series}{first}", *(f",{series}{column},{operator}" for column in others)])


def measure(paths: Sequence[Path], start: int, end: int) -> tuple[list[Figures], Figures]:
    """Return the figures of each file, and those of their sum, between two times on the edges of rows."""
    columns = range(len(paths))
    arguments = [line for column, path in enumerate(paths) for line in definitions(column, path)]
    arguments += [f"CDEF:{series}t={combined(series, columns)}" for series in ("w", "drawn", "consumed")]
    arguments.append(f"CDEF:kt={combined('k', columns, 'MAXNAN')}")
    for column in (*columns, "t"):
        for number, (series, function) in enumerate(PRINTED):
            arguments.append(f"VDEF:v{number}c{column}={series}{column},{function}")
            arguments.append(f"PRINT:v{number}c{column}:%.12le")
    printed = rrdtool.graphv("-", "--start", str(start), "--end", str(end), arguments)
    values = [float(printed[f"print[{index}]"]) for index in range(len(PRINTED) * (len(paths) + 1))]
    figures = [_figures(*values[index : index + len(PRINTED)]) for index in range(0, len(values), len(PRINTED))]
    return figures[:-1], figures[-1]


def _figures(minimum: float, maximum: float, last: float, drawn: float, consumed: float, seconds: float) -> Figures:
    if isnan(minimum) or not seconds > 0:
        return Figures(None, None, None, None, None, 0.0)
    return Figures(minimum, drawn / seconds, maximum, last, consumed / JOULES_PER_KWH, seconds)


def amount(value: float | None, decimals: int = 0) -> str:
    """Return a number of four significant digits, and at least so many decimals, without an exponent."""
    if value is None:
        return UNKNOWN
    if value:
        decimals = max(decimals, SIGNIFICANT - 1 - floor(log10(abs(value))))
    return f"{value:.{decimals}f}"
