"""Reads columns of SNMP agents with gufo-snmp: a thirtieth of pysnmp's CPU time, in the caller's thread.

gufo-snmp does not tell an error of the agent (error-status) from nothing, so it is believed only where its answer
proves itself. A column is walked by GETBULK, and taken if its OIDs increase and another one was seen behind it. From
then on its cells are read by a GET. What ends otherwise, and whatever gufo-snmp stumbles over, pysnmp is asked for,
which tells errors apart: the last column of a MIB, v1 agents, and first of all one value, which shows that there is an
agent.

What was not there is not asked for at each reading. Each column is walked anew every LOOK_AGAIN seconds, one of them
at a reading, so that cells which come later are found.

To gufo-snmp an agent is silent that answers from another address than it was asked at. Who never answered is therefore
left to pysnmp as well.

Its sessions are guarded, see gufo_v2c.py and gufo_v3.py. pysnmp's alone are users without a key, contexts with a name,
and addresses with a zone (fe80::1%eth0), which it does not take. An answer may have 4080 bytes. A call can not be
interrupted; meanwhile other threads run. A socket closes with its session, when nothing refers to it any more.

Source: gufo-snmp 0.13.0; RFC 3416, 4.2.1 (GET), 4.2.3 (GETBULK).
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from gufo.snmp import SnmpError
from gufo.snmp._fast import GetIter
from gufo.snmp.typing import ValueType

from kwapi.drivers.snmp.client import (
    CALL_LIMIT,
    MAX_ROWS,
    VARBINDS,
    Agent,
    Client,
    Index,
    Target,
    Value,
    from_octets,
    from_opaque,
    no_answer,
    to_oid,
    to_text,
)
from kwapi.drivers.snmp.gufo_v2c import CheckedSession
from kwapi.drivers.snmp.gufo_v3 import VerifiedSession
from kwapi.errors import DeviceError

MAX_STUMBLES = 3  # in a row, after which an agent is left to pysnmp
LOOK_AGAIN = 300.0  # seconds
FIRST_ROWS = 10  # asked for at once in a table of unknown length
SYS_OBJECT_ID = "1.3.6.1.2.1.1.2.0"  # every agent has it
T = TypeVar("T")
Columns = dict[str, dict[Index, Value]]
Session = CheckedSession | VerifiedSession


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
        self._session: Session | None = None
        self._rows: dict[str, dict[str, Index]] = {}  # by column, by OID of the cell; those that were ever seen
        self._missing: dict[str, set[str]] = {}  # by column: those of them that were not there when it was last walked
        self._walked_at: dict[str, float] = {}  # by column
        self._limit = VARBINDS
        self._stumbles = 0
        self._is_there = False  # as pysnmp found
        self._is_heard = False  # by gufo-snmp
        self._ends_at = 0.0
        self._emptied: set[tuple[str, ...]] = set()  # columns to which the last answer was empty

    def get(self, oids: Sequence[str]) -> dict[str, Value]:
        """Return the values of these instances by OID; those that the agent does not have are absent."""
        values = self._pysnmp.get(oids)
        self._is_there = True
        return values

    def columns(self, oids: Sequence[str]) -> Columns:
        """Return by OID each column's values by index, {} for a column that the agent does not have."""
        now = self._clock()
        self._ends_at = now + self._client.call_limit
        due = self._due(oids, now)
        known = {oid: cells for oid in oids if oid not in due and (cells := self._present(oid))}
        found, is_empty = self._read(known) if known and self._stumbles < MAX_STUMBLES else ({}, False)
        found |= {oid: {} for oid in oids if oid not in due and oid not in known}
        rest = self._look_up([oid for oid in oids if oid not in found])
        # Where nothing is missing (else v1 would give nothing), it was too much for an answer, or a passing trouble.
        is_empty = is_empty and all(len(rest[oid]) == len(cells) for oid, cells in known.items())
        asked = tuple(known)
        if not is_empty:
            self._emptied.discard(asked)
        elif asked in self._emptied:
            self._limit = max(1, self._limit // 2)
        else:
            self._emptied.add(asked)
        found |= rest
        return {oid: found[oid] for oid in oids}

    def _due(self, oids: Iterable[str], now: float) -> set[str]:
        """Return the columns to walk: those never walked, and of those walked long ago the first."""
        new = {oid for oid in oids if oid not in self._walked_at}
        oldest = min(set(oids) - new, key=self._walked_at.__getitem__, default=None)
        return new | {oldest} if oldest and now - self._walked_at[oldest] >= LOOK_AGAIN else new

    def _present(self, oid: str) -> list[str]:
        """Return the cells that were there when the column was last walked."""
        missing = self._missing.get(oid, ())
        return [cell for cell in self._rows.get(oid, ()) if cell not in missing]

    def _note(self, oid: str, cells: Iterable[Index]) -> None:
        """Remember which cells a column has now."""
        present = {f"{oid}.{to_text(index)}": index for index in cells}
        rows = self._rows.setdefault(oid, {})
        rows.update(present)
        self._missing[oid] = rows.keys() - present.keys()
        self._walked_at[oid] = self._clock()

    def _read(self, known: Mapping[str, Sequence[str]]) -> tuple[Columns, bool]:
        """Return those of the columns of which each of these cells was answered, and whether an answer was empty.

        Cells that were missing are asked for as well, for they may have come back; v1 would then tell nothing at all.
        """
        cells = [cell for cells in known.values() for cell in cells]
        missing = [] if self._target.version == "1" else [cell for oid in known for cell in self._missing[oid]]
        values: dict[str, Value] = {}
        try:
            for asked in (*batches(cells, self._limit), *batches(missing, self._limit)):
                answer = to_values(self._ask(lambda session, asked: session.get_many(asked), asked).items())
                if not answer and asked[0] not in missing:
                    return {}, True
                values |= answer
        except Stumbled:
            self._stumble()
            return {}, False
        self._stumbles = 0
        for oid in known:
            self._missing[oid] -= values.keys()
        rows = {oid: self._rows[oid] for oid, cells in known.items() if values.keys() >= set(cells)}
        return {oid: {i: values[cell] for cell, i in row.items() if cell in values} for oid, row in rows.items()}, False

    def _look_up(self, oids: Sequence[str]) -> Columns:
        """Return the columns, whether their cells are known or not."""
        found = self._walk_all(oids) if self._target.version != "1" and oids else {}
        if rest := [oid for oid in oids if oid not in found]:
            columns = self._pysnmp.columns(rest)
            self._is_there = True
            for oid, cells in columns.items():
                self._note(oid, cells)
            found |= columns
        return found

    def _walk_all(self, oids: Sequence[str]) -> Columns:
        """Return those of the columns of which all cells were found for certain."""
        if not self._is_there:
            self.get([SYS_OBJECT_ID])
        found: Columns = {}
        for oid in oids:
            if self._stumbles >= MAX_STUMBLES:
                break
            try:
                cells = self._walk(oid)
            except Stumbled:
                self._stumble()
                break
            if cells is not None:
                self._note(oid, cells)
                found[oid] = cells
        return found

    def _walk(self, oid: str) -> dict[Index, Value] | None:
        """Return the cells of a column, None if it ends otherwise than with another one behind it."""
        walk = GetIter(oid, min(self._expected_rows(oid) + 1, self._limit))
        reached = prefix = to_oid(oid)
        cells: dict[Index, Value] = {}
        while len(cells) <= MAX_ROWS:
            before = reached
            for pair in self._ask(lambda session, _: session.get_bulk(walk), [oid]):
                if pair is None:
                    return cells
                name, value = to_oid(pair[0]), pair[1]
                if name <= reached or value is None:
                    return None
                cells[name[len(prefix) :]] = to_value(value)
                reached = name
            if reached == before:
                return None
        return None

    def _expected_rows(self, oid: str) -> int:
        """Return how many cells the longest known column of the same table has."""
        table = oid.rpartition(".")[0]
        return max(
            (len(rows) for each, rows in self._rows.items() if each.rpartition(".")[0] == table), default=FIRST_ROWS
        )

    def _stumble(self) -> None:
        self._session = None
        self._stumbles += 1

    def _ask(self, ask: Callable[[Session, Sequence[str]], T], oids: Sequence[str]) -> T:
        """Return the answer to a request for these, asking as often as the target allows."""
        for _ in range(self._target.retries + 1):
            if self._client.closed:
                raise DeviceError("the SNMP client is closed")
            if self._clock() > self._ends_at:
                raise DeviceError(f"{self._target} took longer than {self._client.call_limit:g} s to answer everything")
            try:
                self._session = self._session or new_session(self._target)
                answer = ask(self._session, oids)
            except TimeoutError:
                if not self._is_heard:
                    raise Stumbled from None
                continue
            except SnmpError as error:
                raise Stumbled from error
            except OSError as error:
                self._session = None
                raise DeviceError(f"{self._target}: {error}") from error
            except BaseException as error:
                if type(error).__name__ == "PanicException":  # of pyo3: no Exception, and in no module
                    raise Stumbled from None
                raise
            self._is_heard = True
            return answer
        what = oids[0] + (f" and {len(oids) - 1} more" if len(oids) > 1 else "")
        raise no_answer(self._target, what)


def is_within_reach(target: Target) -> bool:
    """Return whether gufo-snmp can read this agent, and do it safely."""
    if target.version == "3":
        return bool(target.auth_key) and not target.context_name
    return "%" not in (target.address or target.host)


def new_session(target: Target) -> Session:
    """Return a session with a target; nothing is sent yet."""
    return VerifiedSession(target) if target.version == "3" else CheckedSession(target)


def batches(cells: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """Yield the cells, so many at a time."""
    for start in range(0, len(cells), size):
        yield cells[start : start + size]


def to_values(pairs: Iterable[tuple[str, ValueType]]) -> dict[str, Value]:
    """Return the values of gufo-snmp, by OID, as plain ones; it gives Opaque and OCTET STRING alike as bytes."""
    return {oid: to_value(value) for oid, value in pairs if value is not None}


def to_value(value: str | bytes | int | float) -> Value:
    """Return a value of gufo-snmp as a plain one: text where bytes are printable UTF-8, a float from an Opaque."""
    if not isinstance(value, bytes):
        return value
    number = from_opaque(value)
    return from_octets(value) if isinstance(number, bytes) else number
