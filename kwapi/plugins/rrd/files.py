"""Brings what waits in memory to the probes' RRD files: directly, or through rrdcached (rrdcached.py).

What can't be written is taken back and tried again with the next flush. It is said once, in one line for all files that
begin to fail at one time.
"""

import logging
import os
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Protocol

from kwapi.plugins.rrd.archive import RRD_ERRORS, create, first_known, newest
from kwapi.plugins.rrd.series import KEPT, Series, Waiting
from kwapi.plugins.rrd.tool import HERE, Tool

LOG = logging.getLogger(__name__)
CHUNK = 200  # files that are written together; graphs wait for no more
NAMED = 3  # files that a line of the log names

Update = tuple[Path, list[str]]  # a file, and arguments of rrdtool update


class Updater(Protocol):
    """What updates files; OSError if it can't do anything at all."""

    def update(self, updates: Sequence[Update]) -> dict[Path, str]:
        """Update files that exist, each to its own end; return what went wrong, by file."""

    def settle(self, paths: Sequence[Path]) -> None:
        """Have the files hold all that they were updated with."""

    def forget(self, path: Path) -> None:
        """Know nothing more of a file, which is to be removed."""


class Direct:
    """Updates files by rrdtool."""

    def __init__(self, tool: Tool) -> None:
        self._tool = tool

    def update(self, updates: Sequence[Update]) -> dict[Path, str]:
        results = self._tool.calls([("update", str(path), arguments) for path, arguments in updates])
        pairs = zip(updates, results, strict=True)
        return {path: str(result) for (path, _), result in pairs if isinstance(result, Exception)}

    def settle(self, paths: Sequence[Path]) -> None:
        """Nothing waits anywhere."""

    def forget(self, path: Path) -> None:
        """Nothing is known of it."""


class Files:
    """Writes what waits of each series; ``lock`` is that of the series' memory, and never held over I/O."""

    def __init__(self, lock: Lock, updater: Updater | None = None, tool: Tool = HERE) -> None:
        self._lock = lock
        self._writing = Lock()  # keeps the values of a probe in order on their way to its file
        self._updater = updater or Direct(tool)
        self._tool = tool
        self._unreachable = False
        self._times: list[float] = []
        self._template = ""  # of the arguments for these times: most probes have the same as the one before

    def write(self, series: Sequence[Series], *, retry: bool = True) -> bool:
        """Write what waits, as far as that can be; return False if the updater was not there.

        Without ``retry`` one that was not there before isn't asked.
        """
        if self._unreachable and not retry:
            return False
        failed: list[tuple[Series, str]] = []
        healed: list[Series] = []
        try:
            for first in range(0, len(series), CHUNK):
                with self._writing:
                    self._write(series[first : first + CHUNK], failed, healed)
        except OSError as error:
            self._note(error)
        _tell(failed, healed)
        return not self._unreachable

    def settle(self, series: Sequence[Series]) -> None:
        """Have the files hold all that was written, and look whether they do: an updater may have failed since."""
        if self._unreachable or isinstance(self._updater, Direct):
            return
        try:
            self._updater.settle([one.path for one in series])
        except OSError as error:
            self._note(error)
            return
        failed = []
        with self._writing:
            for one in series:
                if one.opened and (problem := self._missing(one)) is not None:
                    one.opened = False
                    if not one.broken:
                        failed.append((one, problem))
                    one.broken = True
        _tell(failed, [])

    def look(self, series: Mapping[str, Series]) -> dict[str, tuple[float, float | None, float | None]]:
        """Return what the files say, by name: the second and the watts of the newest value, and about when it began.

        The latter is None where the series knows. Files that can't be read are left out, and said.
        """
        self.settle(list(series.values()))
        values = newest([one.path for one in series.values()], self._tool)
        found, failed = {}, []
        for name, one in series.items():
            try:
                if isinstance(value := values[one.path], Exception):
                    raise value
                found[name] = (*value, first_known(one.path, self._tool) if one.first_seen is None else None)
            except RRD_ERRORS as error:
                failed.append((one, str(error)))
                one.broken = True
        _tell(failed, [])
        return found

    def readable(self, series: Series) -> bool:
        """Return whether the file is a whole RRD file."""
        try:
            self._tool.call("last", str(series.path))
        except RRD_ERRORS as error:
            with self._writing:
                if not series.broken:
                    _tell([(series, str(error))], [])
                series.broken, series.opened = True, False
            return False
        return True

    def remove_untouched(self, series: Series, written_before: float) -> bool:
        """Remove a file that nothing was written to since then; return whether it is removed."""
        try:
            if series.path.stat().st_mtime >= written_before:
                return False
            with self._writing:
                self._updater.forget(series.path)
                series.path.unlink()
        except OSError as error:
            LOG.warning("%s can't be removed: %s", series.path, error)
            return False
        return True

    def _write(self, series: Sequence[Series], failed: list[tuple[Series, str]], healed: list[Series]) -> None:
        with self._lock:
            waiting = [(one, one.pop()) for one in series if one.times]
        try:
            errors = self._update(waiting)
        except OSError:
            with self._lock:
                for one, values in waiting:
                    one.keep(values)
                    one.unsure = True
            raise
        if waiting:
            self._note_reached()
        for one, values in waiting:
            if (error := errors.get(one.path)) is None:
                if one.broken:
                    healed.append(one)
                one.broken = one.unsure = False
                one.written = max(values.times[-1], one.written)
                continue
            with self._lock:
                one.keep(values, everything=not one.broken)  # hours may wait that come from a spool, and it may pass
            one.unsure = True
            if not one.broken:
                failed.append((one, error))
            one.broken = True

    def _update(self, waiting: Sequence[tuple[Series, Waiting]]) -> dict[Path, str]:
        """Write values to their files; return what went wrong, by file."""
        self._updater.settle([one.path for one, _ in waiting if not one.opened and os.path.exists(one.path)])
        errors: dict[Path, str] = {}
        updates: list[Update] = []
        for one, (times, values, widest) in waiting:
            try:
                if not one.opened:
                    times, values = self._open(one, times, values, widest)
                if one.heartbeat != widest:
                    self._tool.call("tune", str(one.path), "--heartbeat", f"w:{widest}")
                    one.heartbeat = widest
            except RRD_ERRORS as error:
                errors[one.path] = str(error)
            else:
                if times:
                    updates.append((one.path, self._arguments(times, values)))
        return errors | self._updater.update(updates)

    def _open(
        self, one: Series, times: list[float], values: list[float | None], widest: int
    ) -> tuple[list[float], list[float | None]]:
        """Look where a file ends, or make it; return those of the values that it can take.

        The first of them ends a gap unless the file is known up to the value before.
        """
        if os.path.exists(one.path):
            last, first = self._end(one, times, values)
            times, values = times[first:], values[first:]
            begins_after_gap = bool(times) and times[0] - last > widest + 1  # rrdtool tells whole seconds
        else:
            create(one.path, widest, times[0], tool=self._tool)
            one.heartbeat, begins_after_gap = widest, True
        if begins_after_gap and values[0] is not None:
            begin = float(ceil(times[0]))
            later = bisect_right(times, begin)
            times, values = [begin, *times[later:]], [None, *values[later:]]
        one.opened = True
        return times, values

    def _end(self, one: Series, times: list[float], values: list[float | None]) -> tuple[float, int]:
        """Return the second in which a file ends, and the place of the first value that it has not."""
        found = newest([one.path], self._tool)[one.path]
        if isinstance(found, Exception):
            raise found
        last, value = found
        first = bisect_right(times, last)
        if one.unsure:  # rrdtool tells no fraction of a second, but the value
            same = [place for place in range(first, bisect_left(times, last + 1)) if values[place] == value]
            first = max(same, default=first - 1) + 1
        return last, first

    def _arguments(self, times: list[float], values: list[float | None]) -> list[str]:
        """Return the arguments of rrdtool update that write these values."""
        if None in values:
            pairs = zip(times, values, strict=True)
            return [f"{time:.0f}:U:0" if value is None else f"{time:.3f}:{value!r}:1" for time, value in pairs]
        if times != self._times:
            self._times, self._template = times, "\n".join(f"{time:.3f}:%r:1" for time in times)
        return (self._template % tuple(values)).split("\n")

    def _note(self, error: OSError) -> None:
        if not self._unreachable:
            LOG.warning("%s: the last %d values of each probe are kept meanwhile", error, KEPT)
        self._unreachable = True

    def _note_reached(self) -> None:
        if self._unreachable:
            LOG.info("what was kept is passed on again")
        self._unreachable = False

    def _missing(self, one: Series) -> str | None:
        """Return what is wrong if a file has not all that was written to it."""
        try:
            last = self._tool.call("last", str(one.path))
        except RRD_ERRORS as error:
            return str(error)
        return None if last >= int(one.written) else "what was passed on is not there"


def _tell(failed: Sequence[tuple[Series, str]], healed: Sequence[Series]) -> None:
    """Log which files can't be used, or can again; of many that is one line."""
    if failed:
        named = "; ".join(f"{one.path}: {error}" for one, error in failed[:NAMED])
        more = f"; and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
        LOG.warning("can't write, and keep the last %d values of each: %s%s", KEPT, named, more)
    if healed:
        named = ", ".join(str(one.path) for one in healed[:NAMED])
        more = f" and {len(healed) - NAMED} more" if len(healed) > NAMED else ""
        LOG.info("written again: %s%s", named, more)
