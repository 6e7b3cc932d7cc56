"""Values and columns of SNMP agents: what Kwapi needs of SNMP, whichever library speaks it.

Client.agent(target) gives an Agent with get() and columns(), which deal in plain Python values. All agents of a process
share one Loop (see pysnmp.py), because an engine takes a while to start.

The loop is watched: everything in it has a timeout, so a call that outlives them all means that the loop hangs or has
died. It is given up, the caller gets a DeviceError and the next call a fresh loop. A loop that hangs keeps its thread,
so after MAX_HUNG of them calls are refused until one comes back.

Source: RFC 1157 (v1: GETNEXT row by row), RFC 3416 (v2c and v3: GETBULK; 4.2.3 on short answers).
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass, field
from struct import unpack
from typing import Any, Protocol, TypeVar

from kwapi.errors import DeviceError

Value = int | float | str | bytes
Index = tuple[int, ...]  # of a row: what follows the OID of its column
Oid = tuple[int, ...]
Answer = Sequence[tuple[Oid, Value | None]]  # None: the agent has no such thing, or no more
T = TypeVar("T")

AUTH_PROTOCOLS = ("MD5", "SHA", "SHA-224", "SHA-256", "SHA-384", "SHA-512")
PRIV_PROTOCOLS = ("DES", "AES-128", "AES-192", "AES-256", "AES-192-C", "AES-256-C")  # -C: keys made Cisco's way
VARBINDS = 50  # asked for in one answer: at 20 to 27 bytes each they fit in one Ethernet frame
MAX_ROWS = 4096  # no device has as many outlets, so a longer column does not end
CALL_LIMIT = 30.0  # seconds for one get() or columns(), whatever the number of its requests
CLOSE_LIMIT = 0.5  # seconds for a healthy loop to end; one that hangs is left behind
GRACE = 5.0  # seconds by which a healthy but busy loop may be late
MAX_HUNG = 4
OPAQUE_FLOAT = b"\x9f\x78\x04"  # net-snmp's way to send a float, inside an Opaque


class TooBig(Exception):
    """The answer would not fit in the agent's largest message."""


class NoSuchName(Exception):
    """A v1 agent does not have one of the things asked for: the one at ``place``, from 0."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.place = place


class LoopHung(Exception):
    """The loop is alive, but what should have ended by its own timeout has not."""


@dataclass(frozen=True, slots=True)
class Target:
    """Who is asked, and how: credentials, seconds to wait for an answer, number of times to ask again."""

    host: str
    port: int = 161
    version: str = "2c"
    community: str = field(default="public", repr=False)
    user: str = ""
    auth_protocol: str = "SHA"
    auth_key: str = field(default="", repr=False)
    priv_protocol: str = "AES-128"
    priv_key: str = field(default="", repr=False)
    context_name: str = ""
    timeout: float = 1.0
    retries: int = 2
    address: str = ""  # of the host, which no library here shall look up; needed where that is a name

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def no_answer(target: Target, asked: str) -> DeviceError:
    """Return the error that an agent is silent, as one also is to a community that it does not know."""
    requests = f"{target.retries + 1} request{'s' if target.retries else ''}, {target.timeout:g} s each"
    doubt = "is the host right?" if target.version == "3" else "is the host right, and the community?"
    return DeviceError(f"{target}: no answer to {requests}, to {asked}; {doubt}")


def locate(target: Target) -> tuple[int, Any]:
    """Return the family of a target's address, and the address as sockets take it; nothing is looked up."""
    numeric = target.address or target.host
    try:
        found = socket.getaddrinfo(numeric, target.port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)
    except OSError as error:
        raise DeviceError(f"{target}: {error}") from error
    family, _, _, _, address = found[0]
    return family, address


class Session(Protocol):
    """A target made known to a loop. Its calls run in the loop and raise TooBig, NoSuchName or DeviceError."""

    target: Target

    async def get(self, oids: Sequence[Oid]) -> Answer:
        """Return the values of these instances, in order."""

    async def next(self, oids: Sequence[Oid], repetitions: int) -> Answer:
        """Return what follows each OID, then what follows that, and so on; v1 agents answer once."""


class Loop(Protocol):
    """Runs the work of all agents in a thread of its own."""

    thread: threading.Thread

    def start(self, work: Coroutine[Any, Any, T]) -> "futures.Future[T]":
        """Start the work in the loop."""

    def stop(self) -> None:
        """Make the loop end soon; returns at once."""

    async def connect(self, target: Target) -> Session:
        """Return a session with the target."""


class Client:
    """All agents of the process: owner of the loop that speaks to them, and of its replacement."""

    def __init__(self, start_loop: Callable[[], Loop], *, call_limit: float = CALL_LIMIT, grace: float = GRACE) -> None:
        self._start_loop = start_loop
        self._call_limit = call_limit
        self._grace = grace
        self._lock = threading.Lock()
        self._loop: Loop | None = None
        self._hung: list[Loop] = []
        self._closed = False

    def agent(self, target: Target) -> "Agent":
        """Return the agent at this target; nothing is sent yet."""
        return Agent(self, target)

    def call(self, target: Target, work: Callable[[Loop], Coroutine[Any, Any, T]]) -> T:
        """Return what the work returns when it is run in the loop."""
        loop = self._running_loop()
        future = loop.start(self._limited(target, loop, work))
        futures.wait([future], self._call_limit + self._grace)
        if future.cancelled():
            raise DeviceError(f"the SNMP loop was ended while it asked {target}")
        if not future.done() or isinstance(future.exception(), LoopHung):
            self._give_up(loop)
            raise DeviceError(f"the SNMP loop hung or died while it asked {target}; the next call gets a new one")
        return future.result()

    def close(self) -> None:
        """End the loop; later calls are refused."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.stop()
            loop.thread.join(CLOSE_LIMIT)

    async def _limited(self, target: Target, loop: Loop, work: Callable[[Loop], Coroutine[Any, Any, T]]) -> T:
        try:
            async with asyncio.timeout(self._call_limit):
                return await work(loop)
        except TimeoutError:
            raise DeviceError(f"{target} took longer than {self._call_limit:g} s to answer everything") from None

    def _running_loop(self) -> Loop:
        with self._lock:
            if self._closed:
                raise DeviceError("the SNMP client is closed")
            self._hung = [loop for loop in self._hung if loop.thread.is_alive()]
            if len(self._hung) >= MAX_HUNG:
                raise DeviceError(f"{MAX_HUNG} SNMP loops hang; restart kwapi-drivers")
            if self._loop is None or not self._loop.thread.is_alive():
                self._loop = self._start_loop()
            return self._loop

    def _give_up(self, loop: Loop) -> None:
        with self._lock:
            if self._loop is loop:  # and not given up by another caller already
                self._loop = None
                self._hung.append(loop)
        loop.stop()


class Agent:
    """One SNMP agent, as a driver sees it. Its calls block for CALL_LIMIT at most; they come from one thread."""

    def __init__(self, client: Client, target: Target) -> None:
        self._client = client
        self._target = target
        self._connection: tuple[Loop, Session] | None = None
        self._lengths: dict[str, int] = {}  # rows of each column when it was last read

    def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return the values of these instances by OID; those that the agent does not have are absent."""

        async def work(loop: Loop) -> dict[str, Value]:
            return await read_instances(await self._session(loop), oids)

        return self._client.call(self._target, work)

    def columns(self, oids: Sequence[str]) -> dict[str, dict[Index, Value]]:
        """Return by OID each column's values by index, {} for a column that the agent does not have."""

        async def work(loop: Loop) -> dict[str, dict[Index, Value]]:
            return await read_columns(await self._session(loop), oids, self._lengths)

        columns = self._client.call(self._target, work)
        self._lengths |= {oid: len(cells) for oid, cells in columns.items()}
        return columns

    async def _session(self, loop: Loop) -> Session:
        if self._connection is None or self._connection[0] is not loop:
            self._connection = loop, await loop.connect(self._target)
        return self._connection[1]


async def read_instances(session: Session, oids: Sequence[str]) -> dict[str, Value]:
    """Return the values of these instances by OID; those that the agent does not have are absent."""
    values: dict[str, Value] = {}
    pending = list(dict.fromkeys(oids))
    limit = VARBINDS
    while pending:
        asked = pending[:limit]
        try:
            answer = await session.get([to_oid(oid) for oid in asked])
        except NoSuchName as error:
            pending.remove(asked[error.place])
            continue
        except TooBig:
            limit = _halved(limit, session)
            continue
        found = {to_text(name): value for name, value in answer if value is not None}
        values |= {oid: found[oid] for oid in asked if oid in found}
        pending = pending[len(asked) :]
    return values


async def read_columns(
    session: Session, oids: Sequence[str], lengths: Mapping[str, int], *, max_rows: int = MAX_ROWS
) -> dict[str, dict[Index, Value]]:
    """Return each column's values by index; ``lengths`` are the expected rows, so that little is asked for in vain."""
    columns: dict[str, dict[Index, Value]] = {oid: {} for oid in oids}
    prefixes = {oid: to_oid(oid) for oid in oids}
    reached = dict(prefixes)  # of the columns that have not ended: the last OID seen
    limit = VARBINDS
    while reached:
        asked = list(reached)[:limit]
        # One row more than expected shows that a column ends.
        missing = min(lengths.get(oid, max_rows) - len(columns[oid]) + 1 for oid in asked)
        repetitions = max(1, min(missing, limit // len(asked)))
        try:
            answer = await session.next([reached[oid] for oid in asked], repetitions)
        except NoSuchName as error:
            del reached[asked[error.place]]
            continue
        except TooBig:
            limit = _halved(limit, session)
            continue
        if not answer:
            raise DeviceError(f"{session.target} answered nothing to {asked[0]}")
        for place, (name, value) in enumerate(answer):
            oid = asked[place % len(asked)]
            if oid not in reached:
                continue  # it ended earlier in this answer
            prefix = prefixes[oid]
            if value is None or name[: len(prefix)] != prefix:
                del reached[oid]
                continue
            if name <= reached[oid]:
                raise DeviceError(f"the OIDs of {session.target} do not increase after {to_text(reached[oid])}")
            if len(columns[oid]) >= max_rows:
                raise DeviceError(f"column {oid} of {session.target} has more than {max_rows} rows")
            columns[oid][name[len(prefix) :]] = value
            reached[oid] = name
    return columns


def _halved(limit: int, session: Session) -> int:
    if limit == 1:
        raise DeviceError(f"{session.target} finds a single value too big for an answer")
    return limit // 2


def to_oid(text: str) -> Oid:
    """Return the parts of an OID such as "1.3.6"."""
    return tuple(map(int, text.split(".")))


def to_text(oid: Oid) -> str:
    """Return the text of an OID."""
    return ".".join(map(str, oid))


def from_octets(octets: bytes) -> str | bytes:
    """Return an OCTET STRING as text where it is printable UTF-8."""
    try:
        text = octets.rstrip(b"\0").decode()
    except UnicodeDecodeError:
        return octets
    return text if text.isprintable() else octets


def from_opaque(octets: bytes) -> float | bytes:
    """Return the float that an Opaque wraps, or the Opaque as it is."""
    is_float = octets[:3] == OPAQUE_FLOAT and len(octets) == 7
    return float(unpack(">f", octets[3:])[0]) if is_float else octets
