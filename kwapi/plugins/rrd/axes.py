"""The axes of a graph: watts in round steps, and times as people say them, so many as there is room for."""

from collections.abc import Sequence
from math import ceil, floor, log10
from typing import NamedTuple

from kwapi.plugins.rrd.figures import PREFIXES, exponent

LINE_EVERY = 30  # pixels, about
LABEL = 12  # pixels that lie between two times at least
CHARACTER = 6  # pixels
ROUND = (1, 2, 5, 10)


class Scale(NamedTuple):
    """An axis of watts: its ends, the step between its lines, and how often they are divided by 1000."""

    lower: float
    upper: float
    step: float
    thousands: int

    def arguments(self) -> list[str]:
        """Return it as options of rrdtool."""
        decimals = max(0, -floor(log10(self.step / 1000**self.thousands) + 1e-9))
        labels = f"%.{decimals}lf {PREFIXES[self.thousands]}W"
        limits = ["--lower-limit", f"{self.lower:.12g}", "--upper-limit", f"{self.upper:.12g}", "--rigid"]
        return [*limits, "--y-grid", f"{self.step:.12g}:1", "--units-exponent", str(3 * self.thousands),
                "--left-axis-format", labels]  # fmt: skip


class Ticks(NamedTuple):
    """A way to label times: one every so many units, its format, its characters, and how many a period has of them.

    ``middle`` is how many seconds a label stands in the middle of.
    """

    every: str
    format: str
    characters: int
    labels: int
    middle: int = 0


TIMES: dict[str, Sequence[Ticks]] = {
    "minute": (Ticks("MINUTE:1", "%H:%M", 5, 5), Ticks("MINUTE:2", "%H:%M", 5, 3)),
    "hour": (Ticks("MINUTE:10", "%H:%M", 5, 6), Ticks("MINUTE:20", "%H:%M", 5, 3)),
    "day": (
        Ticks("HOUR:2", "%H:%M", 5, 12),
        Ticks("HOUR:3", "%H:%M", 5, 8),
        Ticks("HOUR:6", "%H:%M", 5, 4),
        Ticks("HOUR:12", "%H:%M", 5, 2),
    ),
    "week": (Ticks("DAY:1", "%a %d", 6, 7, 86400), Ticks("DAY:1", "%a", 3, 7, 86400)),
    "month": (Ticks("WEEK:1", "%d %b", 6, 5), Ticks("WEEK:1", "%d", 2, 5)),
    "year": (Ticks("MONTH:1", "%b", 3, 12, 30 * 86400), Ticks("MONTH:3", "%b", 3, 4)),
}


def scale(lowest: float, highest: float, height: int) -> Scale:
    """Return an axis of watts from zero, or below, to the highest, for a plot so many pixels high."""
    low, high = min(lowest, 0.0), max(highest, 0.0)
    if low == high:
        high = 1.0
    rough = (high - low) / max(height // LINE_EVERY, 2)
    magnitude = 10.0 ** floor(log10(rough))
    step = next(size for factor in ROUND if (size := factor * magnitude) >= rough * 0.999999)
    lower, upper = floor(low / step + 1e-9) * step, ceil(high / step - 1e-9) * step
    return Scale(lower, upper, step, exponent(max(upper, -lower)))


def time_grid(period: str, width: int) -> list[str]:
    """Return the axis of times for a plot so many pixels wide, as options of rrdtool."""
    ways = TIMES[period]
    way = next((one for one in ways if one.labels * (one.characters * CHARACTER + LABEL) <= width), ways[-1])
    return ["--x-grid", f"{way.every}:{way.every}:{way.every}:{way.middle}:{way.format}"]
