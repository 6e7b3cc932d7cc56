"""What the store keeps of each probe in memory, and how values are taken. No I/O.

A value stands for the time since the one before. The value after a gap stands for nothing, and known time begins at the
next whole second: rrdtool would show a second of which only a part is known as a dip.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import compress
from math import ceil, inf
from pathlib import Path
from typing import NamedTuple

from kwapi.energy import gap_limit
from kwapi.measurement import Column, Message
from kwapi.plugins.rrd.roster import Entry
from kwapi.plugins.rrd.totals import Total

NEVER = -inf
KEPT = 300  # values of a probe that are kept while they can't be written


class Waiting(NamedTuple):
    """What waits to be written: values, of which None ends a gap, and the widest step that is no gap."""

    times: list[float]
    values: list[float | None]
    widest: int


@dataclass(slots=True)
class Series:
    """One probe; ``times``, ``values`` and ``widest`` wait to be written."""

    name: str
    number: int
    wattmeter: str
    level: str
    interval: float
    path: Path
    total: Total
    first_seen: float | None = None
    watts: float | None = None
    timestamp: float = 0.0  # of the newest value taken
    covered: float = NEVER  # up to when its time is measured, or known to be a gap
    heard_at: float = NEVER  # by our steady clock
    counted: bool = False  # to the total
    resumes: bool = False  # was measured when the process before us ended; what it missed may still come
    max_gap: int = 0  # seconds between two values beyond which there is a gap
    widest: int = 0
    times: list[float] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)
    opened: bool = False  # these are of files.py: where the file ends is known
    unsure: bool = False  # and which of the values of its last second it has
    written: float = NEVER  # the time of the newest value that went there
    heartbeat: int | None = None
    broken: bool = False

    def entry(self) -> Entry:
        """Return what is kept of it for the next start."""
        last_seen = None if self.covered == NEVER else self.covered
        return Entry(self.number, self.wattmeter, self.level, self.interval, self.first_seen, last_seen)

    def resume(self, entry: Entry, last: float, watts: float | None) -> bool:
        """Go on from what was kept of it, and the last value of its file; return False if there is neither."""
        if entry.last_seen is None and watts is None:
            return False
        # What the file has since then its total has not, and what came since may come once more.
        self.covered = last + 1 if entry.last_seen is None else entry.last_seen
        self.unsure = last > self.covered
        self.watts, self.timestamp = watts, self.covered
        return True

    def set_interval(self, interval: float, max_gap: float) -> None:
        """Follow the wattmeter's interval."""
        self.interval = interval
        self.max_gap = ceil(gap_limit(max_gap, interval))
        self.widest = max(self.max_gap, self.widest if self.times else 0)

    def end_gap(self, timestamp: float) -> bool:
        """End a gap at a new value; return False if there is none."""
        if timestamp - self.covered <= self.max_gap:
            return False
        if self.covered != NEVER and self.covered % 1:
            self._wait(float(ceil(self.covered)), None)  # or rrdtool takes its last second for a part of the gap
        self.covered = float(ceil(timestamp))
        self._wait(self.covered, None)
        return True

    def take(self, timestamp: float, watts: float, now: float) -> float | None:
        """Take a value; return since when it stands for the power, None if there was a gap or no time has passed."""
        since = None
        if not self.end_gap(timestamp) and timestamp > self.covered:
            if (whole := whole_second(self.covered, timestamp)) is not None:
                self._wait(whole, watts)
            since, self.covered = self.covered, timestamp
            self._wait(timestamp, watts)
        self.watts, self.timestamp, self.heard_at = watts, timestamp, now
        return since

    def pop(self) -> Waiting:
        """Return what waits, and forget it."""
        waiting = Waiting(self.times, self.values, self.widest)
        self.times, self.values, self.widest = [], [], self.max_gap
        return waiting

    def keep(self, waiting: Waiting, *, everything: bool = False) -> None:
        """Take back what could not be written; the oldest is lost when there is too much, unless it all is to stay."""
        first = 0 if everything else -KEPT
        self.times = (waiting.times + self.times)[first:]
        self.values = (waiting.values + self.values)[first:]
        self.widest = max(waiting.widest, self.widest)
        self.opened = False

    def _wait(self, time: float, value: float | None) -> None:
        self.times.append(time)
        self.values.append(value)


class Listing:
    """The probes of a wattmeter that all took its last message, so that the next one like it is taken at once."""

    def __init__(self, message: Message, series: Sequence[Series]) -> None:
        self.series = series
        self._probes, self._level, self._interval = message.probes, message.level, message.interval
        self._covered, self._max_gap = series[0].covered, series[0].max_gap
        self._total = series[0].total
        self.count()

    def count(self) -> None:
        """Notice which of the probes count to the total."""
        self._mask = [one.counted for one in self.series]
        self._counted = sum(self._mask)

    def is_followed_by(self, message: Message, watts: Column, timestamp: float) -> bool:
        """Return whether each probe may simply take its value of a message."""
        return (
            self._covered < timestamp <= self._covered + self._max_gap
            and None not in watts
            and message.probes == self._probes
            and message.interval == self._interval
            and message.level == self._level
        )

    def take(self, timestamp: float, watts: list[float], now: float) -> int:
        """Take the values of a message; return how many wait of each probe, or fewer."""
        whole = whole_second(self._covered, timestamp)
        for series, value in zip(self.series, watts, strict=True):
            if whole is not None:
                series.times.append(whole)
                series.values.append(value)
            series.times.append(timestamp)
            series.values.append(value)
            series.watts = value
            series.timestamp = series.covered = timestamp
            series.heard_at = now
        if self._counted:
            power = sum(watts if self._counted == len(watts) else compress(watts, self._mask))
            self._total.add(self._covered, timestamp, power, self._counted)
        self._covered = timestamp
        return len(series.times)


def whole_second(covered: float, timestamp: float) -> float | None:
    """Return where the first whole second begins of a value that stands for more than one; None if its time does.

    Written there as well, the value has its own power in each of them. rrdtool would spread what is left of the second
    before over all: every 10 s a peak of a single value would be up to a tenth too low.
    """
    whole = ceil(covered)
    return float(whole) if covered < whole < timestamp - 1 else None
