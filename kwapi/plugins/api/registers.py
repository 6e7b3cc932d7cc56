"""The energy registers of all probes as they survive whatever happens, in a directory of their own.

    registers      a slot for each probe (slots.py, record.py); slot 0 tells how the file was left
    columns        what came since then of probes that are measured in step (columns.py, column_file.py)
    events.jsonl   events.py
    lock           held by the one process that writes

kill -9 loses nothing: what is written belongs to the kernel at once. The disk has it SYNC_PERIOD later; what a power
loss takes is less than that, and each probe has an event of it. What is damaged is told and left out, a file that is
no register file of this version is kept aside.
"""

import json
import logging
import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kwapi.errors import ConfigError
from kwapi.plugins.api.column_file import ColumnFile, read_columns, settle_all
from kwapi.plugins.api.columns import Columns
from kwapi.plugins.api.events import EventLog
from kwapi.plugins.api.probe import Probe
from kwapi.plugins.api.record import VERSION, Unreadable, pack, unpack
from kwapi.plugins.api.slots import HEAD, Room, Slots, set_aside
from kwapi.plugins.api.states import Event
from kwapi.plugins.lock import lock

LOG = logging.getLogger(__name__)
FORMAT = b"kwapi energy %d\n"
SYNC_PERIOD = 10.0  # seconds
DIRECTORY = "energy"  # in state_dir
COLUMNS = "columns"  # there
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")  # of the machine: another one after every start of it


class Contents(NamedTuple):
    """What a register file holds: probes by name in the order of their slots, free slots with the first one last.

    ``doubles`` are what a rename that was cut short leaves of a probe: of two the one that counted more has the energy
    of both.
    """

    probes: dict[str, Probe]
    damaged: int
    free: list[int]
    doubles: list[Probe]


class Registers:
    """The register file of a directory, for one process; ConfigError if another one has it or it cannot be used."""

    def __init__(self, directory: Path, *, boot_id: str | None = None) -> None:
        self.path = directory / "registers"
        try:
            self._boot_id = BOOT_ID.read_text().strip() if boot_id is None else boot_id
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = lock(directory, "state_dir", "kwapi-api")
            _keep_aside_unless_ours(self.path)
            self._is_new = not self.path.exists()
            self._slots = Slots(self.path, FORMAT % VERSION)
            self.columns = ColumnFile(directory / COLUMNS)
            self.events = EventLog(directory / "events.jsonl")
        except OSError as error:
            raise ConfigError(f"state_dir: cannot use {directory}: {error.strerror}") from error
        self._room = Room(self._slots, [], self._tell_that_it_is_full)
        self._broken = False

    def load(self, now: float, wall_now: float) -> dict[str, Probe]:
        """Return the probes of the file, by name; ``now`` is of the clock by which they are heard."""
        before = self._opened()
        probes, damaged, free, doubles = read_all(self._slots, now, wall_now)
        self._room = Room(self._slots, free, self._tell_that_it_is_full)
        self._room.give_back(probe.slot for probe in doubles)
        changed, damaged_columns = self.columns.load(_by_slot(probes), now, wall_now)
        for probe in changed:
            self.write(probe)
        self.columns.clear()
        LOG.info("%s: %d probes go on where they were", self.path, len(probes))
        if damaged:
            LOG.error("%s: %d records are damaged, what they counted is lost", self.path, damaged)
        if damaged_columns:
            LOG.error("%s: %d records are damaged, what they counted last is lost", COLUMNS, damaged_columns)
        if not before and not self._is_new:
            LOG.error("%s: its beginning is missing or damaged; what it counted beyond these probes is lost", self.path)
        if (missing := before.get("slots", 0) - self._slots.found) > 0:
            LOG.error("%s: the last %d of %d slots are missing", self.path, missing, before["slots"])
        if before and not before["closed"] and before["boot"] != self._boot_id:
            LOG.warning("the machine stopped without warning: energy of its last %g s may be lost", SYNC_PERIOD)
            self.events.note(
                {name: Event(wall_now, "power loss", None, probe.energy.kwh) for name, probe in probes.items()}
            )
        return probes

    def write(self, probe: Probe) -> None:
        """Make a probe's record what it is now; where there is no room for one, that is told and no more."""
        if not probe.slot:
            known = len(self._slots)
            if not (taken := self._room.take()):
                return
            (probe.slot,) = taken
            if len(self._slots) != known:
                self._tell(closed=False)
        self._slots.write(probe.slot, pack(probe))

    def take_over(self, columns: Columns) -> None:
        """Have the records of probes say what columns said, which were settled."""
        for probe in columns.probes:
            self.write(probe)
        self.columns.end(columns)

    def free(self, slot: int) -> None:
        """Forget the record of a slot."""
        self._room.give_back([slot])

    def run(self, stop: threading.Event) -> None:
        """Have the disk hold what was written, again and again, and a last time when stopped."""
        while not stop.wait(SYNC_PERIOD):
            self.sync()
        self.close()

    def sync(self) -> None:
        """Have the disk hold what was written; that it cannot is told once."""
        self._room.try_again()
        faults = []
        for each in (self._slots, self.columns, self.events):
            try:
                each.sync()
            except OSError as error:
                faults.append(error)
        if faults and not self._broken:
            what = "a loss of power now would be one of energy"
            LOG.error("a file of %s cannot be written, %s: %s", self.path.parent, what, faults[0])
        elif self._broken and not faults:
            LOG.info("%s is written again", self.path.parent)
        self._broken = bool(faults)

    def close(self) -> None:
        """Leave the files as a whole, and each probe's record such that it needs no columns, as older versions have."""
        for columns in self.columns.begun():
            columns.settle()
            self.take_over(columns)
        self._tell(closed=True)
        self.sync()
        self._slots.close()
        self.columns.close()
        self.events.close()
        os.close(self._lock)

    def _opened(self) -> dict[str, Any]:
        """Return how the file was left, {} if that is unknown, and note that it is in use."""
        record = self._slots.read(0)
        self._tell(closed=False)
        self.sync()
        return dict(json.loads(record)) if record else {}

    def _tell(self, closed: bool) -> None:
        told = {"boot": self._boot_id, "closed": closed, "slots": len(self._slots)}
        self._slots.write(0, json.dumps(told).encode())

    def _tell_that_it_is_full(self, error: OSError) -> None:
        LOG.error("%s cannot grow, new probes are kept in memory only: %s", self.path, error)


def read_all(slots: Slots, now: float, wall_now: float) -> Contents:
    """Return what the slots hold."""
    probes: dict[str, Probe] = {}
    damaged, free, doubles = 0, [], []
    for number in range(len(slots) - 1, 0, -1):
        record = slots.read(number)
        try:
            if not record:
                raise Unreadable("nothing there")
            probe = unpack(record, now, wall_now)
        except Unreadable:
            damaged += record != b""
            free.append(number)
            continue
        probe.slot = number
        other = probes.get(probe.name)
        if other is not None and other.energy.kwh > probe.energy.kwh:
            doubles.append(probe)
            continue
        if other is not None:
            doubles.append(other)
        probes[probe.name] = probe
    in_order = sorted(probes.values(), key=lambda probe: probe.slot)
    return Contents({probe.name: probe for probe in in_order}, damaged, free, doubles)


def _by_slot(probes: Mapping[str, Probe]) -> dict[int, Probe]:
    return {probe.slot: probe for probe in probes.values()}


def read_registers(directory: Path) -> Contents:
    """Return what a directory's register file holds, also while a kwapi-api writes; ConfigError if there is none."""
    path = directory / "registers"
    try:
        with path.open("rb") as file:
            head = file.readline(HEAD)
        if head != FORMAT % VERSION:
            raise ConfigError(f"{path} is no register file of version {VERSION}: it begins with {head[:30]!r}")
        columns = read_columns(directory / COLUMNS)  # before the rest, or what is settled meanwhile would be in neither
        contents = _read(path)
        settle_all(columns, _by_slot(contents.probes))
        return contents
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error


def _keep_aside_unless_ours(path: Path) -> None:
    """Rename a file that is no register file of this version; one of which only the beginning is damaged stays."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except FileNotFoundError:
        return
    if head.startswith(FORMAT % VERSION):
        return
    version = re.match(FORMAT.replace(b"%d", rb"(\d+)"), head)
    contents = _read(path) if head and not version else None
    if version:
        why = f"has version {int(version[1])}, not {VERSION}"
    elif contents and contents.probes:
        LOG.error("%s: its beginning is damaged, the records are used", path)
        return
    elif contents and (any(head) or contents.damaged):
        why = "holds no energy registers"
    else:
        return  # nothing was ever written
    LOG.error("%s %s: it is kept as %s, and energy is counted from 0", path, why, set_aside(path).name)


def _read(path: Path) -> Contents:
    slots = Slots(path, b"", read_only=True)
    try:
        return read_all(slots, 0.0, 0.0)
    finally:
        slots.close()
