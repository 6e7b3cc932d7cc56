"""What is known of a Modbus meter: which registers hold which quantity. Data, read from TOML files. No I/O besides.

    [name]                        the profile
    title, source                 shown to people; where the facts come from
    table                         input (function 4) or holding (function 3)
    type, words                   of every value: int16 ... float64; which of its registers comes first: high-first ...
    max_count                     registers that one request may ask for, 125 unless said otherwise
    [name.device]                 the whole meter; then L1, L2, L3, its phases. Names of a section follow this order
    w = {at = 0x0C, unit = "W"}   w, va, v, a, pf, hz, kwh, export_kwh; may have a type of its own

Addresses count from 0 as they travel: the 30013 or the 40013 of a manual is 12.

Source: MODBUS Application Protocol Specification V1.1b3, 4.4.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwapi.drivers.modbus.registers import EXPORT_KWH, MAX_COUNT, QUANTITIES, TYPES, WORD_ORDERS, Place, Register
from kwapi.drivers.profiles import key_mistakes, read_profiles
from kwapi.drivers.units import parse_unit

TABLES = ("input", "holding")
PLACES = {"device": "device", "L1": "phase", "L2": "phase", "L3": "phase"}  # their levels
LAST = 0xFFFF

PROFILE_KEYS: dict[str, type] = {
    "title": str,
    "source": str,
    "table": str,
    "type": str,
    "words": str,
    "max_count": int,
}
REGISTER_KEYS: dict[str, type] = {"at": int, "unit": str, "type": str}


@dataclass(frozen=True, slots=True)
class Profile:
    """A model of meter."""

    name: str
    title: str
    source: str
    table: str
    max_count: int
    places: tuple[Place, ...]


def generic(lines: Sequence[str], *, table: str, words: str, level: str) -> Profile:
    """Return the profile of a meter of which only these registers are known, such as ``w 0x28 int32 0.1 W``.

    A quantity that a place has already begins the next place. Raises ValueError that says what is wrong.
    """
    places: list[dict[str, Register]] = []
    for line in lines:
        register = parse_register(line, words)
        if not places or register.quantity in places[-1]:
            places.append({})
        places[-1][register.quantity] = register
    return Profile(
        name="generic",
        title="registers of the configuration",
        source="",
        table=table,
        max_count=MAX_COUNT,
        places=tuple(
            Place(str(number), level, tuple(place.values()), two_way=EXPORT_KWH in place)
            for number, place in enumerate(places, 1)
        ),
    )


def parse_register(line: str, words: str) -> Register:
    """Return the register that ``QUANTITY ADDRESS TYPE UNIT`` means; a power factor needs no unit."""
    quantity, at, kind, unit = [*line.split(maxsplit=3), "1"][:4] if len(line.split()) > 2 else ("", "", "", "")
    if not quantity:
        raise ValueError(f"{line!r} is not QUANTITY ADDRESS TYPE UNIT, such as 'w 0x28 int32 0.1 W'")
    if quantity not in QUANTITIES:
        raise ValueError(f"{line!r}: {quantity!r} is none of {', '.join(QUANTITIES)}")
    try:
        address = int(at, 0)
    except ValueError:
        raise ValueError(f"{line!r}: {at!r} is no address") from None
    for key, value in (("at", address), ("type", kind)):
        if problem := _content_problem(key, value):
            raise ValueError(f"{line!r}: {value!r} {problem}")
    register = Register(quantity, address, kind, parse_unit(unit, _unit_of(quantity)), words)
    if register.end > LAST + 1:
        raise ValueError(f"{line!r}: reaches beyond address {LAST}")
    return register


def load(directory: str | Path = "") -> dict[str, Profile]:
    """Return the profiles of Kwapi and of one more directory by name; raise ConfigError with every mistake in them."""
    entries = read_profiles("modbus", directory, _profile_mistakes)
    return {name: _profile(name, entry) for name, entry in entries.items()}


def _profile(name: str, entry: Mapping[str, Any]) -> Profile:
    two_way = any(EXPORT_KWH in entry[place] for place in PLACES if place in entry)
    return Profile(
        name=name,
        title=entry["title"],
        source=entry["source"],
        table=entry["table"],
        max_count=entry.get("max_count", MAX_COUNT),
        places=tuple(
            Place(place, level, _registers(entry, entry[place]), two_way)
            for place, level in PLACES.items()
            if place in entry
        ),
    )


def _registers(entry: Mapping[str, Any], place: Mapping[str, Any]) -> tuple[Register, ...]:
    return tuple(
        Register(
            quantity=quantity,
            at=line["at"],
            type=line.get("type", entry["type"]),
            scale=parse_unit(line["unit"], _unit_of(quantity)),
            words=entry["words"],
        )
        for quantity, line in place.items()
    )


def _unit_of(quantity: str) -> str:
    return "kwh" if quantity == EXPORT_KWH else quantity


def _profile_mistakes(name: str, entry: object) -> Iterator[str]:
    kinds: dict[str, type] = PROFILE_KEYS | dict.fromkeys(PLACES, dict)
    yield from key_mistakes(
        f"[{name}]", entry, kinds, _content_problem, ("title", "source", "table", "type", "words", "device")
    )
    if not isinstance(entry, dict):
        return
    for place in PLACES:
        if not isinstance(entry.get(place), dict):
            continue
        where = f"[{name}.{place}]"
        yield from key_mistakes(where, entry[place], dict.fromkeys(QUANTITIES, dict), _content_problem, ("w",))
        for quantity in QUANTITIES:
            if not isinstance(line := entry[place].get(quantity), dict):
                continue
            yield from key_mistakes(f"{where} {quantity}", line, REGISTER_KEYS, _content_problem, ("at", "unit"))
            if isinstance(line.get("unit"), str):
                try:
                    parse_unit(line["unit"], _unit_of(quantity))
                except ValueError as error:
                    yield f"{where} {quantity} unit: {error}"


def _content_problem(key: str, value: Any) -> str | None:
    choices = {"table": TABLES, "words": WORD_ORDERS, "type": tuple(TYPES)}.get(key)
    if choices and value not in choices:
        return f"is none of {', '.join(choices)}"
    if key == "at" and not 0 <= value <= LAST:
        return f"is no address from 0 to {LAST}"
    if key == "max_count" and not 4 <= value <= MAX_COUNT:
        return f"is not from 4 to {MAX_COUNT}"
    return None
