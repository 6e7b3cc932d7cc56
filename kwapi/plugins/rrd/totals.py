"""The power of all probes that count, of each site and over all, second by second; each in an RRD file of its own.

A file has the sources of a probe's and a third, ``complete``: the share, 0 to 1, of the expected seconds of probes that
is in ``w``. A value stands for the time since the one before, as in its probe's own file; a second in which it stands
for a part only gets that part. So energy of the total is the sum of the energy of its probes. A second is written when
no probe that is measured can still add to it; what waits for that is saved with every flush:

    totals/all.rrd           over all
    totals/site-<name>.rrd   of one site
    totals/pending.json      the last two of [as of, {file: [[second, joules, seconds of probes], ...]}]
"""

import logging
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from math import inf
from pathlib import Path
from typing import NamedTuple

from kwapi.plugins.rrd.archive import ALWAYS, RRD_ERRORS, SUFFIX, create, file_name, probe_of
from kwapi.plugins.rrd.state_file import StateFile
from kwapi.plugins.rrd.tool import HERE, Tool

LOG = logging.getLogger(__name__)

ALL = f"all{SUFFIX}"
SITE = "site-"
SHARES = ("known", "complete")
ROWS_AT_ONCE = 500  # in one call of rrdtool, which keeps its arguments on the stack

KEPT = 3600  # seconds that are kept while their file can't be written

Pending = tuple[int, float, float]  # second, joules, seconds of probes


class Row(NamedTuple):
    """A second that nobody adds to any more; ``expected`` are the seconds of probes that it should have."""

    second: int
    joules: float
    probe_seconds: float
    expected: int

    @property
    def complete(self) -> float:
        """The share of what is expected that is there."""
        return min(self.probe_seconds / self.expected, 1.0) if self.expected > 0 else 1.0


class Outlook(NamedTuple):
    """What a site's probes still have to say: up to when all of them have, and how many are expected."""

    settled: float = inf
    expected: int = 0


class Snapshot(NamedTuple):
    """What could not be written yet, by file, and what tells of when that was (the sum of all times last seen)."""

    as_of: float
    pending: dict[str, list[Pending]]


class Total:
    """One file, and the seconds that are not written yet.

    ``write`` may run while another thread calls the rest, one call at a time.
    """

    def __init__(self, path: Path, tool: Tool = HERE) -> None:
        self.path = path
        self._tool = tool
        self.late = 0  # values that came when their second was written already
        self.broken = False
        self._joules: dict[int, float] = {}
        self._probe_seconds: dict[int, float] = {}
        self._joined: list[float] = []  # from when on a probe is expected that was not before
        self._settled = 0  # seconds before it are complete
        self._written: int | None = None  # up to when the file is; None: to be asked of the file
        self._unwritten: list[Row] = []

    def add(self, begin: float, end: float, watts: float, probes: int) -> None:
        """Let so many probes have drawn so many watts together between two times."""
        joules, probe_seconds = self._joules, self._probe_seconds
        if begin < self._settled:
            self.late += 1
            begin = float(self._settled)
        second = int(begin)
        while second < end:
            seconds = (end if end < second + 1 else second + 1) - (begin if begin > second else second)
            joules[second] = joules.get(second, 0.0) + watts * seconds
            probe_seconds[second] = probe_seconds.get(second, 0.0) + probes * seconds
            second += 1

    def absorb(self, seconds: Iterable[Pending]) -> None:
        """Add seconds of another total."""
        for second, joules, probe_seconds in seconds:
            if second < self._settled:
                self.late += 1
                continue
            self._joules[second] = self._joules.get(second, 0.0) + joules
            self._probe_seconds[second] = self._probe_seconds.get(second, 0.0) + probe_seconds

    def join(self, since: float) -> None:
        """Note that one more probe is expected from a time on."""
        self._joined.append(since)

    def settle(self, outlook: Outlook) -> list[Row]:
        """Return the seconds that ended by then, in order, and forget them."""
        seconds = sorted(second for second in self._joules if second + 1 <= outlook.settled)
        if not seconds:
            return []
        joined, before = sorted(self._joined), outlook.expected - len(self._joined)
        self._settled = seconds[-1] + 1
        self._joined = [since for since in joined if since >= self._settled]
        popped = ((second, self._joules.pop(second), self._probe_seconds.pop(second)) for second in seconds)
        return [Row(*pending, before + bisect_right(joined, pending[0])) for pending in popped]

    def pending(self) -> list[Pending]:
        """Return the seconds that are not settled."""
        return [(second, joules, self._probe_seconds[second]) for second, joules in self._joules.items()]

    def write(self, rows: Iterable[Row]) -> None:
        """Write seconds, and those that could not be written before; RRD_ERRORS if that can't be now."""
        self._unwritten = [*self._unwritten, *rows][-KEPT:]
        if not self._unwritten:
            return
        is_new = not self.path.exists()
        written = 0 if is_new else self._written
        self._written = None  # unless all goes well
        if written is None:
            written = int(self._tool.call("last", str(self.path)))
        arguments = []
        for row in self._unwritten:
            if row.second < written:
                continue
            if row.second > written:
                arguments.append(f"{row.second}:U:0:0")
            arguments.append(f"{row.second + 1}:{row.joules!r}:1:{row.complete:.6f}")
            written = row.second + 1
        if is_new:
            self.path.parent.mkdir(exist_ok=True)
            create(self.path, ALWAYS, float(self._unwritten[0].second), SHARES, self._tool)
        for first in range(0, len(arguments), ROWS_AT_ONCE):
            self._tool.call("update", str(self.path), arguments[first : first + ROWS_AT_ONCE])
        self._written, self._unwritten = written, []


class Totals:
    """The totals of a directory: one over all, and one of each site."""

    def __init__(self, directory: Path, tool: Tool = HERE) -> None:
        self.directory = directory
        self._tool = tool
        self.all = Total(self.path(None), tool)
        self.sites: dict[str, Total] = {}
        self._state = StateFile(directory / "pending.json", list[Snapshot])
        self._saved: list[Snapshot] = []  # the last two

    def path(self, site: str | None) -> Path:
        """Return the file of a site, or of all."""
        return self.directory / (ALL if site is None else SITE + file_name(site))

    def site(self, name: str) -> Total:
        """Return the total of a site."""
        total = self.sites.get(name)
        if total is None:
            total = self.sites[name] = Total(self.path(name), self._tool)
        return total

    def join(self, site: str, since: float) -> None:
        """Note that one more probe of a site is expected from a time on."""
        self.site(site).join(since)
        self.all.join(since)

    def settle(self, outlooks: Mapping[str, Outlook]) -> list[tuple[Total, list[Row]]]:
        """Return what can be written by now."""
        settled = []
        for name, total in self.sites.items():
            rows = total.settle(outlooks.get(name, Outlook()))
            self.all.absorb(row[:3] for row in rows)
            settled.append((total, rows))
        until = min((outlook.settled for outlook in outlooks.values()), default=inf)
        rows = self.all.settle(Outlook(until, sum(outlook.expected for outlook in outlooks.values())))
        return [*settled, (self.all, rows)]

    def pending(self) -> dict[str, list[Pending]]:
        """Return what can't be written yet, by file."""
        return {total.path.name: total.pending() for total in (self.all, *self.sites.values())}

    def write(self, settled: Iterable[tuple[Total, list[Row]]]) -> None:
        """Write what was settled; what can't be is said once, and kept for a while."""
        for total, rows in settled:
            try:
                total.write(rows)
            except RRD_ERRORS as error:
                if not total.broken:
                    LOG.warning("%s can't be written, the last %d s of it are kept: %s", total.path, KEPT, error)
                total.broken = True
            else:
                if total.broken:
                    LOG.info("%s is written again", total.path)
                total.broken = False

    def remove_untouched(self, sites: Collection[str], written_before: float) -> list[str]:
        """Remove the files, of other sites than these, that nothing was written to since then; return their sites."""
        removed = []
        for path in self.directory.glob(f"{SITE}*{SUFFIX}"):
            site = probe_of(path.name.removeprefix(SITE))
            if site not in sites and path.stat().st_mtime < written_before:
                path.unlink()
                removed.append(site)
        return removed

    def resume(self, as_of: float) -> None:
        """Go on with what was saved with a list of probes: a kill may have come between the two."""
        self._saved = self._state.load() or []
        pending = next((snapshot.pending for snapshot in reversed(self._saved) if snapshot.as_of == as_of), {})
        for name, seconds in pending.items():
            total = self.all if name == ALL else self.site(probe_of(name.removeprefix(SITE)))
            total.absorb(seconds)  # those that were written since are left out when the others are

    def save(self, as_of: float, pending: dict[str, list[Pending]]) -> None:
        """Save what a restart is to go on with, beside what was saved before."""
        self._saved = [*self._saved[-1:], Snapshot(as_of, pending)]
        self._state.save(self._saved)
