"""Writes the section of drivers.conf for a device that was found, all else in comments."""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from typing import Any

from kwapi.cli.discover.found import Found, Row, label_of, one_line, to_text
from kwapi.cli.table import cell, lines
from kwapi.drivers.snmp.profile import KINDS
from kwapi.drivers.units import ATTRIBUTES
from kwapi.measurement import NAME_BYTES, name_problem

FACTORY_LABEL = re.compile(  # 01, Outlet A1, channel1, TowerA_InfeedA_Outlet1: the same on every PDU of a make
    r"\d+|(tower[a-z]_|master_)?(infeed[a-z]_)?(outlet|channel|socket)[ _-]*[a-z]*\d+", re.IGNORECASE
)

CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # a device could end a line with, and begin one of its own


def section(wattmeter: str, address: str, settings: dict[str, Any], found: Found, taken: set[str]) -> list[str]:
    """Return the lines of a device's section; ``taken`` are the probes of those before, and gets those of this one."""
    measured = found.measured
    named = rows_to_name(found)
    names = probe_names(wattmeter, named, found.labels, taken)
    taken.update(names.values())
    used = [name for name in ATTRIBUTES.values() if any(getattr(each, name) is not None for each in measured.values())]
    rows = [[to_text(row), names.get(row), *(getattr(each, name) for name in used)] for row, each in measured.items()]
    probes = [name if named == found.in_order else f"{name}@{to_text(row)}" for row, name in names.items()]
    others = [row for row in measured if row not in names] if found.takes_rows else []
    text = [
        f"# {address}: {found.title} (profile {found.profile})",
        *(f"# {note}" for note in found.notes),
        "#",
        *(f"#   {line}" for line in lines(["row", "probe", *used], rows)),
        f"[{wattmeter}]",
        *(line for key, value in (settings | found.settings).items() for line in _setting(key, value)),
        f"probes = {_shown(', '.join(probes))}",
    ]
    if others:
        text += ["# It also measures these, which may be added to the probes:"]
        text += [f"#   {_fallback(wattmeter, row)}@{to_text(row)}" for row in others]
    return [CONTROL.sub("?", line) for line in text]


def rows_to_name(found: Found) -> list[Row]:
    """Return the rows that a section shall name: those in order, else the innermost or outermost ones with power."""
    with_power = [row for row, each in found.measured.items() if each.watts is not None]
    for candidates in (with_power, list(found.measured)):
        if not set(candidates).isdisjoint(found.in_order):
            return found.in_order
        for kind in ("outlet", *KINDS):
            if rows := [row for row in candidates if row[0] == kind]:
                return rows
    return []


def probe_names(wattmeter: str, rows: Sequence[Row], labels: Mapping[Row, str], taken: set[str]) -> dict[Row, str]:
    """Return a name for each row: its label, unless that is empty, as the factory left it or not its alone."""
    fallbacks = {
        row: f"{wattmeter}-outlet-{number}" if row[0] == "outlet" else _fallback(wattmeter, row)
        for number, row in enumerate(rows, 1)
    }
    whole = [row for row in rows if row[0] == "device" or row[0] != "outlet" and len(rows) == 1]
    if len(whole) == 1:
        fallbacks[whole[0]] = wattmeter
    fallbacks = {row: _free(name, taken) for row, name in fallbacks.items()}
    cleaned = {row: name_of(labels.get(row, "")) for row in rows}
    count = Counter([*cleaned.values(), *fallbacks.values(), *taken])
    return {row: name if name and count[name] == 1 else fallbacks[row] for row, name in cleaned.items()}


def _fallback(wattmeter: str, row: Row) -> str:
    return clean("-".join([wattmeter, *filter(None, row)]).replace(".", "-"))


def _free(name: str, taken: Container[str]) -> str:
    """Return the name, with a number behind it if another device has it, as a label."""
    names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
    return next(each for each in names if each not in taken)


def name_of(label: str) -> str:
    """Return the name that an owner gave an outlet, "" if there is none."""
    text = clean(label)
    return "" if FACTORY_LABEL.fullmatch(text) else text


def clean(label: str) -> str:
    """Return of a text what can be a name, "" for nothing."""
    text = unicodedata.normalize("NFC", one_line(label)).translate(str.maketrans("/,@", "---"))
    while len(text.encode()) > NAME_BYTES:
        text = text[:-1]
    text = text.strip(" \"'")  # quotes at both ends of a value are not part of it
    return "" if name_problem(text) else text


def wattmeter_name(address: str, port: int | None, taken: set[str], name: str = "", part: str = "") -> str:
    """Return a name for the section of a device; ``taken`` gets it.

    That is the name it was given, or one made of its address, without dots, which would group it, and of its port, if
    that is an unusual one: sections of several runs end in one file.
    """
    of_address = [re.sub(r"[^A-Za-z0-9_-]+", "-", each)[:40].strip("-") for each in (label_of(address), address)]
    bases = [name] if name else [f"{each}-{port}" if port else each for each in of_address]
    names = [f"{base}-{part}" if part else base for base in bases]
    numbered = (f"{names[-1]}-{number}" for number in itertools.count(2))
    free = next(each for each in itertools.chain(names, numbered) if each not in taken)
    taken.add(free)
    return free


def _setting(key: str, value: object) -> list[str]:
    """Return the lines of an option; a secret is not among the values, and is left to its owner."""
    return [f"# fill in the {key}:", f"{key} ="] if value == "" else [f"{key} = {_shown(value)}".rstrip()]


def _shown(value: object) -> str:
    return (cell(value).lower() if isinstance(value, bool) else str(value)).replace("$", "$$")
