"""What is known of a device family: which OID holds which quantity, in which unit. Data, read from TOML files.

A file holds one or more profiles, a profile one table for each level, a table one line for each quantity:

    [name]                            the profile
    title, source, sys_object_ids     shown to people; where the facts come from; what the device calls itself
    base                              prefix of every OID below
    fallback                          profile to take when this one yields no active power
    [name.outlet]                     inlet, phase, bank, outlet or device
    w = {oid = "6.5.1.3", unit = "W"} w, va, v, a, pf, hz, kwh; a column, or a scalar without its final .0

A quantity also takes: signed (negative is a value), invalid (more counts that mean "none"), slow (need not be read at
each poll), wrap (the count at which a register starts again at zero), sensor (the column holds all quantities, and
the last part of the index says which). A table also takes: digits (column of decimal digits by which each value is
shifted), available (column that is 1 where the value is valid), only_zero and only_positive (rows to take are those
where this column is zero or absent, or positive).
"""

import re
import tomllib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib import resources
from importlib.resources.abc import Traversable
from math import isfinite
from typing import Any

from kwapi.drivers.snmp_client import Index, Value
from kwapi.errors import ConfigError
from kwapi.measurement import LEVELS, QUANTITIES

ATTRIBUTES = {column: attribute for column, attribute in QUANTITIES if column != "kwh_wrap"}
UNITS = {"w": "W", "va": "VA", "v": "V", "a": "A", "pf": "", "hz": "Hz", "kwh": "Wh"}
PREFIXES = {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "M": Fraction(1000_000)}
NO_VALUE = frozenset((2**31 - 1, -(2**31), 2**32 - 1, 2**64 - 1))  # what agents send for "none" in any column
OID = re.compile(r"\d+(\.\d+)*")

PROFILE_KEYS: dict[str, type] = {"title": str, "source": str, "sys_object_ids": list, "base": str, "fallback": str}
TABLE_KEYS: dict[str, type] = {"digits": str, "available": str, "only_zero": str, "only_positive": str}
COLUMN_KEYS: dict[str, type] = {
    "oid": str,
    "unit": str,
    "sensor": int,
    "signed": bool,
    "invalid": list,
    "slow": bool,
    "wrap": int,
}


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
    cell: Index | None = None
    place: Index = ()

    def rows(self, indexes: Iterable[Index]) -> set[Index]:
        """Return the rows of the cells with these indexes, of the other sensors of the column too."""
        if self.cell is not None:
            return {self.place + index for index in indexes if index == self.cell}
        return {self.place + (index if self.sensor is None else index[:-1]) for index in indexes}

    def index(self, row: Index) -> Index:
        """Return the index of the cell in this row."""
        return row[len(self.place) :] + (() if self.sensor is None else (self.sensor,))

    def value(self, raw: Value | None, digits: int = 0) -> float | None:
        """Return the value that the agent's answer means, None for none."""
        number = to_number(raw)
        if number is None or number in self.invalid or number in NO_VALUE or (number < 0 and not self.signed):
            return None
        return self.scaled(number, digits)

    def scaled(self, number: float, digits: int) -> float:
        """Return a number of counts in the unit of the quantity."""
        return float(number * self.scale.numerator / (self.scale.denominator * 10**digits))


@dataclass(frozen=True, slots=True)
class Table:
    """The columns of one level, and the columns that say how to read them."""

    level: str
    columns: tuple[Column, ...]
    digits: str | None = None
    available: str | None = None
    only_zero: str | None = None
    only_positive: str | None = None

    def helpers(self) -> list[str]:
        """Return the OIDs that are read besides those of the quantities."""
        return [oid for oid in (self.digits, self.available, self.only_zero, self.only_positive) if oid]


@dataclass(frozen=True, slots=True)
class Profile:
    """A device family."""

    name: str
    title: str
    source: str
    sys_object_ids: tuple[str, ...]
    tables: tuple[Table, ...]
    fallback: str | None = None

    def oids(self) -> list[str]:
        """Return every column that the profile speaks of, once."""
        found = (oid for table in self.tables for oid in (*(c.oid for c in table.columns), *table.helpers()))
        return list(dict.fromkeys(found))


def to_number(raw: Value | None) -> int | float | None:
    """Return the number in an answer, also one written as text, None if there is none."""
    if isinstance(raw, str):
        try:
            raw = int(raw)
        except ValueError:
            try:
                raw = float(raw)
            except ValueError:
                return None
    return raw if isinstance(raw, int | float) and isfinite(raw) else None


def parse_unit(text: str, quantity: str) -> Fraction:
    """Return what one count is worth in W, VA, V, A, Hz, kWh or parts of one; "0.1 kWh" of "kwh" is 1/10."""
    match = re.fullmatch(rf"(\d+(?:\.\d+)?)? ?([mkM]?)({UNITS[quantity]})", text)
    if not match or not text or (quantity == "pf" and match[2]) or not (scale := Fraction(match[1] or 1)):
        examples = "1, 0.01" if quantity == "pf" else f"{UNITS[quantity]}, 0.1 {UNITS[quantity]}, m{UNITS[quantity]}"
        raise ValueError(f"{text!r} is no unit of {quantity}, such as {examples}")
    scale *= PREFIXES[match[2]]
    return scale / 1000 if quantity == "kwh" else scale


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
        if f"{sys_object_id}.".startswith(f"{prefix}.")
    ]
    return max(matches, key=lambda match: match[0])[1] if matches else None


def load(directory: Traversable | None = None) -> dict[str, Profile]:
    """Return the profiles of Kwapi and of one more directory by name; raise ConfigError with every mistake in them."""
    profiles: dict[str, Profile] = {}
    mistakes: list[str] = []
    for folder in (resources.files("kwapi.drivers.profiles"), directory):
        for file in sorted(folder.iterdir() if folder else (), key=lambda file: file.name):
            if not file.name.endswith(".toml"):
                continue
            try:
                content = tomllib.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:  # of TOML or of UTF-8
                mistakes.append(f"{file.name}: {error}")
                continue
            for name, entry in content.items():
                if name in profiles:
                    mistakes.append(f"{file.name}: [{name}]: there is a profile of this name already")
                found = list(_profile_mistakes(name, entry))
                mistakes += [f"{file.name}: {mistake}" for mistake in found]
                if not found:
                    profiles[name] = _profile(name, entry)
    if not mistakes:
        mistakes = [
            f"[{profile.name}] fallback: there is no profile {profile.fallback!r}"
            for profile in profiles.values()
            if profile.fallback and profile.fallback not in profiles
        ]
    if mistakes:
        raise ConfigError(*mistakes)
    return profiles


def _profile(name: str, entry: Mapping[str, Any]) -> Profile:
    base = entry["base"]
    return Profile(
        name=name,
        title=entry["title"],
        source=entry["source"],
        sys_object_ids=tuple(entry.get("sys_object_ids", ())),
        tables=tuple(_table(base, level, entry[level]) for level in LEVELS if level in entry),
        fallback=entry.get("fallback"),
    )


def _table(base: str, level: str, entry: Mapping[str, Any]) -> Table:
    helpers = {key: f"{base}.{oid}" for key, oid in entry.items() if key in TABLE_KEYS}
    columns = tuple(_column(base, key, line) for key, line in entry.items() if key in UNITS)
    return Table(level, columns, **helpers)


def _column(base: str, quantity: str, line: Mapping[str, Any]) -> Column:
    options = {key: value for key, value in line.items() if key not in ("oid", "unit", "invalid")}
    return Column(
        quantity=quantity,
        oid=f"{base}.{line['oid']}",
        scale=parse_unit(line["unit"], quantity),
        invalid=frozenset(line.get("invalid", ())),
        **options,
    )


def _profile_mistakes(name: str, entry: object) -> Iterator[str]:
    kinds: dict[str, type] = PROFILE_KEYS | dict.fromkeys(LEVELS, dict)
    yield from _key_mistakes(f"[{name}]", entry, kinds, required=("title", "source", "base"))
    if not isinstance(entry, dict):
        return
    if not any(level in entry for level in LEVELS):
        yield f"[{name}]: has none of the tables {', '.join(LEVELS)}"
    for level in LEVELS:
        if isinstance(entry.get(level), dict):
            yield from _table_mistakes(f"[{name}.{level}]", entry[level])


def _table_mistakes(where: str, entry: Mapping[str, Any]) -> Iterator[str]:
    kinds: dict[str, type] = TABLE_KEYS | dict.fromkeys(UNITS, dict)
    yield from _key_mistakes(where, entry, kinds)
    for quantity in UNITS:
        if not isinstance(line := entry.get(quantity), dict):
            continue
        yield from _key_mistakes(f"{where} {quantity}", line, COLUMN_KEYS, required=("oid", "unit"))
        if isinstance(line.get("unit"), str):
            try:
                parse_unit(line["unit"], quantity)
            except ValueError as error:
                yield f"{where} {quantity} unit: {error}"


def _key_mistakes(where: str, entry: object, kinds: Mapping[str, type], required: Iterable[str] = ()) -> Iterator[str]:
    if not isinstance(entry, dict):
        yield f"{where}: must be a table"
        return
    for key in required:
        if key not in entry:
            yield f"{where}: lacks {key}"
    for key, value in entry.items():
        if key not in kinds:
            yield f"{where} {key}: unknown key"
        elif type(value) is not kinds[key]:
            yield f"{where} {key}: {value!r} is not of type {kinds[key].__name__}"
        elif problem := _content_problem(key, value):
            yield f"{where} {key}: {value!r} {problem}"


def _content_problem(key: str, value: Any) -> str | None:
    if key in ("oid", "base", *TABLE_KEYS) and not OID.fullmatch(value):
        return "is no OID"
    if key == "sys_object_ids" and not all(isinstance(oid, str) and OID.fullmatch(oid) for oid in value):
        return "are not all OIDs"
    if key == "invalid" and not all(type(count) is int for count in value):
        return "are not all whole numbers"
    if key == "wrap" and value <= 0:
        return "is not positive"
    return None
