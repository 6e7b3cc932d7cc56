"""Which row of a device's tables a probe is, and which values the row holds. Pure: no I/O.

``probes`` of the configuration names the outlets in order; an empty name skips one. ``id@level.index`` names a row by
its index in the device's MIB, of which a unique end will do (``rack7@inlet.1``), and ``id@level`` a level's only row.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from kwapi.drivers.profile import ATTRIBUTES, Column, Profile, Table
from kwapi.drivers.snmp_client import Index, Value, to_oid, to_text
from kwapi.measurement import EXPORT, LEVELS, Measurement

ROW = re.compile(rf"({'|'.join(LEVELS)})(?:\.(\d+(?:\.\d+)*))?")
MAX_DIGITS = 9
TRUE = 1  # of a TruthValue, RFC 2579

Columns = Mapping[str, Mapping[Index, Value]]  # cells by index by OID, as an agent answers
Row = tuple[str, Index]  # level and index


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row, and what is needed to read it."""

    column: Column
    index: Index
    digits: int = 0
    available: str | None = None

    def oids(self) -> tuple[str, ...]:
        """Return the columns it is read from."""
        return (self.column.oid, self.available) if self.available else (self.column.oid,)

    def value(self, columns: Columns) -> float | None:
        """Return the value in the unit of its quantity, None if there is none this time."""
        if self.available and columns.get(self.available, {}).get(self.index) != TRUE:
            return None
        return self.column.value(columns.get(self.column.oid, {}).get(self.index), self.digits)

    def wrap(self) -> float | None:
        """Return the value at which a register starts again at zero, None if it never does."""
        return self.column.scaled(self.column.wrap, self.digits) if self.column.wrap else None


def parse_probe(name: str) -> tuple[str, str | None, Index]:
    """Return id, level and end of the index of a name in ``probes``; the level is None for the next one in order."""
    probe, at, row = name.rpartition("@")
    if not at or name.endswith(EXPORT):
        return name, None, ()
    if not (match := ROW.fullmatch(row)):
        raise ValueError(f"{name!r}: {row!r} is no row such as inlet, phase.1 or outlet.1.12")
    return probe, match[1], to_oid(match[2]) if match[2] else ()


def find_rows(profile: Profile, columns: Columns) -> dict[Row, tuple[Cell, ...]]:
    """Return the cells of each row of the device, rows in numerical order.

    A row is there if any of its columns has it, since a single cell may be missing just now. A cell whose decimal
    digits the device does not tell is left out: its scale is unknown.
    """
    found: dict[Row, tuple[Cell, ...]] = {}
    for table in profile.tables:
        for index in sorted(_indexes(table, columns)):
            found[table.level, index] = tuple(_cells(table, columns, index))
    return found


def _indexes(table: Table, columns: Columns) -> set[Index]:
    indexes = {index for column in table.columns for index in column.rows(columns.get(column.oid, ()))}
    if table.only_zero:
        numbers = columns.get(table.only_zero, {})
        return {index for index in indexes if numbers.get(index, 0) == 0}
    if table.only_positive:
        numbers = columns.get(table.only_positive, {})
        return {index for index in indexes if isinstance(number := numbers.get(index), int) and number > 0}
    return indexes


def _cells(table: Table, columns: Columns, row: Index) -> list[Cell]:
    available = table.available if table.available and columns.get(table.available) else None
    cells = []
    for column in table.columns:
        if row[: len(column.place)] != column.place:
            continue
        index = column.index(row)
        digits = columns.get(table.digits, {}).get(index) if table.digits else 0
        if isinstance(digits, int) and 0 <= digits <= MAX_DIGITS:
            cells.append(Cell(column, index, digits, available))
    return cells


def has_power(rows: Mapping[Row, Sequence[Cell]], columns: Columns) -> bool:
    """Return whether any row has active power now."""
    power = (cell for cells in rows.values() for cell in cells if cell.column.quantity == "w")
    return any(cell.value(columns) is not None for cell in power)


def choose_rows(names: Sequence[str], rows: Sequence[Row], ordered_level: str) -> list[tuple[str, Row]]:
    """Return id and row for each name but the empty ones; raise LookupError for a name without a row of its own."""
    chosen: dict[Row, str] = {}
    in_order = _in_order(rows, ordered_level)
    for name in names:
        probe, level, end = parse_probe(name)
        row = next(in_order, None) if level is None else _match(name, rows, level, end)
        if row is None:
            raise LookupError(f"there are more names than {ordered_level}s: {name!r} is left over")
        if probe and row in chosen:
            raise LookupError(f"{name!r} and {chosen[row]!r} name the same row")
        if probe:
            chosen[row] = probe
    return [(probe, row) for row, probe in chosen.items()]


def _in_order(rows: Sequence[Row], level: str) -> Iterator[Row]:
    """Yield the rows of a level one by one; raise LookupError at a hole in their numbers.

    A device that has just booted may not have all its rows yet, and names must not slip to the next ones.
    """
    before: Index = ()
    for row in rows:
        if row[0] != level:
            continue
        index = row[1]
        if before[:-1] == index[:-1] and before and index[-1] != before[-1] + 1:
            raise LookupError(f"{level}s are missing between {to_text(before)} and {to_text(index)}")
        before = index
        yield row


def _match(name: str, rows: Sequence[Row], level: str, end: Index) -> Row:
    if (level, end) in rows:
        return level, end
    matches = [row for row in rows if row[0] == level and row[1][len(row[1]) - len(end) :] == end]
    if len(matches) != 1:
        raise LookupError(f"{name!r} matches {len(matches) or 'none'} of the rows")
    return matches[0]


def list_rows(rows: Sequence[Row]) -> str:
    """Return the rows as an operator writes them, such as "inlet.1, outlet.1 to outlet.24"."""
    texts = []
    for level in LEVELS:
        indexes = [f"{level}.{to_text(index)}" for name, index in rows if name == level]
        if len(indexes) > 4:
            indexes = [f"{indexes[0]} to {indexes[-1]} ({len(indexes)} rows)"]
        texts += indexes
    return ", ".join(texts) or "none"


def measure(probe: str, level: str, cells: Sequence[Cell], columns: Columns) -> Measurement | None:
    """Return what these columns say of a probe, None if they say nothing."""
    values: dict[str, float | None] = {}
    for cell in cells:
        if (value := cell.value(columns)) is not None:
            values[ATTRIBUTES[cell.column.quantity]] = value
            if cell.column.quantity == "kwh":
                values["kwh_wrap"] = cell.wrap()
    return Measurement(probe, level=level, **values) if values else None
