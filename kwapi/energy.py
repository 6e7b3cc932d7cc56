"""Energy of one probe: kWh from watts or from the device's own register, with gaps, resets and wraps. No I/O, no clock.

Without a register a new watt value counts for the time since the one before; a hole longer than ``max_gap`` adds
nothing and is unknown time. With a register only its differences count, so a hole is bridged exactly. A register that
goes backwards has wrapped (its modulus is known and the way over the top is short), was reset (far back), or stepped
back a little, as devices do that restore a saved value; then nothing counts until it is past its highest value again.
What was integrated from watts meanwhile is kept ready: it counts when a reset makes the register's difference
worthless, or when the register is no longer reported.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

JOULES_PER_KWH = 3.6e6
MAX_GAP = 60.0  # seconds
MAX_WATTS = 1e6  # of one probe; a register that rises faster is not a register any more
SURGE_WATTS = 1e4  # of one probe, between two polls that saw less
COARSEST_STEP = 1.0  # kWh, of the registers there are
OWED = 10.0  # times what the watts gave while a register stood still: those of a device that hangs do not move either
STEP_BACK = 0.001  # of the register's value
GAP_INTERVALS = 2.5  # a hole shorter than so many intervals of the wattmeter is no gap, whatever max_gap says


class Instant(NamedTuple):
    """A moment as a driver stamps it: ``monotonic`` is comparable within one ``boot`` only, and boots rise."""

    boot: int
    timestamp: float
    monotonic: float


class RegisterEvent(NamedTuple):
    """What a device's register did other than count on: wrap, reset, step back or jump; values in kWh."""

    kind: str
    before: float
    after: float


def gap_limit(max_gap: float, interval: float) -> float:
    """Return the seconds between two measurements beyond which the time between them is a gap."""
    return max(max_gap, GAP_INTERVALS * interval)


def seconds_between(earlier: Instant, later: Instant) -> float:
    """Return the seconds from one instant to another, negative if a clock was set back across boots."""
    if earlier.boot == later.boot:
        return later.monotonic - earlier.monotonic
    return later.timestamp - earlier.timestamp


class Span(msgspec.Struct, gc=False):
    """An amount of energy and the time it stands for: seconds known and seconds unknown."""

    kwh: float = 0.0
    measured: float = 0.0
    unknown: float = 0.0

    def add(self, other: "Span") -> None:
        self.kwh += other.kwh
        self.measured += other.measured
        self.unknown += other.unknown


@dataclass(slots=True)
class EnergyRegister:
    """Our own register of one probe: ``total.kwh`` never decreases.

    Measurements come in order; watts is what was drawn since the one before, kwh the device's register now.
    """

    total: Span = field(default_factory=Span)
    pending: Span = field(default_factory=Span)  # integrated since the device's register last counted
    ahead: Span = field(default_factory=Span)  # what of that was counted already, though the register may still do it
    watts_at: Instant | None = None
    peak_watts: float = 0.0
    register: float | None = None  # the device's, kWh, at its highest
    register_at: Instant | None = None
    register_period: float = 0.0  # seconds between its last two readings
    register_step: float = COARSEST_STEP  # its smallest rise so far, kWh
    register_left: float = 0.0  # where it was before a reset: a rise back to there shows a wrong reading, no energy
    register_leapt: float = 0.0  # where it was before a jump, for the same reason
    register_lag: float = 0.0  # what a step back that lasted took off it: it may still come back at once
    register_owed: float = 0.0  # what the watts gave while it was read and stood still, kWh: it may have hung
    stepped_back: bool = False

    @property
    def kwh(self) -> float:
        """Energy counted so far."""
        return self.total.kwh

    @property
    def last_at(self) -> Instant | None:
        """When the last measurement that counted was made."""
        known = [at for at in (self.watts_at, self.register_at) if at is not None]
        return max(known, key=lambda at: (at.boot, at.monotonic), default=None)

    @property
    def coverage(self) -> float | None:
        """Share of the time since the first measurement that was measured, None before any time has passed."""
        seconds = self.total.measured + self.total.unknown
        return self.total.measured / seconds if seconds > 0 else None

    def add(
        self,
        at: Instant,
        watts: float | None,
        kwh: float | None = None,
        kwh_wrap: float | None = None,
        max_gap: float = MAX_GAP,
    ) -> RegisterEvent | None:
        """Take one measurement; return what its register did, None if it simply counted on."""
        if watts is not None:
            self._integrate(at, watts, max_gap)
        if self.register is None or self.register_at is None:
            if kwh is not None:
                self._restart_from(at, kwh)
            return None
        between = seconds_between(self.register_at, at)
        seconds, untold = max(between, 0.0), max_gap if between < 0 else 0.0
        overdue = seconds > max(max_gap, 3 * self.register_period)
        if kwh is not None:
            return self._follow(at, seconds, untold, self.register, kwh, kwh_wrap, overdue)
        if overdue:
            self.ahead.add(self.pending)
            self._count_pending()
        return None

    def change_source(self) -> None:
        """Take no difference at the next reading: another device reports this probe from now on."""
        self._count_pending()
        self.register = self.register_at = None
        self.register_left = self.register_leapt = self.register_lag = self.register_owed = 0.0
        self.ahead = Span()

    def _integrate(self, at: Instant, watts: float, max_gap: float) -> None:
        span = self.total if self.register is None else self.pending
        if self.watts_at is not None and (seconds := seconds_between(self.watts_at, at)) > 0:
            if seconds <= max_gap:
                span.kwh += max(watts, 0.0) * seconds / JOULES_PER_KWH
                span.measured += seconds
            else:
                span.unknown += seconds
        self.watts_at = at
        self.peak_watts = max(self.peak_watts, watts)

    def _follow(
        self,
        at: Instant,
        seconds: float,
        untold: float,
        before: float,
        kwh: float,
        kwh_wrap: float | None,
        overdue: bool,
    ) -> RegisterEvent | None:
        """Count on from a reading; ``untold`` are seconds that may have passed while the clock was set back."""
        rise = kwh - before
        if rise >= 0:
            if self._has_returned(before, kwh, seconds) or rise > self._most(seconds, untold):
                return self._start_over("jump", at, seconds, before, kwh)
            self._count_difference(at, seconds, kwh, rise)
            return None
        if kwh_wrap and 0 <= kwh_wrap + rise <= min(kwh_wrap / 1000, COARSEST_STEP) + self._likely(seconds):
            self._count_difference(at, seconds, kwh, kwh_wrap + rise)
            return RegisterEvent("wrap", before, kwh)
        if -rise <= before * STEP_BACK and not overdue:
            event = None if self.stepped_back else RegisterEvent("step back", before, kwh)
            self.stepped_back, self.register_lag = True, max(-rise, self.register_lag)
            return event
        if -rise <= before * STEP_BACK:
            self.register_lag = max(-rise, self.register_lag)
        else:
            self.register_left = max(before, self.register_left)
        return self._start_over("reset", at, seconds, before, kwh)

    def _has_returned(self, before: float, kwh: float, seconds: float) -> bool:
        """Return whether a rise is no energy, but the way back from a reset, or from a step back that lasted."""
        is_where_it_was = any(
            before < level * (1 - STEP_BACK) <= kwh for level in (self.register_left, self.register_leapt)
        )
        makes_up = not self.stepped_back and kwh - before >= 0.9 * self.register_lag > 0
        return (is_where_it_was or makes_up) and kwh - before > self._likely(seconds)

    def _likely(self, seconds: float) -> float:
        """Return the energy of twice the highest power seen, kWh; where no watts are known, of a tenth of MAX_WATTS."""
        watts = 2 * self.peak_watts if self.peak_watts > 0 else MAX_WATTS / 10
        return watts * seconds / JOULES_PER_KWH + 2 * self.register_owed

    def _most(self, seconds: float, untold: float) -> float:
        """Return the most that a register can have risen, kWh: less where the watts were known all the time.

        Much less it cannot be: between two polls a load may come and go that no poll sees. What it owes it may make up
        for at once.
        """
        unknown = self.pending.unknown + self.ahead.unknown
        measured = self.pending.measured + self.ahead.measured
        watched = unknown == 0 and measured > 0.9 * seconds
        surge = max(10 * self.peak_watts, SURGE_WATTS)
        joules = (surge if watched else MAX_WATTS) * seconds + surge * untold
        steps = min(2 * self.register_step, COARSEST_STEP)
        return steps + joules / JOULES_PER_KWH + OWED * self.register_owed

    def _count_difference(self, at: Instant, seconds: float, kwh: float, difference: float) -> None:
        self.total.kwh += max(difference - self.ahead.kwh, 0.0)
        self.total.measured += seconds - self.ahead.measured
        self.total.unknown -= self.ahead.unknown
        self.ahead = Span(kwh=max(self.ahead.kwh - difference, 0.0))
        if seconds > 0:
            self.register_period = seconds
        if difference > 0:
            self.register_step, self.register_owed = min(difference, self.register_step), 0.0
        else:
            self.register_owed += self.pending.kwh
        if self.stepped_back:
            self.register_lag = 0.0  # made up for
        self._restart_from(at, kwh)

    def _start_over(self, kind: str, at: Instant, seconds: float, before: float, kwh: float) -> RegisterEvent:
        told = self.pending.measured + self.pending.unknown + self.ahead.measured + self.ahead.unknown
        self.total.unknown += max(seconds - told, 0.0)  # time of which neither the watts nor the register tell
        if kind == "jump":
            self.register_lag, self.register_leapt = 0.0, before
        self._count_pending()
        self.ahead, self.register_owed = Span(), 0.0
        self._restart_from(at, kwh)
        return RegisterEvent(kind, before, kwh)

    def _count_pending(self) -> None:
        self.total.add(self.pending)
        self.pending = Span()

    def _restart_from(self, at: Instant, kwh: float) -> None:
        self.register, self.register_at, self.stepped_back = kwh, at, False
        self.pending = Span()
        if self.watts_at is not None:
            self.watts_at = at  # what follows is pending, what came before is counted
