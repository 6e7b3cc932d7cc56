"""Which probes a directory has: those of its files. What the files don't tell stands in probes.json.

A probe's name is that of its file, so that no loss of the list loses a probe. The list keeps the numbers of probes that
are gone, too: one that comes back has its colour.
"""

from collections.abc import Mapping
from math import fsum
from pathlib import Path

import msgspec

from kwapi.measurement import probe_problem
from kwapi.plugins.rrd.archive import SUFFIX, file_name, probe_of
from kwapi.plugins.rrd.state_file import StateFile


class Entry(msgspec.Struct, omit_defaults=True, gc=False):
    """What is kept of a probe; first and last seen are Unix seconds."""

    number: int
    wattmeter: str = ""
    level: str = "device"
    interval: float = 1.0
    first_seen: float | None = None
    last_seen: float | None = None


class Roster:
    """The list of a directory, for one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._state = StateFile(directory / "probes.json", dict[str, Entry])
        self._former: dict[str, Entry] = {}
        self._next_number = 0

    def load(self) -> dict[str, Entry]:
        """Return the probes that have a file, in the order of their numbers."""
        self._former = self._state.load() or {}
        self._next_number = max((entry.number + 1 for entry in self._former.values()), default=0)
        files = {path.name: probe_of(path.name) for path in self._directory.glob(f"*{SUFFIX}")}
        names = sorted(name for file, name in files.items() if not probe_problem(name) and file == file_name(name))
        found = {name: self._former.pop(name, None) or Entry(self.number(name)) for name in names}
        return dict(sorted(found.items(), key=lambda named: named[1].number))

    def number(self, name: str) -> int:
        """Return the number of a probe that is new, or has come back."""
        if (former := self._former.pop(name, None)) is not None:
            return former.number
        self._next_number += 1
        return self._next_number - 1

    def leave(self, name: str, number: int) -> None:
        """Note that a probe is gone."""
        self._former[name] = Entry(number)

    def save(self, entries: Mapping[str, Entry]) -> None:
        """Save the list of all that are there."""
        self._state.save({**self._former, **entries})


def as_of(listed: Mapping[str, Entry]) -> float:
    """Return what tells a list of probes from one of another time."""
    return fsum(entry.last_seen for entry in listed.values() if entry.last_seen is not None)
