"""What the resources of a Redfish service say of power, and which of them a name in ``probes`` means. Pure: no I/O.

A reading stands in an excerpt of a sensor, ``{"Reading": 374}``, in the unit that its property is named after; a whole
sensor has its unit beside it. Null, text and negative numbers are unknown. Ratings and what leaves a power supply are
not read: ``PowerInputWatts`` (900 W on a Dell that draws 100), ``PowerCapacityWatts``, ``LastPowerOutputWatts``.
Source: DMTF DSP0268 (Redfish Data Model) and DMTF's examples of a server and a rack PDU; for the vendors
influxdata/telegraf #9575 (Dell), mrlhansen/idrac_exporter #121 (Fujitsu).
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from kwapi.energy import JOULES_PER_KWH
from kwapi.measurement import EXPORT, LEVELS

Resource = Mapping[str, Any]
Readings = dict[str, float]  # by attribute of a measurement

NAMED_ROW = re.compile(rf"({'|'.join(LEVELS)})(?:\.(.+))?")
LINES = (1, 2, 3)
CIRCUIT = {  # property of an outlet, a circuit or metrics: attribute of a measurement
    "PowerWatts": "watts",
    "Voltage": "volts",
    "CurrentAmps": "amps",
    "FrequencyHz": "hertz",
    "EnergykWh": "kwh",
}
SUPPLY = {  # the same of a power supply's metrics
    "InputPowerWatts": "watts",
    "InputVoltage": "volts",
    "InputCurrentAmps": "amps",
    "FrequencyHz": "hertz",
    "EnergykWh": "kwh",
}
UNITS = {  # ReadingUnits of a sensor, in UCUM: attribute, and how many of them are one of ours
    "W": ("watts", 1.0),
    "kW": ("watts", 0.001),
    "kW.h": ("kwh", 1.0),
    "W.h": ("kwh", 1000.0),
    "J": ("kwh", JOULES_PER_KWH),
}
NOT_FED = ("Absent", "Disabled", "UnavailableOffline")  # states of a power supply that draws nothing


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured.

    ``parse`` makes readings of the resources at ``paths``, ``energy`` is the sensor with the register that they lack,
    ``collection`` has them among its members. The index is made of the last parts of addresses: ``1.A1``; ``label`` is
    what its owner wrote on it.
    """

    level: str
    index: str
    parse: Callable[..., Readings]
    paths: tuple[str, ...]
    energy: str = ""
    collection: str = ""
    label: str = ""

    def __str__(self) -> str:
        return f"{self.level}.{self.index}"

    def measure(self, found: Mapping[str, Resource]) -> Readings:
        """Return the readings, given resources by address; one that is missing says nothing."""
        readings = self.parse(*(found.get(path, {}) for path in self.paths))
        return {**parse_sensor(found.get(self.energy, {})), **readings}


def number(value: Any) -> float | None:
    """Return a JSON value as a number; None unless it is one, finite and not negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if value >= 0 and isfinite(value) else None
    except OverflowError:  # JSON has integers of any size
        return None


def child(resource: Any, *names: str) -> Any:
    """Return what stands under these names, each inside the one before, None if it is not there."""
    for name in names:
        if not isinstance(resource, Mapping):
            return None
        resource = resource.get(name)
    return resource


def link(resource: Any, *names: str) -> str:
    """Return the address under these names, "" if there is none, or one on another device."""
    path = child(resource, *names, "@odata.id")
    return path if isinstance(path, str) and path.startswith("/") else ""


def links(resource: Any, *names: str) -> list[str]:
    """Return the addresses in the list under these names."""
    entries = child(resource, *names)
    return [path for entry in entries if (path := link(entry))] if isinstance(entries, list) else []


def end_of(path: str) -> str:
    """Return the last part of an address."""
    return path.rstrip("/").rpartition("/")[2]


def parse_circuit(resource: Resource, properties: Mapping[str, str] = CIRCUIT) -> Readings:
    """Return the readings of an outlet, a circuit or metrics."""
    readings = {attribute: number(child(resource, name, "Reading")) for name, attribute in properties.items()}
    power, *_ = properties
    readings["volt_amperes"] = number(child(resource, power, "ApparentVA"))
    readings["power_factor"] = number(child(resource, power, "PowerFactor"))
    joules = number(child(resource, "EnergyJoules", "Reading"))
    if readings["kwh"] is None and joules is not None:
        readings["kwh"] = joules / JOULES_PER_KWH
    return _known(readings)


def parse_line(resource: Resource, line: int) -> Readings:
    """Return the readings of one line of a circuit with several, against neutral."""
    to_neutral = f"Line{line}ToNeutral"
    of_the_line = {
        "PowerWatts": child(resource, "PolyPhasePowerWatts", to_neutral),
        "Voltage": child(resource, "PolyPhaseVoltage", to_neutral),
        "CurrentAmps": child(resource, "PolyPhaseCurrentAmps", f"Line{line}"),
        "EnergykWh": child(resource, "PolyPhaseEnergykWh", to_neutral),
    }
    return parse_circuit(of_the_line)


def parse_supply(resource: Resource) -> Readings:
    """Return the readings of a power supply's input, given its metrics."""
    return parse_circuit(resource, SUPPLY)


def parse_sensor(sensor: Resource) -> Readings:
    """Return the readings of a sensor of power or energy."""
    attribute, divisor = UNITS.get(str(sensor.get("ReadingUnits")), ("", 1.0))
    reading = number(sensor.get("Reading"))
    if not attribute or reading is None:
        return {}
    readings: dict[str, float | None] = {attribute: reading / divisor}
    if attribute == "watts":
        readings["volt_amperes"] = number(sensor.get("ApparentVA"))
        readings["power_factor"] = number(sensor.get("PowerFactor"))
    return _known(readings)


def parse_chassis(metrics: Resource) -> Readings:
    """Return the readings of a machine's EnvironmentMetrics."""
    return _of_machine(parse_circuit(metrics))


def parse_total(sensor: Resource) -> Readings:
    """Return the readings of a machine's sensor of total power."""
    return _of_machine(parse_sensor(sensor))


def parse_supplies(*supplies: Resource) -> Readings:
    """Return the sums of a machine's power supplies, given the metrics of all; only of what each of them tells."""
    readings = [parse_supply(supply) for supply in supplies if child(supply, "Status", "State") not in NOT_FED]
    sums = {}
    for attribute in ("watts", "kwh"):
        values = [each[attribute] for each in readings if attribute in each]
        if values and len(values) == len(readings):
            sums[attribute] = sum(values)
    return _of_machine(sums)


def power_values(resource: Resource) -> list[Any]:
    """Return what Power says of the watts of a machine, also null or 0; PowerSubsystem has replaced this resource.

    The first entry of PowerControl is the whole machine: Lenovo XCC lists its processors and memory after it. Fujitsu
    iRMC tells the value in its OEM part only, HP iLO 4 repeats it beside the list.
    """
    controls = resource.get("PowerControl")
    control = controls[0] if isinstance(controls, list) and controls else controls
    places = (
        (control, "PowerConsumedWatts"),
        (child(resource, "Oem", "ts_fujitsu", "ChassisPowerConsumption"), "CurrentPowerConsumptionW"),
        (resource, "PowerConsumedWatts"),
    )
    return [place[name] for place, name in places if isinstance(place, Mapping) and name in place]


def parse_power(resource: Resource) -> Readings:
    """Return the watts of a machine as told by Power."""
    return next(({"watts": watts} for value in power_values(resource) if (watts := number(value))), {})


def _known(readings: Mapping[str, float | None]) -> Readings:
    return {attribute: value for attribute, value in readings.items() if value is not None}


def _of_machine(readings: Readings) -> Readings:
    """Return the readings without a power of 0, which means none: what answers draws some (old iDRAC 7)."""
    if readings.get("watts") == 0:
        return {attribute: value for attribute, value in readings.items() if attribute == "kwh"}
    return readings


def total_of(sensor: Resource) -> str:
    """Return "watts" or "kwh" for the sensor of what a chassis draws in all, "" for any other."""
    whole = sensor.get("PhysicalContext") == "Chassis" and sensor.get("ElectricalContext") in (None, "Total")
    if not whole or sensor.get("PhysicalSubContext") == "Output":
        return ""
    return UNITS.get(str(sensor.get("ReadingUnits")), ("", 1.0))[0]


def find_outer(chassis: Mapping[str, Resource]) -> dict[str, list[str]]:
    """Return the addresses of the chassis around each one, the nearest first, given all."""
    own = {path.rstrip("/"): path for path in chassis}
    around: dict[str, str] = {}
    for path, resource in chassis.items():
        for inner in links(resource, "Links", "Contains"):
            around.setdefault(own.get(inner.rstrip("/"), ""), path)
    for path, resource in chassis.items():
        if outer := own.get(link(resource, "Links", "ContainedBy").rstrip("/")):
            around[path] = outer
    return {path: _way_out(path, around) for path in chassis}


def _way_out(path: str, around: Mapping[str, str]) -> list[str]:
    way = [path]
    while (outer := around.get(way[-1])) and outer not in way:
        way.append(outer)
    return way[1:]


def is_metered(outlet: Resource) -> bool:
    """Return whether an outlet has any reading, even one that is unknown now."""
    return not CIRCUIT.keys().isdisjoint(outlet)


def lines_of(circuit: Resource) -> list[int]:
    """Return the lines of a circuit that have readings of their own."""
    return [
        line
        for line in LINES
        if child(circuit, "PolyPhaseCurrentAmps", f"Line{line}")
        or child(circuit, "PolyPhasePowerWatts", f"Line{line}ToNeutral")
    ]


def reading_time(resource: Resource) -> str | None:
    """Return when the device took a sensor's reading, None if it does not say."""
    taken = resource.get("ReadingTime")
    return taken if taken and isinstance(taken, str) else None


def parse_probe(name: str) -> tuple[str, str, str]:
    """Return id, level and end of the index of a name in ``probes``; the level is "" for the next row in order.

    ``id@level.index`` names a row by its index, of which a unique end will do, ``id@level`` a level's only row.
    """
    probe, at, row = name.rpartition("@")
    if not at or name.endswith(EXPORT):
        return name, "", ""
    if not (match := NAMED_ROW.fullmatch(row)):
        raise ValueError(f"{name!r}: {row!r} is no row such as inlet, inlet.AC1 or outlet.A12")
    return probe, match[1], match[2] or ""


def choose_rows(names: Sequence[str], rows: Sequence[Row], ordered_level: str) -> list[tuple[str, Row]]:
    """Return id and row for each name but the empty ones; raise LookupError for a name without a row of its own."""
    chosen: dict[Row, str] = {}
    in_order = (row for row in rows if row.level == ordered_level)
    for name in names:
        probe, level, end = parse_probe(name)
        row = _match(name, rows, level, end) if level else next(in_order, None)
        if row is None:
            raise LookupError(f"there are more names than {ordered_level}s: {name!r} is left over")
        if probe and row in chosen:
            raise LookupError(f"{name!r} and {chosen[row]!r} name the same row")
        if probe:
            chosen[row] = probe
    return [(probe, row) for row, probe in chosen.items()]


def _match(name: str, rows: Sequence[Row], level: str, end: str) -> Row:
    of_level = [row for row in rows if row.level == level]
    matches = [row for row in of_level if row.index == end] or [
        row for row in of_level if not end or row.index.endswith(f".{end}")
    ]
    if len(matches) != 1:
        raise LookupError(f"{name!r} matches {len(matches) or 'none'} of the rows")
    return matches[0]


def list_rows(rows: Sequence[Row]) -> str:
    """Return the rows as an operator writes them, such as "inlet.1.AC1, outlet.1.A1 to outlet.1.C8 (24 rows)"."""
    texts = []
    for level in LEVELS:
        indexes = [str(row) for row in rows if row.level == level]
        if len(indexes) > 4:
            indexes = [f"{indexes[0]} to {indexes[-1]} ({len(indexes)} rows)"]
        texts += indexes
    return ", ".join(texts) or "none"
