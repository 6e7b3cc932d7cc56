"""What befell the energy registers: the newest events of each probe, in memory and as lines of JSON in a file.

    {"probe": "taurus-1", "timestamp": 1795309123.4, "kind": "reset", "before": 512.5, "after": 0.0}
    {"probe": "taurus-1", "renamed": "taurus-7"}
    {"probe": "taurus-7", "forgotten": true}

A line is appended at once, so that it outlives this process; sync() puts it on the disk, and writes the file anew when
most of it is no longer needed.
"""

import json
import logging
import os
import threading
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kwapi.logs import counted
from kwapi.plugins.api.states import Event

LOG = logging.getLogger(__name__)
MAX_EVENTS = 100  # kept of each probe
NEEDLESS_LINES = 1000  # beside as many as are needed


class EventLog:
    """The events of all probes, for any thread; without a path in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self.noted: Counter[str] = Counter()  # by kind, since the start
        self._path = path
        self._lock = threading.Lock()
        self._events: dict[str, deque[Event]] = {}
        self._lines = 0  # of the file
        self._file: int | None = None
        self._meanwhile: list[str] | None = None  # lines that came while the file is written anew
        self._broken = False
        if path is not None:
            self._load(path)
            self._file = _append_to(path)

    def note(self, events: Mapping[str, Event]) -> None:
        """Keep events, one of each probe."""
        with self._lock:
            for probe, event in events.items():
                self._keep(probe, event)
                self.noted[event.kind] += 1
            self._append([_line(probe, event) for probe, event in events.items()])

    def of(self, probe: str) -> list[Event]:
        """Return the events of a probe, the newest last."""
        with self._lock:
            return list(self._events.get(probe, ()))

    def rename(self, old: str, new: str) -> None:
        """Have the events of one probe be another's, among those it has."""
        with self._lock:
            self._rename(old, new)
            self._append([json.dumps({"probe": old, "renamed": new})])

    def forget(self, probe: str) -> None:
        """Forget the events of a probe."""
        with self._lock:
            if self._events.pop(probe, None) is not None:
                self._append([json.dumps({"probe": probe, "forgotten": True})])

    def sync(self) -> None:
        """Have the disk hold all events; OSError if it cannot."""
        if self._path is None or self._file is None:
            return
        if self._lines > 2 * sum(map(len, list(self._events.values()))) + NEEDLESS_LINES:
            self._rewrite(self._path)
        os.fsync(self._file)

    def close(self) -> None:
        """Leave the file; what was appended stays."""
        with self._lock:
            if self._file is not None:
                os.close(self._file)
                self._file = None

    def _keep(self, probe: str, event: Event) -> None:
        self._events.setdefault(probe, deque(maxlen=MAX_EVENTS)).append(event)

    def _rename(self, old: str, new: str) -> None:
        events = sorted([*self._events.pop(old, ()), *self._events.get(new, ())], key=lambda event: event.timestamp)
        if events:
            self._events[new] = deque(events, maxlen=MAX_EVENTS)

    def _append(self, lines: Sequence[str]) -> None:
        """Append lines, to the kernel's memory and no further; what cannot be written is lost, which is told once."""
        if self._file is None:
            return
        self._lines += len(lines)
        if self._meanwhile is not None:
            self._meanwhile += lines
        try:
            os.write(self._file, "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            if not self._broken:
                LOG.error("%s cannot be written, events are kept in memory only: %s", self._path, error)
            self._broken = True

    def _rewrite(self, path: Path) -> None:
        """Replace the file by one that has the events we keep and no others."""
        with self._lock:
            lines = [_line(probe, event) for probe, events in self._events.items() for event in events]
            self._meanwhile = []
        beside = path.with_name(f".{path.name}.new")
        try:
            beside.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            file = _append_to(beside)
            os.fsync(file)
        except OSError:
            self._meanwhile = None
            raise
        with self._lock:
            meanwhile, self._meanwhile = self._meanwhile, None
            before, self._file, self._lines = self._file, file, len(lines)
            self._append(meanwhile)
            beside.replace(path)
        if before is not None:
            os.close(before)

    def _load(self, path: Path) -> None:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return
        wrong = 0
        for line in filter(None, text.split("\n")):  # splitlines() would also split at what names may have, a U+2028
            self._lines += 1
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, AttributeError):
                wrong += 1
        if wrong:
            LOG.warning("%s: %s cannot be read", path, counted(wrong, "line"))

    def _take(self, line: Any) -> None:
        if "renamed" in line:
            self._rename(line["probe"], str(line["renamed"]))
        elif "forgotten" in line:
            self._events.pop(line["probe"], None)
        else:
            self._keep(line["probe"], msgspec.convert(line, Event))


def _append_to(path: Path) -> int:
    """Return a descriptor that appends, on a line of its own should the last one be cut."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
    size = os.fstat(file).st_size
    if size and os.pread(file, 1, size - 1) != b"\n":
        os.write(file, b"\n")
    return file


def _line(probe: str, event: Event) -> str:
    return json.dumps({"probe": probe, **msgspec.structs.asdict(event)}, ensure_ascii=False)
