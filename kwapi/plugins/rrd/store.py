"""All probes and their RRD files, fed from the bus. The directory belongs to one process.

Values wait in memory for the next flush; a graph that needs them has them written before (files.py). Totals are made as
values come (totals.py). Which probes there are, the directory says (roster.py).
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from math import ceil, inf
from pathlib import Path

from kwapi.energy import MAX_GAP
from kwapi.health import Health
from kwapi.measurement import Message, counted_probes, stale_after, topic_of
from kwapi.plugins.health import Healths
from kwapi.plugins.ownership import Conflicts, Publishers, has_lapsed
from kwapi.plugins.positions import Positions, Taken
from kwapi.plugins.rrd.archive import file_name
from kwapi.plugins.rrd.files import Files, Updater
from kwapi.plugins.rrd.probe import Probe, natural, site_of
from kwapi.plugins.rrd.roster import Roster, as_of
from kwapi.plugins.rrd.series import NEVER, Listing, Series
from kwapi.plugins.rrd.standing import Standings
from kwapi.plugins.rrd.tool import HERE, Tool
from kwapi.plugins.rrd.totals import Outlook, Totals

__all__ = ["Probe", "Store"]

LOG = logging.getLogger(__name__)

MAX_AHEAD = 60.0  # seconds; one value far ahead of its time would shut out all others until then
FLUSH_PERIOD = 30.0  # seconds
FULL = 60  # values of a probe that wait for a flush; then it has one of its own
SLACK = 2.0  # seconds beyond a gap, for which known time begins at a whole second, and for a message's way
REMOVAL_PERIOD = 3600.0  # seconds; not at once after the start, when nobody was heard yet
NEW = 2.0  # seconds until a probe that is new has its file, and survives a kill
LOOK = 0.5  # seconds between two looks for such probes


class Store:
    """The probes of a directory and their files.

    ``add`` and ``add_health`` are for one thread, the reader of the bus, and never wait for the disk; ``run`` is the
    work of another. The rest is for any thread.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        max_gap: float = MAX_GAP,
        cleaning_interval: float = 300.0,
        flush_every: float = FLUSH_PERIOD,
        retention: float = 0.0,
        updater: Updater | None = None,
        tool: Tool = HERE,
        positions: Positions | None = None,
        can_resume: Callable[[], bool] = lambda: True,
        is_behind: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.max_gap = max_gap
        self.cleaning_interval = cleaning_interval
        self.flush_every = flush_every
        self.retention = retention  # seconds for which files are kept that nothing is written to; 0: for ever
        self.conflicts = Conflicts()
        self.dropped = 0  # values not newer than the last, or of the future
        self._publishers = Publishers(cleaning_interval, self.conflicts)
        self._healths = Healths()
        self._standings = Standings()
        self._positions = positions  # where is saved up to which message all is in the files
        self._can_resume = can_resume  # whether a spool answers; a restart would wait in vain for one that doesn't
        self._taken = Taken(positions.load() if positions is not None else None)
        self._is_behind = is_behind  # whether some of what was missed is still to come
        self._clock = clock
        self._steady_clock = steady_clock
        self._is_resuming, self._resumed_at = True, steady_clock()  # from our start until all that was missed has come
        self._lock = threading.Lock()  # of all that is in memory; add() holds it, so nobody does for long
        self._settling = threading.Lock()  # keeps the seconds of a total in order on their way to its file
        self._series: dict[str, Series] = {}
        self._wattmeters: dict[str, dict[str, Series]] = {}  # their probes
        self._listings: dict[str, Listing] = {}  # of wattmeters whose probes go in step
        self._has_new = False
        self._full: set[str] = set()  # names of those to be written soon
        self._sorted: dict[str, None] = {}  # names in their order
        self._tool = tool
        self._files = Files(self._lock, updater, tool)
        self.directory.mkdir(parents=True, exist_ok=True)
        self._totals = Totals(self.directory / "totals", tool)
        self._roster = Roster(self.directory)
        self._resume()

    def add(self, message: Message) -> None:
        """Take the watts of a message, to be written by the next flush."""
        self._standings.add(message)
        self._add(message)

    def add_late(self, message: Message) -> None:
        """Take those of one that was missed and comes now, in its turn."""
        age = max(self._clock() - message.timestamp, 0.0)
        self._standings.add_late(message, self._steady_clock() - age)
        self._add(message)

    def show(self, message: Message) -> None:
        """Show the watts of a message that is ahead of its turn, until it is added."""
        self._standings.show(message, self._steady_clock())

    def _add(self, message: Message) -> None:
        now, watts = self._steady_clock(), message.w
        if not self._publishers.admit(message, now):
            return
        timestamp = round(message.timestamp, 3)  # as it is written
        is_dropped = watts is not None and self._drops(message, timestamp)
        with self._lock:
            self._taken.note(topic_of(message.wattmeter), message.boot, message.seq)
            if watts is None or is_dropped:
                return  # and need not come again either
            listing = self._listings.get(message.wattmeter)
            if listing is None or not listing.is_followed_by(message, watts, timestamp):
                self._take_each(message, timestamp, now)
            elif listing.take(timestamp, watts, now) >= FULL:  # type: ignore[arg-type]  # none of them is None
                self._full.update(message.probes)

    def _drops(self, message: Message, timestamp: float) -> bool:
        """Drop the values of a message that is of the future; return whether it is."""
        if timestamp <= self._clock() + MAX_AHEAD:
            return False
        if not self.dropped:
            LOG.warning("dropped what %s sends: its clock is more than %g s ahead", message.wattmeter, MAX_AHEAD)
        self.dropped += len(message.probes)
        return True

    def add_health(self, health: Health) -> None:
        """Take how a wattmeter is."""
        self._healths.add(health, self._steady_clock())

    def probes(self) -> list[Probe]:
        """Return all probes as they stand now, by name."""
        series, now = self._series.copy(), self._steady_clock()
        names = self._sorted
        if names.keys() != series.keys():
            self._sorted = names = dict.fromkeys(sorted(series, key=natural))
        return [self._probe(series[name], now) for name in names]

    def probe(self, name: str) -> Probe | None:
        """Return a probe as it stands now, None if there is none of that name."""
        one = self._series.get(name)
        return None if one is None else self._probe(one, self._steady_clock())

    def sites(self) -> list[str]:
        """Return the sites that have probes, by name."""
        return sorted({site_of(one.wattmeter) for one in list(self._series.values())}, key=natural)

    def path(self, probe: str) -> Path:
        """Return the file of a probe."""
        return self.directory / file_name(probe)

    def total_path(self, site: str | None) -> Path:
        """Return the file of the total of a site, or over all."""
        return self._totals.path(site)

    def flush(self, probes: Iterable[str] | None = None) -> None:
        """Write what was added, of these probes, or of all and the totals."""
        if probes is None:
            self._flush_all()
            return
        series = [one for name in probes if (one := self._series.get(name)) is not None]
        self._files.write(series, retry=False)
        self._files.settle(series)

    def flush_totals(self) -> None:
        """Write those seconds of the totals to which no probe that is measured can still add.

        A flush of all that is under way does that, and nobody waits for its thousands of files.
        """
        if not self._settling.acquire(blocking=False):
            return
        try:
            with self._lock:
                settled = self._totals.settle(self._outlooks(self._steady_clock()))
            self._totals.write(settled)
        finally:
            self._settling.release()

    def readable(self, probe: str) -> bool:
        """Return whether the file of a probe is a whole RRD file."""
        return self._files.readable(self._series[probe])

    def run(self, stop: threading.Event) -> None:
        """Flush every ``flush_every`` seconds, what is full earlier, and all a last time when stopped."""
        flushed_at = removed_at = self._steady_clock()
        while not stop.wait(LOOK):
            if self.retention and self._steady_clock() - removed_at >= REMOVAL_PERIOD:
                removed_at = self._steady_clock()
                self.remove_untouched()
            if self._steady_clock() - flushed_at >= (NEW if self._has_new else self.flush_every):
                flushed_at = self._steady_clock()
                self._flush_all()
            elif self._full:
                with self._lock:
                    full, self._full = self._full, set()
                self._files.write([self._series[name] for name in full if name in self._series], retry=False)
        self._flush_all()
        self._tool.close()

    def remove_untouched(self) -> None:
        """Remove the files of probes, and of totals of sites without probes, that are older than the retention."""
        now, written_before = self._steady_clock(), self._clock() - self.retention
        silent = [one for one in self._series.copy().values() if now - one.heard_at > self.retention]
        removed = [one.path for one in silent if self._files.remove_untouched(one, written_before)]
        with self._lock:
            for one in silent:
                if not one.path.exists():
                    self._forget(one)
        sites = self._totals.remove_untouched(self.sites(), written_before)
        with self._lock:
            for site in sites:
                self._totals.sites.pop(site, None)
        if removed or sites:
            LOG.info(
                "removed what had no value for %g days: files of %d probes, totals of %d sites",
                self.retention / 86400,
                len(removed),
                len(sites),
            )

    def _flush_all(self) -> None:
        with self._settling:
            standing = self._positions.standing() if self._positions is not None else None  # first: it was all taken
            with self._lock:
                now = self._steady_clock()
                for wattmeter in self._wattmeters:
                    self._count(wattmeter, now)
                settled = self._totals.settle(self._outlooks(now))
                # As of before the values go to their files: after kill -9 what came since is taken once more, or counts
                # as not measured where it can't be had, and nothing counts twice.
                pending = self._totals.pending()
                listed = {name: one.entry() for name, one in self._series.items()}
                taken = self._taken.copy()
                series, self._full, self._has_new = list(self._series.values()), set(), False
            all_passed_on = self._files.write(series)
            self._totals.write(settled)
            if all_passed_on:
                self._totals.save(as_of(listed), pending)
                self._roster.save(listed)
                if self._positions is not None and standing is not None:
                    known = taken.positions if self._can_resume() else {}
                    self._positions.save(known, marks=standing.marks, boots=taken.boots(standing))

    def _take_each(self, message: Message, timestamp: float, now: float) -> None:
        """Take the values of a message one by one, of those probes that its wattmeter may report."""
        claimed = self._claim_all(message, timestamp, now)
        for one, watts in zip(claimed, message.w or (), strict=True):
            if one is None or watts is None:
                continue
            if timestamp <= one.timestamp:
                self.dropped += 1
                continue
            since = one.take(timestamp, watts, now)
            if since is not None and one.counted:
                one.total.add(since, timestamp, watts, 1)
            if len(one.times) >= FULL:
                self._full.add(one.name)
        taken = [one for one in claimed if one is not None]
        if len(taken) == len(claimed) and len({one.covered for one in taken}) == 1:
            self._listings[message.wattmeter] = Listing(message, taken)

    def _claim_all(self, message: Message, timestamp: float, now: float) -> list[Series | None]:
        """Return the probes of a message, None for one that isn't known or that another wattmeter reports."""
        self._listings.pop(message.wattmeter, None)
        levels = message.level or ["device"] * len(message.probes)
        claimed: list[Series | None] = []
        joining: list[Series] = []
        is_changed = False
        for name, watts, level in zip(message.probes, message.w or (), levels, strict=True):
            one = self._series.get(name)
            if watts is None or (one is not None and one.wattmeter != message.wattmeter and self._is_held(one, now)):
                claimed.append(None)
                continue
            if one is None:
                one = self._series[name] = self._new(name, message, timestamp)
            if (one.wattmeter, one.level, one.interval) != (message.wattmeter, level, message.interval):
                one.end_gap(timestamp)  # which its former interval left, and its total did not wait for
                self._assign(one, message, level, now)
                is_changed = True
            if has_lapsed(now - one.heard_at, one.interval, self.cleaning_interval):
                joining.append(one)
            one.heard_at = now
            claimed.append(one)
        if is_changed or joining:
            self._count(message.wattmeter, now)
        for one in joining:
            if one.counted:
                self._totals.join(site_of(one.wattmeter), ceil(timestamp))
        return claimed

    def _is_held(self, one: Series, now: float) -> bool:
        """Return whether the wattmeter of a probe keeps others from reporting it, which is a conflict."""
        if not one.wattmeter or has_lapsed(now - one.heard_at, one.interval, self.cleaning_interval):
            return False
        self.conflicts.note(one.name, "two wattmeters report the probe %s")
        return True

    def _new(self, name: str, message: Message, timestamp: float) -> Series:
        total = self._totals.site(site_of(message.wattmeter))
        number, self._has_new = self._roster.number(name), True
        return Series(name, number, "", "", 0.0, self.path(name), total, first_seen=timestamp)

    def _forget(self, one: Series) -> None:
        del self._series[one.name], self._wattmeters[one.wattmeter][one.name]
        self._listings.pop(one.wattmeter, None)
        self._full.discard(one.name)
        self._roster.leave(one.name, one.number)

    def _assign(self, one: Series, message: Message, level: str, now: float) -> None:
        """Let a probe be of a message's wattmeter."""
        if one.wattmeter != message.wattmeter:
            self._listings.pop(one.wattmeter, None)
            if one.name in self._wattmeters.get(one.wattmeter, ()):
                del self._wattmeters[one.wattmeter][one.name]
                self._count(one.wattmeter, now)
            one.wattmeter = message.wattmeter
            one.total = self._totals.site(site_of(message.wattmeter))
            self._wattmeters.setdefault(message.wattmeter, {})[one.name] = one
        one.level = level
        one.set_interval(message.interval, self.max_gap)

    def _count(self, wattmeter: str, now: float) -> None:
        """Find which probes of a wattmeter count; one that is no longer reported does not decide for others."""
        probes = self._wattmeters[wattmeter]
        live = {
            name: one.level
            for name, one in probes.items()
            if not has_lapsed(now - one.heard_at, one.interval, self.cleaning_interval)
        }
        counted = set(counted_probes(live or {name: one.level for name, one in probes.items()}))
        for name, one in probes.items():
            one.counted = name in counted
        if (listing := self._listings.get(wattmeter)) is not None:
            listing.count()

    def _outlooks(self, now: float) -> dict[str, Outlook]:
        """Return what the probes of each site still have to say to its total."""
        self._is_resuming = self._is_resuming and self._is_behind()
        if self._is_resuming:
            self._resumed_at = now
        settled: dict[str, float] = {}
        expected: Counter[str] = Counter()
        for wattmeter, probes in self._wattmeters.items():
            site, is_told = site_of(wattmeter), self._healths.of(wattmeter, now) is not None
            for one in probes.values():
                if not one.counted:
                    continue
                silent = now - one.heard_at
                if min(silent, now - self._resumed_at if one.resumes else inf) <= one.max_gap + SLACK:
                    settled[site] = min(one.covered, settled.get(site, inf))
                expected[site] += is_told or not has_lapsed(silent, one.interval, self.cleaning_interval)
        return {site: Outlook(settled.get(site, inf), count) for site, count in expected.items()}

    def _probe(self, one: Series, now: float) -> Probe:
        heard_at, timestamp, watts = one.heard_at, one.timestamp, one.watts
        if (standing := self._standings.of(one.wattmeter)) is not None:
            heard_at = standing.heard_at
            timestamp, watts = standing.power_of(one.name) or (timestamp, watts)
        is_measured = timestamp and now - heard_at <= stale_after(one.interval)
        away = self._healths.away(one.wattmeter, timestamp, now)
        state, reason = away or ("up" if is_measured else "stale", "")
        place = one.name, one.number, one.wattmeter, site_of(one.wattmeter), one.level, one.interval
        return Probe(*place, watts, timestamp or None, one.first_seen, state, reason, one.counted, one.broken)

    def _resume(self) -> None:
        """Go on with the probes of the directory."""
        now, wall_now = self._steady_clock(), self._clock()
        listed = self._roster.load()
        self._totals.resume(as_of(listed))
        for name, entry in listed.items():
            total = self._totals.site(site_of(entry.wattmeter))
            path, since = self.path(name), entry.first_seen
            one = Series(name, entry.number, entry.wattmeter, entry.level, 0.0, path, total, first_seen=since)
            one.set_interval(entry.interval, self.max_gap)
            self._series[name] = one
            self._wattmeters.setdefault(entry.wattmeter, {})[name] = one
        for name, (last, watts, first_seen) in self._files.look(self._series).items():
            one, entry = self._series[name], listed[name]
            one.first_seen = one.first_seen or first_seen
            if one.resume(entry, last, watts):
                one.heard_at = now - max(wall_now - one.timestamp, 0.0)
            if one.timestamp > wall_now + MAX_AHEAD:
                LOG.warning("%s has values of the future, and takes no others until then", one.path)
        newest = max((one.covered for one in self._series.values()), default=NEVER)
        for one in self._series.values():
            one.resumes = newest - one.covered <= one.max_gap + SLACK
        for wattmeter in self._wattmeters:
            self._count(wattmeter, now)
