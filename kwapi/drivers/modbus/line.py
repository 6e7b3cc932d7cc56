"""Modbus lines: a serial line or a TCP connection, with one request in flight on each, whichever sections use it.

On an RS-485 line two questions at once would collide, and a gateway that leads to one queues or drops them. A section
has its turn on the line for the whole of a poll, so that the values of a poll belong together.

Source: MODBUS Application Protocol Specification V1.1b3, 7 (exception codes); pymodbus 3 speaks the rest.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pymodbus import FramerType, ModbusException
from pymodbus.exceptions import ConnectionException, ModbusIOException
from pymodbus.pdu import ModbusPDU

from kwapi.drivers.base import Clock
from kwapi.drivers.modbus.clients import SerialClient, TcpClient
from kwapi.drivers.names import Names
from kwapi.errors import DeviceError

LONGEST_WAIT = 3.0  # seconds for a turn
LONGEST_TURN = 3.0  # seconds after which no further request begins
FUNCTIONS = {"holding": 3, "input": 4}
NO_SUCH_REGISTERS = (2, 3)  # illegal data address; illegal data value, which some send for too many at once
NOBODY_THERE = (4, 10, 11)  # how gateways tell of a unit that does not answer; 4 by pymodbus's server
EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "server device failure",
    5: "acknowledge",
    6: "server device busy",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway target device failed to respond",
}


class Refused(DeviceError):
    """The meter does not have the registers that were asked for, or not so many at once."""


class Busy(DeviceError):
    """The line is taken by other sections, which says nothing of the meter."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to reach a line: by TCP if there is a ``host``, else by the serial port ``device``."""

    host: str = ""
    port: int = 502
    rtu_over_tcp: bool = False
    device: str = ""
    baudrate: int = 9600
    parity: str = "N"
    stop_bits: int = 1
    timeout: float = 1.0

    @property
    def is_rtu(self) -> bool:
        """Whether frames are those of a serial line, in which nothing tells to which request an answer belongs."""
        return self.rtu_over_tcp or not self.host

    def place(self) -> str:
        """Return the name of the line."""
        return f"{self.host}:{self.port}" if self.host else self.device

    def client(self, names: Names) -> TcpClient | SerialClient:
        """Return a client of pymodbus, not connected yet; it never repeats a request by itself."""
        if not self.host:
            return SerialClient(
                self.device,
                baudrate=self.baudrate,
                parity=self.parity,
                stopbits=self.stop_bits,
                timeout=self.timeout,
                retries=0,
            )
        framer = FramerType.RTU if self.is_rtu else FramerType.SOCKET
        client = TcpClient(self.host, port=self.port, framer=framer, timeout=self.timeout, retries=0)
        client.names = names
        return client


class Line:
    """One line. Its lock is held over I/O on purpose: it is what keeps requests apart."""

    def __init__(
        self,
        settings: Settings,
        *,
        names: Names | None = None,
        patience: float = LONGEST_WAIT,
        clock: Clock = time.monotonic,
    ) -> None:
        self.settings = settings
        self.name = settings.place()
        self.users = 0
        self._client = settings.client(names or Names())
        self._turn = threading.Lock()
        self._patience = patience
        self._clock = clock
        self._end = 0.0
        self._closing = threading.Event()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Keep the line for oneself meanwhile; raise Busy when others do not let go of it."""
        if not self._turn.acquire(timeout=self._patience):
            raise Busy(f"{self.name} was busy with the meters of other sections for {self._patience:g} s")
        try:
            self._end = self._clock() + LONGEST_TURN
            yield
        finally:
            self._turn.release()

    def read(self, unit: int, table: str, at: int, count: int, *, mistakable: bool = False) -> list[int]:
        """Return registers of a unit; to be called within turn(). An answer that does not come is asked for again.

        ``mistakable`` says that this poll has another request of as many registers. In RTU nothing but their number
        tells the answers apart, so it is not repeated there, and one that comes late is waited for and lost.
        """
        what = f"{self.name} unit {unit}: {table} registers {at} to {at + count - 1}"
        try:
            try:
                return self._ask(what, unit, table, at, count)
            except ModbusException:
                # Lost, garbled, or a connection that the other side had closed. What comes late must not be taken
                # for the answer to the next request, so that goes over a new connection.
                if mistakable and self.settings.is_rtu:
                    self._closing.wait(self.settings.timeout)
                    raise
                self.hang_up()
                return self._ask(what, unit, table, at, count)
        except ModbusException as error:
            self.hang_up()
            raise DeviceError(f"{what}: {self._reason(error)}") from error
        except OSError as error:
            self.hang_up()
            raise DeviceError(f"{self.name}: {error}") from error

    def has(self, unit: int) -> bool:
        """Return whether a unit is there, be it to refuse; to be called within turn()."""
        for table in FUNCTIONS:  # some know one of them only
            try:
                answer = self._request(unit, table, 0, 1)
            except ModbusException:  # silence, or noise
                self.hang_up()
            except OSError as error:
                self.hang_up()
                raise DeviceError(f"{self.name}: {error}") from error
            else:
                if not answer.isError() or answer.exception_code not in NOBODY_THERE:
                    return True
        return False

    def hang_up(self) -> None:
        """Close the connection; the next request makes a new one."""
        self._client.close()  # type: ignore[no-untyped-call]  # pymodbus has no types there

    def end(self) -> None:
        """Let no further request begin; who has the line still closes it by giving it back."""
        self._closing.set()

    def _reason(self, error: ModbusException) -> str:
        if isinstance(error, ModbusIOException):
            return f"no usable answer within {self.settings.timeout:g} s"
        return "the connection was closed" if isinstance(error, ConnectionException) else error.string

    def _ask(self, what: str, unit: int, table: str, at: int, count: int) -> list[int]:
        if self._closing.is_set():
            raise DeviceError(f"{self.name} is closed")
        if self._clock() > self._end:
            raise DeviceError(f"{what}: the poll took longer than {LONGEST_TURN:.0f} s")
        answer = self._request(unit, table, at, count)
        if answer.isError():
            code = answer.exception_code
            error = Refused if code in NO_SUCH_REGISTERS else DeviceError
            raise error(f"{what}: refused with {EXCEPTIONS.get(code, 'exception')} ({code})")
        if answer.function_code != FUNCTIONS[table] or len(answer.registers) != count:
            raise ModbusException(f"answered with {len(answer.registers)} of function {answer.function_code}")
        return list(answer.registers)

    def _request(self, unit: int, table: str, at: int, count: int) -> ModbusPDU:
        ask = self._client.read_holding_registers if table == "holding" else self._client.read_input_registers
        return ask(at, count=count, device_id=unit)


class Lines:
    """The lines of a process, each of them shared by the sections that name it."""

    def __init__(self, *, patience: float = LONGEST_WAIT) -> None:
        self._patience = patience
        self._lines: dict[str, Line] = {}
        self._lock = threading.Lock()
        # pymodbus logs each failed request by itself; we raise what failed.
        logging.getLogger("pymodbus.logging").setLevel(logging.CRITICAL)

    def take(self, settings: Settings, names: Names | None = None) -> Line:
        """Return the line of these settings, to be given back; DeviceError when sections disagree on them."""
        with self._lock:
            line = self._lines.get(settings.place())
            if line is None:
                line = self._lines[settings.place()] = Line(settings, names=names, patience=self._patience)
            if line.settings != settings:
                raise DeviceError(f"the sections that use {line.name} must agree on every setting of the line")
            line.users += 1
            return line

    def give_back(self, line: Line) -> None:
        """Close the line when nobody uses it any more."""
        with self._lock:
            line.users -= 1
            if not line.users:
                self._lines.pop(line.name, None)
                line.hang_up()  # before another section opens the port anew

    def close(self) -> None:
        """End every line; a section in the middle of a poll gets a DeviceError."""
        with self._lock:
            for line in self._lines.values():
                line.end()
