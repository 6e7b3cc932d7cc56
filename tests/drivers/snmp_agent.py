"""An SNMP agent for tests: serves cells that a test makes up, on a free port, and misbehaves where asked to."""

import asyncio
import os
import socket
import threading
from bisect import bisect_right

from pysnmp.carrier.asyncio.dgram import udp, udp6
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdrsp, context
from pysnmp.proto.rfc1902 import Integer32, OctetString
from pysnmp.proto.rfc1905 import endOfMibView, noSuchInstance
from pysnmp.smi.instrum import AbstractMibInstrumController


class Cells(AbstractMibInstrumController):
    """The agent's whole MIB: values by OID. ``next_oid`` may be replaced by one that goes astray."""

    def __init__(self, values):
        self.values = {
            tuple(map(int, oid.split("."))): Integer32(value) if isinstance(value, int) else value
            for oid, value in values.items()
        }
        self.oids = sorted(self.values)
        self.asked = []  # number of OIDs of each reading

    def next_oid(self, oid):
        place = bisect_right(self.oids, oid)
        return self.oids[place] if place < len(self.oids) else None

    def read_variables(self, *pairs, **_):
        self.asked.append(len(pairs))
        return [(name, self.values.get(tuple(name), noSuchInstance)) for name, _ in pairs]

    def read_next_variables(self, *pairs, **_):
        self.asked.append(len(pairs))
        found = [(name, self.next_oid(tuple(name))) for name, _ in pairs]
        return [
            (name, endOfMibView) if oid is None else (name.clone(oid), self.values.get(oid, Integer32(1)))
            for name, oid in found
        ]


def new_engine_id():
    return b"\x80\x00\x4f\xb8\x05" + os.urandom(12)


def new_engine(engine_id, boots):
    """Return an engine with an id of its own; pysnmp's is made of an address in memory that another may have had."""
    engine = SnmpEngine()
    known_id, known_boots = engine.get_mib_builder().import_symbols(
        "__SNMP-FRAMEWORK-MIB", "snmpEngineID", "snmpEngineBoots"
    )
    known_id.syntax = known_id.syntax.clone(engine_id)
    known_boots.syntax = known_boots.syntax.clone(boots)
    engine.snmpEngineID = known_id.syntax
    return engine


class SnmpAgent:
    """The agent, in a thread of its own. Users of v3 are (name, auth protocol, key, privacy protocol, key)."""

    def __init__(
        self, values, users=(), family=socket.AF_INET, *, port=0, engine_id=None, boots=1, community=b"public"
    ):
        self.engine_id = engine_id or new_engine_id()
        self._boots = boots
        self._community = community
        self.cells = Cells(values)
        self._users = users
        self._family = family
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", port))
        self.host, self.port = self._socket.getsockname()[:2]

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self):
        asyncio.set_event_loop(self._loop)
        engine = new_engine(self.engine_id, self._boots)
        self._loop.run_until_complete(self._serve(engine))
        self._ready.set()
        self._loop.run_forever()
        engine.close_dispatcher()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _serve(self, engine):
        kind, domain = (
            (udp6.Udp6AsyncioTransport, udp6.DOMAIN_NAME)
            if self._family == socket.AF_INET6
            else (udp.UdpAsyncioTransport, udp.DOMAIN_NAME)
        )
        config.add_transport(engine, domain, kind().open_server_mode(sock=self._socket))
        config.add_v1_system(engine, "area", self._community)
        for user in self._users:
            config.add_v3_user(engine, *user)
        snmp_context = context.SnmpContext(engine)
        snmp_context.unregister_context_name(OctetString(""))
        snmp_context.register_context_name(OctetString(""), self.cells)
        for responder in (cmdrsp.GetCommandResponder, cmdrsp.NextCommandResponder, cmdrsp.BulkCommandResponder):
            responder(engine, snmp_context)
