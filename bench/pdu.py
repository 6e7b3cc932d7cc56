"""A PDU with 48 outlets that answers SNMP v2c with packets it encoded before.

An answer is encoded when its request first comes, by pysnmp, and kept; from then on only the request id is put into it.
The device has a profile of its own: W, VA, V, A and kWh of an outlet in a column each, 240 values.
"""

from bisect import bisect_right
from pathlib import Path
from typing import Any

from pyasn1.codec.ber import decoder, encoder
from pysnmp.proto.api import v2c

SYS_OBJECT_ID = (1, 3, 6, 1, 2, 1, 1, 2, 0)
SYS_UP_TIME = (1, 3, 6, 1, 2, 1, 1, 3, 0)
DEVICE = (1, 3, 6, 1, 4, 1, 99999)  # nobody's
OUTLETS = 48
PROFILE = """
[bench]
title = "PDU of the benchmark"
source = "bench/pdu.py"
checked = "MIB"
sys_object_ids = ["1.3.6.1.4.1.99999"]
base = "1.3.6.1.4.1.99999"

[bench.outlet]
w = {oid = "1", unit = "W"}
va = {oid = "2", unit = "VA"}
v = {oid = "3", unit = "mV"}
a = {oid = "4", unit = "mA"}
kwh = {oid = "5", unit = "Wh", slow = true}
"""
GET_BULK = v2c.GetBulkRequestPDU.tagSet
GET_NEXT = v2c.GetNextRequestPDU.tagSet

Oid = tuple[int, ...]
Binding = tuple[Oid, object]


class Pdu:
    """What the PDU answers; requests in v2c for any community."""

    def __init__(self) -> None:
        self._cells: dict[Oid, object] = {
            SYS_OBJECT_ID: v2c.ObjectIdentifier(DEVICE),
            SYS_UP_TIME: v2c.TimeTicks(360_000),  # stands still, as all packets do
        }
        for outlet in range(1, OUTLETS + 1):
            for column, count in enumerate(counts(outlet), 1):
                self._cells[*DEVICE, column, outlet] = v2c.Unsigned32(count)
        self._oids = sorted(self._cells)
        self._known: dict[bytes, tuple[bytes, bytes]] = {}  # before and after the id, by the request without it

    def answer(self, request: bytes) -> bytes:
        """Return the answer to a request."""
        start, end = id_place(request)
        key = request[:start] + request[end:]
        parts = self._known.get(key)
        if parts is None:
            parts = self._known[key] = self._encode(request)
        return parts[0] + request[start:end] + parts[1]

    def _encode(self, request: bytes) -> tuple[bytes, bytes]:
        message, _ = decoder.decode(request, asn1Spec=v2c.Message())
        reply = v2c.apiMessage.get_response(message)
        asked = v2c.apiMessage.get_pdu(message)
        v2c.apiPDU.set_varbinds(v2c.apiMessage.get_pdu(reply), self._bindings(asked))
        octets = encoder.encode(reply)
        start, end = id_place(octets)
        return octets[:start], octets[end:]

    def _bindings(self, asked: Any) -> list[Binding]:
        """Return names and values of an answer; for GETBULK without non-repeaters, which Kwapi does not ask for."""
        if asked.tagSet == GET_BULK:
            oids = [tuple(name) for name, _ in v2c.apiBulkPDU.get_varbinds(asked)]
            bindings: list[Binding] = []
            for _ in range(int(v2c.apiBulkPDU.get_max_repetitions(asked))):
                row = [self._next(oid) for oid in oids]
                bindings += row
                oids = [oid for oid, _ in row]
            return bindings
        oids = [tuple(name) for name, _ in v2c.apiPDU.get_varbinds(asked)]
        if asked.tagSet == GET_NEXT:
            return [self._next(oid) for oid in oids]
        return [(oid, self._cells.get(oid, v2c.NoSuchInstance(""))) for oid in oids]

    def _next(self, oid: Oid) -> Binding:
        place = bisect_right(self._oids, oid)
        if place == len(self._oids):
            return oid, v2c.EndOfMibView("")
        return self._oids[place], self._cells[self._oids[place]]


def write_profile(directory: Path) -> None:
    """Write the PDU's profile for a profile_dir."""
    (directory / "snmp").mkdir()
    (directory / "snmp" / "bench.toml").write_text(PROFILE, encoding="utf-8")


def counts(outlet: int) -> tuple[int, int, int, int, int]:
    """Return W, VA, mV, mA and Wh of an outlet."""
    milliamps = 500 + 10 * outlet
    volt_amperes = 230 * milliamps // 1000
    return volt_amperes - 5, volt_amperes, 230_000, milliamps, 3_512_000 + outlet


def id_place(packet: bytes) -> tuple[int, int]:
    """Return where the request id begins and ends in a message of SNMP v1 or v2c."""
    version = _content(packet, 0)
    community = _content(packet, version) + packet[version + 1]
    pdu = _content(packet, community) + packet[community + 1]
    identity = _content(packet, pdu)
    start = _content(packet, identity)
    return start, start + packet[identity + 1]


def _content(packet: bytes, place: int) -> int:
    """Return where the content of the element at this place begins, after its tag and its length."""
    length = packet[place + 1]
    return place + 2 + (length & 0x7F if length & 0x80 else 0)
