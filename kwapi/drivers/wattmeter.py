"""The sections of drivers.conf: one wattmeter each, checked as far as that is possible without asking the device."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kwapi.calibration import calibrate
from kwapi.config import Reader
from kwapi.credentials import without_secrets
from kwapi.drivers import EXTRAS, find_driver
from kwapi.drivers.base import Driver
from kwapi.drivers.names import Names
from kwapi.drivers.profiles import PROFILE_DIR
from kwapi.libraries import how_to_install
from kwapi.measurement import RESERVED, Measurement, name_problem, probe_problem
from kwapi.section_options import DRIVER, WATTMETER

QUOTES = "\"'"


@dataclass(frozen=True, slots=True)
class Wattmeter:
    """A section of drivers.conf: which driver reads it, with which values of its options, how often."""

    name: str
    driver: type[Driver]
    values: Mapping[str, Any] = field(repr=False)  # secrets among them
    interval: float
    hang_timeout: float
    asked_interval: float | None = field(default=None, compare=False)  # where that is more often than the device bears

    @property
    def driver_name(self) -> str:
        """The driver's name in the configuration."""
        return str(self.values.get("driver", ""))

    @property
    def is_in_maintenance(self) -> bool:
        """Whether its section says that it is not to be polled."""
        return bool(self.values.get("maintenance"))

    @property
    def device(self) -> tuple[str, str]:
        """What has to stay in one process: the driver's name, and the device or the line that several may share."""
        return self.driver_name, self.driver(self.name, self.values).peer()

    def new_driver(self, shared: Any, names: Names | None = None) -> Driver:
        """Return a driver of its own for a new worker."""
        return self.driver(self.name, self.values, shared, names=names)

    def without_secrets(self, text: str) -> str:
        """Return what a driver says, which may quote its device, and that what it was told; without our secrets."""
        return without_secrets(text, self.driver.secrets(self.values))

    def calibrated(self, measurements: list[Measurement]) -> list[Measurement]:
        """Return what a driver read, with the section's calibration applied."""
        return calibrate(measurements, self.values.get("factor", {}), self.values.get("offset", {}))


def read_wattmeters(reader: Reader) -> list[Wattmeter]:
    """Return the wattmeters of the reader's files; whether they are sound, its finish() tells.

    A section is checked to its end whatever is wrong with it, so that all mistakes are told at once.
    """
    wattmeters = []
    owners: dict[str, str] = {}  # section by probe
    drivers: dict[str, type[Driver]] = {}  # by name
    for section in reader.sections:
        wattmeter = _read_section(reader, section, drivers)
        if wattmeter is None:
            continue
        driver = wattmeter.new_driver(None)
        for key, problem in (*_probe_problems(driver), *_place_problems(driver), *driver.problems()):
            reader.mistake(section, key, problem)
        for probe in driver.probe_names():
            if owners.setdefault(probe, section) != section:
                reader.mistake(section, "probes", f"{probe!r} is a probe of [{owners[probe]}] already")
        wattmeters.append(wattmeter)
    return wattmeters


def _read_section(reader: Reader, section: str, drivers: dict[str, type[Driver]]) -> Wattmeter | None:
    """Return the wattmeter of a section; a driver is looked for once, since one of others takes 4 ms."""
    if problem := name_problem(section):
        reader.mistake(section, "", f"the wattmeter's name {problem}")
    elif section.startswith(RESERVED):
        reader.mistake(section, "", f"names that begin with {RESERVED} belong to Kwapi itself")
    name = reader.value(section, DRIVER)
    if not name:
        return None
    try:
        driver = drivers[name] = drivers.get(name) or find_driver(name)
    except LookupError as error:
        reader.mistake(section, "driver", str(error))
        return None
    except (ImportError, AttributeError) as error:
        hint = f"; install it: {how_to_install(EXTRAS[name])}" if name in EXTRAS else ""
        reader.mistake(section, "driver", f"cannot be loaded: {error}{hint}")
        return None
    values = reader.values(section, (*WATTMETER, *driver.options))
    values["probes"] = without_end(values["probes"] or [])
    for key in ("factor", "offset"):
        for probe in values[key].keys() - driver(section, values).probe_names():
            reader.mistake(section, key, f"{probe!r} is no probe of this wattmeter")
    asked = values["interval"]
    values["interval"] = max(asked, values.get("min_interval", 0.0))  # what the device can bear
    is_too_often = asked < values["interval"] and reader.has(section, "interval")
    values["hang_timeout"] = values["hang_timeout"] or max(3 * values["interval"], 10.0)
    return Wattmeter(
        section, driver, values, values["interval"], values["hang_timeout"], asked if is_too_often else None
    )


def without_end(names: list[str]) -> list[str]:
    """Return the names without empty ones at the end, such as a final comma makes."""
    count = max((place for place, name in enumerate(names, 1) if name), default=0)
    return names[:count]


def _literal_problem(name: str) -> str | None:
    """Return what is wrong with a name that is a part of a list as Python or JSON writes it, None if it is none."""
    if name[0] in QUOTES + "[":
        return f"{name!r} begins with a bracket or a quote; names stand as they are, such as: A, , B"
    return None


def _place_problems(driver: Driver) -> Iterator[tuple[str, str]]:
    """Yield that a directory is not there which somebody has named."""
    place = getattr(driver, PROFILE_DIR.dest, None)
    if place and place != PROFILE_DIR.default and not Path(place).is_dir():
        yield PROFILE_DIR.dest, f"there is no directory {place}"


def _probe_problems(driver: Driver) -> Iterator[tuple[str, str]]:
    names = driver.probe_names()
    if driver.probes and not names:
        yield "probes", "names no probe"
    for name in names:
        if problem := probe_problem(name) or _literal_problem(name):
            yield "probes", problem
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield "probes", f"{name!r} is listed twice"
