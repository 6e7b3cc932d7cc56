"""Kasa plugs of the first generation, which TP-Link calls IOT: JSON over TCP 9999, open to whoever asks.

A request is its length in 4 bytes, big endian, and JSON, of which each byte is sent XORed with the one sent before it,
the first with 171; so is the answer:

    {"system": {"get_sysinfo": {}}}      what it is; a strip lists its outlets as ``children``
    {"emeter": {"get_realtime": {}}}     what it measures; of a strip with ``"context": {"child_ids": [ID]}``

Each request has a connection of its own: a plug serves few, and ends idle ones.

Source: L. Stroetmann, T. Esser, Reverse Engineering the TP-Link HS110 (softScheck, 2016); of strips
plasticrake/tplink-smarthome-api (MIT), where an id of two characters belongs behind that of the device.
"""

import json
import time
from typing import Any

from kwapi.drivers.base import Clock
from kwapi.drivers.kasa.connection import Connection, address
from kwapi.drivers.kasa.readings import REALTIME, parse_answer, parse_readings, table, tables
from kwapi.drivers.names import Names
from kwapi.errors import DeviceError

PORT = 9999
FIRST_KEY = 171
MAX_BYTES = 65_536  # a strip with six outlets sends 2000
SHORT_ID = 2  # characters
NO_SUCH_MODULE = -1


def encrypt(text: bytes) -> bytes:
    """Return text as it is sent."""
    sent, key = bytearray(), FIRST_KEY
    for byte in text:
        key ^= byte
        sent.append(key)
    return bytes(sent)


def decrypt(sent: bytes) -> bytes:
    """Return the text of what was sent."""
    return bytes(key ^ byte for key, byte in zip(bytes([FIRST_KEY]) + sent, sent, strict=False))


class Iot:
    """A plug or a strip; an outlet is the id of a child, "" of a plug by itself."""

    def __init__(self, host: str, port: int = 0, *, names: Names | None = None, clock: Clock = time.monotonic) -> None:
        self._address = (host, port or PORT)
        self._names = names or Names()
        self._clock = clock
        self.where = address(*self._address)

    def outlets(self, end: float) -> list[str]:
        """Return the outlets in order, told before the time ``end``."""
        known = self._ask("system", "get_sysinfo", end)
        device = str(known.get("deviceId", ""))
        ids = [str(child.get("id", "")) for child in tables(known.get("children") or [{}], self.where)]
        return [device + each if len(each) == SHORT_ID else each for each in ids]

    def measure(self, outlet: str, end: float) -> dict[str, float]:
        """Return what an outlet measures by attribute of a measurement, told before the time ``end``."""
        return parse_readings(self._ask("emeter", "get_realtime", end, outlet), REALTIME)

    def _ask(self, module: str, command: str, end: float, child: str = "") -> dict[str, Any]:
        request: dict[str, Any] = {module: {command: {}}}
        if child:
            request["context"] = {"child_ids": [child]}
        section = table(self._exchange(request, end).get(module), self.where)
        answer = table(section.get(command, section), self.where)  # of no such module there is the error alone
        if code := answer.get("err_code"):
            why = "it has no energy meter: " if module == "emeter" and code == NO_SUCH_MODULE else ""
            raise DeviceError(f"{self.where}: {why}{command} is answered {answer!r:.200}")
        return answer

    def _exchange(self, request: dict[str, Any], end: float) -> dict[str, Any]:
        text = json.dumps(request, separators=(",", ":")).encode()
        try:
            with (
                Connection(*self._address, self._names, end, self._clock) as connection,
                connection.makefile("rb") as received,
            ):
                connection.sendall(len(text).to_bytes(4, "big") + encrypt(text))
                length = int.from_bytes(self._whole(received.read(4), 4), "big")
                if length > MAX_BYTES:
                    raise DeviceError(f"{self.where} announces {length} bytes; it is no Kasa plug")
                answer = self._whole(received.read(length), length)
        except TimeoutError as error:
            raise DeviceError(f"{self.where} has not answered in time") from error
        except OSError as error:
            raise DeviceError(f"{self.where}: {error}") from error
        return parse_answer(decrypt(answer), self.where)

    def _whole(self, received: bytes, count: int) -> bytes:
        if len(received) < count:
            raise DeviceError(f"{self.where} closed the connection after {len(received)} of {count} bytes")
        return received
