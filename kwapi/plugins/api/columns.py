"""The probes of a wattmeter that go in step: each of its messages has watts of all of them, and no register.

What they have in common is kept once, and what is each one's own in columns, so that a message is counted by a few
loops. What a probe keeps itself (probe.py) stands as it was when they fell into step, until settle(). The thread of the
bus counts, and any other may ask.
"""

from collections.abc import Sequence
from operator import gt
from typing import NamedTuple, TypeGuard

from kwapi.energy import JOULES_PER_KWH, Instant
from kwapi.measurement import Message
from kwapi.plugins.api.probe import Probe, Told, has_rest
from kwapi.plugins.api.states import Reading

FEWEST = 2  # probes
LONGEST = 600.0  # seconds in step, so that what the probes' own records say is never older


class Now(NamedTuple):
    """What is known since a message, replaced as a whole, so that nobody sees half of it."""

    message: Message
    watts: Sequence[float]
    kwh: Sequence[float]
    measured: float  # seconds since they fell into step
    rest: Message | None  # the last message with volts, amps or volt-amperes
    heard_at: float


class Columns:
    """Some probes that all took the same message."""

    def __init__(self, message: Message, at: Instant, probes: Sequence[Probe], heard_at: float) -> None:
        """They are in step, as are_in_step() says."""
        self.probes = probes
        self.at = self.began_at = at
        self.peaks = [probe.energy.peak_watts for probe in probes]
        self.bases = [told for probe in probes if (told := probe.told) is not None]
        watts = [each for each in message.w or () if each is not None]
        self.now = Now(message, watts, [base.kwh for base in self.bases], 0.0, self.bases[0].rest, heard_at)
        self._tolds: tuple[Now | None, list[Told]] = (None, [])

    def begin(self) -> None:
        """Speak for the probes from now on."""
        for place, probe in enumerate(self.probes):
            probe.step = self, place

    def count(self, message: Message, at: Instant, heard_at: float, max_gap: float) -> Now | None:
        """Return what is known after a message that is like the one before, None if it is not; ``now`` is to be set."""
        before, last, watts = self.now, self.now.message, message.w
        seconds = at.monotonic - self.at.monotonic
        if (
            at.boot != self.at.boot
            or not 0 < seconds <= max_gap
            or at.monotonic - self.began_at.monotonic > LONGEST
            or watts is None
            or None in watts
            or message.kwh is not None
            or message.probes != last.probes
            or message.level != last.level
            or message.interval != last.interval
        ):
            return None
        own: list[float] = watts  # type: ignore[assignment]  # none of them is None
        drawn = own if min(own) >= 0 else [max(each, 0.0) for each in own]
        kwh = [sum_ + each * seconds / JOULES_PER_KWH for sum_, each in zip(before.kwh, drawn, strict=True)]
        if any(map(gt, own, self.peaks)):
            self.peaks = list(map(max, self.peaks, own))
        self.at = at
        rest = message if has_rest(message) else before.rest
        return Now(message, own, kwh, before.measured + seconds, rest, heard_at)

    def settle(self) -> None:
        """Let each probe stand as it is now; what they did in step is over."""
        now = self.now
        for place, (probe, told) in enumerate(zip(self.probes, self.tolds(), strict=True)):
            energy = probe.energy
            energy.total.kwh, energy.total.measured = told.kwh, told.measured
            energy.watts_at, energy.peak_watts = self.at, self.peaks[place]
            probe.show(now.message, place, now.heard_at)
            probe.rest, probe.place = now.rest, place
            probe.told, probe.step = told, None

    def told_of(self, place: int) -> Told:
        """Return what is known of a probe now."""
        return self.tolds()[place]

    def tolds(self) -> list[Told]:
        """Return what is known of all of them now; it is made once for all who ask."""
        now = self.now
        made_of, tolds = self._tolds
        if made_of is not now:
            timestamp, interval = now.message.timestamp, now.message.interval
            tolds = [
                Told(
                    now.heard_at,
                    timestamp,
                    timestamp,
                    now.watts[place],
                    now.rest,
                    place,
                    base.wattmeter,
                    base.level,
                    interval,
                    now.kwh[place],
                    base.measured + now.measured,
                    base.unknown,
                )
                for place, base in enumerate(self.bases)
            ]
            self._tolds = now, tolds
        return tolds

    def reading(self, probe: str) -> Reading | None:
        """Return what /v1 shows of one of them now, None if it is none of them."""
        now = self.now
        names = now.message.probes
        if probe not in names:
            return None
        place = names.index(probe)
        return Reading(now.message.timestamp, now.watts[place], now.kwh[place])

    def readings(self) -> dict[str, Reading]:
        """Return what /v1 shows of them now."""
        now = self.now
        timestamp = now.message.timestamp
        values = zip(now.message.probes, now.watts, now.kwh, strict=True)
        return {name: Reading(timestamp, watts, kwh) for name, watts, kwh in values}


def are_in_step(probes: Sequence[Probe | None], message: Message, at: Instant) -> TypeGuard[Sequence[Probe]]:
    """Return whether the probes of a message have all taken it, and nothing is known of one that is not of all."""
    return (
        len(probes) >= FEWEST
        and message.w is not None
        and None not in message.w
        and message.kwh is None
        and all(
            probe is not None
            and probe.energy.register is None
            and probe.energy.watts_at == at
            and probe.told is not None
            and (probe.rest is None or probe.rest is message)
            for probe in probes
        )
    )
