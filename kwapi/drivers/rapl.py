"""Energy counters of processors: RAPL, as Linux shows it in /sys/class/powercap, of Intel and of AMD.

A zone is a directory ``intel-rapl:N`` or ``intel-rapl:N:M``, whose ``name`` says what it counts: package-0, and inside
a package core, uncore and dram; psys, the whole board, on some machines. ``energy_uj`` counts microjoules up to
``max_energy_range_uj`` and starts again at zero, at full load in some minutes. Watts are the difference of two
readings.

A package holds its cores but not its memory, psys holds all: the levels are such that nothing is added up twice. The
zones intel-rapl-mmio repeat the packages and are left out.

``probes`` names the packages in order; an empty name skips one. ``id@zone`` names any other zone: ``s1-ram@dram``,
``s1-ram2@package-1/dram``, ``s1@psys``.

Since CVE-2020-8694 only root may read the counters; anyone else needs CAP_DAC_READ_SEARCH.

Source: Linux, Documentation/power/powercap/powercap.rst; drivers/powercap/intel_rapl_common.c (units, domains).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.places import choose, probes_of
from kwapi.energy import JOULES_PER_KWH
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement

ZONE = re.compile(r"intel-rapl:(\d+)(?::(\d+))?")
MICROJOULES_PER_KWH = JOULES_PER_KWH * 1e6
PLAUSIBLE_WATTS = 1000.0  # of one package; more means that the counter was reset, or has wrapped more often than seen
PLAUSIBLE_BOARD_WATTS = 10_000.0  # of psys, in a server of several packages
MAX_INTERVAL = 60.0  # seconds; the smallest known range, 65.7 kJ of memory, lasts as long at PLAUSIBLE_WATTS
PARTS = ("core", "uncore")  # of a package
BOARD = "psys"


@dataclass(frozen=True, slots=True)
class Zone:
    """A counter: its name, that of the zone around it before it, and the range of its microjoules."""

    name: str
    directory: Path
    range_uj: int

    @property
    def kind(self) -> str:
        """The name without that of the package around it."""
        return self.name.rpartition("/")[2]

    def is_called(self, place: str) -> bool:
        """Return whether a name of the configuration means this zone."""
        return place in (self.name, self.kind)

    @property
    def is_board(self) -> bool:
        """Whether it counts the whole board."""
        return self.kind.startswith(BOARD)

    @property
    def plausible_watts(self) -> float:
        """The most that it may show."""
        return PLAUSIBLE_BOARD_WATTS if self.is_board else PLAUSIBLE_WATTS

    def energy_uj(self) -> int:
        """Return the microjoules counted now."""
        return read_number(self.directory / "energy_uj")


def read_number(path: Path) -> int:
    """Return the whole number in a file; DeviceError if something else is there."""
    text = path.read_text(encoding="ascii", errors="replace")
    try:
        return int(text)
    except ValueError as error:
        raise DeviceError(f"no number in {path}: {text!r}") from error


def find_zones(root: Path) -> list[Zone]:
    """Return the zones below a directory, packages in numerical order and their parts behind them."""
    found = {}
    for directory in root.iterdir():
        if match := ZONE.fullmatch(directory.name):
            found[int(match[1]), int(match[2] or -1)] = directory
    names = {number: (directory / "name").read_text(encoding="utf-8").strip() for number, directory in found.items()}
    zones = []
    for (outer, inner), directory in sorted(found.items()):
        around = names.get((outer, -1), str(outer))
        name = f"{around}/{names[outer, inner]}" if inner >= 0 else around
        zones.append(Zone(name, directory, read_number(directory / "max_energy_range_uj")))
    return zones


def choose_zones(names: Sequence[str], zones: Sequence[Zone]) -> dict[str, Zone]:
    """Return the zone of each probe; raise LookupError for a name without one."""
    return choose(names, zones, (zone for zone in zones if "/" not in zone.name and not zone.is_board))


def levels_of(chosen: Mapping[str, Zone]) -> dict[str, str]:
    """Return the level of each probe: what no other zone that was chosen holds is the device."""
    names = {zone.name for zone in chosen.values()}
    has_board = any(zone.is_board for zone in chosen.values())
    levels = {}
    for probe, zone in chosen.items():
        around = zone.name.rpartition("/")[0]
        if zone.kind in PARTS and around in names:
            levels[probe] = "outlet"
        else:
            levels[probe] = "bank" if has_board and not zone.is_board else "device"
    return levels


def watts_between(
    before: int, after: int, range_uj: int, seconds: float, plausible_watts: float = PLAUSIBLE_WATTS
) -> float | None:
    """Return the mean power between two readings of a counter that may have wrapped once, None if it is implausible."""
    if seconds <= 0 or seconds * PLAUSIBLE_WATTS * 1e6 > range_uj:
        return None
    watts = ((after - before) % range_uj) / 1e6 / seconds
    return watts if watts <= plausible_watts else None


class Rapl(Driver):
    options = (cfg.StrOpt("root", default="/sys/class/powercap", help="Directory of the zones."),)

    root: str

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if self.interval > MAX_INTERVAL:
            yield "interval", f"is longer than {MAX_INTERVAL:.0f} s, in which a counter may wrap unseen"
        for name in self.probes:
            probe, at, place = name.partition("@")
            if at and not (probe and place):
                yield "probes", f"{name!r} does not name a probe and a zone, such as s1-ram@package-0/dram"

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order: names without zones, and without the places that are skipped."""
        return probes_of(self.probes)

    def open(self) -> None:
        """Find the zones that the names mean."""
        root = Path(self.root)
        zones = find_zones(root)
        try:
            self._zones = choose_zones(self.probes, zones)
        except LookupError as error:
            there = ", ".join(zone.name for zone in zones) or "none"
            raise DeviceError(f"{error}; zones in {root}: {there}") from error
        self._levels = levels_of(self._zones)
        self._before: dict[str, tuple[float, int]] = {}  # time and microjoules by probe

    def read(self) -> list[Measurement]:
        """Return the registers now, and the mean power since they were last read."""
        measurements = []
        for probe, zone in self._zones.items():
            energy_uj, now = zone.energy_uj(), self.monotonic_clock()
            watts = None
            if probe in self._before:
                then, before = self._before[probe]
                watts = watts_between(before, energy_uj, zone.range_uj, now - then, zone.plausible_watts)
            self._before[probe] = now, energy_uj
            measurements.append(
                Measurement(
                    probe,
                    watts=watts,
                    kwh=energy_uj / MICROJOULES_PER_KWH,
                    kwh_wrap=zone.range_uj / MICROJOULES_PER_KWH,
                    level=self._levels[probe],
                )
            )
        return measurements
