"""The RRD files of all probes, fed from the bus, and what is known of each probe.

``probes.json`` says which wattmeter measures a probe and at which level; all else is read from the RRD files. A probe
whose file is gone is no longer listed after a restart. The directory belongs to one process.
"""

import json
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from itertools import repeat
from math import ceil
from pathlib import Path

import rrdtool

from kwapi.energy import MAX_GAP, gap_limit
from kwapi.measurement import Message, counted_probes, stale_after
from kwapi.plugins.ownership import Conflicts, Publishers, has_lapsed
from kwapi.plugins.rrd.archive import RRD_ERRORS, create, file_name, update_arguments

LOG = logging.getLogger(__name__)

MAX_AHEAD = 60.0  # seconds; one value far ahead of its time would shut out all others until then


@dataclass(frozen=True, slots=True)
class Probe:
    """A probe as it stands now.

    ``number`` counts probes in the order in which they were first heard of and stays with the name, ``counted`` says
    that it is part of the total, ``broken`` that its file can't be used. The state is up, stale, down (``reason`` says
    why) or muted.
    """

    name: str
    number: int
    wattmeter: str
    site: str
    level: str
    interval: float
    watts: float | None
    timestamp: float | None
    first_seen: float | None
    state: str
    reason: str
    counted: bool
    broken: bool

    @property
    def stale(self) -> bool:
        """Whether it is not measured now, for whatever reason."""
        return self.state != "up"


@dataclass(slots=True)
class _Series:
    number: int
    wattmeter: str
    level: str
    interval: float
    path: Path
    first_seen: float | None = None
    watts: float | None = None
    timestamp: float = 0.0  # of the newest value taken
    heard_at: float = 0.0  # by our steady clock
    waiting: list[tuple[float, float]] = field(default_factory=list)  # not yet written: timestamp, watts
    written: float | None = None  # up to when the file is; None: to be asked of the file
    heartbeat: int | None = None
    broken: bool = False


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts node-2 before node-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def site_of(wattmeter: str) -> str:
    """Return the site of a wattmeter: the first part of a dotted name, "" of any other."""
    return wattmeter.partition(".")[0] if "." in wattmeter else ""


class Store:
    """The RRD files of all probes.

    ``add`` is for one thread, the reader of the bus, and never waits for the disk; ``run`` is the work of another,
    which writes what was added every ``flush_every`` seconds. The rest is for any thread.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        max_gap: float = MAX_GAP,
        cleaning_interval: float = 300.0,
        flush_every: float = 5.0,
        clock: Callable[[], float] = time.time,
        steady_clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.directory = Path(directory).resolve()
        self.max_gap = max_gap
        self.cleaning_interval = cleaning_interval
        self.flush_every = flush_every
        self.conflicts = Conflicts()
        self.dropped = 0  # values not newer than the last, or of the future
        self._publishers = Publishers(cleaning_interval, self.conflicts)
        self._clock = clock
        self._steady_clock = steady_clock
        self._lock = threading.Lock()  # of all that is in memory
        self._writing = threading.Lock()  # keeps the values of a probe in order on their way to its file
        self._series: dict[str, _Series] = {}
        self._next_number = 0
        self._list_path = self.directory / "probes.json"
        self._list_changed = False
        self._list_broken = False
        self.directory.mkdir(parents=True, exist_ok=True)
        self._load()

    def add(self, message: Message) -> None:
        """Take the watts of a message, to be written by the next flush."""
        now = self._steady_clock()
        if message.w is None or not self._publishers.admit(message, now):
            return
        timestamp = round(message.timestamp, 3)  # as it is written
        if timestamp > self._clock() + MAX_AHEAD:
            if not self.dropped:
                LOG.warning("dropped what %s sends: its clock is more than %g s ahead", message.wattmeter, MAX_AHEAD)
            self.dropped += len(message.probes)
            return
        levels = repeat("device") if message.level is None else message.level
        with self._lock:
            for probe, watts, level in zip(message.probes, message.w, levels, strict=False):
                if watts is None or (series := self._claim(probe, level, message, now)) is None:
                    continue
                series.heard_at = now
                if timestamp > series.timestamp:
                    series.waiting.append((timestamp, watts))
                    series.watts, series.timestamp = watts, timestamp
                else:
                    self.dropped += 1

    def probes(self) -> list[Probe]:
        """Return all probes as they stand now, by name."""
        with self._lock:
            series = [(name, replace(one, waiting=[])) for name, one in self._series.items()]
        series.sort(key=lambda named: natural(named[0]))
        now = self._steady_clock()
        counted = self._counted(series, now)
        return [
            Probe(
                name,
                one.number,
                one.wattmeter,
                site_of(one.wattmeter),
                one.level,
                one.interval,
                one.watts,
                one.timestamp or None,
                one.first_seen,
                "up" if one.timestamp and now - one.heard_at <= stale_after(one.interval) else "stale",
                "",
                counted=name in counted,
                broken=one.broken,
            )
            for name, one in series
        ]

    def _counted(self, series: Iterable[tuple[str, _Series]], now: float) -> set[str]:
        """Return the probes that count to the total; a probe that is no longer reported does not decide for others."""
        live: dict[str, dict[str, str]] = {}
        lapsed: dict[str, dict[str, str]] = {}
        for name, one in series:
            gone = has_lapsed(now - one.heard_at, one.interval, self.cleaning_interval)
            (lapsed if gone else live).setdefault(one.wattmeter, {})[name] = one.level
        return {name for levels in (lapsed | live).values() for name in counted_probes(levels)}

    def probe(self, name: str) -> Probe | None:
        """Return a probe as it stands now, None if there is none of that name."""
        return next((probe for probe in self.probes() if probe.name == name), None)

    def sites(self) -> list[str]:
        """Return the sites that have probes, by name."""
        with self._lock:
            sites = {site_of(one.wattmeter) for one in self._series.values()}
        return sorted(sites, key=natural)

    def path(self, probe: str) -> Path:
        """Return the file of a probe."""
        return self.directory / file_name(probe)

    def flush(self, probes: Iterable[str] | None = None) -> None:
        """Write what was added, of these probes or of all; what can't be written is lost, and logged."""
        with self._lock:
            series = [self._series[name] for name in (self._series if probes is None else probes)]
        for one in series:
            with self._writing:
                self._write(one)
        if probes is None:
            with self._writing:
                self._save()

    def readable(self, probe: str) -> bool:
        """Return whether the file of a probe is a whole RRD file."""
        series = self._series[probe]
        with self._writing:
            try:
                rrdtool.last(str(series.path))
            except RRD_ERRORS as error:
                self._mark_broken(series, error)
                return False
        return True

    def run(self, stop: threading.Event) -> None:
        """Flush every ``flush_every`` seconds, and a last time when stopped."""
        while not stop.wait(self.flush_every):
            self.flush()
        self.flush()

    def _claim(self, probe: str, level: str, message: Message, now: float) -> _Series | None:
        """Return the series of a probe if the message's wattmeter may report it, None if another one does."""
        wattmeter, interval = message.wattmeter, message.interval
        series = self._series.get(probe)
        if series is None:
            series = _Series(self._next_number, wattmeter, level, interval, self.path(probe))
            self._series[probe] = series
            self._next_number += 1
            self._list_changed = True
        elif (series.wattmeter, series.level, series.interval) != (wattmeter, level, interval):
            if series.wattmeter != wattmeter and not has_lapsed(
                now - series.heard_at, series.interval, self.cleaning_interval
            ):
                self.conflicts.note(probe, "two wattmeters report the probe %s")
                return None
            series.wattmeter, series.level, series.interval = wattmeter, level, interval
            self._list_changed = True
        return series

    def _write(self, series: _Series) -> None:
        with self._lock:
            values, series.waiting = series.waiting, []
            max_gap = ceil(gap_limit(self.max_gap, series.interval))
        if not values:
            return
        path = str(series.path)
        try:
            if series.written is None:
                if not series.path.exists():
                    create(series.path, max_gap, values[0][0])
                    series.heartbeat = max_gap
                series.written = float(rrdtool.last(path))
            if series.heartbeat != max_gap:
                rrdtool.tune(path, "--heartbeat", f"w:{max_gap}")
                series.heartbeat = max_gap
            arguments, written = update_arguments(values, series.written, max_gap)
            if arguments:
                rrdtool.update(path, arguments)
            series.written = written
        except RRD_ERRORS as error:
            series.written = series.heartbeat = None
            self._mark_broken(series, error)
        else:
            if series.broken:
                LOG.info("%s is written again", path)
            series.broken = False

    def _mark_broken(self, series: _Series, error: Exception) -> None:
        if not series.broken:
            LOG.warning("%s can't be used, what is measured meanwhile is lost: %s", series.path, error)
        series.broken = True

    def _load(self) -> None:
        try:
            listed = json.loads(self._list_path.read_text("utf-8"))
            series = {
                name: _Series(one["number"], one["wattmeter"], one["level"], one["interval"], self.path(name))
                for name, one in listed.items()
            }
        except FileNotFoundError:
            return
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            LOG.warning("%s is damaged, probes are listed when they are heard of: %r", self._list_path, error)
            return
        for name, one in series.items():
            self._next_number = max(self._next_number, one.number + 1)
            if one.path.exists():
                self._series[name] = one
                self._resume(one)

    def _resume(self, series: _Series) -> None:
        path = str(series.path)
        try:
            series.watts = rrdtool.lastupdate(path)["ds"]["w"]
            series.written = float(rrdtool.last(path))
        except (*RRD_ERRORS, KeyError) as error:
            self._mark_broken(series, error)
            return
        series.timestamp = series.written + 1  # rrdtool tells the second of the newest value, not its fraction
        series.heard_at = self._steady_clock() - max(self._clock() - series.timestamp, 0.0)
        if series.timestamp > self._clock() + MAX_AHEAD:
            LOG.warning("%s has values of the future, and takes no others until then", path)

    def _save(self) -> None:
        with self._lock:
            if not self._list_changed:
                return
            self._list_changed = False
            listed = {
                name: {"number": s.number, "wattmeter": s.wattmeter, "level": s.level, "interval": s.interval}
                for name, s in self._series.items()
            }
        temporary = self._list_path.with_suffix(".new")
        try:
            temporary.write_text(json.dumps(listed, ensure_ascii=False, indent=1), "utf-8")
            os.replace(temporary, self._list_path)
        except OSError as error:
            self._list_changed = True  # try again
            if not self._list_broken:
                LOG.warning("the list of probes can't be written: %s", error)
            self._list_broken = True
        else:
            if self._list_broken:
                LOG.info("the list of probes is written again")
            self._list_broken = False
