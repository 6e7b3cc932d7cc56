"""Which row of a device's tables a probe is, and which values the row holds. Pure: no I/O.

``probes`` of the configuration names the outlets in order; an empty name skips one. ``id@kind.index`` names a row by
its index in the device's MIB, of which a unique end will do (``rack7@inlet.1``), and ``id@kind`` a kind's only row.
"""

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

from kwapi.drivers.snmp.client import Index, Value, to_oid, to_text
from kwapi.drivers.snmp.profile import EXPORT_KWH, KINDS, Column, Condition, Profile, Table
from kwapi.drivers.units import ATTRIBUTES
from kwapi.measurement import EXPORT, Measurement

ROW = re.compile(rf"({'|'.join(KINDS)})(?:\.(\d+(?:\.\d+)*))?")
MAX_DIGITS = 9

Columns = Mapping[str, Mapping[Index, Value]]  # cells by index by OID, as an agent answers
Row = tuple[str, Index]  # kind and index


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a row, and what is needed to read it.

    ``scale`` is what one count is worth on this device; ``factors`` are two other cells, if the device has no column
    for the quantity and the value is worked out of theirs; ``idle`` is the cell that is 0 too when a 0 is true,
    ``taken`` the column of when the device took the row's values.
    """

    column: Column
    index: Index
    scale: Fraction
    available: Condition | None = None
    factors: "tuple[Cell, ...]" = ()
    idle: "Cell | None" = None
    taken: str | None = None

    def oids(self) -> tuple[str, ...]:
        """Return the columns it is read from."""
        if self.factors:
            return tuple(oid for factor in self.factors for oid in factor.oids())
        others = (self.available.oid if self.available else None, self.taken)
        return (self.column.oid, *filter(None, others), *(self.idle.oids() if self.idle else ()))

    def value(self, columns: Columns) -> float | None:
        """Return the value in the unit of its quantity, None if there is none this time."""
        if self.factors:
            values = [value for factor in self.factors if (value := factor.value(columns)) is not None]
            return prod(values) if len(values) == len(self.factors) else None
        if self.available and not self.available.holds(columns.get(self.available.oid, {}).get(self.index)):
            return None
        count = self.column.count(columns.get(self.column.oid, {}).get(self.index))
        if count is None or (count == 0 and self.idle and self.idle.value(columns)):
            return None
        return self._scaled(count)

    def wrap(self) -> float | None:
        """Return the value at which a register starts again at zero, None if it never does."""
        return self._scaled(self.column.wrap) if self.column.wrap else None

    def _scaled(self, count: float) -> float:
        return float(count * self.scale.numerator / self.scale.denominator)


def parse_probe(name: str) -> tuple[str, str | None, Index]:
    """Return id, kind and end of the index of a name in ``probes``; the kind is None for the next one in order."""
    probe, at, row = name.rpartition("@")
    if not at or name.endswith(EXPORT):
        return name, None, ()
    if not (match := ROW.fullmatch(row)):
        raise ValueError(f"{name!r}: {row!r} is no row such as inlet, phase.1 or outlet.1.12")
    return probe, match[1], to_oid(match[2]) if match[2] else ()


def find_rows(profile: Profile, columns: Columns) -> dict[Row, tuple[Cell, ...]]:
    """Return the cells of each row of the device, rows in numerical order.

    A row is there if any of its columns has it, since a single cell may be missing just now. A cell whose scale the
    device does not tell is left out.
    """
    found: dict[Row, tuple[Cell, ...]] = {}
    for table in profile.tables:
        names = columns.get(table.names, {}) if table.names else {}
        named = {column: column.named(names) for column in table.columns}
        for row in sorted(_indexes(table, named, columns)):
            found[table.kind, row] = tuple(_cells(table, named, columns, row))
    return found


def _indexes(table: Table, named: Mapping[Column, Mapping[Index, Index]], columns: Columns) -> set[Index]:
    indexes: set[Index] = set()
    for column in table.columns:
        indexes |= set(named[column]) if column.name else column.rows(columns.get(column.oid, ()))
    if table.only:
        cells = columns.get(table.only.oid, {})
        return {index for index in indexes if table.only.holds(cells.get(index, 0))}
    return indexes


def _cells(table: Table, named: Mapping[Column, Mapping[Index, Index]], columns: Columns, row: Index) -> Iterator[Cell]:
    available = table.available if table.available and columns.get(table.available.oid) else None
    cells: dict[str, Cell] = {}
    for column in table.columns:
        index = named[column].get(row) if column.name else column.index(row)
        if index is None or row[: len(column.place)] != column.place:
            continue
        if scale := _scale(table, column, columns, index):
            cells[column.quantity] = Cell(column, index, scale, available, taken=table.taken)
    for cell in cells.values():
        if cell.column.idle in cells:
            cell = replace(cell, idle=cells[cell.column.idle])
        if not cell.column.product or columns.get(cell.column.oid):
            yield cell
        elif all(quantity in cells for quantity in cell.column.product):
            yield replace(cell, factors=tuple(cells[quantity] for quantity in cell.column.product))


def _scale(table: Table, column: Column, columns: Columns, index: Index) -> Fraction | None:
    """Return what one count is worth, None if the device should tell and does not."""
    scale = column.scale
    if table.digits:
        digits = columns.get(table.digits, {}).get(index)
        if not isinstance(digits, int) or not 0 <= digits <= MAX_DIGITS:
            return None
        scale /= 10**digits
    if table.factors:
        factor = columns.get(table.factors, {}).get(index)
        if not isinstance(factor, int):
            return None
        scale = scale / -factor if factor < 0 else scale * (factor or 1)
    return scale


def has_power(rows: Mapping[Row, Sequence[Cell]], columns: Columns) -> bool:
    """Return whether any row has active power now."""
    power = (cell for cells in rows.values() for cell in cells if cell.column.quantity == "w")
    return any(cell.value(columns) is not None for cell in power)


def choose_rows(
    names: Sequence[str], rows: Sequence[Row], ordered_kind: str, first: int | None = None
) -> list[tuple[str, Row]]:
    """Return id and row for each name but the empty ones; raise LookupError for a name without a row of its own.

    ``first`` is the number of the first row of the ordered kind, if that is known.
    """
    if names and not rows:
        raise LookupError("no power here: the device has none of the columns in which its profile looks")
    chosen: dict[Row, str] = {}
    in_order = _in_order(rows, ordered_kind, first)
    for name in names:
        probe, kind, end = parse_probe(name)
        row = next(in_order, None) if kind is None else _match(name, rows, kind, end)
        if row is None:
            raise LookupError(f"there are more names than {ordered_kind}s: {name!r} is left over")
        if probe and row in chosen:
            raise LookupError(f"{name!r} and {chosen[row]!r} name the same row")
        if probe:
            chosen[row] = probe
    return [(probe, row) for row, probe in chosen.items()]


def _in_order(rows: Sequence[Row], kind: str, first: int | None) -> Iterator[Row]:
    """Yield the rows of a kind one by one; raise LookupError at a hole in their numbers, or before them.

    A device that has just booted may not have all its rows yet, and names must not slip to the next ones.
    """
    before: Index = ()
    for row in rows:
        if row[0] != kind:
            continue
        index = row[1]
        if before and before[:-1] == index[:-1]:
            if index[-1] != before[-1] + 1:
                raise LookupError(f"{kind}s are missing between {to_text(before)} and {to_text(index)}")
        elif first is not None and index[-1] > first:
            raise LookupError(f"{kind}s are missing before {to_text(index)}")
        before = index
        yield row


def _match(name: str, rows: Sequence[Row], kind: str, end: Index) -> Row:
    if (kind, end) in rows:
        return kind, end
    matches = [row for row in rows if row[0] == kind and row[1][len(row[1]) - len(end) :] == end]
    if len(matches) != 1:
        raise LookupError(f"{name!r} matches {len(matches) or 'none'} of the rows")
    return matches[0]


def list_rows(rows: Sequence[Row]) -> str:
    """Return the rows as an operator writes them, such as "inlet.1, outlet.1 to outlet.24"."""
    texts = []
    for kind in KINDS:
        indexes = [f"{kind}.{to_text(index)}" for name, index in rows if name == kind]
        if len(indexes) > 4:
            indexes = [f"{indexes[0]} to {indexes[-1]} ({len(indexes)} rows)"]
        texts += indexes
    return ", ".join(texts) or "none"


def two_way_kinds(rows: Mapping[Row, Sequence[Cell]]) -> set[str]:
    """Return the kinds of rows that tell what flows back."""
    return {kind for (kind, _), cells in rows.items() if any(cell.column.two_way for cell in cells)}


def add_exports(probes: Sequence[tuple[str, str]], two_way: Container[str]) -> list[tuple[str, ...]]:
    """Return under which ids each of these probes, with the kinds of their rows, is published.

    An id that ends in @export already, or whose @export is another row's by the configuration, gets none beside it.
    """
    named = {probe for probe, _ in probes}
    return [
        (probe, export)
        if kind in two_way and not probe.endswith(EXPORT) and (export := probe + EXPORT) not in named
        else (probe,)
        for probe, kind in probes
    ]


def taken_at(cells: Sequence[Cell], columns: Columns) -> Value | None:
    """Return when the device took the values of a row by its own clock, None if it does not say."""
    return columns.get(cells[0].taken, {}).get(cells[0].index) if cells and cells[0].taken else None


def measure(ids: Sequence[str], kind: str, cells: Sequence[Cell], columns: Columns) -> list[Measurement]:
    """Return what these columns say of a row: what flows in under its first id, what flows back under its second."""
    values, wraps = {}, {}
    for cell in cells:
        if (value := cell.value(columns)) is not None:
            values[cell.column.quantity], wraps[cell.column.quantity] = value, cell.wrap()
    watts, exported_kwh = values.get("w"), values.pop(EXPORT_KWH, None)
    measurements = []
    if values:
        if watts is not None:
            values["w"] = max(0.0, watts)
        known = {ATTRIBUTES[quantity]: value for quantity, value in values.items()}
        measurements.append(Measurement(ids[0], level=KINDS[kind], kwh_wrap=wraps.get("kwh"), **known))
    for export in ids[1:]:
        if watts is not None or exported_kwh is not None:
            exported = None if watts is None else max(0.0, -watts)
            wrap = wraps.get(EXPORT_KWH)
            measurements.append(Measurement(export, watts=exported, kwh=exported_kwh, kwh_wrap=wrap, level=KINDS[kind]))
    return measurements
