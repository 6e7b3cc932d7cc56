"""Watts Up? plug meters on a USB serial line, in external logging mode.

Told ``#L,W,3,E,0,1;`` the meter pushes a packet every second, ``_`` for a field that it does not log:

    #d,-,18,W,V,A,WH,Cost,WH/Mo,Cost/Mo,Wmax,Vmax,Amax,Wmin,Vmin,Amin,PF,DC,PC,Hz,VA;

W, V, WH, Hz and VA in tenths, A in thousandths, PF in percent; WH is its register, which ``#R`` would clear and which
is left alone. After a power cut the meter has forgotten that it shall push; the driver tells a silent one again.
Source: Watts Up? Communications Protocol 4.41, whose "amps * 10" must be mA: its range is 0 to 20000.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from kwapi.drivers.base import Driver
from kwapi.drivers.serial_line import DEVICE, SerialLine, problems_of_one
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement

SETTING = "115200 8N1"
START = b"#L,W,3,E,0,1;"  # write the logging mode, 3 arguments: external, reserved, every second
PACKET = re.compile(rb"#d,[^#;]*;")
HEAD = b"#d,-,18,"
COUNT = 18
FIELDS = (  # attribute of a measurement, place among the arguments, counts per unit of the attribute
    ("watts", 0, 10),
    ("volts", 1, 10),
    ("amps", 2, 1000),
    ("kwh", 3, 10_000),
    ("power_factor", 13, 100),
    ("hertz", 16, 10),
    ("volt_amperes", 17, 10),
)
WRAP = 2_398_800_000 / 10_000  # kWh
PATIENCE = 5.0  # seconds without a packet
RETELL = 1.25  # seconds without one until the meter, which may have lost its power meanwhile, is told again


def parse_packet(packet: bytes) -> dict[str, float]:
    """Return the values of a data packet by attribute of a measurement; a field that is off is left out."""
    head, arguments = packet[: len(HEAD)], packet[len(HEAD) : -1].decode("ascii", "replace").split(",")
    if head != HEAD or len(arguments) != COUNT:
        raise DeviceError(f"malformed data packet {packet!r}")
    values = {}
    for attribute, place, counts in FIELDS:
        if (raw := arguments[place]) == "_":
            continue
        if not (raw.isascii() and raw.isdigit()):
            raise DeviceError(f"malformed data packet {packet!r}: {attribute} is {raw!r}")
        values[attribute] = int(raw) / counts
    return values


class Wattsup(Driver):
    options = (DEVICE,)
    paced = True

    device: str

    def __init__(self, wattmeter: str, values: Mapping[str, Any], shared: Any = None, **clocks: Any) -> None:
        super().__init__(wattmeter, values, shared, **clocks)
        self._line = SerialLine(self.device, SETTING, names=self.names, clock=self.monotonic_clock)

    def problems(self) -> Iterator[tuple[str, str]]:
        """Yield (option, what is wrong) for each mistake that the options' own types cannot see."""
        yield from problems_of_one(self.device, self.probes)

    def open(self) -> None:
        """Have the meter push what it measures."""
        self._line.open()
        self._line.write(START)

    def read(self) -> list[Measurement]:
        """Return what the meter's next packet says."""
        packets = self._packets()
        try:
            values = parse_packet(packets[-1])
        except DeviceError as error:
            raise DeviceError(f"{self.device}: {error}") from error
        if "watts" not in values and "kwh" not in values:
            raise DeviceError(f"{self.device}: the meter logs neither power nor energy: {packets[-1]!r}")
        if "kwh" in values:
            values["kwh_wrap"] = WRAP
        return [Measurement(name, level="device", **values) for name in self.probe_names()]

    def _packets(self) -> list[bytes]:
        """Return the packets that have come, at least one."""
        end = self.monotonic_clock() + PATIENCE
        while not (packets := self._line.frames(PACKET, RETELL)):
            if self.monotonic_clock() >= end:
                raise self._line.nothing("data packet", PATIENCE)
            self._line.write(START)
        return packets

    def close(self) -> None:
        """Let go of the line; the meter goes on pushing."""
        self._line.close()
