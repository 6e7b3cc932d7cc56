"""Tables for people, in a terminal or in a pipe; programs have JSON."""

import os
import sys
from collections.abc import Sequence
from typing import TextIO

BOLD, PLAIN = "\033[1m", "\033[0m"


def is_for_people(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colours (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def cell(value: object) -> str:
    """Return a value as people read it: "-" for unknown, six significant digits."""
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.6g}" if abs(value) < 1e6 else f"{value:.0f}"


def lines(heading: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    """Return aligned lines, numbers to the right."""
    texts = [list(heading), *([cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    numeric = [
        all(isinstance(value, int | float | None) for value in column) for column in zip(*rows, strict=True)
    ] or [False] * len(widths)
    return [
        "  ".join(
            text.rjust(width) if right else text.ljust(width)
            for text, width, right in zip(line, widths, numeric, strict=True)
        ).rstrip()
        for line in texts
    ]


def show(heading: Sequence[str], rows: Sequence[Sequence[object]], stream: TextIO | None = None) -> None:
    """Print a table."""
    show_text(*lines(heading, rows), stream=stream)


def show_text(first: str, *others: str, stream: TextIO | None = None) -> None:
    """Print lines, to a terminal the first of them in bold."""
    stream = stream or sys.stdout
    if is_for_people(stream):
        first = f"{BOLD}{first}{PLAIN}"
    print(first, *others, sep="\n", file=stream, flush=True)
