"""What is known of devices, as data: TOML files, a folder for each driver that has profiles, one file per vendor.

More of them are read from folders of the same names in a directory of the installation's own. What a table of a file
may hold is the driver's matter; here is what all have in common.
"""

import tomllib
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from oslo_config import cfg

from kwapi.errors import ConfigError

PROFILE_DIR = cfg.StrOpt(
    "profile_dir",
    default="/etc/kwapi/profiles",
    help="Directory with more profiles, if it is there, in folders named snmp, modbus, http, mqtt.",
)


def read_profiles(folder: str, directory: str | Path, check: Callable[[str, object], Iterable[str]]) -> dict[str, Any]:
    """Return the tables of Kwapi's files in a folder, and of those in ``directory``'s folder of that name, by name.

    Raise ConfigError with every mistake that ``check`` finds, given a table's name and content.
    """
    entries: dict[str, Any] = {}
    mistakes: list[str] = []
    own = Path(directory or "/nonexistent") / folder
    for place in (resources.files("kwapi.drivers.profiles") / folder, own):
        for file in sorted(place.iterdir() if place.is_dir() else (), key=lambda file: file.name):
            if not file.name.endswith(".toml"):
                continue
            try:
                content = tomllib.loads(file.read_text(encoding="utf-8"))
            except ValueError as error:  # of TOML or of UTF-8
                mistakes.append(f"{file.name}: {error}")
                continue
            for name, entry in content.items():
                found = list(check(name, entry))
                if name in entries:
                    found.append(f"[{name}]: there is a profile of this name already")
                mistakes += [f"{file.name}: {mistake}" for mistake in found]
                if not found:
                    entries[name] = entry
    if mistakes:
        raise ConfigError(*mistakes)
    return entries


def stamp(folder: str, directory: str | Path) -> Hashable:
    """Return what is another when a file in ``directory``'s folder is another."""
    found = ((file.name, file.stat()) for file in Path(directory or "/nonexistent", folder).glob("*.toml"))
    return frozenset((name, status.st_ino, status.st_mtime_ns, status.st_size) for name, status in found)


def key_mistakes(
    where: str,
    entry: object,
    kinds: Mapping[str, type],
    content_problem: Callable[[str, Any], str | None],
    required: Iterable[str] = (),
) -> Iterator[str]:
    """Yield what is wrong with the keys of a table: missing, unknown, of another type than in ``kinds``, or in content.

    ``content_problem`` is given a key and its value, and returns what is wrong with it or None.
    """
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
        elif problem := content_problem(key, value):
            yield f"{where} {key}: {value!r} {problem}"
