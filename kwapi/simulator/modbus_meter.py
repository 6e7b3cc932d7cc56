"""A meter that speaks Modbus TCP, as a Schneider iEM3155 does, by pymodbus's server.

Holding registers of unit 1: power in kW (float32) and energy in Wh (int64) of the whole and of the phases L1 to L3,
which are the device's outlets; their voltage and current (float32), and the frequency (float32). A phase that feeds
nothing shows "none".

Source: see kwapi/drivers/profiles/modbus/schneider.toml.
"""

import math
import struct
from collections.abc import Sequence
from pathlib import Path

from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from kwapi.simulator.device import Device, Shown
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.servers import Group, Served

HERE = "127.0.0.1"
UNIT = 1
READ_HOLDING = 3
PHASES = 3
NO_FLOAT, NO_INT64 = math.nan, -(2**63)
FIRST, LAST = 2999, 3529  # registers
POWER, ENERGY, FREQUENCY = 3059, 3203, 3109
PHASE_AMPS, PHASE_VOLTS, PHASE_POWER, PHASE_ENERGY = 2999, 3027, 3053, 3517  # of L1; those of L2 and L3 follow


def float32(value: float) -> bytes:
    return struct.pack(">f", value)


def int64(value: int) -> bytes:
    return struct.pack(">q", value)


def watt_hours(shown: Shown) -> int:
    return shown.microjoules // MICROJOULES_PER_WH


def registers(device: Device) -> dict[int, bytes]:
    """Return what stands at each address, a value at that of its first register."""
    content = {
        POWER: float32(device.whole.reading.milliwatts / 1e6),
        ENERGY: int64(watt_hours(device.whole)),
        FREQUENCY: float32(device.millihertz / 1e3),
    }
    for phase in range(PHASES):
        if phase < len(device.outlets):
            outlet = device.outlets[phase]
            reading = outlet.reading
            floats = reading.milliamps / 1e3, reading.millivolts / 1e3, reading.milliwatts / 1e6
            energy = watt_hours(outlet)
        else:
            floats, energy = (NO_FLOAT,) * 3, NO_INT64
        for place, value in zip((PHASE_AMPS, PHASE_VOLTS, PHASE_POWER), floats, strict=True):
            content[place + 2 * phase] = float32(value)
        content[PHASE_ENERGY + 4 * phase] = int64(energy)
    return content


class Meter:
    """A meter on a TCP port of loopback, which answers while the event loop in which it was opened runs."""

    def __init__(self, device: Device) -> None:
        if len(device.outlets) > PHASES:
            raise ValueError(f"{device.name} has more than {PHASES} phases")
        self._device = device
        self._server: ModbusTcpServer | None = None

    async def open(self) -> int:
        """Start to answer and return the port."""
        everything = SimData(FIRST, count=LAST - FIRST + 1, values=0, datatype=DataType.REGISTERS)
        unit = SimDevice(UNIT, simdata=[everything], action=self._answer)
        self._server = ModbusTcpServer(unit, address=(HERE, 0))
        await self._server.serve_forever(background=True)
        return int(self._server.transport.sockets[0].getsockname()[1])  # type: ignore[attr-defined]

    async def close(self) -> None:
        """Answer no more."""
        if self._server is not None:
            await self._server.shutdown()  # type: ignore[no-untyped-call]

    async def _answer(
        self, function: int, first: int, at: int, count: int, words: list[int], written: list[int] | list[bool] | None
    ) -> ExcCodes | None:
        """Bring the registers up to date before they are read."""
        if function != READ_HOLDING:
            return ExcCodes.ILLEGAL_FUNCTION
        self._device.advance()
        for address, content in registers(self._device).items():
            values = struct.unpack(f">{len(content) // 2}H", content)
            words[address - first : address - first + len(values)] = values
        return None


def meters(served: Sequence[Served], directory: Path) -> Group:
    """Return what answers for several meters."""
    return Group(Meter(each.device) for each in served)
