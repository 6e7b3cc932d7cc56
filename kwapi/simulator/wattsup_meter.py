"""A Watts Up? on a pty: told to log externally, it pushes a packet every second until it loses its power.

The packet is kwapi.drivers.wattsup's, with W, V, A, WH, power factor, Hz and VA; every other field is off. There is no
port to relay, so faults of the line are made here: refused means that the pty has gone.

Source: Watts Up? Communications Protocol 4.41; see kwapi/drivers/wattsup.py.
"""

import asyncio
import os
import random
import tty
from pathlib import Path

from kwapi.simulator.device import Device, Fault, rounded
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.relay import Draw, delay, is_silent, spoiled

START = b"#L,W,3,E,"
PERIOD = 1.0  # seconds
FIELDS = 18
OFF = "_"


def packet(device: Device) -> bytes:
    """Return what the meter pushes now."""
    shown = device.outlets[0]
    reading = shown.reading
    apparent = reading.microvolt_amperes
    values = [OFF] * FIELDS
    values[0] = str(rounded(reading.milliwatts, 100))
    values[1] = str(rounded(reading.millivolts, 100))
    values[2] = str(reading.milliamps)
    values[3] = str(shown.microjoules * 10 // MICROJOULES_PER_WH)
    values[13] = str(min(reading.milliwatts * 100_000 // apparent, 100) if apparent else 0)
    values[16] = str(rounded(device.millihertz, 100))
    values[17] = str(rounded(apparent, 100_000))
    return f"#d,-,{FIELDS},{','.join(values)};".encode()


class WattsupMeter:
    """The meter, from open() on; ``link`` is where it is plugged in."""

    def __init__(self, device: Device, link: Path, *, period: float = PERIOD, draw: Draw = random.randbytes) -> None:
        self._device = device
        self._link = link
        self._period = period
        self._draw = draw
        self._loop = asyncio.get_running_loop()
        self._fault: Fault | None = None
        self._master = self._slave = -1
        self._received = b""
        self._push: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Plug it in; OSError if there is something already."""
        master, slave = os.openpty()  # the slave stays open, or reading fails while nobody is there
        tty.setraw(slave)
        os.set_blocking(master, False)
        try:
            self._link.symlink_to(os.ttyname(slave))
        except OSError:
            os.close(master)
            os.close(slave)
            raise
        self._master, self._slave = master, slave
        self._loop.add_reader(master, self._receive)

    def switch(self, fault: Fault | None) -> None:
        """Misbehave so from now on; None for not at all."""
        is_gone = self._fault is not None and self._fault.kind == "refused"
        self._fault = fault
        if fault is not None and fault.kind == "refused":
            self._unplug()
        elif is_gone:
            self.open()

    def drop(self) -> None:
        """Forget that it shall push."""
        if self._push is not None:
            self._push.cancel()
            self._push = None
        self._received = b""

    def close(self) -> None:
        """Unplug it for good."""
        self._unplug()

    def _unplug(self) -> None:
        self.drop()
        if self._master < 0:
            return
        self._link.unlink(missing_ok=True)
        self._loop.remove_reader(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def _receive(self) -> None:
        try:
            self._received = (self._received + os.read(self._master, 1000))[-1000:]
        except OSError:
            return
        if START in self._received and self._received.endswith(b";"):
            self._received = b""
            if self._push is None and not is_silent(self._fault):
                self._push_packet()

    def _push_packet(self) -> None:
        self._push = self._loop.call_later(self._period, self._push_packet)
        if is_silent(self._fault):
            return
        self._device.advance()
        pushed = spoiled(packet(self._device), self._fault, self._draw)
        if seconds := delay(self._fault):
            self._loop.call_later(seconds, self._write, pushed)
        else:
            self._write(pushed)

    def _write(self, pushed: bytes) -> None:
        try:
            os.write(self._master, pushed)
        except OSError:  # nobody reads, and the line is full; or it was unplugged meanwhile
            return
