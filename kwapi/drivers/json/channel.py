"""Quantities in a JSON document: where each is found and in which unit. Pure: no I/O.

A path is the way to a value: ``ENERGY.Total``, ``meters[1].power``, ``.`` for the document itself; ``phases[+].w`` is
the sum over a list, or the one value where a device with a single phase has no list. Brackets also hold a name with
dots in it. A line is a path, a blank and a unit: ``apower W``, ``aenergy.total Wh``. A channel is what one probe
measures, written as a table of lines:

    w, va, v, a, pf, hz, kwh      the quantities; export_kwh, a register of what flows back into the grid
    level                         inlet, phase, bank, outlet or device
    valid                         path of a flag; while it is false the device has no values

A ``*`` in a table stands for the number of a channel, from 0 on, or for the letter of a phase; it is the same in all of
its lines. Power that flows back is negative in the document and becomes ``ID@export``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from typing import Any

from kwapi.drivers.units import ATTRIBUTES, UNITS, parse_unit, to_number
from kwapi.errors import DeviceError
from kwapi.measurement import EXPORT, LEVELS, Measurement

EXPORT_KWH = "export_kwh"
QUANTITIES = (*UNITS, EXPORT_KWH)
NUMBERS = (*map(str, range(32)), "a", "b", "c")  # what a * may stand for
REGISTER_UNITS = {"Wmin": Fraction(1, 60_000), "J": Fraction(1, 3_600_000)}  # besides those of other drivers
PATH = re.compile(r"(?:[^.\[\]]+|\[[^\[\]]+\])(?:\.[^.\[\]]+|\[[^\[\]]+\])*")
NAMED_PART = re.compile(r"\[([^\[\]]+)\]|([^.\[\]]+)")
LINE = re.compile(r"(.+?) ((?:\d+(?:\.\d+)? )?\S+)")
WHOLE, SUM = ".", "+"
MISSING = object()

Table = Mapping[str, str]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """Where one quantity is, and what one count of it is worth in W, VA, V, A, Hz, kWh or parts of one."""

    quantity: str
    path: Path
    scale: Fraction

    def value(self, document: object) -> float | None:
        """Return the value in a document, None if there is none."""
        number = to_number(look_up(document, self.path))
        if number is None or not isfinite(value := number * float(self.scale)):
            return None
        return None if value < 0 and self.quantity in ("kwh", EXPORT_KWH) else value


@dataclass(frozen=True, slots=True)
class Channel:
    """What one probe measures."""

    level: str
    readings: tuple[Reading, ...]
    valid: Path | None = None

    def is_in(self, document: object) -> bool:
        """Return whether the document has this channel: whether there is something where its first quantity belongs."""
        found = look_up(document, self.readings[0].path)
        return found is not MISSING and not isinstance(found, dict | list)


def parse_document(body: bytes, source: str) -> Any:
    """Return the JSON document in these bytes; DeviceError, naming the source, if they are something else."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DeviceError(f"{source} sends no JSON but {body[:80]!r}") from error


def parse_path(text: str) -> Path:
    """Return the parts of a path; ValueError if it is none."""
    if text == WHOLE:
        return ()
    if not PATH.fullmatch(text):
        raise ValueError(f"{text!r} is no path such as meters[0].power")
    return tuple(bracketed or plain for bracketed, plain in NAMED_PART.findall(text))


def parse_line(quantity: str, line: str) -> Reading:
    """Return the reading that a line describes; ValueError if it describes none."""
    if not (match := LINE.fullmatch(line)):
        raise ValueError(f"{line!r} is not a path and a unit, such as meters[0].power W")
    path, unit = match.groups()
    register = quantity in ("kwh", EXPORT_KWH)
    scale = REGISTER_UNITS.get(unit) if register else None
    return Reading(quantity, parse_path(path), scale or parse_unit(unit, "kwh" if register else quantity))


def parse_table(table: Table, number: str = "0") -> Channel:
    """Return the channel of a table, a ``*`` being this number; ValueError if the table is wrong."""
    lines = {key: line.replace("*", number) for key, line in table.items()}
    readings = tuple(parse_line(key, line) for key, line in lines.items() if key in QUANTITIES)
    if not readings:
        raise ValueError(f"has none of {', '.join(QUANTITIES)}")
    if (level := lines.get("level", "device")) not in LEVELS:
        raise ValueError(f"{level!r} is no level; there are {', '.join(LEVELS)}")
    return Channel(level, readings, parse_path(lines["valid"]) if "valid" in lines else None)


def is_numbered(table: Table) -> bool:
    """Return whether a table describes many channels, by a ``*``."""
    return any("*" in line for line in table.values())


def find_channels(tables: Iterable[Table], document: object) -> Iterator[Channel]:
    """Yield the channels that a document has, in the order of the tables and of their numbers."""
    for table in tables:
        for number in NUMBERS if is_numbered(table) else ("",):
            channel = parse_table(table, number)
            if channel.is_in(document):
                yield channel


def look_up(document: object, path: Path) -> object:
    """Return what stands at a path in a document, MISSING if nothing does."""
    found = document
    for place, part in enumerate(path):
        if part == SUM:
            items = found if isinstance(found, list) else [found]
            return add_up([look_up(item, path[place + 1 :]) for item in items])
        if isinstance(found, dict):
            found = found.get(part, MISSING)
        elif isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            return MISSING
    return found


def add_up(values: Sequence[object]) -> object:
    """Return the sum of these values, None if one is no number, MISSING if there is none at all."""
    if all(value is MISSING for value in values):
        return MISSING
    numbers = [to_number(value) for value in values]
    return None if None in numbers else sum(filter(None, numbers))


def measure(probe: str, channel: Channel, document: object) -> list[Measurement]:
    """Return what a document says of a probe: one measurement, a second one of what it feeds back, or none."""
    if channel.valid is not None and look_up(document, channel.valid) is False:
        return []
    values = {reading.quantity: reading.value(document) for reading in channel.readings}
    export_kwh, watts = values.pop(EXPORT_KWH, None), values.get("w")
    measurements = []
    if any(value is not None for value in values.values()):
        if watts is not None:
            values["w"] = max(0.0, watts)
        known = {ATTRIBUTES[quantity]: value for quantity, value in values.items()}
        measurements.append(Measurement(probe, level=channel.level, **known))
    if export_kwh is not None or (watts is not None and watts < 0):
        exported = None if watts is None else max(0.0, -watts)
        measurements.append(Measurement(probe + EXPORT, watts=exported, kwh=export_kwh, level=channel.level))
    return measurements
