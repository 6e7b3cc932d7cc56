"""PDUs that answer SNMP v1 and v2c, and v3 if there is a user, as an Eaton ePDU G3 does.

An engine of pysnmp takes 50 ms to start, so one engine is many PDUs: the community says which. Each has a port of its
own all the same, where no other's community is heard.

Under 1.3.6.1.4.1.534.6.6.7, with indexes of unit 0, inlet or outlet from 1, and phase 1:
inlet (3.x) and outlets (6.x), active power W, apparent power VA, energy Wh (32 bits at most, then it starts again at
zero), voltage mV, current mA, frequency in tenths of Hz. Of the system group what detection needs.
Everything is computed at the moment of the request. SET is refused.

Source: EATON-EPDU-MIB. Unlike in real devices, where they differ by a little, the phase counts as the inlet does.
"""

import asyncio
import os
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pysnmp.carrier.asyncio.dgram import udp
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp
from pysnmp.entity.rfc3413.context import SnmpContext
from pysnmp.proto import rfc1902, rfc1905
from pysnmp.smi import error as smi_error

from kwapi.simulator.device import Device, Shown, rounded
from kwapi.simulator.load import MICROJOULES_PER_WH
from kwapi.simulator.servers import Served

Oid = tuple[int, ...]
Answer = Callable[[], Any]  # gives a value of SNMP as it is now
Binding = tuple[Any, Any]  # name and value, as pysnmp has them

SYSTEM = (1, 3, 6, 1, 2, 1, 1)
EPDU = (1, 3, 6, 1, 4, 1, 534, 6, 6, 7)
LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..|\x83...|\x84....)"
BEFORE_COMMUNITY = re.compile(rb"\x30" + LENGTH + rb"\x02\x01[\x00\x01]\x04([\x00-\x7f])", re.DOTALL)
SEQUENCE = b"\x30"
RESPONDERS = (
    cmdrsp.GetCommandResponder,
    cmdrsp.NextCommandResponder,
    cmdrsp.BulkCommandResponder,
    cmdrsp.SetCommandResponder,
)


def volt_amperes(shown: Shown) -> Any:
    return rfc1902.Integer32(rounded(shown.reading.microvolt_amperes, 1_000_000))


def watts(shown: Shown) -> Any:
    return rfc1902.Integer32(rounded(shown.reading.milliwatts, 1000))


def watt_hours(shown: Shown) -> Any:
    return rfc1902.Unsigned32(shown.microjoules // MICROJOULES_PER_WH % 2**32)


def millivolts(shown: Shown) -> Any:
    return rfc1902.Integer32(shown.reading.millivolts)


def milliamps(shown: Shown) -> Any:
    return rfc1902.Integer32(shown.reading.milliamps)


def up_time(device: Device) -> Any:
    return rfc1902.TimeTicks(device.milliseconds // 10 % 2**32)


def decihertz(device: Device) -> Any:
    return rfc1902.Integer32(rounded(device.millihertz, 100))


def label(outlet: Shown) -> Any:
    return rfc1902.OctetString(outlet.name)


OUTLET_COLUMNS: Sequence[tuple[Oid, Callable[[Shown], Any]]] = (
    ((6, 1, 1, 3), label),
    ((6, 4, 1, 3), milliamps),
    ((6, 5, 1, 2), volt_amperes),
    ((6, 5, 1, 3), watts),
    ((6, 5, 1, 4), watt_hours),
)
FREQUENCY = (3, 1, 1, 3, 0, 1)
INLET_ROW: Sequence[tuple[Oid, Callable[[Shown], Any]]] = (
    ((3, 2, 1, 3, 0, 1, 1), millivolts),
    ((3, 3, 1, 4, 0, 1, 1), milliamps),
    ((3, 4, 1, 3, 0, 1, 1), volt_amperes),
    ((3, 4, 1, 4, 0, 1, 1), watts),
    ((3, 4, 1, 5, 0, 1, 1), watt_hours),
    ((3, 5, 1, 3, 0, 1), volt_amperes),
    ((3, 5, 1, 4, 0, 1), watts),
    ((3, 5, 1, 5, 0, 1), watt_hours),
)


def answers(device: Device) -> dict[Oid, Answer]:
    """Return all that the PDU can be asked for."""
    description = f"ePDU simulated by Kwapi, {len(device.outlets)} outlets"
    table: dict[Oid, Answer] = {
        (*SYSTEM, 1, 0): partial(rfc1902.OctetString, description),
        (*SYSTEM, 2, 0): partial(rfc1902.ObjectIdentifier, EPDU),
        (*SYSTEM, 3, 0): partial(up_time, device),
        (*SYSTEM, 5, 0): partial(rfc1902.OctetString, device.name),
        (*EPDU, *FREQUENCY): partial(decihertz, device),
    }
    for oid, quantity in INLET_ROW:
        table[(*EPDU, *oid)] = partial(quantity, device.whole)
    for number, outlet in enumerate(device.outlets, start=1):
        for column, of_outlet in OUTLET_COLUMNS:
            table[(*EPDU, *column, 0, number)] = partial(of_outlet, outlet)
    return table


class Instrumentation:
    """What pysnmp's command responders ask: a sorted list of names, because an object of pysnmp per value is slow."""

    def __init__(self, device: Device) -> None:
        table = answers(device)
        self._device = device
        self._oids = sorted(table)
        self._names = [rfc1902.ObjectName(oid) for oid in self._oids]
        self._answers = [table[oid] for oid in self._oids]

    def read_variables(self, *bindings: Binding, **context: Any) -> list[Binding]:
        """Return the bindings of a GET with their values."""
        self._device.advance()
        return [self._read(name) for name, _ in bindings]

    def read_next_variables(self, *bindings: Binding, **context: Any) -> list[Binding]:
        """Return what follows each binding of a GETNEXT; a GETBULK comes as one call for each repetition."""
        self._device.advance()
        return [self._read_next(name) for name, _ in bindings]

    def write_variables(self, *bindings: Binding, **context: Any) -> list[Binding]:
        raise smi_error.NotWritableError(idx=0)

    def _read(self, name: Any) -> Binding:
        oid = tuple(name)
        place = bisect_left(self._oids, oid)
        if place == len(self._oids) or self._oids[place] != oid:
            return name, rfc1905.noSuchInstance
        return self._names[place], self._answers[place]()

    def _read_next(self, name: Any) -> Binding:
        place = bisect_right(self._oids, tuple(name))
        if place == len(self._oids):
            return name, rfc1905.endOfMibView
        return self._names[place], self._answers[place]()


class Port(udp.UdpTransport):  # type: ignore[misc]
    """A UDP port of an agent, of one community if there is one here."""

    def __init__(self, community: str | None = None) -> None:
        super().__init__()
        self._community = community

    def datagram_received(self, datagram: bytes, sender: tuple[str, int]) -> None:
        # What is no sequence is no SNMP message, and pysnmp raises TypeError for some of it. The rest goes to pysnmp
        # at once; by its own way, through the event loop, it can arrive after the end, with an exception too.
        is_ours = self._community is None or community_of(datagram) == self._community.encode()
        if datagram[:1] == SEQUENCE and is_ours:
            self._callback_function(self, sender, datagram)


def community_of(message: bytes) -> bytes | None:
    """Return the community of a message of v1 or v2c, None of any other."""
    found = BEFORE_COMMUNITY.match(message)
    return message[found.end() : found.end() + found[1][0]] if found else None


@dataclass(frozen=True, slots=True)
class User:
    """A user of SNMPv3 with SHA-256 and AES-128."""

    name: str
    auth_passphrase: str = field(repr=False)
    priv_passphrase: str = field(repr=False)


class Agent:
    """PDUs on a UDP port, or on several, which answer while the event loop in which it was opened runs."""

    def __init__(self, *, user: User | None = None) -> None:
        self._engine: Any = new_engine()
        self._context = SnmpContext(self._engine)
        self._context.unregister_context_name(b"")  # pysnmp's own objects
        self._user = user
        self._ports = 0

    def add(self, device: Device, community: str = "public", context: str = "") -> None:
        """Let a PDU answer to this community, and to the user in this context."""
        config.add_v1_system(self._engine, community, community, contextName=context.encode())
        self._context.register_context_name(context.encode(), Instrumentation(device))

    async def open(self, address: str = "127.0.0.1", port: int = 0, community: str | None = None) -> int:
        """Start to answer, of several communities to one perhaps, and return the port; OSError if it is taken.

        The port is of the system's choice if 0 was given. Each call opens another.
        """
        if not self._ports:
            self._begin()
        listener = Port(community)
        config.add_transport(self._engine, (*udp.DOMAIN_NAME, self._ports), listener)
        self._ports += 1
        # Not by pysnmp's open_server_mode(), which hides a taken port in a task that nobody awaits.
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(lambda: listener, local_addr=(address, port))
        except OSError:
            self.close()
            raise
        return int(transport.get_extra_info("sockname")[1])

    def close(self) -> None:
        """Stop answering; the socket is closed when the event loop comes round."""
        if self._engine is not None:
            self._engine.close_dispatcher()
            self._engine = None

    def _begin(self) -> None:
        if self._user:
            config.add_v3_user(
                self._engine,
                self._user.name,
                config.USM_AUTH_HMAC192_SHA256,
                self._user.auth_passphrase,
                config.USM_PRIV_CFB128_AES,
                self._user.priv_passphrase,
            )
        for responder in RESPONDERS:
            responder(self._engine, self._context)


class Pdus:
    """Several PDUs, each with a port and with its secret for a community."""

    def __init__(self, served: Sequence[Served], directory: Path) -> None:
        self._agent = Agent()
        self._communities = [each.secret for each in served]
        for each in served:
            self._agent.add(each.device, community=each.secret, context=each.device.name)

    async def open(self) -> list[int]:
        """Start to answer and return the port of each PDU."""
        return [await self._agent.open(community=community) for community in self._communities]

    async def close(self) -> None:
        """Answer no more."""
        self._agent.close()


def new_engine() -> Any:
    """Return an engine of pysnmp with an engine id of its own."""
    engine = SnmpEngine()
    # pysnmp makes the id of the process and an address in memory: two PDUs of one process can get the same one, and
    # v3 clients then mix them up. Given as an argument, an id would be kept in files in /tmp.
    (engine_id,) = engine.get_mib_builder().import_symbols("__SNMP-FRAMEWORK-MIB", "snmpEngineID")
    engine_id.syntax = engine_id.syntax.clone(b"\x80\x00\x4f\xb8\x05" + os.urandom(12))
    engine.snmpEngineID = engine_id.syntax
    return engine
