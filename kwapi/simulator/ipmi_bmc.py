"""BMCs that tell a machine's power by IPMI 2.0 (DCMI), made of pyghmi's server side.

pyghmi is one event loop with global state, so all BMCs of a farm are one process of their own:
``python -m kwapi.simulator.ipmi_bmc``. It gets the passwords as the first line of its standard input and answers with
the ports; from then on it writes the number of a BMC whose power was asked for, and gets the answer as a line of
hexadecimal. It ends when its input does.

Source: DCMI 1.5, 6.6.1 (Get Power Reading); IPMI 2.0 revision 1.1, 13.17 (open session), table 13-15 (status codes).
"""

import asyncio
import json
import os
import struct
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from pyghmi.ipmi import bmc
from pyghmi.ipmi.private import serversession, session

from kwapi.drivers.ipmi.pyghmi import send_datagram
from kwapi.simulator.device import Device, rounded
from kwapi.simulator.servers import USER, Served

HERE = "127.0.0.1"
GROUP, GET_POWER_READING = 0x2C, 0x02
DCMI = 0xDC
MODE_OF_NOW = 0x01  # statistics since the start, as against those of a period
ACTIVE = 0x40
PERIOD = 1000  # milliseconds
MOST_WATTS = 0xFFFF
HMAC_SHA1, NO_SUCH_ALGORITHM = 1, 0x11
START_LIMIT, STOP_LIMIT = 20.0, 1.0  # seconds
TURN = 30.0  # seconds; pyghmi waits for datagrams


def power_reading(device: Device) -> bytes:
    """Return the answer to Get Power Reading; the statistics are those of this second."""
    watts = min(rounded(device.outlets[0].reading.milliwatts, 1000), MOST_WATTS)
    return struct.pack("<BHHHHIIB", DCMI, watts, watts, watts, watts, int(device.unix_time), PERIOD, ACTIVE)


class Bmcs:
    """The process with the BMCs of several machines, as the farm sees it."""

    def __init__(self, served: Sequence[Served], directory: Path) -> None:
        self._served = served
        self._process: asyncio.subprocess.Process | None = None
        self._answering: asyncio.Task[None] | None = None

    async def open(self) -> list[int]:
        """Start the process and return the port of each BMC."""
        self._process = process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "kwapi.simulator.ipmi_bmc"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            process_group=0,
        )
        self._send(json.dumps([each.secret for each in self._served]))
        async with asyncio.timeout(START_LIMIT):
            line = await reader_of(process).readline()
        self._answering = asyncio.create_task(self._answer())
        return [int(port) for port in json.loads(line)]

    async def close(self) -> None:
        """End the process."""
        if self._answering is not None:
            self._answering.cancel()
        if self._process is not None:
            writer_of(self._process).close()
            try:
                await asyncio.wait_for(self._process.wait(), STOP_LIMIT)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()

    async def _answer(self) -> None:
        """Answer what the process asks."""
        if self._process is None:
            return
        while line := await reader_of(self._process).readline():
            device = self._served[int(line)].device
            device.advance()
            self._send(power_reading(device).hex())

    def _send(self, line: str) -> None:
        if self._process is not None:
            writer_of(self._process).write(line.encode() + b"\n")


def reader_of(process: asyncio.subprocess.Process) -> asyncio.StreamReader:
    if process.stdout is None:
        raise ValueError("a process without output")
    return process.stdout


def writer_of(process: asyncio.subprocess.Process) -> asyncio.StreamWriter:
    if process.stdin is None:
        raise ValueError("a process without input")
    return process.stdin


class ServerSession(serversession.ServerSession):  # type: ignore[misc]
    """A session of a BMC; pyghmi's knows SHA-1 only, but agrees to a client's SHA-256 as well."""

    def create_open_session_response(self, request: bytes) -> bytearray:
        if request[20] != HMAC_SHA1:
            return bytearray([request[0], NO_SUCH_ALGORITHM, 0, 0]) + bytearray(request[4:8])
        response: bytearray = super().create_open_session_response(request)
        return response

    def sessionless_data(self, data: bytes, sockaddr: Any) -> None:
        """Leave to the BMC what a new client at our client's old port sends; pyghmi calls it and has it not."""
        self.bmc.sessionless_data(data, sockaddr)


class Bmc(bmc.Bmc):  # type: ignore[misc]
    """One BMC; ``tell_power`` returns the answer to Get Power Reading."""

    def __init__(self, password: str, tell_power: Callable[[], bytes]) -> None:
        super().__init__({USER: password}, port=0, address=HERE)
        self.port = self.serversocket.getsockname()[1]
        self._tell_power = tell_power

    def handle_raw_request(self, request: dict[str, Any], session: Any) -> None:
        asked = bytes(request["data"])[:2]
        if (request["netfn"], request["command"]) != (GROUP, GET_POWER_READING):
            super().handle_raw_request(request, session)
        elif asked != bytes([DCMI, MODE_OF_NOW]):
            session.send_ipmi_response(code=0xCC)  # invalid field
        else:
            session.send_ipmi_response(data=list(self._tell_power()))


def main() -> None:
    """Be the BMCs."""
    lines: SimpleQueue[bytes] = SimpleQueue()

    def read() -> None:
        for line in sys.stdin.buffer:
            lines.put(line)
        os._exit(0)

    def tell_power(number: int) -> bytes:
        print(number, flush=True)
        return bytes.fromhex(lines.get().decode())

    threading.Thread(target=read, daemon=True).start()
    serversession.ServerSession = ServerSession  # pyghmi has no other way to say so
    session._io_sendto = send_datagram
    passwords = json.loads(lines.get())
    bmcs = [Bmc(password, lambda number=number: tell_power(number)) for number, password in enumerate(passwords)]  # type: ignore[misc]
    print(json.dumps([each.port for each in bmcs]), flush=True)
    while True:
        session.Session.wait_for_rsp(TURN)


if __name__ == "__main__":
    main()
