"""What is kept of one probe. The thread of the bus changes it; any other may ask for its state."""

from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from kwapi.energy import EnergyRegister
from kwapi.measurement import Message, stale_after
from kwapi.plugins.api.states import ProbeState, Reading


class Told(msgspec.Struct, frozen=True, gc=False):
    """All that a probe's state is made of, replaced as a whole, so that nobody sees half of a measurement.

    ``heard_at`` is of our clock, the timestamps are the wattmeter's.
    """

    heard_at: float
    timestamp: float
    watts_timestamp: float | None
    watts: float | None
    rest: Message | None  # the last message with volts, amps or volt-amperes of the wattmeter
    place: int  # of the probe in that message
    wattmeter: str
    level: str
    interval: float
    kwh: float
    measured: float
    unknown: float

    def state(self, now: float) -> str:
        return "up" if now - self.heard_at <= stale_after(self.interval) else "stale"

    def current_since(self, state: str) -> float:
        """Return the time before which no value is current: one that later messages do not repeat soon is not."""
        return self.timestamp - stale_after(self.interval) if state == "up" else float("inf")

    def current_watts(self, state: str) -> float | None:
        has_watts = self.watts_timestamp is not None and self.watts_timestamp >= self.current_since(state)
        return self.watts if has_watts else None

    def overlaid(self, message: Message, place: int, heard_at: float) -> "Told":
        """Return this with what a newer message says at a place of its columns; what that has not stays as it was."""
        watts = None if message.w is None else message.w[place]
        rest = has_rest(message)
        return msgspec.structs.replace(
            self,
            heard_at=heard_at,
            timestamp=message.timestamp,
            watts_timestamp=self.watts_timestamp if watts is None else message.timestamp,
            watts=self.watts if watts is None else watts,
            rest=message if rest else self.rest,
            place=place if rest else self.place,
            interval=message.interval,
        )


class Early:
    """The newest message with certain probes that came before its turn, and when by our clock.

    The thread of the bus changes it, any other may ask.
    """

    __slots__ = ("shown",)

    def __init__(self, message: Message, heard_at: float) -> None:
        self.shown = message, heard_at


def has_rest(message: Message) -> bool:
    """Return whether a message has more of now than watts: volts, amps or volt-amperes."""
    return bool(message.v or message.a or message.va)


class Together(Protocol):
    """What knows of several probes, each at its place, as columns.py does."""

    def told_of(self, place: int) -> Told: ...


@dataclass(slots=True)
class Probe:
    """One probe since it was first measured, ``since``.

    While it goes in ``step`` with others what it keeps itself is out of date, and known() is not.
    """

    name: str
    wattmeter: str
    level: str
    interval: float
    heard_at: float  # our clock
    since: float
    timestamp: float  # of the last measurement, by the wattmeter's clock
    energy: EnergyRegister = field(default_factory=EnergyRegister)
    watts: float | None = None
    watts_timestamp: float | None = None
    rest: Message | None = None
    place: int = 0
    early: tuple[Early, int] | None = None  # and its place in the columns of that message
    told: Told | None = None
    step: tuple[Together, int] | None = None
    slot: int = 0  # of the state file, 0 for none
    identity: bytes = b""  # names and level as they stand there
    _shown: ProbeState | None = None  # made of _shown_told
    _shown_told: Told | None = None
    _overlaid: tuple[Told, Message, Told] | None = None  # the last, and what it was made of

    def show(self, message: Message, place: int, heard_at: float) -> None:
        """Take what a message says of now, at a place of its columns."""
        self.heard_at, self.interval, self.timestamp = heard_at, message.interval, message.timestamp
        if message.w is not None and (watts := message.w[place]) is not None:
            self.watts, self.watts_timestamp = watts, message.timestamp
        if has_rest(message):
            self.rest, self.place = message, place

    def tell(self) -> None:
        """Show readers what is known now."""
        total = self.energy.total
        self.told = Told(
            self.heard_at,
            self.timestamp,
            self.watts_timestamp,
            self.watts,
            self.rest,
            self.place,
            self.wattmeter,
            self.level,
            self.interval,
            total.kwh,
            total.measured,
            total.unknown,
        )

    def known(self) -> Told | None:
        """Return what is known now, None before the first measurement is told; for any thread."""
        step = self.step
        told = self.told if step is None else step[0].told_of(step[1])
        early = self.early
        if told is None or early is None:
            return told
        (message, heard_at), place = early[0].shown, early[1]
        if message.timestamp <= told.timestamp:
            return told
        made = self._overlaid
        if made is None or made[0] is not told or made[1] is not message:
            made = self._overlaid = told, message, told.overlaid(message, place, heard_at)
        return made[2]

    def is_heard_since(self, when: float) -> bool:
        """Return whether it was measured since a time of our clock."""
        told = self.known()
        return told is not None and told.heard_at >= when

    def reading(self) -> Reading | None:
        """Return the last watts and the energy, None before there were watts."""
        if self.watts is None or self.watts_timestamp is None:
            return None
        return Reading(self.watts_timestamp, self.watts, self.energy.total.kwh)

    def take_over(self, former: "Probe") -> None:
        """Add the energy of a probe that is measured as this one now; the time between the two is unknown."""
        former.energy.change_source()
        self.energy.total.add(former.energy.total)
        self.energy.total.unknown += max(self.since - former.timestamp, 0.0)
        self.since = min(self.since, former.since)

    def state(self, now: float) -> ProbeState | None:
        """Return the state, None before the first measurement is told; for one thread at a time."""
        told = self.known()
        if told is None:
            return None
        state = told.state(now)
        if self._shown is None or self._shown_told is not told or self._shown.state != state:
            self._shown, self._shown_told = state_of(self.name, self.since, told, state), told
        return self._shown


def state_of(name: str, since: float, told: Told, state: str) -> ProbeState:
    """Return a probe as it is shown."""
    current_since, watts = told.current_since(state), told.current_watts(state)
    seconds = told.measured + told.unknown
    volts = amps = volt_amperes = None
    if told.rest is not None and told.rest.timestamp >= current_since:
        rest, place = told.rest, told.place
        volts = rest.v[place] if rest.v else None
        amps = rest.a[place] if rest.a else None
        volt_amperes = rest.va[place] if rest.va else None
    return ProbeState(
        id=name,
        wattmeter=told.wattmeter,
        level=told.level,
        timestamp=told.timestamp if watts is None else told.watts_timestamp,
        w=watts,
        v=volts,
        a=amps,
        va=volt_amperes,
        kwh=told.kwh,
        kwh_since=since,
        measured_seconds=told.measured,
        unknown_seconds=told.unknown,
        coverage=told.measured / seconds if seconds > 0 else None,
        interval=told.interval,
        state=state,
    )
