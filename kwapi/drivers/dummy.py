"""A wattmeter that does not exist: made-up loads, for demonstrations and for trying plugins.

Each probe has a load of its own, worked out from ``seed`` and its name, so that two runs with one seed agree.
"""

import math
import random
import zlib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.energy import JOULES_PER_KWH
from kwapi.measurement import Measurement

# Share of the amplitude at each hour of an office's day.
NIGHT, MORNING = (0.15, 0.1, 0.1, 0.1, 0.1, 0.15), (0.25, 0.45, 0.7, 0.9, 1.0, 0.95)
AFTERNOON, EVENING = (0.85, 0.95, 1.0, 0.95, 0.9, 0.8), (0.65, 0.55, 0.45, 0.35, 0.25, 0.2)
BUSY_HOURS = NIGHT + MORNING + AFTERNOON + EVENING
WALK_PULL = 0.05  # of the distance from the mean, a second


class Dummy(Driver):
    options = (
        cfg.StrOpt(
            "load",
            default="walk",
            choices=["steady", "walk", "sine", "day"],
            help="steady: always the same watts; walk: a random walk around them; sine: a wave of one period; day: "
            "what an office's servers draw at each hour, local time.",
        ),
        cfg.FloatOpt("watts", default=150, min=0, help="Mean power of each probe, W."),
        cfg.FloatOpt("amplitude", default=50, min=0, help="How far the power strays from the mean, W."),
        cfg.FloatOpt("period", default=600, min=1, help="Seconds of one wave of the sine."),
        cfg.FloatOpt("volts", default=230, min=1, help="Voltage, V."),
        cfg.IntOpt("seed", help="Makes the made-up loads the same in every run; without it they differ."),
        cfg.BoolOpt("register", default=False, help="Also act a device with an energy register of its own."),
    )

    load: str
    watts: float
    amplitude: float
    period: float
    volts: float
    seed: int | None
    register: bool

    def __init__(self, wattmeter: str, values: Mapping[str, Any], shared: Any = None, **clocks: Any) -> None:
        super().__init__(wattmeter, values, shared, **clocks)
        self._random = {name: self._random_of(name) for name in self.probe_names()}
        self._stray = dict.fromkeys(self.probe_names(), 0.0)
        self._kwh = dict.fromkeys(self.probe_names(), 0.0)
        self._read_at: float | None = None
        self._watts_now: Callable[[str, float, float], float] = {
            "steady": self._steady,
            "walk": self._walk,
            "sine": self._sine,
            "day": self._day,
        }[self.load]

    def read(self) -> list[Measurement]:
        now, time_of_day = self.monotonic_clock(), self.wall_clock()
        elapsed = 0.0 if self._read_at is None else now - self._read_at
        self._read_at = now
        measurements = []
        for name in self.probe_names():
            watts = max(self._watts_now(name, time_of_day, elapsed), 0.0)
            self._kwh[name] += watts * elapsed / JOULES_PER_KWH
            measurements.append(
                Measurement(
                    name,
                    watts=watts,
                    volts=self.volts,
                    amps=watts / self.volts,
                    kwh=self._kwh[name] if self.register else None,
                )
            )
        return measurements

    def _random_of(self, name: str) -> random.Random:
        if self.seed is None:
            return random.Random()  # noqa: S311 -- a made-up load is no secret
        return random.Random(self.seed ^ zlib.crc32(name.encode()))  # noqa: S311 -- as above

    def _steady(self, name: str, time_of_day: float, elapsed: float) -> float:
        return self.watts

    def _walk(self, name: str, time_of_day: float, elapsed: float) -> float:
        # An Ornstein-Uhlenbeck step: its spread settles at the amplitude whatever the interval is.
        keep = math.exp(-WALK_PULL * elapsed)
        noise = self._random[name].gauss(0, self.amplitude / 2) * math.sqrt(1 - keep * keep)
        self._stray[name] = self._stray[name] * keep + noise
        return self.watts + self._stray[name]

    def _sine(self, name: str, time_of_day: float, elapsed: float) -> float:
        return self.watts + self.amplitude * math.sin(2 * math.pi * time_of_day / self.period)

    def _day(self, name: str, time_of_day: float, elapsed: float) -> float:
        moment = datetime.fromtimestamp(time_of_day)
        hour, share = moment.hour, (moment.minute * 60 + moment.second) / 3600
        busy = BUSY_HOURS[hour] * (1 - share) + BUSY_HOURS[(hour + 1) % 24] * share
        noise = self._random[name].gauss(0, self.amplitude * 0.02)
        return self.watts - self.amplitude + 2 * self.amplitude * busy + noise
