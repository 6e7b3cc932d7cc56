"""What ``kwapi discover`` finds: a device, its rows and what they measure."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from kwapi.drivers.base import Driver
from kwapi.drivers.units import ATTRIBUTES
from kwapi.measurement import Measurement

PATIENCE = 60.0  # seconds; to look at all of a device takes longer than a poll

Row = tuple[str, str]  # kind and index, as in id@kind.index; the index is empty where there is one of a kind only


@dataclass(frozen=True, slots=True)
class Found:
    """A device that answered.

    ``in_order`` are the rows that names without a row mean, ``labels`` what the device itself calls its rows,
    ``settings`` what its section needs beside the address and what was given, ``notes`` what its reader should know.
    """

    profile: str
    title: str
    in_order: list[Row]
    measured: Mapping[Row, Measurement]
    labels: Mapping[Row, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    notes: Sequence[str] = ()
    name: str = ""  # for its section, where the address does not make a good one
    part: str = ""  # behind the name, where one address has several
    takes_rows: bool = True  # whether a section can name other rows than those in order


@contextmanager
def opened(driver: type[Driver], values: Mapping[str, Any], shared: Any) -> Iterator[Driver]:
    """Give a driver with these values, open; close it in the end."""
    one = driver("discover", values, shared)
    try:
        one.open()
        yield one
    finally:
        one.close()


def measure_rows(
    driver: type[Driver], values: Mapping[str, Any], shared: Any, rows: Sequence[Row]
) -> dict[Row, Measurement]:
    """Return what the driver reads of rows that a section can name."""
    named = {to_text(row): row for row in rows}
    with opened(driver, {**values, "probes": [f"{name}@{name}" for name in named]}, shared) as one:
        # What flows back is no row of its own.
        return {named[each.probe]: each for each in one.read() if each.probe in named}


def to_text(row: Row) -> str:
    """Return a row as it stands after the @ of a probe."""
    return ".".join(filter(None, row))


def label_of(address: str) -> str:
    """Return the first part of a host's name, all of a numerical address, the end of a device's path."""
    if address.startswith("/"):
        return address.rpartition("/")[2]
    return address if re.fullmatch(r"[0-9.]+|.*:.*", address) else address.partition(".")[0]


def as_object(address: Mapping[str, Any], found: Found) -> dict[str, Any]:
    """Return what was found as one object of JSON."""
    rows = [
        {
            "row": to_text(row),
            "level": each.level,
            "index": row[1] or None,
            "label": found.labels.get(row) or None,
            **{name: getattr(each, name) for name in ATTRIBUTES.values()},
        }
        for row, each in found.measured.items()
    ]
    return {**address, **found.settings, "profile": found.profile, "title": found.title, "rows": rows}


def one_line(value: object) -> str:
    """Return text from a device without line ends and control characters."""
    text = str(value)
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = value.decode("latin-1")
    return " ".join("".join(c if unicodedata.category(c) not in ("Cc", "Cs") else " " for c in text).split())
