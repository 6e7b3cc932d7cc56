"""German electricity meters, which push SML frames at their optical interface: eHZ, EDL21, modern metering devices.

A frame comes every one to four seconds: 1B1B1B1B 01010101, the messages, 1B1B1B1B 1A, fill bytes and CRC16. smllib
decodes it. Values are integers with a scaler (a power of ten) and a unit, by OBIS:

    1-0:16.7.0   power, W, negative when it flows into the grid; many meters need their PIN before they tell it
    1-0:1.8.0    energy from the grid, Wh; 1-0:2.8.0 into the grid; .1 to .4 by tariff, for meters without the sum

Old meters of EMH have the power elsewhere: 1-0:1.7.0, 1-0:1.7.1, or 1-0:15.7.0 without its sign, which bit 5 of the
register's status has (FNN, Lastenheft EDL 1.0, page 31).
Source: BSI TR-03109-1, annex IV b, Smart Message Language 1.04; the direction seen in recordings of EMH ED300L.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import Any

from smllib.builder.default_context import create_context
from smllib.builder.list_entry import SmlListEntryBuilder
from smllib.errors import SmlLibException
from smllib.reader import SmlStreamReader
from smllib.sml.list_entry import SmlListEntry
from smllib.sml.sml_obis import ObisCode, build_obis
from smllib.sml_frame import SmlFrame

from kwapi.drivers.base import Driver
from kwapi.drivers.serial_line import DEVICE, SerialLine, problems_of_one
from kwapi.errors import DeviceError
from kwapi.measurement import EXPORT, Measurement

SETTING = "9600 8N1"
FRAME = re.compile(rb"\x1b{4}\x01{4}(?:\x1b{8}|(?!\x1b{4}).)*\x1b{4}\x1a.{3}", re.DOTALL)  # 8 escapes stand for 4
PATIENCE = 8.0  # seconds without a whole frame

OBIS = "1-0:{}*255"
ENERGY_IN, ENERGY_OUT = ([OBIS.format(f"{way}.8.{tariff}") for tariff in range(5)] for way in (1, 2))  # sum first
POWER, UNSIGNED_POWER = OBIS.format("16.7.0"), OBIS.format("15.7.0")
POWER_IN, POWER_IN_1, POWER_OUT = OBIS.format("1.7.0"), OBIS.format("1.7.1"), OBIS.format("2.7.0")
FLOWS_OUT = 1 << 5  # in the status of a register
UNITS = {27: 0, 30: -3}  # W, Wh (DLMS): the power of ten that makes it W, kWh
LARGEST_SCALER = 9
NOTHING = Decimal()

# smllib trusts the structure of a frame whose CRC is right, and stumbles over a wrong one in any of these ways.
SMLLIB_ERRORS = (SmlLibException, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, OSError)

Entries = Mapping[str, SmlListEntry]  # by OBIS


@dataclass(frozen=True, slots=True)
class Reading:
    """What a frame says: watts, negative when they flow into the grid, and kWh from the grid and into it."""

    watts: Decimal | None = None
    kwh_in: Decimal | None = None
    kwh_out: Decimal | None = None


class EntryBuilder(SmlListEntryBuilder):
    """Blanks an entry for which smllib would refuse the whole frame; EMH eHZ-IW8E2A5 sends one without a value."""

    def build(self, obj: Any, classes: Any) -> SmlListEntry:
        """Return the entry."""
        try:
            return super().build(obj, classes)
        except SMLLIB_ERRORS:
            blank = SmlListEntry()
            blank.obis = _obis(obj)
            blank.status = blank.unit = blank.value = None
            return blank


def _obis(entry: Any) -> ObisCode:
    """Return what an entry would tell, if that can be read."""
    try:
        return build_obis(entry.get_value(list)[0].value)
    except SMLLIB_ERRORS:
        return ObisCode("000000000000")


@cache
def _context() -> Any:
    return {**create_context(), SmlListEntry: EntryBuilder()}


def _decode(frame: bytes) -> SmlFrame:
    reader = SmlStreamReader(build_ctx=_context())
    reader.add(frame)
    if decoded := reader.get_frame():  # checks the CRC
        return decoded
    raise ValueError("no whole frame")


def parse_frame(frame: bytes) -> Reading:
    """Return what a frame says."""
    try:
        entries = {entry.obis.obis_code: entry for entry in _decode(frame).get_obis()}
    except SMLLIB_ERRORS as error:
        raise DeviceError(f"broken SML frame: {error!r}") from error
    reading = Reading(power(entries), energy(entries, ENERGY_IN), energy(entries, ENERGY_OUT))
    if reading == Reading():
        raise DeviceError(f"SML frame without power or energy, but with {', '.join(entries) or 'nothing'}")
    return reading


def has_time(frame: bytes) -> bool:
    """Return whether the meter put its own time into a frame."""
    try:
        bodies = [message.message_body for message in _decode(frame).parse_frame()]
    except SMLLIB_ERRORS:
        return False
    return any(getattr(body, "act_sensor_time", None) is not None for body in bodies)


def energy(entries: Entries, registers: Sequence[str]) -> Decimal | None:
    """Return kWh of the register of all tariffs, or else of each together; None while one of them has no value."""
    total, *tariffs = registers
    counted = [total] if total in entries else [tariff for tariff in tariffs if tariff in entries]
    values = [value for register in counted if (value := _value(entries, register)) is not None]
    return sum(values, NOTHING) if counted and len(values) == len(counted) else None


def power(entries: Entries) -> Decimal | None:
    """Return watts, negative when they flow into the grid."""
    watts = _value(entries, POWER)
    if watts is not None:
        return watts
    if (watts := _value(entries, POWER_IN)) is not None:
        return watts - (_value(entries, POWER_OUT) or NOTHING)
    if (watts := _value(entries, POWER_IN_1)) is not None:
        return watts
    watts = _value(entries, UNSIGNED_POWER)
    return -watts if watts and _flows_out(entries) else watts


def _flows_out(entries: Entries) -> bool:
    registers_in = [entries[obis] for obis in ENERGY_IN if obis in entries]
    if not registers_in:
        return True  # the meter of a generator
    return any(isinstance(entry.status, int) and entry.status & FLOWS_OUT for entry in registers_in)


def _value(entries: Entries, obis: str) -> Decimal | None:
    entry = entries.get(obis)
    if entry is None or entry.unit not in UNITS or not isinstance(entry.value, int):
        return None
    scaler = entry.scaler or 0
    return Decimal(entry.value).scaleb(scaler + UNITS[entry.unit]) if abs(scaler) <= LARGEST_SCALER else None


class Sml(Driver):
    options = (DEVICE,)
    paced = True

    device: str

    def __init__(self, wattmeter: str, values: Mapping[str, Any], shared: Any = None, **clocks: Any) -> None:
        super().__init__(wattmeter, values, shared, **clocks)
        self._line = SerialLine(self.device, SETTING, names=self.names, clock=self.monotonic_clock)
        self._exports = False
        self._last = b""

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        yield from problems_of_one(self.device, self.probes)

    def probe_names(self) -> list[str]:
        """Return the id of the probe and that of its export, which meters that count one way do not have."""
        return [each for name in self.probes if name for each in (name, name + EXPORT)]

    def open(self) -> None:
        """Open the line; the meter pushes unasked."""
        self._line.open()

    def read(self) -> list[Measurement]:
        """Return what the newest whole frame says; [] if the meter sent the one before once more."""
        error: DeviceError | None = None
        end = self.monotonic_clock() + PATIENCE
        while (left := end - self.monotonic_clock()) > 0:
            for frame in reversed(self._line.frames(FRAME, left)):
                try:
                    return self._measure(frame)
                except DeviceError as broken:
                    error = broken
        if error:
            raise DeviceError(f"{self.device}: {error}") from error
        raise self._line.nothing("frame", PATIENCE)

    def close(self) -> None:
        """Let go of the line."""
        self._line.close()

    def _measure(self, frame: bytes) -> list[Measurement]:
        if frame == self._last and has_time(frame):
            return []
        reading = parse_frame(frame)
        self._last = frame
        # Once there, the export stays: without its zeros its last watts would be taken to last until the next.
        self._exports |= reading.kwh_out is not None or (reading.watts is not None and reading.watts < 0)
        return [each for name in self.probes if name for each in measure(name, reading, self._exports)]


def measure(probe: str, reading: Reading, exports: bool) -> list[Measurement]:
    """Return what flows from the grid and, if the meter exports, what flows into it as a probe of its own."""
    watts_in = watts_out = None
    if reading.watts is not None:
        watts_in, watts_out = float(max(reading.watts, NOTHING)), float(max(-reading.watts, NOTHING))
    measurements = [Measurement(probe, watts=watts_in, kwh=_number(reading.kwh_in))]
    if exports:
        measurements.append(Measurement(probe + EXPORT, watts=watts_out, kwh=_number(reading.kwh_out)))
    return measurements


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
