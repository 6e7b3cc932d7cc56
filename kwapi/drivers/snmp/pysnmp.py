"""Speaks SNMP with pysnmp: one asyncio loop in one thread with one engine.

pysnmp's hlapi keeps users of SNMPv3 by name, so that two agents which know one user by different keys throw out each
other's while answers are on their way. Here users are kept by name and engine id of the agent, which is asked for it
with a datagram of our own. Without hlapi a request also costs less, and pysmi is not imported.

What the engine remembers grows with the number of different targets, not with that of requests or sessions. It holds on
for 300 s to the engine id met at an address of a transport, so an agent that takes another's place is asked by a
transport of its own. Secrets are given as bytes: of text pysnmp makes Latin-1, and shows it where that fails.

Source: pysnmp 7.1.30; RFC 3414, 4 (discovery of an engine id), 3.2 (reports of refused users).
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Coroutine, Sequence
from concurrent import futures
from typing import Any, TypeVar

from pyasn1.type import univ
from pysnmp.carrier.asyncio.dgram import udp, udp6
from pysnmp.entity import config
from pysnmp.entity.engine import SnmpEngine
from pysnmp.entity.rfc3413 import cmdgen
from pysnmp.error import PySnmpError
from pysnmp.proto import errind, rfc1902

from kwapi.drivers.snmp.client import (
    Answer,
    LoopHung,
    NoSuchName,
    Oid,
    Target,
    TooBig,
    Value,
    from_octets,
    from_opaque,
    locate,
    no_answer,
    to_text,
)
from kwapi.drivers.snmp.usm import DISCOVERY, to_engine_id
from kwapi.errors import CredentialsRefused, DeviceError

LOG = logging.getLogger(__name__)
T = TypeVar("T")

AUTH_PROTOCOLS = {
    "MD5": config.USM_AUTH_HMAC96_MD5,
    "SHA": config.USM_AUTH_HMAC96_SHA,
    "SHA-224": config.USM_AUTH_HMAC128_SHA224,
    "SHA-256": config.USM_AUTH_HMAC192_SHA256,
    "SHA-384": config.USM_AUTH_HMAC256_SHA384,
    "SHA-512": config.USM_AUTH_HMAC384_SHA512,
}
PRIV_PROTOCOLS = {
    "DES": config.USM_PRIV_CBC56_DES,
    "AES-128": config.USM_PRIV_CFB128_AES,
    "AES-192": config.USM_PRIV_CFB192_AES_BLUMENTHAL,
    "AES-256": config.USM_PRIV_CFB256_AES_BLUMENTHAL,
    "AES-192-C": config.USM_PRIV_CFB192_AES,
    "AES-256-C": config.USM_PRIV_CFB256_AES,
}
REFUSALS = (  # of the user, its keys or its security level
    errind.AuthenticationError,
    errind.AuthenticationFailure,
    errind.DecryptionError,
    errind.UnknownSecurityName,
    errind.UnknownUserName,
    errind.UnsupportedAuthProtocol,
    errind.UnsupportedPrivProtocol,
    errind.UnsupportedSecurityLevel,
    errind.WrongDigest,
)
TOO_BIG, NO_SUCH_NAME, NO_ACCESS, AUTHORIZATION_ERROR = 1, 2, 6, 16  # error-status in an answer
NULL = univ.Null("")
MAX_TRANSPORTS = 8  # sockets, for all agents; devices that make up a new engine id at each start share them
MAX_LOST = 3  # answers lost one after the other, of whichever agents, before the loop is held for broken
DISCOVERY_ROUNDS = 5  # pysnmp sends a v3 request again up to four times to learn an agent's clock
LATE = 5.0  # seconds after which an answer or a timeout of pysnmp is not late but lost


class PysnmpLoop:
    """The loop, its thread and its engine."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(_note_exception)
        self.engine = SnmpEngine()
        self.registry = Registry(self.engine)
        self.lost = 0  # requests in a row to which pysnmp gave neither an answer nor a time-out
        self.thread = threading.Thread(target=self._run, name="snmp", daemon=True)
        self.thread.start()

    def start(self, work: Coroutine[Any, Any, T]) -> "futures.Future[T]":
        """Start the work in the loop."""
        try:
            return asyncio.run_coroutine_threadsafe(work, self.loop)
        except RuntimeError as error:  # the loop was closed since the caller took it
            work.close()
            raise DeviceError("the SNMP loop has ended") from error

    def stop(self) -> None:
        """Make the loop end soon; returns at once."""
        try:
            self.loop.call_soon_threadsafe(self.loop.stop)
        except RuntimeError:  # it has ended already
            pass

    async def connect(self, target: Target) -> "PysnmpSession":
        """Return a session with the target; asks a v3 agent for its engine id."""
        family, address = locate(target)
        engine_id = b""
        if target.version == "3":
            engine_id = await _discover(target, family, address)
            security = self.registry.user(target, engine_id)
        else:
            security = self.registry.community(target)
        name = self.registry.address(family, address, engine_id, security, target.timeout)
        return PysnmpSession(self, name, target)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
        finally:
            self.engine.close_dispatcher()
            tasks = asyncio.all_tasks(self.loop)
            for task in tasks:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self.loop.run_until_complete(asyncio.sleep(0))  # lets the sockets close
            self.loop.close()


class Registry:
    """The engine's tables of users, parameters and addresses, and the names of their rows."""

    def __init__(self, engine: SnmpEngine) -> None:
        self._engine = engine
        self._names: dict[Any, str] = {}
        self._users: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self._engine_ids: dict[Any, list[bytes]] = {}  # by address: of the v3 agents that were met there

    def community(self, target: Target) -> str:
        """Return the name of the parameters for a v1 or v2c community."""
        name, is_new = self._name("community", target.community)
        if is_new:
            config.add_v1_system(self._engine, name, target.community.encode())
        return self._parameters(name, "noAuthNoPriv", 0 if target.version == "1" else 1)

    def user(self, target: Target, engine_id: bytes) -> str:
        """Return the name of the parameters for a v3 user of the agent with this engine id."""
        keys = (target.auth_protocol, target.auth_key, target.priv_protocol, target.priv_key)
        if self._users.get((target.user, engine_id)) != keys:
            config.add_v3_user(
                self._engine,
                target.user,
                AUTH_PROTOCOLS[target.auth_protocol] if target.auth_key else config.USM_AUTH_NONE,
                target.auth_key.encode() or None,
                PRIV_PROTOCOLS[target.priv_protocol] if target.priv_key else config.USM_PRIV_NONE,
                target.priv_key.encode() or None,
                securityEngineId=rfc1902.OctetString(engine_id),
            )
            self._users[target.user, engine_id] = keys
        level = "authPriv" if target.priv_key else "authNoPriv" if target.auth_key else "noAuthNoPriv"
        return self._parameters(target.user, level, 3)

    def address(self, family: int, address: Any, engine_id: bytes, parameters: str, timeout: float) -> str:
        """Return the name of an address that is asked with these parameters and waited for that many seconds."""
        domain = self._transport(family, address, engine_id)
        name, is_new = self._name("address", address, domain, parameters, timeout)
        if is_new:
            # Times are hundredths of a second. No retries by pysnmp: it would repeat refused credentials as well.
            config.add_target_address(
                self._engine, name, domain, address, parameters, round(timeout * 100), retryCount=0
            )
        return name

    def _transport(self, family: int, address: Any, engine_id: bytes) -> tuple[int, ...]:
        """Return the domain of the transport to an agent; one that replaced another gets another."""
        met = self._engine_ids.setdefault(address, [])
        if engine_id not in met:
            met.append(engine_id)
        number = met.index(engine_id) % MAX_TRANSPORTS
        module = udp6 if family == socket.AF_INET6 else udp
        domain: tuple[int, ...] = (*module.DOMAIN_NAME, number)
        if not config.get_transport(self._engine, domain):
            kind = udp6.Udp6AsyncioTransport if family == socket.AF_INET6 else udp.UdpAsyncioTransport
            config.add_transport(self._engine, domain, kind().open_client_mode())
        return domain

    def _parameters(self, security_name: str, level: str, model: int) -> str:
        name, is_new = self._name("parameters", security_name, level, model)
        if is_new:
            config.add_target_parameters(self._engine, name, security_name, level, model)
        return name

    def _name(self, kind: str, *key: Any) -> tuple[str, bool]:
        """Return the name of what the key describes, and whether it is new."""
        is_new = (kind, *key) not in self._names
        return self._names.setdefault((kind, *key), f"{kind}-{len(self._names)}"), is_new


class PysnmpSession:
    """A target by the name under which the engine knows it."""

    def __init__(self, loop: PysnmpLoop, name: str, target: Target) -> None:
        self._loop = loop
        self._name = name
        self.target = target

    async def get(self, oids: Sequence[Oid]) -> Answer:
        """Return the values of these instances, in order."""
        return await self._ask(cmdgen.GetCommandGenerator(), oids)

    async def next(self, oids: Sequence[Oid], repetitions: int) -> Answer:
        """Return what follows each OID, then what follows that, and so on; v1 agents answer once."""
        if self.target.version == "1":
            return await self._ask(cmdgen.NextCommandGeneratorSingleRun(), oids)
        return await self._ask(cmdgen.BulkCommandGeneratorSingleRun(), oids, 0, repetitions)

    async def _ask(self, generator: Any, oids: Sequence[Oid], *bulk: int) -> Answer:
        for _ in range(self.target.retries + 1):
            indication, status, place, pairs = await self._exchange(generator, oids, *bulk)
            if not isinstance(indication, errind.RequestTimedOut):
                break
        asked = to_text(oids[0]) + (f" and {len(oids) - 1} more" if len(oids) > 1 else "")
        if isinstance(indication, REFUSALS):
            raise CredentialsRefused(f"{self.target} refuses user {self.target.user!r}: {indication}")
        if isinstance(indication, errind.RequestTimedOut):
            raise no_answer(self.target, asked)
        if indication:
            raise DeviceError(f"{self.target} answered {asked} with: {indication}")
        if status == TOO_BIG:
            raise TooBig
        if status == NO_SUCH_NAME and 0 < place <= len(oids):
            raise NoSuchName(place - 1)
        if status in (NO_ACCESS, AUTHORIZATION_ERROR):
            raise CredentialsRefused(f"{self.target} does not let us read {asked}")
        if status:
            raise DeviceError(f"{self.target} answered {asked} with error {status}")
        return [(tuple(name), to_value(value)) for name, value in pairs]

    async def _exchange(self, generator: Any, oids: Sequence[Oid], *bulk: int) -> tuple[Any, int, int, Any]:
        """Return what pysnmp says of one request: its own error, the agent's error, of which OID, the answer."""
        answered: asyncio.Future[tuple[Any, int, int, Any]] = asyncio.get_running_loop().create_future()

        def finish(_engine: Any, _handle: Any, indication: Any, status: Any, place: Any, pairs: Any, _: Any) -> None:
            if not answered.done():
                answered.set_result((indication, int(status), int(place), pairs))

        pairs = [(rfc1902.ObjectName(oid), NULL) for oid in oids]
        try:
            generator.send_varbinds(self._loop.engine, self._name, None, self.target.context_name, *bulk, pairs, finish)
        except PySnmpError as error:
            # pysnmp's text may quote keys or messages; what it indicates may not.
            indication = error.get("errorIndication") if hasattr(error, "get") else None
            return indication or type(error).__name__, 0, 0, ()
        try:
            async with asyncio.timeout(DISCOVERY_ROUNDS * self.target.timeout + LATE):
                result = await answered
        except TimeoutError:
            self._loop.lost += 1
            if self._loop.lost >= MAX_LOST:
                raise LoopHung from None
            # One agent alone can do this, by an answer that makes pysnmp forget whom it was for.
            raise DeviceError(f"{self.target} gave no answer that can be used") from None
        self._loop.lost = 0
        return result


def to_value(value: Any) -> Value | None:
    """Return a value of pysnmp as a plain one: None for "no such thing", text where bytes are printable UTF-8."""
    if isinstance(value, univ.Null):  # also the parent of noSuchObject, noSuchInstance and endOfMibView
        return None
    if isinstance(value, univ.Integer):
        return int(value)
    if isinstance(value, univ.ObjectIdentifier):
        return to_text(tuple(value))
    octets = bytes(value)
    if isinstance(value, rfc1902.IpAddress):
        return ".".join(map(str, octets))
    return from_opaque(octets) if isinstance(value, rfc1902.Opaque) else from_octets(octets)


async def _discover(target: Target, family: int, address: Any) -> bytes:
    """Return the engine id of a v3 agent."""
    loop = asyncio.get_running_loop()
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(address)
            for _ in range(target.retries + 1):
                await loop.sock_sendall(sock, DISCOVERY)
                try:
                    async with asyncio.timeout(target.timeout):
                        return to_engine_id(await loop.sock_recv(sock, 65535))
                except TimeoutError:
                    continue
    except (OSError, ValueError) as error:
        raise DeviceError(f"{target}: {error}") from error
    raise no_answer(target, "SNMPv3 discovery")


def _note_exception(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Note what went wrong in a callback of pysnmp, mostly a malformed datagram.

    The exception's name only: asyncio's own handler would log the datagram, and with it the community.
    """
    LOG.debug("an SNMP datagram was dropped: %s", type(context.get("exception")).__name__)
