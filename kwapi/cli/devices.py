"""``tox -e genconfig``: writes docs/devices.md, what is supported and read, from the drivers and their profiles."""

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kwapi.drivers import BUILT_IN, EXTRAS
from kwapi.drivers.profiles import read_profiles

HEADING = """# What Kwapi reads

Made from the drivers and their profiles by `tox -e genconfig`; not to be edited.

## Drivers

| driver | what it speaks | needs |
|---|---|---|
"""
PROFILES = """
## Profiles of the driver {driver}

| profile | devices | reads | {last} |
|---|---|---|---|
"""
FOLDERS = {"snmp": "snmp", "modbus": "modbus", "http_json": "http", "mqtt": "mqtt"}
QUANTITIES = ("w", "va", "v", "a", "pf", "hz", "kwh", "export_kwh")
CHECKED = {"recording": "recording", "MIB": "MIB alone"}


def drivers() -> Iterator[str]:
    """Yield a row for each built-in driver."""
    for name, target in BUILT_IN.items():
        module = importlib.import_module(target.partition(":")[0])
        words = " ".join((module.__doc__ or "").split())
        about = re.sub(r" \(\w+\.py\)", "", words.split(". ")[0]).rstrip(".")
        yield f"| `{name}` | {about} | {f'`kwapi[{EXTRAS[name]}]`' if name in EXTRAS else '-'} |"


def quantities(entry: dict[str, Any], known: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield for each kind of row its quantities, with the unit of one count where it is not plain."""
    entry = known.get(entry.get("like", ""), {}) | entry
    tables = [(level, table) for level, table in entry.items() if isinstance(table, dict)]
    tables += [(channel.get("level", "device"), channel) for channel in entry.get("channel", ())]
    seen = set()
    for level, table in tables:
        columns = ", ".join(_quantity(name, table[name]) for name in QUANTITIES if name in table)
        if columns and (level, columns) not in seen:
            seen.add((level, columns))
            yield f"{level}: {columns}"


def _quantity(name: str, column: Any) -> str:
    unit = column.get("unit", "") if isinstance(column, dict) else column.rpartition(" ")[2] if " " in column else ""
    plain = {"w": "W", "va": "VA", "v": "V", "a": "A", "hz": "Hz"} | dict.fromkeys(QUANTITIES[6:], "kWh")
    return name if unit in ("", "1", plain.get(name)) else f"{name} ({unit})"


def document() -> str:
    """Return the whole page."""
    text = HEADING + "\n".join(drivers()) + "\n"
    for driver, folder in FOLDERS.items():
        known = read_profiles(folder, "", check=lambda name, entry: ())
        last = "checked on" if driver == "snmp" else "source"
        text += PROFILES.format(driver=driver, last=last)
        for name, entry in known.items():
            origin = CHECKED.get(entry.get("checked", ""), entry["source"])
            text += f"| `{name}` | {entry['title']} | {'; '.join(quantities(entry, known))} | {origin} |\n"
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Write the page to a file; return the exit status."""
    Path((sys.argv[1:] if argv is None else argv)[0]).write_text(document(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
