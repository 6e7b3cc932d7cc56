"""Power and energy sensors of the machine itself, as Linux shows them in /sys/class/hwmon.

A chip is a directory with a ``name``: power_meter (ACPI), ina226, pmbus chips, amdgpu and so on. ``powerN_average``, or
``powerN_input``, is in microwatts, ``energyN_input`` in microjoules and never wraps in practice; ``_label`` names them.
A sensor without a value now answers with an error, or has a ``powerN_enable`` of 0.

``probes`` names the sensors in the order of their chips and numbers, power before energy; an empty name skips one.
``id@chip/sensor`` names one by its number or its label: ``s1@power_meter/power1``, ``s1-in@pmbus/pin``. Chips of one
name are told apart by their device: ``s1@amdgpu-0000:45:00.0/power1``. The numbers of the directories change from one
start of the machine to the next, so they are not used.

Source: Linux, Documentation/hwmon/sysfs-interface.rst, acpi_power_meter.rst, pmbus.rst; ACPI, _PMM (which answers
0xFFFFFFFF mW, 4.29 MW, when it does not know).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.places import choose, probes_of
from kwapi.energy import JOULES_PER_KWH, MAX_WATTS
from kwapi.errors import DeviceError
from kwapi.measurement import LEVELS, Measurement

SENSOR = re.compile(r"(power|energy)(\d+)_(?:average|input)")
NO_VALUE = (2**32 - 1, 2**32)  # uW; a register of 32 bits, all of them set


@dataclass(frozen=True, slots=True)
class Sensor:
    """A sensor of a chip; ``energy`` is the register of the same label, if there is one."""

    chip: str
    device: str
    number: str  # power1
    label: str
    directory: Path
    energy: str | None = None

    @property
    def has_power(self) -> bool:
        """Whether it measures power, and not energy alone."""
        return self.number.startswith("power")

    @property
    def count(self) -> int:
        """The number at the end of its number."""
        return int(re.sub(r"\D", "", self.number))

    @property
    def name(self) -> str:
        """Chip, device and number, which together are unique."""
        return f"{self.chip}-{self.device}/{self.number}"

    def is_called(self, place: str) -> bool:
        """Return whether a name of the configuration means this sensor."""
        chip, _, sensor = place.partition("/")
        return chip in (self.chip, f"{self.chip}-{self.device}") and sensor in (self.number, self.label)

    def level(self, level: str) -> str:
        """Return the level, which for what a power supply gives out is inside of what it takes in."""
        return "outlet" if self.label.startswith("pout") else level

    def watts(self) -> float | None:
        """Return the power now, None if it is unknown; OSError if the sensor fails."""
        if not self.has_power or read_number(self.directory / f"{self.number}_enable") == 0:
            return None
        for kind in ("average", "input"):
            raw = read_number(self.directory / f"{self.number}_{kind}")
            if raw is not None and (watts := to_watts(raw)) is not None:
                return watts
        return None

    def kwh(self) -> float | None:
        """Return the energy register, None if there is none."""
        register = self.energy if self.has_power else self.number
        raw = read_number(self.directory / f"{register}_input") if register else None
        return None if raw is None or raw < 0 else raw / 1e6 / JOULES_PER_KWH


def to_watts(raw: int) -> float | None:
    """Return the watts of a count of microwatts, None if it means that there is no value."""
    watts = raw / 1e6
    return None if raw in NO_VALUE or not 0 <= watts < MAX_WATTS else watts


def read_number(path: Path) -> int | None:
    """Return the whole number in a file, None without one or while its sensor has no value."""
    text = read_text(path)
    try:
        return int(text) if text else None
    except ValueError as error:
        raise DeviceError(f"no number in {path}: {text!r}") from error


def read_text(path: Path) -> str:
    """Return what a file says, nothing if it is not there or fails, as files of sensors without a value do."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except PermissionError:
        raise
    except OSError:
        return ""


def find_sensors(root: Path) -> list[Sensor]:
    """Return the power sensors below a directory, and the energy registers that belong to none of them."""
    sensors = [sensor for directory in root.iterdir() for sensor in find_sensors_of_chip(directory)]
    return sorted(sensors, key=lambda sensor: (sensor.chip, sensor.device, not sensor.has_power, sensor.count))


def find_sensors_of_chip(directory: Path) -> list[Sensor]:
    """Return the sensors in a chip's directory, or in that of its device, where old drivers put them."""
    for place in (directory, directory / "device"):
        if place.is_dir() and (
            numbers := {m[1] + m[2] for file in place.iterdir() if (m := SENSOR.fullmatch(file.name))}
        ):
            break
    else:
        return []
    chip = read_text(directory / "name") or read_text(directory / "device" / "name") or directory.name
    device = (directory / "device").resolve().name if (directory / "device").exists() else directory.name
    labels = {number: read_text(place / f"{number}_label") for number in numbers}
    registers = {labels[number]: number for number in sorted(numbers) if number.startswith("energy") and labels[number]}
    paired = {labels[number] for number in numbers if number.startswith("power")} & set(registers)
    return [
        Sensor(chip, device, number, labels[number], place.resolve(), registers.get(labels[number]))
        for number in numbers
        if number.startswith("power") or labels[number] not in paired
    ]


class Hwmon(Driver):
    options = (
        cfg.StrOpt("root", default="/sys/class/hwmon", help="Directory of the chips."),
        cfg.StrOpt("level", default="device", choices=LEVELS, help="Where in the machine the sensors measure."),
    )

    root: str
    level: str

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        for name in self.probes:
            probe, at, place = name.partition("@")
            if at and not (probe and all(place.partition("/"))):
                yield "probes", f"{name!r} does not name a probe, a chip and a sensor, such as s1@power_meter/power1"

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order: names without sensors, and without the places that are skipped."""
        return probes_of(self.probes)

    def open(self) -> None:
        """Find the sensors that the names mean."""
        sensors = find_sensors(Path(self.root))
        try:
            self._sensors = choose(self.probes, sensors, sensors)
        except LookupError as error:
            there = ", ".join(f"{sensor.name} {sensor.label}".strip() for sensor in sensors) or "none"
            raise DeviceError(f"{error}; sensors in {self.root}: {there}") from error

    def read(self) -> list[Measurement]:
        """Return what the sensors measure now."""
        if not all(sensor.directory.exists() for sensor in self._sensors.values()):
            self._find_again()
        measurements = []
        for probe, sensor in self._sensors.items():
            watts, kwh = sensor.watts(), sensor.kwh()
            if watts is not None or kwh is not None:
                measurements.append(Measurement(probe, watts=watts, kwh=kwh, level=sensor.level(self.level)))
        if self._sensors and not measurements:
            raise DeviceError(f"none of the sensors in {self.root} has a value")
        return measurements

    def _find_again(self) -> None:
        """Follow chips whose driver was loaded again, which gives their directories other numbers."""
        sensors = {sensor.name: sensor for sensor in find_sensors(Path(self.root))}
        self._sensors = {probe: sensors.get(sensor.name, sensor) for probe, sensor in self._sensors.items()}
