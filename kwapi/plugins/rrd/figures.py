"""What rows come to, and how numbers are written.

Energy and average use watts x known (see archive.py), so a gap adds nothing to either. Energy is what was consumed: a
row whose mean power is negative adds none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from operator import mul

from kwapi.energy import JOULES_PER_KWH
from kwapi.plugins.rrd.rows import Rows

SIGNIFICANT = 4  # digits
UNKNOWN = "-"
PREFIXES = ("", "k", "M", "G")


@dataclass(frozen=True, slots=True)
class Figures:
    """Watts, energy and cost of the known part of a window, which is ``seconds`` long."""

    minimum: float | None = None
    average: float | None = None
    maximum: float | None = None
    last: float | None = None
    kwh: float | None = None
    cost: float | None = None
    seconds: float = 0.0


def figures(rows: Rows, prices: Sequence[float] | None) -> Figures:
    """Return what rows come to, at these prices of a kWh, one for each row."""
    powers = [power for power in rows.watts if power is not None]
    seconds = sum(rows.known)
    if not seconds:
        return Figures()
    drawn = [0.0 if power is None else power * share for power, share in zip(rows.watts, rows.known, strict=True)]
    consumed = drawn if min(drawn) >= 0 else [max(energy, 0.0) for energy in drawn]
    scale = rows.step / JOULES_PER_KWH
    return Figures(
        minimum=min(power for power in rows.lowest if power is not None) if rows.extremes else min(powers),
        average=sum(drawn) / seconds,
        maximum=max(power for power in rows.highest if power is not None) if rows.extremes else max(powers),
        last=powers[-1],
        kwh=sum(consumed) * scale,
        cost=sum(map(mul, consumed, prices)) * scale if prices else None,
        seconds=seconds * rows.step,
    )


def amount(value: float | None, decimals: int = 0) -> str:
    """Return a number of four significant digits, and at least so many decimals, without an exponent."""
    if value is None:
        return UNKNOWN
    if value:
        decimals = max(decimals, SIGNIFICANT - 1 - floor(log10(abs(value))))
    return f"{value:.{decimals}f}"


def power(watts: float | None) -> str:
    """Return watts with a unit in which they are short."""
    if watts is None:
        return UNKNOWN
    thousands = exponent(watts)
    return f"{amount(watts / 1000**thousands)} {PREFIXES[thousands]}W"


def exponent(watts: float) -> int:
    """Return how often watts are divided by a thousand to be short."""
    return min(max(floor(log10(abs(watts)) / 3), 0), len(PREFIXES) - 1) if watts else 0
