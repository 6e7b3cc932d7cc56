"""What is known of a device family: which OID holds which quantity, in which unit. Data, read from TOML files.

A file holds the profiles of a vendor, a profile one table for each kind of row, a table one line for each quantity:

    [name]                            the profile
    title, source                     shown to people; where the facts come from
    checked                           "recording" of a real device, or "MIB" alone
    sys_object_ids                    what the device calls itself
    known_by                          column that only such devices have; asked for when no profile knows what a device
                                      calls itself, as with those that leave it at net-snmp's own. Without either the
                                      configuration must name the profile
    base                              prefix of every OID below
    fallback                          profile to take when this one yields no active power
    like                              profile that has the tables, found under this one's base
    [name.outlet]                     device, output, inlet, phase, line, bank or outlet; see KINDS
    w = {oid = "6.5.1.3", unit = "W"} w, va, v, a, pf, hz, kwh, export_kwh; a column, or a scalar without its final .0

A quantity also takes:

    invalid     more counts that mean "none"
    signed      negative is a value; negative watts flow back, and a probe of their own, ID@export, has them
    slow        need not be read at each poll
    wrap        the count at which a register starts again at zero
    sensor      the column holds all quantities, and the last part of the index says which
    name        the column holds all quantities, and the table's column of names says which; each # in the name stands
                for a number, and these are the end of the row's index
    idle        quantity that is 0 too when a 0 of this one is true; beside another value the 0 means "none"
    product     two quantities: the value is worked out of them where the device does not have the column

A table also takes:

    digits      column of the decimal digits by which each value is shifted
    factors     column of what each value is multiplied by or, if negative, divided by; 0 is neither
    names       column of the names of all values
    labels      column of the names that its owner gave the rows, which "kwapi discover" takes over
    available   column that tells whether the value is valid now: {oid = "5.2.3.1.2", is = [1]}
    first       number of the first row, by the last part of its index, so that one that is missing before is noticed
    taken       column of the time, by the device's clock, at which it took the values of a row: a row whose time is the
                same as before is not measured again
    only        column that tells which rows are of this kind, by "is" or by "not"; a missing cell counts as 0
"""

import re
from collections.abc import Container, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any

from kwapi.drivers.profiles import key_mistakes, read_profiles, stamp
from kwapi.drivers.snmp.client import Index, Value
from kwapi.drivers.units import UNITS, parse_unit, to_number
from kwapi.errors import ConfigError

KINDS = {  # of rows: their level in the device, outermost first
    "device": "device",
    "output": "device",  # of a UPS: what its load draws, line by line
    "inlet": "inlet",
    "phase": "phase",
    "line": "phase",  # a conductor, where phases are between two of them
    "bank": "bank",
    "outlet": "outlet",
}

EXPORT_KWH = "export_kwh"  # a register of what flows back into the grid
QUANTITIES = (*UNITS, EXPORT_KWH)
NO_VALUE = frozenset((2**31 - 1, -(2**31), 2**32 - 1, 2**64 - 1))  # what agents send for "none" in any column
OID = re.compile(r"\d+(\.\d+)*")

CHECKED = ("recording", "MIB")

PROFILE_KEYS: dict[str, type] = {
    "title": str,
    "source": str,
    "checked": str,
    "sys_object_ids": list,
    "known_by": str,
    "base": str,
    "fallback": str,
    "like": str,
}
TABLE_KEYS: dict[str, type] = {
    "digits": str,
    "factors": str,
    "names": str,
    "labels": str,
    "first": int,
    "taken": str,
    "available": dict,
    "only": dict,
}
COLUMN_KEYS: dict[str, type] = {
    "oid": str,
    "unit": str,
    "sensor": int,
    "name": str,
    "product": list,
    "idle": str,
    "signed": bool,
    "invalid": list,
    "slow": bool,
    "wrap": int,
}
CONDITION_KEYS: dict[str, type] = {"oid": str, "is": list, "not": list}


@dataclass(frozen=True, slots=True)
class Condition:
    """What the cells of another column say about those of a table."""

    oid: str
    values: frozenset[int]
    negated: bool = False

    def holds(self, raw: Value | None) -> bool:
        """Return whether this answer is, or is not, one of the values."""
        return (raw in self.values) != self.negated


@dataclass(frozen=True, slots=True)
class Column:
    """Where one quantity is, and how its counts become W, VA, V, A, Hz, kWh or a power factor.

    A cell belongs to the row of its index, without the last part if that is the ``sensor``. A column of the generic
    profile may be a single ``cell``, and puts ``place`` before the row, since its columns are unrelated.
    """

    quantity: str
    oid: str
    scale: Fraction
    signed: bool = False
    invalid: frozenset[int] = frozenset()
    slow: bool = False
    wrap: int | None = None
    sensor: int | None = None
    name: re.Pattern[str] | None = None
    product: tuple[str, ...] = ()
    idle: str | None = None
    cell: Index | None = None
    place: Index = ()

    @property
    def two_way(self) -> bool:
        """Return whether it tells what flows back."""
        return self.quantity == EXPORT_KWH or (self.quantity == "w" and self.signed)

    def rows(self, indexes: Iterable[Index]) -> set[Index]:
        """Return the rows of the cells with these indexes, of the other sensors of the column too."""
        if self.cell is not None:
            return {self.place + index for index in indexes if index == self.cell}
        return {self.place + (index if self.sensor is None else index[:-1]) for index in indexes}

    def index(self, row: Index) -> Index:
        """Return the index of the cell in this row."""
        return row[len(self.place) :] + (() if self.sensor is None else (self.sensor,))

    def named(self, names: Mapping[Index, Value]) -> dict[Index, Index]:
        """Return the index of the cell in each row, given the names of all cells of the column."""
        if not self.name:
            return {}
        matches = ((index, self.name.fullmatch(name)) for index, name in names.items() if isinstance(name, str))
        return {index[:-1] + tuple(map(int, match.groups())): index for index, match in matches if match}

    def count(self, raw: Value | None) -> int | float | None:
        """Return the number in the agent's answer, None if it means none."""
        number = to_number(raw)
        if number is None or number in self.invalid or number in NO_VALUE or (number < 0 and not self.signed):
            return None
        return number


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of one kind of row, and the columns that say how to read them."""

    kind: str
    columns: tuple[Column, ...]
    digits: str | None = None
    factors: str | None = None
    names: str | None = None
    labels: str | None = None
    first: int | None = None
    taken: str | None = None
    available: Condition | None = None
    only: Condition | None = None

    @property
    def two_way(self) -> bool:
        """Return whether its rows tell what flows back."""
        return any(column.two_way for column in self.columns)

    def helpers(self) -> list[str]:
        """Return the OIDs that are read besides those of the quantities."""
        conditions = (condition.oid for condition in (self.available, self.only) if condition)
        return [oid for oid in (self.digits, self.factors, self.names, *conditions) if oid]


@dataclass(frozen=True, slots=True)
class Profile:
    """A device family."""

    name: str
    title: str
    source: str
    sys_object_ids: tuple[str, ...]
    tables: tuple[Table, ...]
    checked: str = "MIB"
    fallback: str | None = None
    known_by: str | None = None

    def oids(self) -> list[str]:
        """Return every column that the profile speaks of, once."""
        found = (oid for table in self.tables for oid in (*(c.oid for c in table.columns), *table.helpers()))
        return list(dict.fromkeys(found))


def generic(
    oids: Sequence[str], cells: Container[str], *, quantity: str, unit: str, signed: bool, wrap: int | None, level: str
) -> Profile:
    """Return the profile of a device of which only these OIDs are known; ``cells`` are those that are no columns."""
    columns = []
    for number, oid in enumerate(oids, 1):
        parent, _, last = oid.rpartition(".")
        column = Column(
            quantity=quantity,
            oid=parent if oid in cells else oid,
            scale=parse_unit(unit, quantity),
            signed=signed,
            wrap=wrap,
            cell=(int(last),) if oid in cells else None,
            place=(number,) if len(oids) > 1 else (),
        )
        columns.append(column)
    return Profile("generic", "OIDs of the configuration", "", (), (Table(level, tuple(columns)),))


def detect(profiles: Mapping[str, Profile], sys_object_id: str) -> Profile | None:
    """Return the profile with the longest prefix of what the device calls itself, None if there is none."""
    matches = [
        (len(prefix), profile)
        for profile in profiles.values()
        for prefix in profile.sys_object_ids
        if f"{sys_object_id.lstrip('.')}.".startswith(f"{prefix}.")
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def load(directory: str | Path = "") -> dict[str, Profile]:
    """Return the profiles of Kwapi and of one more directory by name; raise ConfigError with every mistake in them.

    They are for reading only: every PDU has the same ones, until a file of the directory changes.
    """
    return _load(directory, stamp("snmp", directory))


@lru_cache(maxsize=4)  # it takes 15 ms, for each of hundreds of PDUs when they are checked and whenever they are opened
def _load(directory: str | Path, _: Hashable) -> dict[str, Profile]:
    entries = read_profiles("snmp", directory, _profile_mistakes)
    if mistakes := list(_reference_mistakes(entries)):
        raise ConfigError(*mistakes)
    return {name: _profile(name, entry, entries) for name, entry in entries.items()}


def _profile(name: str, entry: Mapping[str, Any], entries: Mapping[str, Mapping[str, Any]]) -> Profile:
    tables = entries[entry["like"]] if "like" in entry else entry
    return Profile(
        name=name,
        title=entry["title"],
        source=entry["source"],
        sys_object_ids=tuple(entry.get("sys_object_ids", ())),
        tables=tuple(_table(entry["base"], kind, tables[kind]) for kind in KINDS if kind in tables),
        checked=entry["checked"],
        fallback=entry.get("fallback"),
        known_by=f"{entry['base']}.{entry['known_by']}" if "known_by" in entry else None,
    )


def _table(base: str, kind: str, entry: Mapping[str, Any]) -> Table:
    helpers: dict[str, Any] = {
        key: _condition(base, line) if isinstance(line, dict) else f"{base}.{line}"
        for key, line in entry.items()
        if key in TABLE_KEYS and key != "first"
    }
    return Table(
        kind,
        tuple(_column(base, key, line) for key, line in entry.items() if key in QUANTITIES),
        first=entry.get("first"),
        **helpers,
    )


def _condition(base: str, line: Mapping[str, Any]) -> Condition:
    return Condition(f"{base}.{line['oid']}", frozenset(line.get("is", line.get("not"))), negated="not" in line)


def _column(base: str, quantity: str, line: Mapping[str, Any]) -> Column:
    options = {key: value for key, value in line.items() if key in ("signed", "slow", "wrap", "sensor", "idle")}
    name = line.get("name")
    return Column(
        quantity=quantity,
        oid=f"{base}.{line['oid']}",
        scale=parse_unit(line["unit"], _as_unit(quantity)),
        invalid=frozenset(line.get("invalid", ())),
        name=re.compile(re.escape(name).replace(re.escape("#"), r"(\d+)")) if name else None,
        product=tuple(line.get("product", ())),
        **options,
    )


def _as_unit(quantity: str) -> str:
    return "kwh" if quantity == EXPORT_KWH else quantity


def _reference_mistakes(entries: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for name, entry in entries.items():
        for key in ("fallback", "like"):
            if key in entry and entry[key] not in entries:
                yield f"[{name}] {key}: there is no profile {entry[key]!r}"
        if "like" in entries.get(entry.get("like", ""), ()):
            yield f"[{name}] like: {entry['like']!r} has no tables of its own"


def _profile_mistakes(name: str, entry: object) -> Iterator[str]:
    kinds: dict[str, type] = PROFILE_KEYS | dict.fromkeys(KINDS, dict)
    yield from key_mistakes(f"[{name}]", entry, kinds, _content_problem, ("title", "source", "checked", "base"))
    if not isinstance(entry, dict):
        return
    if any(kind in entry for kind in KINDS) == ("like" in entry):
        yield f"[{name}]: has to have either like or some of the tables {', '.join(KINDS)}"
    for kind in KINDS:
        if isinstance(entry.get(kind), dict):
            yield from _table_mistakes(f"[{name}.{kind}]", entry[kind])


def _table_mistakes(where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    kinds: dict[str, type] = TABLE_KEYS | dict.fromkeys(QUANTITIES, dict)
    yield from key_mistakes(where, entry, kinds, _content_problem)
    for key in ("available", "only"):
        if isinstance(line := entry.get(key), dict):
            yield from key_mistakes(f"{where} {key}", line, CONDITION_KEYS, _content_problem, ("oid",))
            if ("is" in line) == ("not" in line):
                yield f"{where} {key}: has to have either is or not"
    for quantity in QUANTITIES:
        if isinstance(line := entry.get(quantity), dict):
            yield from _column_mistakes(f"{where} {quantity}", quantity, line, entry)


def _column_mistakes(where: str, quantity: str, line: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[str]:
    yield from key_mistakes(where, line, COLUMN_KEYS, _content_problem, ("oid", "unit"))
    if isinstance(line.get("unit"), str):
        try:
            parse_unit(line["unit"], _as_unit(quantity))
        except ValueError as error:
            yield f"{where} unit: {error}"
    if ("name" in line) != ("names" in table):
        yield f"{where}: name needs the table's names, and the other way round"
    others = [key for key in table if key in UNITS and key != quantity]
    product = line.get("product", [])
    if isinstance(product, list) and not all(key in others for key in product):
        yield f"{where} product: {product!r} are not quantities of the table"
    if "idle" in line and line["idle"] not in others:
        yield f"{where} idle: {line['idle']!r} is not another quantity of the table"


def _content_problem(key: str, value: Any) -> str | None:
    if key in ("oid", "base", "known_by", "digits", "factors", "names", "labels", "taken") and not OID.fullmatch(value):
        return "is no OID"
    if key == "sys_object_ids" and not all(isinstance(oid, str) and OID.fullmatch(oid) for oid in value):
        return "are not all OIDs"
    if key in ("invalid", "is", "not") and not all(type(count) is int for count in value):
        return "are not all whole numbers"
    if key == "checked" and value not in CHECKED:
        return f"is neither {' nor '.join(CHECKED)}"
    if key == "product" and len(value) != 2:
        return "are not two quantities"
    if key == "wrap" and value <= 0:
        return "is not positive"
    return None
