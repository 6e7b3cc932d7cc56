"""A meter's serial line: a port of this machine, or one behind a serial server on TCP.

A meter that pushes is read in frames: whatever stands between two of them, cut ones included, is passed over, and only
the newest bytes are kept, so that a line of noise fills nothing. pyserial does the talking:

    /dev/ttyUSB0             a local port, locked against a second reader
    socket://HOST:PORT       raw TCP; speed and framing are set at the server
    rfc2217://HOST:PORT      Telnet with RFC 2217, which sets them from here
"""

import errno
import re
import termios
import time
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import serial
from oslo_config import cfg

from kwapi.drivers.base import Clock
from kwapi.drivers.names import Names, at_any
from kwapi.errors import DeviceError

CONNECTING = 5.0  # seconds, of pyserial's own
STEP = 0.1  # seconds of one wait for bytes
LONGEST = 16384  # bytes kept; the longest telegram of any meter has some 4000
IN_USE = (errno.EWOULDBLOCK, errno.EBUSY)  # locked as we do it, or taken by the kernel's way (TIOCEXCL)
SCHEMES = ("socket", "rfc2217")
REMOTE = re.compile(rf"(?:{'|'.join(SCHEMES)})://")

DEVICE = cfg.StrOpt(
    "device",
    default="/dev/ttyUSB0",
    help="Serial port of the meter, best by its name in /dev/serial/by-id, which stays; or of a serial server, "
    "socket://HOST:PORT or rfc2217://HOST:PORT.",
)


def device_problem(device: str) -> str | None:
    """Return what is wrong with the name of a serial port, None if it may be opened."""
    if not REMOTE.match(device):
        return None if device.startswith("/") else f"{device!r} is no path and no URL of {' or '.join(SCHEMES)}"
    try:
        url = urlsplit(device)
        return None if url.hostname and url.port else f"{device!r} lacks a host or a port"
    except ValueError as error:
        return f"{device!r}: {error}"


def problems_of_one(device: str, probes: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (option, what is wrong) with the port and the names of a meter that has one probe."""
    if problem := device_problem(device):
        yield "device", problem
    if len(probes) > 1:
        yield "probes", "are more than one, and this meter has one"


class SerialLine:
    """A line to open, of which ``setting`` is speed and framing, such as ``115200 8N1``."""

    def __init__(self, device: str, setting: str, *, names: Names | None = None, clock: Clock = time.monotonic) -> None:
        self.device = device
        self._setting = setting
        self._names = names or Names()
        self._clock = clock
        self._buffer = b""
        self._port: Any = None  # of pyserial, while it is open

    def open(self) -> None:
        """Open the port; what had come in before is forgotten."""
        self._buffer = b""
        self._port = at_any(self._places(), lambda place, _: open_port(place, self._setting), CONNECTING)

    def write(self, command: bytes) -> None:
        """Send a command to the meter."""
        try:
            self._port.write(command)
        except OSError as error:
            raise DeviceError(f"{self.device}: {error}") from error

    def frames(self, pattern: re.Pattern[bytes], seconds: float) -> list[bytes]:
        """Return the frames that have come in, oldest first; [] if none is whole before the seconds have passed."""
        end = self._clock() + seconds
        while not (found := list(pattern.finditer(self._buffer))):
            if self._clock() >= end:
                return []
            self._receive()
        self._buffer = self._buffer[found[-1].end() :]
        return [match[0] for match in found]

    def nothing(self, what: str, seconds: float) -> DeviceError:
        """Return the error that no frame has come in so many seconds, with what has come instead."""
        instead = f", but {len(self._buffer)} bytes such as {self._buffer[-20:]!r}" if self._buffer else ""
        return DeviceError(f"{self.device}: no {what} in {seconds:.0f} s{instead}")

    def close(self) -> None:
        """Let go of the port, if it is open."""
        port, self._port = self._port, None
        if port is None:
            return
        connection = getattr(port, "_socket", None)
        port.close()
        if connection is not None:  # which pyserial forgets to close when the other end is gone
            connection.close()

    def _places(self) -> Sequence[str]:
        """Return what pyserial may open: the port, with its host, if there is one, by its addresses."""
        if not REMOTE.match(self.device):
            return [self.device]
        url = urlsplit(self.device)
        addresses = self._names.addresses(url.hostname or "")
        netlocs = [f"[{each}]:{url.port}" if ":" in each else f"{each}:{url.port}" for each in addresses]
        return [url._replace(netloc=netloc).geturl() for netloc in netlocs]

    def _receive(self) -> None:
        try:
            received = self._port.read(LONGEST)
        except OSError as error:
            raise DeviceError(f"{self.device}: {error}") from error
        self._buffer = (self._buffer + received)[-LONGEST:]


def open_port(device: str, setting: str) -> Any:
    """Return the port, open; its reads return after a step with what has come."""
    speed, framing = setting.split()
    try:
        return serial.serial_for_url(
            device,
            baudrate=int(speed),
            bytesize=int(framing[0]),
            parity=framing[1],
            stopbits=int(framing[2]),
            timeout=STEP,
            write_timeout=None if device.startswith("rfc2217") else 2.0,  # there pyserial has its own, and takes none
            exclusive=True,
        )
    except serial.SerialException as error:
        if error.errno not in IN_USE:
            raise
        raise DeviceError(
            f"{device}: another program uses it, perhaps kwapi-drivers; mute its wattmeter first"
        ) from error
    except (ValueError, termios.error) as error:  # the server refuses a setting; the port vanishes meanwhile
        raise DeviceError(f"{device}: {error}") from error
