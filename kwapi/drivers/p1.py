"""Smart meters at their P1 port, which pushes telegrams: DSMR 2.2 to 5 (Netherlands), Fluvius (Belgium) and their like.

A telegram is text from ``/`` to ``!``, lines ``OBIS(value*unit)``, from DSMR 4 on with a CRC16 behind the ``!``. It
comes every second (DSMR 5, Fluvius) or every ten (2.2 to 4: have ``interval`` be 10). In kW, kWh, V and A, what flows
into the house and out of it apart:

    1-0:1.7.0, 1-0:2.7.0                power in, out
    1-0:1.8.1 and .2, 1-0:2.8.1 and .2  energy in, out by tariff; 1.8.0 and 2.8.0 of all (Sweden, Luxembourg)
    1-0:21.7.0, 22.7.0, 32.7.0, 31.7.0  power in, out, voltage and current of L1; of L2 20 higher, of L3 40

``probes`` names the whole meter and, if they are wanted, phases: ``house, house-l1@phase.1``. What flows out is
``house@export``. Meters that encrypt (Luxembourg, Austria) are refused; dsmr_parser parses the others.
Source: Netbeheer Nederland, P1 Companion Standard 5.0.2; Fluvius, e-MUCS P1 1.7.1.
"""

import logging
import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from functools import cache
from math import inf
from typing import Any

from dsmr_parser.exceptions import InvalidChecksumError, ParseError
from dsmr_parser.parsers import TelegramParser
from dsmr_parser.telegram_specifications import LUXEMBOURG_SMARTY
from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.serial_line import DEVICE, SerialLine, device_problem
from kwapi.errors import DeviceError
from kwapi.measurement import EXPORT, Measurement

ENCRYPTED = rb"\xdb\x08.{8}\x82"  # DLMS: general-glo-ciphering, a system title of 8 bytes, a length of 2
FRAME = re.compile(rb"/[^/!]*![^\n]{0,8}\n|" + ENCRYPTED, re.DOTALL)
CRC = re.compile(r"[0-9A-F]{4}")
VERSION = re.compile(r"^(?:1-3:0\.2\.8|0-0:96\.1\.4)\(", re.MULTILINE)  # of DSMR 4 and later, of Fluvius
TIMESTAMP = re.compile(rb"^0-0:1\.0\.0\(", re.MULTILINE)
UNITS = {"kW": Decimal(1000), "kWh": Decimal(1), "V": Decimal(1), "A": Decimal(1)}

WHOLE = ""  # the meter as a whole, beside its phases
PHASES = {"phase.1": "L1", "phase.2": "L2", "phase.3": "L3"}
POWER = {  # in, out; all names are dsmr_parser's
    WHOLE: ("CURRENT_ELECTRICITY_USAGE", "CURRENT_ELECTRICITY_DELIVERY"),
    **{
        phase: (f"INSTANTANEOUS_ACTIVE_POWER_{phase}_POSITIVE", f"INSTANTANEOUS_ACTIVE_POWER_{phase}_NEGATIVE")
        for phase in PHASES.values()
    },
}
VOLTAGE = {phase: f"INSTANTANEOUS_VOLTAGE_{phase}" for phase in PHASES.values()}
CURRENT = {phase: f"INSTANTANEOUS_CURRENT_{phase}" for phase in PHASES.values()}
ENERGY = (  # in, out: the total, by tariff
    ("ELECTRICITY_IMPORTED_TOTAL", "ELECTRICITY_USED_TARIFF_1", "ELECTRICITY_USED_TARIFF_2"),
    ("ELECTRICITY_EXPORTED_TOTAL", "ELECTRICITY_DELIVERED_TARIFF_1", "ELECTRICITY_DELIVERED_TARIFF_2"),
)
NAMES = {*VOLTAGE.values(), *CURRENT.values()}.union(*POWER.values(), *ENERGY)

SILENCE = 25.0  # seconds; then two telegrams of the slowest meters are missing
SLICE = 2.0  # seconds of a poll while telegrams come, so that the daemon can stop

Values = Mapping[str, Decimal]


def parse_telegram(telegram: bytes) -> dict[str, Decimal]:
    """Return the values of a telegram in W, kWh, V and A by dsmr_parser's names."""
    text = telegram.decode("latin-1")  # a character for each byte, as dsmr_parser's CRC needs it
    crc = text.rpartition("!")[2].rstrip("\0\r\n")
    if not (CRC.fullmatch(crc) if crc else not VERSION.search(text)):
        raise DeviceError(f"telegram with a CRC of {crc!r}")
    try:
        lines = list(_parser(checked=bool(crc)).parse(text, throw_ex=True))
    except InvalidChecksumError as error:
        raise DeviceError(f"telegram with a CRC error: {error}") from error
    except (ParseError, ArithmeticError, ValueError) as error:
        raise DeviceError(f"malformed telegram: {error!r}") from error
    values = {}
    for name, line in lines:
        if line.value is None:
            continue
        if line.unit not in UNITS or not line.value.is_finite():
            raise DeviceError(f"malformed telegram: {name} is {line.value} {line.unit}")
        values[name] = line.value * UNITS[line.unit]
    return values


@cache
def _parser(checked: bool) -> TelegramParser:
    # The lines that matter here are the same in every country, and Luxembourg has them all.
    objects = [line for line in LUXEMBOURG_SMARTY["objects"] if line["value_name"] in NAMES]
    return TelegramParser({"checksum_support": checked, "objects": objects})


def measure(probe: str, phase: str, values: Values) -> list[Measurement]:
    """Return what flows in and what flows out, the latter as a probe of its own, as far as the telegram has it."""
    power_in, power_out = (_number(values.get(name)) for name in POWER[phase])
    if phase:
        volts, amps = _number(values.get(VOLTAGE[phase])), _number(values.get(CURRENT[phase]))
        measured = (
            Measurement(probe, watts=power_in, volts=volts, amps=amps, level="phase"),
            Measurement(probe + EXPORT, watts=power_out, level="phase"),
        )
    else:
        energy_in, energy_out = (_number(energy(values, *names)) for names in ENERGY)
        measured = (
            Measurement(probe, watts=power_in, kwh=energy_in),
            Measurement(probe + EXPORT, watts=power_out, kwh=energy_out),
        )
    return [each for each in measured if not each.watts is each.volts is each.amps is each.kwh is None]


def energy(values: Values, total: str, *tariffs: str) -> Decimal | None:
    """Return the register of all tariffs; None if one is missing, as the sum would fall back then."""
    if total in values:
        return values[total]
    return sum((values[name] for name in tariffs), Decimal()) if values.keys() >= set(tariffs) else None


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)


def parse_probe(name: str) -> tuple[str, str]:
    """Return the id of a name in ``probes`` and its phase, L1 to L3, WHOLE for the meter itself."""
    probe, at, row = name.partition("@")
    if at and row not in PHASES:
        raise ValueError(f"{name!r}: {row!r} is none of {', '.join(PHASES)}")
    return probe, PHASES[row] if at else WHOLE


class P1(Driver):
    options = (
        DEVICE,
        cfg.StrOpt(
            "line",
            default="115200 8N1",
            choices=["115200 8N1", "115200 7E1", "9600 7E1"],
            help="Speed and framing of the port: 115200 from DSMR 4 on, 9600 7E1 before. Over socket:// the server "
            "has its own.",
        ),
    )
    paced = True

    device: str
    line: str

    def __init__(self, wattmeter: str, values: Mapping[str, Any], shared: Any = None, **clocks: Any) -> None:
        super().__init__(wattmeter, values, shared, **clocks)
        self._line = SerialLine(self.device, self.line, names=self.names, clock=self.monotonic_clock)
        self._heard_at = -inf
        self._last = b""

    @classmethod
    def open_shared(cls) -> None:
        """Prepare dsmr_parser for several threads: it fills its table for the CRC at first use, without a lock.

        What it raises it logs as well, with a traceback for each telegram.
        """
        TelegramParser.crc16("")
        logging.getLogger("dsmr_parser").setLevel(logging.CRITICAL)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if problem := device_problem(self.device):
            yield "device", problem
        phases = []
        for name in filter(None, self.probes):
            try:
                phases.append(parse_probe(name)[1])
            except ValueError as error:
                yield "probes", str(error)
        for phase in sorted({phase for phase in phases if phases.count(phase) > 1}):
            yield "probes", f"name {phase or 'the meter'} twice"

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, each with its export."""
        names = (name.partition("@")[0] for name in self.probes if name)
        return [each for name in names for each in (name, name + EXPORT)]

    def open(self) -> None:
        """Open the line; the meter pushes unasked."""
        self._heard_at = -inf  # so that a meter that failed is not taken for well before it has pushed
        self._line.open()

    def read(self) -> list[Measurement]:
        """Return what the meter's next telegram says; [] if there is none yet, or the last one once more."""
        silent = self.monotonic_clock() - self._heard_at > SILENCE
        patience = min(max(8.0, 1.2 * self.interval), 15.0) if silent else SLICE
        telegrams = self._line.frames(FRAME, patience)
        if not telegrams:
            if silent:
                raise self._line.nothing("telegram", patience)
            return []
        self._heard_at = self.monotonic_clock()
        return self._measure(telegrams[-1])

    def close(self) -> None:
        """Let go of the line."""
        self._line.close()

    def _measure(self, telegram: bytes) -> list[Measurement]:
        if not telegram.startswith(b"/"):
            raise DeviceError(f"{self.device}: the meter encrypts its telegrams, and this driver reads plain ones only")
        if telegram == self._last and TIMESTAMP.search(telegram):
            return []
        try:
            values = parse_telegram(telegram)
        except DeviceError as error:
            raise DeviceError(f"{self.device}: {error}") from error
        self._last = telegram
        places = [parse_probe(name) for name in self.probes if name]
        measurements = [each for place in places for each in measure(*place, values)]
        if not measurements:
            raise DeviceError(f"{self.device}: telegram without power or energy: {telegram[:80]!r}")
        return measurements
