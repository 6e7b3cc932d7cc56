"""Simulated servers and what feeds them; the true energy is known exactly. No I/O, no clock.

A signal is a pure function: seed and whole second -> value of that whole second. Power is a signal in milliwatts, time
is counted in milliseconds, so energy is an integer of microjoules and no sum ever drifts. (Elsewhere in Kwapi units are
W and kWh as floats; here they would spoil the one thing a simulator is for.)
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from math import cos, pi

Signal = Callable[[int], int]  # of a second since the start

MICROJOULES_PER_WH = 3_600_000_000
DEMO_DAY = 1800  # seconds; a day in half an hour shows movement while somebody looks on


def draw(seed: int, what: str, number: int = 0) -> float:
    """Return a number of [0, 1) that looks random and is always the same for the same arguments."""
    digest = blake2b(f"{seed} {what} {number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big") / 2**48


def between(low: int, high: int, drawn: float) -> int:
    """Return the integer that lies at ``drawn``, of [0, 1), on the way from low to high."""
    return low + int((high + 1 - low) * drawn)


def idle(seed: int, second: int) -> int:
    """Return the milliwatts of a server with nothing to do: 90 to 120 W."""
    base = between(93_000, 117_000, draw(seed, "base"))
    return base + between(-3_000, 3_000, draw(seed, "noise", second))


def batch(seed: int, second: int) -> int:
    """Return the milliwatts of a server that runs jobs of some minutes, with pauses between: 100 to 350 W."""
    slot_seconds = between(90, 400, draw(seed, "slot"))
    slot = (second + between(0, 400, draw(seed, "offset"))) // slot_seconds
    if draw(seed, "busy", slot) < 0.6:
        level = between(210_000, 340_000, draw(seed, "job", slot))
    else:
        level = 110_000
    return level + between(-10_000, 10_000, draw(seed, "noise", second))


def web_day(seed: int, second: int, day: int = DEMO_DAY) -> int:
    """Return the milliwatts of a web server, lowest at the start of each ``day`` (in seconds): 110 to 270 W."""
    height = between(80_000, 140_000, draw(seed, "height"))
    curve = (1 - cos(2 * pi * (second % day) / day)) / 2
    return 120_000 + int(height * curve) + between(-10_000, 10_000, draw(seed, "noise", second))


def step(seed: int, second: int) -> int:
    """Return the milliwatts of a load that is switched every five minutes between about 100 and about 300 W."""
    on = (second // 300 + seed) % 2
    return (300_000 if on else 100_000) + between(-1_000, 1_000, draw(seed, "noise", second))


def spiky(seed: int, second: int) -> int:
    """Return the milliwatts of a quiet server with a spike, a second long, in about one second of twenty."""
    if draw(seed, "spike", second) < 0.05:
        return between(250_000, 400_000, draw(seed, "height", second))
    return between(115_000, 125_000, draw(seed, "noise", second))


MIX = (idle, batch, web_day, spiky, batch, step)  # of a rack, in turn
LOADS = {"idle": (idle,), "batch": (batch,), "web day": (web_day,), "step": (step,), "spiky": (spiky,), "mix": MIX}


def mains(seed: int, second: int) -> int:
    """Return the millivolts of the mains: 228.5 to 231.5 V."""
    return between(228_500, 231_500, draw(seed, "volts", second))


def frequency(seed: int, second: int) -> int:
    """Return the millihertz of the mains: 49.95 to 50.05 Hz."""
    return between(49_950, 50_050, draw(seed, "frequency", second))


def power_factor(seed: int, second: int) -> int:
    """Return the power factor of a server's power supply in thousandths: 0.90 to 0.99."""
    return between(905, 985, draw(seed, "power factor")) + between(-5, 5, draw(seed, "shift", second))


@dataclass(frozen=True, slots=True)
class Reading:
    """What flows at one instant; apparent power is volts times amps exactly, active power never more."""

    milliwatts: int
    millivolts: int
    milliamps: int

    @property
    def microvolt_amperes(self) -> int:
        return self.millivolts * self.milliamps


@dataclass(slots=True)
class Circuit:
    """What one outlet feeds: it takes power by its signals while it is on, and energy adds up while time advances."""

    name: str
    power: Signal
    volts: Signal
    factor: Signal
    microjoules: int = 0
    milliseconds: int = 0
    is_on: bool = True
    _read: tuple[tuple[int, bool], Reading] | None = field(default=None, repr=False, compare=False)

    def advance(self, milliseconds: int) -> None:
        """Let time pass until ``milliseconds`` since the start; time that has passed already changes nothing."""
        while self.milliseconds < milliseconds:
            second = self.milliseconds // 1000
            end = min(milliseconds, (second + 1) * 1000)
            self.microjoules += self._draws(second) * (end - self.milliseconds)
            self.milliseconds = end

    @property
    def reading(self) -> Reading:
        moment = self.milliseconds // 1000, self.is_on
        if self._read is None or self._read[0] != moment:  # a PDU is asked for each value by itself
            self._read = moment, self._reading_at(moment[0])
        return self._read[1]

    def _reading_at(self, second: int) -> Reading:
        milliwatts, millivolts = self._draws(second), self.volts(second)
        # Rounded up, so that the apparent power does not fall below the active power.
        milliamps = -(-milliwatts * 1_000_000 // (self.factor(second) * millivolts))
        return Reading(milliwatts, millivolts, milliamps)

    def _draws(self, second: int) -> int:
        return self.power(second) if self.is_on else 0


@dataclass(frozen=True, slots=True)
class Inlet:
    """The outlets of one PDU on one phase, and the circuit that feeds the PDU itself: always the sum of them."""

    outlets: tuple[Circuit, ...]
    own: Circuit
    hertz: Signal

    @property
    def circuits(self) -> tuple[Circuit, ...]:
        return (*self.outlets, self.own)

    def advance(self, milliseconds: int) -> None:
        """Let time pass on every circuit until ``milliseconds`` since the start."""
        for circuit in self.circuits:
            circuit.advance(milliseconds)

    @property
    def milliseconds(self) -> int:
        return self.own.milliseconds

    @property
    def millihertz(self) -> int:
        return self.hertz(self.milliseconds // 1000)

    @property
    def microjoules(self) -> int:
        return sum(circuit.microjoules for circuit in self.circuits)

    @property
    def reading(self) -> Reading:
        readings = [circuit.reading for circuit in self.circuits]
        return Reading(
            milliwatts=sum(reading.milliwatts for reading in readings),
            millivolts=readings[0].millivolts,  # one phase feeds them all
            milliamps=sum(reading.milliamps for reading in readings),
        )


def own_power(second: int) -> int:
    """Return the milliwatts that a PDU takes for itself."""
    return 4_000


def no_power(second: int) -> int:
    """Return the milliwatts of what takes none, such as a meter that others feed."""
    return 0


def rack(
    outlets: int, seed: int = 0, *, mix: Iterable[Callable[[int, int], int]] = MIX, own: Signal = own_power
) -> Inlet:
    """Return a PDU that feeds so many servers with loads of ``mix`` in turn, and takes ``own`` for itself."""
    profiles = tuple(mix)
    volts = partial(mains, seed)
    circuits = []
    for number in range(outlets):
        server_seed = between(0, 2**32, draw(seed, "server", number))
        circuits.append(
            Circuit(
                name=f"server-{number + 1}",
                power=partial(profiles[number % len(profiles)], server_seed),
                volts=volts,
                factor=partial(power_factor, server_seed),
            )
        )
    pdu = Circuit("pdu", own, volts, partial(power_factor, seed))
    return Inlet(tuple(circuits), pdu, partial(frequency, seed))
