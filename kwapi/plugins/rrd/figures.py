"""What a graph says in numbers: computed by rrdtool from the rows that the graph draws, and how they are written.

Energy and average use watts x known (see archive.py), so a gap adds nothing to either.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
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
    partly: bool = False  # of a sum: some of it was not known at some time


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


def known_count(columns: Iterable[object]) -> str:
    """Return the expression that counts the columns whose watts are known, row by row."""
    return "0" + "".join(f",w{column},UN,0,1,IF,+" for column in columns)


def measure(paths: Sequence[Path], start: int, end: int) -> tuple[list[Figures], Figures]:
    """Return the figures of each file, and those of their sum, between two times on the edges of rows.

    Power of the sum is known only where that of each file is; its average is the sum of their averages.
    """
    columns = range(len(paths))
    arguments = [line for column, path in enumerate(paths) for line in definitions(column, path)]
    arguments += [f"CDEF:{series}t={combined(series, columns)}" for series in ("drawn", "consumed")]
    arguments.append(f"CDEF:kt={combined('k', columns, 'MAXNAN')}")
    arguments.append(f"CDEF:n={known_count(columns)}")
    arguments.append(f"CDEF:wt=n,{len(paths)},EQ,{combined('w', columns)},UNKN,IF")
    arguments.append(f"CDEF:partly=n,0,GT,n,{len(paths)},LT,*")
    for column in (*columns, "t"):
        for number, (series, function) in enumerate(PRINTED):
            arguments.append(f"VDEF:v{number}c{column}={series}{column},{function}")
            arguments.append(f"PRINT:v{number}c{column}:%.12le")
    arguments += ["VDEF:vpartly=partly,MAXIMUM", "PRINT:vpartly:%.12le"]
    printed = rrdtool.graphv("-", "--start", str(start), "--end", str(end), arguments)
    values = [float(printed[f"print[{index}]"]) for index in range(len(PRINTED) * (len(paths) + 1) + 1)]
    partly = values.pop() == 1
    figures = [_figures(*values[index : index + len(PRINTED)]) for index in range(0, len(values), len(PRINTED))]
    averages = [one.average for one in figures[:-1] if one.average is not None]
    return figures[:-1], replace(figures[-1], average=sum(averages) if averages else None, partly=partly)


def _figures(minimum: float, maximum: float, last: float, drawn: float, consumed: float, seconds: float) -> Figures:
    if not seconds > 0:
        return Figures(None, None, None, None, None, 0.0)
    power = [None if isnan(value) else value for value in (minimum, maximum, last)]
    return Figures(power[0], drawn / seconds, power[1], power[2], consumed / JOULES_PER_KWH, seconds)


def amount(value: float | None, decimals: int = 0) -> str:
    """Return a number of four significant digits, and at least so many decimals, without an exponent."""
    if value is None:
        return UNKNOWN
    if value:
        decimals = max(decimals, SIGNIFICANT - 1 - floor(log10(abs(value))))
    return f"{value:.{decimals}f}"
