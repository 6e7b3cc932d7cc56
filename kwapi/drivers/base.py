"""What every driver is: options, open(), read(), close().

A driver speaks to one wattmeter. It owns no thread and no socket of the bus; a worker calls it from one thread.
It raises DeviceError, or lets OSError pass, when the device gave no usable answer; any other exception is a bug.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from oslo_config import cfg

from kwapi.drivers.names import Names
from kwapi.measurement import Measurement

Clock = Callable[[], float]


class Driver:
    """The conversation with one wattmeter.

    Each value of ``options`` becomes an attribute of the same name (``-`` as ``_``), beside ``wattmeter``, the name
    of the section, ``interval``, seconds between polls, ``hang_timeout``, seconds after which a poll is given up, and
    ``probes``, the names as they stand in the section. Every blocking call in open(), read() and close() has a deadline
    well within ``hang_timeout``; looking up a host has one by ``names``.
    """

    options: ClassVar[Sequence[cfg.Opt]] = ()
    paced: ClassVar[bool] = False  # True: read() itself waits for the device's next push
    opens_a_second: ClassVar[float] = 20.0  # at most, of all wattmeters of the driver together

    wattmeter: str
    interval: float
    hang_timeout: float = 10.0
    probes: list[str]

    def __init__(
        self,
        wattmeter: str,
        values: Mapping[str, Any],
        shared: Any = None,
        *,
        names: Names | None = None,
        wall_clock: Clock = time.time,
        monotonic_clock: Clock = time.monotonic,
    ) -> None:
        self.wattmeter = wattmeter
        self.shared = shared
        self.names = names or Names()
        self.wall_clock = wall_clock
        self.monotonic_clock = monotonic_clock
        self.answered_at: tuple[float, float] | None = None
        for name, value in values.items():
            setattr(self, name, value)

    @classmethod
    def open_shared(cls) -> Any:
        """Return what all drivers of this class in one process share (an event loop, a helper process), or None.

        Called once by the manager before the first worker starts; close_shared() gets it back when workers stop.
        """
        return None

    @classmethod
    def close_shared(cls, shared: Any) -> None:
        """End what open_shared() made, within a second; a driver that waits for it gets a DeviceError."""

    @classmethod
    def secrets(cls, values: Mapping[str, Any]) -> list[str]:
        """Return what nobody may be shown of a section's values, though the device should repeat it in an answer."""
        given = ((option, values.get(option.dest)) for option in cls.options if option.secret)
        return [str(value) for option, value in given if value and value != option.default]

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see. No I/O.

        An option that is wrong by its type, or missing, has its default here.
        """
        yield from ()

    def probe_names(self) -> list[str]:
        """Return the ids of the probes this section measures, in order, without the places that are skipped."""
        return [name for name in self.probes if name]

    def peer(self) -> str:
        """Return the name of what the section speaks to, equal for those that share a session or a line."""
        return self.wattmeter

    def open(self) -> None:
        """Connect to the device."""

    def read(self) -> list[Measurement]:
        """Return what the device measures now; [] when it has nothing new."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the device; called after every failure too, also when open() failed half way."""

    def mark_answer(self) -> None:
        """Note that the power answer arrived just now; a driver that goes on reading other columns calls this."""
        self.answered_at = (self.wall_clock(), self.monotonic_clock())
