"""The other end of a serial line: a meter on a pty, or behind a serial server on TCP; and what meters send."""

import os
import socket
import tty

from smllib.crc import x25

WATTSUP_PACKET = b"#d,-,18,1234,2301,540,56789,_,_,_,_,_,_,_,_,_,99,_,_,500,1242;"
TELEGRAM_LINES = (
    b"/KMP5 KA6U001660575912\r\n\r\n"
    b"1-3:0.2.8(50)\r\n0-0:1.0.0(261122040506W)\r\n"
    b"1-0:1.8.1(000123.456*kWh)\r\n1-0:1.8.2(000001.001*kWh)\r\n"
    b"1-0:2.8.1(000007.000*kWh)\r\n1-0:2.8.2(000000.250*kWh)\r\n"
    b"1-0:1.7.0(00.123*kW)\r\n1-0:2.7.0(00.000*kW)\r\n"
)


class Pty:
    """A meter on a pty; ``device`` is what a driver opens."""

    def __init__(self):
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        self.device = os.ttyname(self._slave)

    def accept(self):
        """Wait for the driver to come."""

    def send(self, sent):
        os.write(self._master, sent)

    def received(self, count):
        return os.read(self._master, count)

    def unplug(self):
        os.close(self._master)
        self._master = None

    def close(self):
        for end in (self._master, self._slave):
            if end is not None:
                os.close(end)


class Tcp:
    """A meter behind a serial server that speaks raw TCP."""

    def __init__(self):
        self._server = socket.create_server(("127.0.0.1", 0))
        self._connection = None
        self.device = f"socket://127.0.0.1:{self._server.getsockname()[1]}"

    def accept(self):
        if self._connection:
            self._connection.close()
        self._connection, _ = self._server.accept()
        self._connection.settimeout(5)

    def send(self, sent):
        self._connection.sendall(sent)

    def received(self, count):
        return self._connection.recv(count)

    def unplug(self):
        self._connection.close()

    def close(self):
        self._server.close()
        if self._connection:
            self._connection.close()


class Clock:
    """A clock that goes on a step each time it is read; each reading may also do something."""

    def __init__(self, step=0.0, then=lambda: None):
        self.now, self.step, self.then = 1000.0, step, then

    def __call__(self):
        self.now += self.step
        self.then()
        return self.now


def telegram(lines=TELEGRAM_LINES):
    """Return a P1 telegram of these lines with its CRC16 (polynomial A001)."""
    text = lines + b"!"
    crc = 0
    for byte in text:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xA001 if crc & 1 else 0)
    return text + b"%04X\r\n" % crc


def sml_entry(obis, unit, scaler, number, status=b"\x01"):
    """Return a list entry of SML; the OBIS as "1.8.0", the number as its bytes with their type."""
    code = bytes([1, 0, *map(int, obis.split(".")), 255])
    return b"\x77\x07" + code + status + b"\x01" + bytes([0x62, unit, 0x52, scaler & 0xFF]) + number + b"\x01"


def sml_signed(value):
    """Return a number of 32 bits with a sign."""
    return b"\x55" + value.to_bytes(4, "big", signed=True)


def sml_frame(*entries, time=4711):
    """Return a frame of one message, a list of these entries; ``time`` is the meter's own, in its seconds."""
    stamp = b"\x01" if time is None else b"\x72\x62\x01\x65" + time.to_bytes(4, "big")
    values = bytes([0x70 | len(entries)]) + b"".join(entries)
    body = b"\x72\x63\x07\x01\x77\x01\x02\x0a\x01" + stamp + values + b"\x01\x01"
    return sml_transport(b"\x76\x02\x01\x62\x00\x62\x00" + body + b"\x63\x00\x00\x00")


def sml_transport(messages):
    """Return the messages as a frame, escaped, filled up and with a CRC."""
    fill = -len(messages) % 4
    escaped = messages.replace(b"\x1b" * 4, b"\x1b" * 8) + bytes(fill)
    frame = b"\x1b" * 4 + b"\x01" * 4 + escaped + b"\x1b" * 4 + b"\x1a" + bytes([fill])
    return frame + x25.get_crc(frame).to_bytes(2, "big")


SML_FRAME = sml_frame(
    sml_entry("1.8.0", 30, -1, sml_signed(1_234_567)),
    sml_entry("2.8.0", 30, -1, sml_signed(2_500)),
    sml_entry("16.7.0", 27, -1, sml_signed(1_234)),
)
