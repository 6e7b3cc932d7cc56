"""Meters that speak Modbus, over TCP, a serial line (RTU), or RTU over TCP, read by a profile or by registers.

A meter's first name is the whole of it, the next ones are its phases L1, L2 and L3. What flows back into the grid is
published apart, as ID@export. Sections that name one serial port or one gateway share it (line.py).
"""

import logging
import os
from collections.abc import Iterator

from oslo_config import cfg

from kwapi.drivers.base import Driver
from kwapi.drivers.modbus import profile as profiles
from kwapi.drivers.modbus.line import Busy, Line, Lines, Refused, Settings
from kwapi.drivers.modbus.profile import Profile
from kwapi.drivers.modbus.registers import HIGH_FIRST, WORD_ORDERS, Block, Place, Register, measure, plan
from kwapi.drivers.profiles import PROFILE_DIR
from kwapi.errors import ConfigError, DeviceError
from kwapi.measurement import LEVELS, Measurement

LOG = logging.getLogger(__name__)
GENERIC = "generic"
BAUDRATES = (2400, 4800, 9600, 19200, 38400, 57600, 115200)


class Modbus(Driver):
    options = (
        cfg.HostAddressOpt("host", help="Name or address of the meter or gateway, for Modbus over TCP."),
        cfg.PortOpt("port", default=502, min=1, help="TCP port."),
        cfg.BoolOpt("rtu_over_tcp", default=False, help="The gateway passes on frames of a serial line (RTU)."),
        cfg.StrOpt("device", help="Serial port, such as /dev/ttyUSB0, for RTU."),
        cfg.IntOpt("baudrate", default=9600, choices=BAUDRATES, help="Speed of the serial line."),
        cfg.StrOpt("parity", default="N", choices=["N", "E", "O"], help="Parity: none, even or odd."),
        cfg.IntOpt("stop_bits", default=1, choices=[1, 2], help="Stop bits."),
        cfg.IntOpt("unit", default=1, min=0, max=255, help="Address of the meter on its line (slave or unit id)."),
        cfg.FloatOpt(
            "timeout",
            default=1.0,
            min=0.05,
            max=1.5,
            help="Seconds to wait for an answer; when there is none, it is asked for once more.",
        ),
        cfg.StrOpt(
            "profile",
            required=True,
            help="Model of the meter, as kwapi discover modbus tells it; generic: see registers.",
        ),
        PROFILE_DIR,
        cfg.ListOpt(
            "registers",
            default=[],
            help="generic: QUANTITY ADDRESS TYPE UNIT of each, such as w 0x28 int32 0.1 W, kwh 52 uint32 Wh. There are "
            "the quantities w, va, v, a, pf, hz, kwh and export_kwh. Addresses count from 0: the 30013 of a manual is "
            "12. A quantity that was there already begins what the next name measures.",
        ),
        cfg.StrOpt("table", default="holding", choices=profiles.TABLES, help="generic: function 4 or function 3."),
        cfg.StrOpt(
            "words",
            default=HIGH_FIRST,
            choices=WORD_ORDERS,
            help="generic: which register of a value comes first, the one with its high bits or its low bits.",
        ),
        cfg.StrOpt("level", default="device", choices=LEVELS, help="generic: where in the device they are measured."),
    )  # fmt: skip

    shared: Lines
    host: str | None
    port: int
    rtu_over_tcp: bool
    device: str | None
    baudrate: int
    parity: str
    stop_bits: int
    unit: int
    timeout: float
    profile: str | None
    profile_dir: str
    registers: list[str]
    table: str
    words: str
    level: str
    _line: Line  # from open() to close()
    _trouble = ""  # why the last poll failed
    _left_out: frozenset[Register] = frozenset()  # what was logged as such

    @classmethod
    def open_shared(cls) -> Lines:
        """Return the lines that all Modbus wattmeters of the process share."""
        return Lines()

    @classmethod
    def close_shared(cls, shared: Lines) -> None:
        """End them."""
        shared.close()

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        if bool(self.host) == bool(self.device):
            yield "host", "must be given, or else device, but not both"
        if self.unit == 0 and (self.device or self.rtu_over_tcp):
            yield "unit", "0 is what speaks to all meters of a serial line at once"
        if self.profile == GENERIC and not self.registers:
            yield "registers", "is empty, and profile = generic needs some"
        if self.profile != GENERIC and self.registers:
            yield "registers", "is for profile = generic only"
        if not self.profile:  # which is told already
            return
        try:
            places = self._model().places
        except LookupError as error:
            yield "profile", str(error)
        except ConfigError as error:
            yield from (("profile", mistake) for mistake in error.mistakes)
        except ValueError as error:
            yield "registers", str(error)
        else:
            if left := self.probes[len(places) :]:
                yield "probes", f"{left[0]!r} is one too many: there are {', '.join(each.name for each in places)}"

    def probe_names(self) -> list[str]:
        """Return the ids of the probes, in order: each name, and after it what flows back where the meter counts it."""
        try:
            return [name for probe, place in self._measured(self._model()) for name in place.probes(probe)]
        except (LookupError, ConfigError, ValueError):  # problems() tells of it
            return super().probe_names()

    def peer(self) -> str:
        """Return the line or the gateway, on which one request is under way at a time."""
        return (self.host or "").lower() or os.path.realpath(self.device or "")

    def open(self) -> None:
        """Find the line and plan the requests."""
        try:
            model = self._model()
        except (LookupError, ConfigError, ValueError) as error:  # a file of profiles was edited since the start
            raise DeviceError(f"profile {self.profile}: {error}") from error
        self._table = model.table
        self._places = self._measured(model)
        registers = [register for _, place in self._places for register in place.registers]
        self._blocks = plan(registers, model.max_count)
        self._settled = False  # whether the meter has answered to all of the blocks
        self._line = self.shared.take(
            Settings(
                host=(self.host or "").lower(),
                port=self.port,
                rtu_over_tcp=self.rtu_over_tcp,
                device=os.path.realpath(self.device) if self.device else "",
                baudrate=self.baudrate,
                parity=self.parity,
                stop_bits=self.stop_bits,
                timeout=self.timeout,
            ),
            self.names,
        )

    def read(self) -> list[Measurement]:
        """Return what the meter measures now, power first."""
        try:
            words = self._read_words()
        except Busy as busy:
            raise DeviceError(self._trouble or str(busy)) from busy  # the meter is down for the reason it was
        except DeviceError as error:
            self._trouble = str(error)
            raise
        self._trouble = ""
        measurements = [each for probe, place in self._places for each in measure(probe, place, words)]
        if self._places and not measurements:
            raise DeviceError(f"{self._line.name} unit {self.unit} answers, but without a value for any probe")
        return measurements

    def is_there(self) -> bool:
        """Return whether the unit answers at all, whatever it is; for who looks for meters."""
        with self._line.turn():
            return self._line.has(self.unit)

    def close(self) -> None:
        """Let go of the line."""
        if line := vars(self).pop("_line", None):
            self.shared.give_back(line)

    def _read_words(self) -> dict[int, int]:
        """Return the registers that the places need, by address."""
        words: dict[int, int] = {}
        with self._line.turn():
            self._blocks = [kept for block in self._blocks for kept in self._read_block(block, words)]
        self._settled = True
        return words

    def _read_block(self, block: Block, words: dict[int, int]) -> list[Block]:
        """Add the registers of a block to the words, and return the blocks to read instead of it from now on.

        A meter may refuse registers that are not in use, or many at once: at first the block is parted until it
        answers. A register that it refuses alone is left out until the next open(), unless it is power.
        """
        mistakable = [other for other in self._blocks if other.count == block.count] != [block]
        try:
            answer = self._line.read(self.unit, self._table, block.at, block.count, mistakable=mistakable)
        except Refused as refusal:
            halves = block.halves()
            if self._settled or (block.has_power and not halves):
                raise
            if not halves and block.registers[0] not in self._left_out:
                self._left_out |= set(block.registers)
                LOG.warning("%s goes without %s: %s", self.wattmeter, block.registers[0].quantity, refusal)
            return [kept for half in halves or () for kept in self._read_block(half, words)]
        words.update(enumerate(answer, block.at))
        if block.has_power:
            self.mark_answer()
        return [block]

    def _measured(self, model: Profile) -> list[tuple[str, Place]]:
        """Return the names with what they measure, without the places that are skipped."""
        return [(probe, place) for probe, place in zip(self.probes, model.places, strict=False) if probe]

    def _model(self) -> Profile:
        """Return the profile; LookupError if there is none, ValueError if a register of the section is wrong."""
        if self.profile == GENERIC:
            return profiles.generic(self.registers, table=self.table, words=self.words, level=self.level)
        known = profiles.load(self.profile_dir)
        if self.profile not in known:
            raise LookupError(f"{self.profile!r} is unknown; there are {', '.join([*sorted(known), GENERIC])}")
        return known[self.profile]
