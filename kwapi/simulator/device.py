"""What a wattmeter shows of the circuits it measures: what is true, or what a fault makes of it. No I/O.

The truth is load.py's, and no fault touches it. A register counts from ``start`` and begins again at zero at ``wrap``,
if there is one; both are microjoules. Faults of what is shown:

    frozen       every value stays as it was
    wrong-unit   ten times the watts, as if they were tenths
    step-back    each register shows a two-thousandth less, and returns
    clock-step   the device's own clock is off by some seconds
    reset        each register begins at zero
    reboot       the device says nothing meanwhile; its registers are kept
    power-loss   the same, but its registers begin at zero
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kwapi.simulator.load import Inlet, Reading

SHOWN_FAULTS = ("frozen", "wrong-unit", "step-back", "clock-step", "reset", "reboot", "power-loss")
STEP_BACK = 2000  # of what the register shows
WRONG_UNIT = 10


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and by how many seconds, where it is a delay or a step of the clock."""

    kind: str
    seconds: float = 0.0


class Source(Protocol):
    """A circuit, or all of a device: what is true."""

    @property
    def reading(self) -> Reading: ...

    @property
    def microjoules(self) -> int: ...


class Shown:
    """A circuit, or all of a device, as the device shows it."""

    def __init__(self, name: str, source: Source, start: int = 0, wrap: int | None = None) -> None:
        self.name = name
        self.source = source
        self.wrap = wrap
        self.factor = 1  # of the watts
        self._offset = start - source.microjoules
        self._behind = 0
        self._frozen: tuple[Reading, int] | None = None

    @property
    def reading(self) -> Reading:
        if self._frozen:
            return self._frozen[0]
        reading = self.source.reading
        if self.factor == 1:
            return reading
        return Reading(self.factor * reading.milliwatts, reading.millivolts, reading.milliamps)

    @property
    def microjoules(self) -> int:
        """What the register shows."""
        if self._frozen:
            return self._frozen[1]
        count = self._offset + self.source.microjoules - self._behind
        return count % self.wrap if self.wrap else count

    def freeze(self) -> None:
        """Show from now on what is shown now."""
        self._frozen = self.reading, self.microjoules

    def thaw(self) -> None:
        """Show what is measured."""
        self._frozen = None

    def reset(self) -> None:
        """Begin at zero."""
        self._offset = -self.source.microjoules
        self._behind = 0

    def step_back(self) -> None:
        """Fall behind a little."""
        self._behind = self.microjoules // STEP_BACK

    def catch_up(self) -> None:
        """Be where one would be without the step back."""
        self._behind = 0


class Device:
    """A wattmeter of some circuits. ``clock`` tells seconds of a clock that never steps, from the device's start."""

    def __init__(
        self,
        inlet: Inlet,
        *,
        name: str = "simulated-pdu",
        start: int = 0,
        wrap: int | None = None,
        clock: Callable[[], float],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self.inlet = inlet
        self.outlets = tuple(Shown(circuit.name, circuit, start, wrap) for circuit in inlet.outlets)
        self.whole = Shown(name, inlet, start, wrap)
        self._clock = clock
        self._wall_clock = wall_clock
        self.booted_at = 0  # by its circuits' milliseconds
        self._clock_error = 0.0

    @property
    def milliseconds(self) -> int:
        """How long it has been up."""
        return self.inlet.milliseconds - self.booted_at

    @property
    def millihertz(self) -> int:
        return self.inlet.millihertz

    @property
    def unix_time(self) -> float:
        """What the device takes the time for."""
        return self._wall_clock() + self._clock_error

    def advance(self) -> None:
        """Let its circuits catch up with the clock."""
        self.inlet.advance(int(self._clock() * 1000))

    def switch(self, on: bool) -> None:
        """Switch all that it feeds on, or off: then nothing is drawn while time goes on."""
        self.advance()
        for circuit in self.inlet.circuits:
            circuit.is_on = on

    def begin(self, fault: Fault) -> None:
        """Show what the fault makes of it."""
        self.advance()
        for shown in self._all():
            match fault.kind:
                case "frozen":
                    shown.freeze()
                case "wrong-unit":
                    shown.factor = WRONG_UNIT
                case "step-back":
                    shown.step_back()
                case "reset" | "power-loss":
                    shown.reset()
        if fault.kind == "clock-step":
            self._clock_error = fault.seconds

    def end(self, kind: str) -> None:
        """Show what is true again, as far as this fault goes."""
        self.advance()
        for shown in self._all():
            match kind:
                case "frozen":
                    shown.thaw()
                case "wrong-unit":
                    shown.factor = 1
                case "step-back":
                    shown.catch_up()
                case "power-loss":
                    shown.reset()
        if kind == "clock-step":
            self._clock_error = 0.0
        elif kind in ("reboot", "power-loss"):
            self.booted_at = self.inlet.milliseconds

    def _all(self) -> tuple[Shown, ...]:
        return (*self.outlets, self.whole)


def elapsed(clock: Callable[[], float] = time.monotonic) -> Callable[[], float]:
    """Return a clock that shows 0 now."""
    start = clock()
    return lambda: clock() - start


def rounded(value: int, unit: int) -> int:
    """Return a positive value in whole units, halves upwards."""
    return (value + unit // 2) // unit
