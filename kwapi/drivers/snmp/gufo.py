"""Reads columns of SNMP agents with gufo-snmp: a thirtieth of pysnmp's CPU time, in the caller's thread.

gufo-snmp drops what an agent says of an error (error-status), so it reads only what is known to be there: a column is
first read by pysnmp, then by gufo-snmp with a GET of the same rows. What is missing from an answer, and whatever
gufo-snmp stumbles over, pysnmp is asked for, which tells errors apart. Rows that a column gains later are therefore not
seen before the next agent(), which drivers call when they open.

To gufo-snmp an agent is silent that answers from another address than it was asked at. Who never answered is therefore
left to pysnmp as well.

Its sessions with v3 agents are guarded, see gufo_v3.py. pysnmp's alone are users without a key, contexts with a name,
and addresses with a zone (fe80::1%eth0), which it does not take. Some malformed answers make it panic. Its time-out is
that of one datagram, not of a request, and a call can not be interrupted; meanwhile other threads run. A socket closes
with its session, when nothing refers to it any more.

Source: gufo-snmp 0.13.0; RFC 3416, 4.2.1 (GET).
"""

import time
from collections.abc import Callable, Iterable, Sequence

from gufo.snmp import SnmpError, SnmpVersion
from gufo.snmp.sync import SnmpSession
from gufo.snmp.typing import ValueType

from kwapi.drivers.snmp.client import (
    CALL_LIMIT,
    VARBINDS,
    Agent,
    Client,
    Index,
    Target,
    Value,
    from_octets,
    from_opaque,
    to_text,
)
from kwapi.drivers.snmp.gufo_v3 import VerifiedSession
from kwapi.errors import DeviceError

VERSIONS = {"1": SnmpVersion.v1, "2c": SnmpVersion.v2c}
MAX_STUMBLES = 3  # in a row, after which an agent is left to pysnmp


class NothingAnswered(Exception):
    """An answer without a single value: an error that gufo-snmp does not tell, maybe that values would not fit."""


class Stumbled(Exception):
    """gufo-snmp does not understand an answer, or never heard one."""


class GufoClient:
    """All agents of the process: those that gufo-snmp can read, and pysnmp's client for the rest."""

    def __init__(self, pysnmp: Client, *, call_limit: float = CALL_LIMIT) -> None:
        self._pysnmp = pysnmp
        self.call_limit = call_limit
        self.closed = False

    def agent(self, target: Target) -> "Agent | GufoAgent":
        """Return the agent at this target; nothing is sent yet."""
        agent = self._pysnmp.agent(target)
        return GufoAgent(self, target, agent) if is_within_reach(target) else agent

    def close(self) -> None:
        """End pysnmp's loop; later calls are refused, one that waits ends with its time-out."""
        self.closed = True
        self._pysnmp.close()


class GufoAgent:
    """One SNMP agent, as a driver sees it. Its calls come from one thread."""

    def __init__(
        self,
        client: GufoClient,
        target: Target,
        pysnmp: Agent,
        *,
        monotonic_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._target = target
        self._pysnmp = pysnmp
        self._clock = monotonic_clock
        self._session: SnmpSession | VerifiedSession | None = None
        self._rows: dict[str, dict[str, Index]] = {}  # by column, by OID of the cell; those that were ever seen
        self._limit = VARBINDS
        self._stumbles = 0
        self._is_heard = False
        self._emptied: set[tuple[str, ...]] = set()  # columns to which the last answer was empty

    def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return the values of these instances by OID; those that the agent does not have are absent."""
        return self._pysnmp.get(oids)

    def columns(self, oids: Sequence[str]) -> dict[str, dict[Index, Value]]:
        """Return by OID each column's values by index, {} for a column that the agent does not have."""
        known = tuple(oid for oid in oids if self._rows.get(oid))
        found, is_empty = self._read(known) if known and self._stumbles < MAX_STUMBLES else ({}, False)
        pending = [oid for oid in oids if oid not in found]
        rest = self._pysnmp.columns(pending) if pending else {}
        # Where nothing is missing (else v1 would give nothing), it was too much for an answer, or a passing trouble.
        is_empty = is_empty and all(len(rest[oid]) == len(self._rows[oid]) for oid in known)
        if not is_empty:
            self._emptied.discard(known)
        elif known in self._emptied:
            self._limit = max(1, self._limit // 2)
        else:
            self._emptied.add(known)
        for oid, cells in rest.items():
            self._rows.setdefault(oid, {}).update({f"{oid}.{to_text(index)}": index for index in cells})
        found |= rest
        return {oid: found[oid] for oid in oids}

    def _read(self, oids: Sequence[str]) -> tuple[dict[str, dict[Index, Value]], bool]:
        """Return those of the columns of which every known row was answered, and whether an answer was empty."""
        try:
            values = self._get_many([cell for oid in oids for cell in self._rows[oid]])
        except NothingAnswered:
            return {}, True
        except Stumbled:
            self._session = None
            self._stumbles += 1
            return {}, False
        except OSError as error:
            self._session = None
            raise DeviceError(f"{self._target}: {error}") from error
        self._stumbles = 0
        rows = {oid: self._rows[oid] for oid in oids}
        complete = {oid: cells for oid, cells in rows.items() if cells.keys() <= values.keys()}
        return {oid: {i: values[cell] for cell, i in cells.items()} for oid, cells in complete.items()}, False

    def _get_many(self, cells: Sequence[str]) -> dict[str, Value]:
        session = self._session = self._session or new_session(self._target)
        ends_at = self._clock() + self._client.call_limit
        values: dict[str, Value] = {}
        for start in range(0, len(cells), self._limit):
            asked = cells[start : start + self._limit]
            if self._clock() > ends_at:
                raise DeviceError(f"{self._target} took longer than {self._client.call_limit:g} s to answer everything")
            answer = to_values(self._ask(session, asked).items())
            if not answer:
                raise NothingAnswered
            values |= answer
        return values

    def _ask(self, session: SnmpSession | VerifiedSession, cells: Sequence[str]) -> dict[str, ValueType]:
        """Return what there is of these cells, asking as often as the target allows."""
        tries = self._target.retries + 1
        for _ in range(tries):
            if self._client.closed:
                raise DeviceError("the SNMP client is closed")
            try:
                answer = session.get_many(cells)
            except TimeoutError:
                if not self._is_heard:
                    raise Stumbled from None
                continue
            except SnmpError as error:
                raise Stumbled from error
            except BaseException as error:
                if type(error).__name__ == "PanicException":  # of pyo3: no Exception, and in no module
                    raise Stumbled from None
                raise
            self._is_heard = True
            return answer
        what = cells[0] + (f" and {len(cells) - 1} more" if len(cells) > 1 else "")
        raise DeviceError(f"{self._target} did not answer {tries} times in {self._target.timeout:g} s to {what}")


def is_within_reach(target: Target) -> bool:
    """Return whether gufo-snmp can read this agent, and do it safely."""
    if target.version == "3":
        return bool(target.auth_key) and not target.context_name
    return "%" not in (target.address or target.host)


def new_session(target: Target) -> SnmpSession | VerifiedSession:
    """Return a session with a target; nothing is sent yet."""
    if target.version == "3":
        return VerifiedSession(target)
    return SnmpSession(
        target.address or target.host,
        target.port,
        community=target.community,
        version=VERSIONS[target.version],
        timeout=target.timeout,
    )


def to_values(pairs: Iterable[tuple[str, ValueType]]) -> dict[str, Value]:
    """Return the values of gufo-snmp, by OID, as plain ones; it gives Opaque and OCTET STRING alike as bytes."""
    return {oid: to_value(value) for oid, value in pairs if value is not None}


def to_value(value: str | bytes | int | float) -> Value:
    """Return a value of gufo-snmp as a plain one: text where bytes are printable UTF-8, a float from an Opaque."""
    if not isinstance(value, bytes):
        return value
    number = from_opaque(value)
    return from_octets(value) if isinstance(number, bytes) else number
