"""Modbus meters for tests: pymodbus's own server, over TCP or a pty, in a thread; it misbehaves where asked to.

And the driver, opened to read them.
"""

import asyncio
import os
import struct
import threading
import tty
from contextlib import contextmanager

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from kwapi.drivers.modbus.driver import Modbus
from kwapi.drivers.modbus.line import Lines
from kwapi.measurement import Measurement


def words(kind, value, low_first=False):
    """Return a value as 16-bit registers; ``kind`` is a format of struct."""
    packed = struct.pack(f">{kind}", value)
    registers = list(struct.unpack(f">{len(packed) // 2}H", packed))
    return registers[::-1] if low_first else registers


DEFAULTS = {option.dest: option.default for option in Modbus.options} | {"interval": 1.0, "timeout": 1.0}
SDM120 = {0: 230.5, 6: 1.0, 12: 200.0, 18: 230.5, 30: 0.875, 70: 50.0, 72: 1234.5, 74: 0.25}
VALUES = Measurement("a", 200.0, 230.5, 230.5, 1.0, 0.875, 50.0, 1234.5)
EXPORTED = Measurement("a@export", watts=0.0, kwh=0.25)


class Meter:
    """One unit on a line: registers by address. Notes what it is asked.

    It refuses more registers at once than ``most``, registers it does not have where ``strict``, and answers
    everything with ``refusal`` if there is one, after ``delay`` seconds. ``registers`` may be changed meanwhile.
    """

    def __init__(self, registers, unit=1, *, table=4, most=125, strict=False):
        self.registers = dict(registers)
        self.unit, self.table, self.most, self.strict = unit, table, most, strict
        self.refusal = None
        self.delay = 0.0
        self.asked = []

    def device(self):
        everything = SimData(0, count=65536, values=0, datatype=DataType.REGISTERS)
        return SimDevice(self.unit, simdata=[everything], action=self.answer)

    async def answer(self, function_code, start_address, address, count, current_registers, set_values):
        self.asked.append((address, count))
        await asyncio.sleep(self.delay)
        if self.refusal or function_code != self.table:
            return self.refusal or ExcCodes.ILLEGAL_FUNCTION
        asked = range(address, address + count)
        if count > self.most or (self.strict and not set(asked) <= set(self.registers)):
            return ExcCodes.ILLEGAL_ADDRESS
        for at in asked:
            current_registers[at - start_address] = self.registers.get(at, 0)
        return None


class Server:
    """A line with meters, run in a thread of its own between ``with``'s edges. ``mangle`` may change its answers."""

    def __init__(self, *meters):
        self.devices = [meter.device() for meter in meters]
        self.mangle = lambda frame: frame
        self.sent = b""  # the last frame
        self.in_flight = self.most_in_flight = 0
        self.connections = 0
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        asyncio.run_coroutine_threadsafe(self._server.shutdown(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def drop(self):
        """Close every connection, as a gateway does that restarts."""
        self._in_loop(self.abort)

    def drop_soon(self):
        """Close every connection after what is being sent; for mangle()."""
        for connection in list(self._server.active_connections.values()):
            self._loop.call_soon(connection.transport.close)

    def repeat(self):
        """Send the last frame again, as a gateway does that asked its line twice."""

        def send():
            for connection in self._server.active_connections.values():
                connection.transport.write(self.sent)

        self._in_loop(send)

    def abort(self):
        """Close every connection; for mangle(), which is called by the server's thread."""
        for connection in list(self._server.active_connections.values()):
            connection.transport.abort()

    def _in_loop(self, function):
        async def call():
            function()

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._server = self._loop.run_until_complete(self._start())
        self._ready.set()
        self._loop.run_forever()
        pending = asyncio.all_tasks(self._loop)
        for task in pending:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))

    async def _start(self):
        server = self._make()
        await server.serve_forever(background=True)
        return server

    def _trace(self, sending, frame):
        self.in_flight += -1 if sending else 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if not sending:
            return frame
        self.sent = self.mangle(frame)
        return self.sent

    def _count(self, connected):
        self.connections += connected


class TcpServer(Server):
    def __init__(self, *meters, framer=FramerType.SOCKET):
        super().__init__(*meters)
        self._framer = framer

    def _make(self):
        return ModbusTcpServer(
            self.devices,
            framer=self._framer,
            address=("127.0.0.1", 0),
            trace_packet=self._trace,
            trace_connect=self._count,
        )

    @property
    def port(self):
        return self._server.transport.sockets[0].getsockname()[1]


class RtuServer(Server):
    def __init__(self, port, *meters):
        super().__init__(*meters)
        self._port = port

    def _make(self):
        return ModbusSerialServer(
            self.devices, port=self._port, baudrate=9600, ignore_missing_devices=True, trace_packet=self._trace
        )


@contextmanager
def serial_line():
    """Yield the names of the two ends of a serial line: two ptys with a thread that passes bytes between them."""
    masters, slaves, names = [], [], []
    for _ in range(2):
        master, slave = os.openpty()
        tty.setraw(slave)
        masters.append(master)
        slaves.append(slave)
        names.append(os.ttyname(slave))
    threads = [threading.Thread(target=_pass_on, args=pair, daemon=True) for pair in (masters, list(reversed(masters)))]
    for thread in threads:
        thread.start()
    try:
        yield names
    finally:
        for slave in slaves:
            os.write(slave, b"\0")  # wakes a thread that waits for bytes, which then finds its way out closed
            os.close(slave)
        for thread in threads:
            thread.join(10)
        for master in masters:
            os.close(master)


def _pass_on(source, target):
    while True:
        try:
            os.write(target, os.read(source, 512))
        except OSError:
            return


def floats(values):
    """Return registers by address, given float32 values by address."""
    return {at + number: word for at, value in values.items() for number, word in enumerate(words("f", value))}


def sdm120(unit=1, **options):
    return Meter(floats(SDM120), unit, **options)


@contextmanager
def opened(probes=("a",), shared=None, **options):
    """Yield a driver that is open, and let go of everything at the end."""
    driver = Modbus(
        "rack.meter", {**DEFAULTS, "profile": "sdm120", "probes": list(probes), **options}, shared or Lines()
    )
    try:
        driver.open()
        yield driver
    finally:
        driver.close()
        if shared is None:
            Modbus.close_shared(driver.shared)


@contextmanager
def over_tcp(*meters, **options):
    with TcpServer(*meters) as server, opened(host="127.0.0.1", port=server.port, **options) as driver:
        yield driver, server
