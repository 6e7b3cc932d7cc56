"""kwapi-rrd under load, killed at random moments and in the midst of writing, and what its files must have then.

After a kill that is all but the last flush. When it runs again the bus repairs the rest, and nothing is missing at all.
"""

import json
import random
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
import rrdtool

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.plugins.rrd.store import Store
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

WATTMETERS, PROBES = 8, 50
FLUSH = 1.0  # seconds
LATE = 5.0  # seconds in which a flush is done on a machine that is busy
SECTION = "[site{site}.meter{number}]\ndriver = dummy\ninterval = 0.5\nprobes = {probes}\n"


def sections() -> str:
    """Return the wattmeters, of two sites, whose power changes all the time."""
    text = ""
    for number in range(WATTMETERS):
        probes = ", ".join(f"probe {number}-{place}" for place in range(PROBES))
        text += SECTION.format(site=number % 2, number=number, probes=probes)
    return text


def live(seconds: float) -> None:
    """Return after so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)


class Life:
    """One life of kwapi-rrd."""

    def __init__(self, site: Site, directory: Path) -> None:
        self._site = site
        self._directory = directory
        self.listening_since: float | None = None

    def run(self, seconds: float) -> float:
        """Let it live so long; kill it and return when."""
        self._site.start("rrd")
        live(seconds)
        return self._kill()

    def run_on(self, seconds: float, in_flush: float | None) -> float:
        """Let it live so long after it began to listen, and until so many seconds after a flush began, if asked for."""
        self._site.start("rrd")
        eventually(self._accepted)
        self.listening_since = time.time()
        live(seconds)
        if in_flush is not None:
            before = self._newest_change()
            eventually(lambda: self._newest_change() > before)
            time.sleep(in_flush)
        return self._kill()

    def _kill(self) -> float:
        self._site.kill("rrd")
        return time.time()

    def _accepted(self) -> int:
        page = self._site.page("/healthz")
        return int(json.loads(page)["accepted"]) if page else 0

    def _newest_change(self) -> float:
        return max((path.stat().st_mtime for path in list(self._directory.glob("probe*0.rrd"))), default=0.0)


def run(directory: Path, kills: int, seed: int) -> int:
    """Kill kwapi-rrd so many times; fail if a file, a probe or a value is missing; return how many were compared."""
    chance, rrd_dir = random.Random(seed), directory / "state" / "rrd"
    compared, known, since = 0, 0, time.time() + 3600
    with Site(directory, sections()) as site:
        with (directory / "rrd.conf").open("a") as file:
            file.write(f"flush_interval = {FLUSH}\n")
        site.start("drivers", "forwarder")
        gate = Gate(KeyFile(directory / "state" / "signing.key"))
        with Listener(Subscriber([site.forwarded], [""], gate)) as bus:
            eventually(lambda: len(bus.wattmeters()) == WATTMETERS)
            for number in range(kills):
                life = Life(site, rrd_dir)
                if number % 3 == 2:
                    killed_at = life.run(chance.uniform(0.1, 2.0))
                else:
                    killed_at = life.run_on(chance.uniform(3.0, 6.0), chance.uniform(0, 0.05) if number % 3 else None)
                files = list(rrd_dir.rglob("*.rrd"))
                assert all(rrdtool.info(str(path))["step"] == 1 for path in files)
                found = Store(rrd_dir).probes()
                assert len(found) >= known and not any(probe.broken for probe in found)
                known = len(found)
                since = min(since, life.listening_since or since)
                if life.listening_since is not None:
                    flushed_at = (rrd_dir / "probes.json").stat().st_mtime
                    assert killed_at - FLUSH - LATE < flushed_at
                    compared += compare(rrd_dir, bus, int(life.listening_since) + 2, int(flushed_at))
            site.start("rrd")
            restarted_at = time.time()
            eventually(lambda: flushed_up_to(rrd_dir) > restarted_at, timeout=60)
            assert site.stop("rrd") == 0
            # The bus has repaired what was missed: nothing is, whenever it came.
            begin = max(int(since) + 2, int(restarted_at) - 200)
            compared += compare(rrd_dir, bus, begin, int(restarted_at))
            totals_are_sums(rrd_dir, begin, int(restarted_at))
        assert known == WATTMETERS * PROBES
        assert "Traceback" not in site.log("rrd")
        assert "can't be" not in site.log("rrd")
    return compared


def flushed_up_to(directory: Path) -> float:
    """Return up to when all probes had their values when the newest flush began."""
    listed = json.loads((directory / "probes.json").read_text("utf-8"))
    return min(float(entry["last_seen"]) for entry in listed.values())


def rows(path: Path, begin: int, end: int) -> list[tuple[float, ...]]:
    """Return what a file has of each second."""
    window = ["-r", "1", "-s", str(begin), "-e", str(end - 1)]
    (start, _, step), _, found = rrdtool.fetch(str(path), "AVERAGE", *window)
    assert (start, step) == (begin, 1)
    return list(found)


def totals_are_sums(directory: Path, begin: int, end: int) -> None:
    """Fail unless the total over all is the sum of what the probes' files have, in every second."""
    parts = [rows(path, begin, end) for path in directory.glob("*.rrd")]
    for number, (total, _, complete) in enumerate(rows(directory / "totals" / "all.rrd", begin, end)):
        assert complete == pytest.approx(1)
        assert total == pytest.approx(sum(part[number][0] for part in parts), abs=1)


def compare(directory: Path, bus: Listener, begin: int, flushed_at: int) -> int:
    """Fail unless each file has what was on the bus from a time until a flush; return how many seconds were compared.

    The list, which every flush saves at its end, tells up to when it had values when it began.
    """
    compared = 0
    listed = json.loads((directory / "probes.json").read_text("utf-8"))
    values: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for message in list(bus.messages):
        if message.timestamp > begin - 5:
            for probe, watts in zip(message.probes, message.w or (), strict=True):
                values[probe].append((message.timestamp, watts or 0.0))
    for probe, measured in values.items():
        end = int(listed[probe]["last_seen"])
        assert end > flushed_at - LATE
        if end <= begin:
            continue
        path = directory / f"{probe.replace(' ', '%20')}.rrd"
        for second, (watts, share) in zip(range(begin, end), rows(path, begin, end), strict=True):
            expected = average(measured, second)
            if expected is None:
                continue
            assert share == pytest.approx(1), f"{probe} at {second}: {share} known, and it was flushed up to {end}"
            assert abs(watts - expected) < 0.1, f"{probe} at {second}: {watts} instead of {expected}"
            compared += 1
    return compared


def average(measured: list[tuple[float, float]], second: int) -> float | None:
    """Return the mean power of a second, None if it isn't known for all of it; a value stands for the time before."""
    joules = seconds = 0.0
    for (since, _), (until, watts) in pairwise(measured):
        part = min(until, second + 1) - max(since, second)
        if part > 0:
            joules, seconds = joules + watts * part, seconds + part
    return joules if seconds > 0.999 else None
