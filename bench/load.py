"""A driver that measures nothing: it gives the worker ready-made measurements at a set rate.

All that comes after read() is the real path. The driver is known to a daemon in whose PYTHONPATH plug_in() has put it,
by the entry point that any driver of another distribution has.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.worker import spread
from kwapi.measurement import Measurement

READY = 4  # polls, given again and again
WAKES = 2.0  # a second at most, beside the first polls; more polls than that come several together


def measurements(probes: Sequence[str], number: int) -> list[Measurement]:
    """Return a poll of a PDU: watts, volts and amperes of each outlet."""
    watts = [100.0 + number + place / 10 for place in range(len(probes))]
    return [
        Measurement(probe, watts=each, volts=230.1, amps=each / 230.1, level="outlet")
        for probe, each in zip(probes, watts, strict=True)
    ]


class Load(Driver):
    options = (
        cfg.FloatOpt("rate", default=1.0, help="Polls a second."),
        cfg.FloatOpt("growth", default=1.0, help="What the rate is multiplied by after each step."),
        cfg.FloatOpt("step", default=2.0, help="Seconds of a step."),
        cfg.FloatOpt("after", default=0.0, help="Seconds after the start until the first poll, for all to be there."),
    )
    paced = True
    opens_a_second = 1e6

    sleep = staticmethod(time.sleep)
    rate: float
    growth: float
    step: float
    after: float

    @classmethod
    def open_shared(cls) -> float:
        """Return when the daemon was started."""
        return time.monotonic()

    def open(self) -> None:
        self._ready = [measurements(self.probes, number) for number in range(READY)]
        self._begun = max(self.monotonic_clock(), self.shared + self.after)
        self._due = self._begun + spread(self.probes[0]) / min(self.rate, WAKES)  # as the beats of other drivers
        self._given = self._at_once = 0

    def read(self) -> list[Measurement]:
        if not self._at_once:
            self._wait()
        self._at_once -= 1
        self._given += 1
        return self._ready[self._given % READY]

    def _wait(self) -> None:
        """Wait until the next polls are due; of what could not be given in time a second's worth is given at once."""
        now = self.monotonic_clock()
        rate = self.rate * self.growth ** max((now - self._begun) // self.step, 0)
        self.sleep(max(self._due - now, 0.0))
        self._at_once = max(round(rate / WAKES), 1)
        self._due = max(self._due, now - 1.0) + self._at_once / rate


def plug_in(directory: Path) -> None:
    """Make a distribution in a directory that declares the driver, as one that pip has installed does."""
    metadata = directory / "kwapi_bench-0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: kwapi-bench\nVersion: 0\n")
    (metadata / "entry_points.txt").write_text("[kwapi.drivers]\nload = bench.load:Load\n")
