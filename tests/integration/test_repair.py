"""What kwapi-api missed it gets from the spool of kwapi-drivers: energy without a gap, whoever was killed."""

import time
from contextlib import closing, contextmanager
from itertools import pairwise

import pytest
import rrdtool

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.spool.reader import Reader
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

pytestmark = pytest.mark.integration

SECTIONS = "[meter]\ndriver = dummy\nload = steady\nwatts = 3600\ninterval = 0.1\nprobes = taurus-1\n"
MAX_GAP = 1.0  # seconds
AWAY = 3 * MAX_GAP


@pytest.fixture
def workers():
    return 0


@pytest.fixture
def site(tmp_path, workers):
    with Site(tmp_path, f"workers = {workers}\n{SECTIONS}") as site:
        for name, more in (("api", ""), ("rrd", "flush_interval = 1\n")):
            with (tmp_path / f"{name}.conf").open("a") as conf:
                conf.write(f"max_gap = {MAX_GAP}\n{more}")
        with running(site):
            yield site


@contextmanager
def running(site):
    """Start all but the graphs, with somebody who hears what is measured from before the API does."""
    site.start("drivers", "forwarder")
    gate = Gate(KeyFile(site.directory / "state" / "signing.key"))
    with Listener(Subscriber([site.published], [""], gate)) as site.bus:
        eventually(lambda: site.bus.of("meter"))
        site.start("api")
        eventually(lambda: site.probes().get("taurus-1", {}).get("kwh", 0) > 0.0005)
        eventually((site.directory / "state/energy/positions.json").exists)
        yield


def away():
    """Let the time pass in which somebody is dead."""
    end = time.monotonic() + AWAY
    eventually(lambda: time.monotonic() > end)


def caught_up(site):
    """Return the probe, once its newest value is of now, and all known energy until then is counted."""

    def newest():
        return next(iter(page_of(site)["probes"]), None)

    def is_whole(probe):
        known = probe["timestamp"] - probe["kwh_since"] - probe["unknown_seconds"]
        return probe["kwh"] * 1000 == pytest.approx(known, abs=0.05) and probe["timestamp"] > time.time() - 0.5

    eventually(lambda: (probe := newest()) and is_whole(probe))
    (account,) = page_of(site)["messages"].values()
    assert (account["rejected"], account["lost"]) == (0, 0)
    assert account["produced"] == account["delivered"] + account["awaited"]
    assert account["repaired"] > 0
    return newest()


def unmeasured(messages, since):
    """Return the seconds since a time in which nothing was measured; with a busy machine there are some."""
    pairs = pairwise(each.timestamp for each in messages if each.timestamp > since - 0.001)
    return sum(after - before for before, after in pairs if after - before > MAX_GAP)


def all_time_is_counted(site):
    probe = caught_up(site)
    assert probe["unknown_seconds"] == pytest.approx(unmeasured(site.bus.of("meter"), probe["kwh_since"]), abs=0.001)


def page_of(site):
    return site.get("/v2/probes?id=taurus-1") or {"probes": []}


def test_time_in_which_the_api_was_dead_is_counted(site):
    site.kill("api")
    away()
    site.start("api")
    all_time_is_counted(site)


def test_time_in_which_the_forwarder_was_dead_is_counted(site):
    site.kill("forwarder")
    away()
    site.start("forwarder")
    all_time_is_counted(site)


def test_a_forwarder_that_keeps_what_passes_is_asked_as_well(tmp_path):
    """The spool of kwapi-drivers is off, and nobody subscribes while kwapi-api is dead."""
    with Site(tmp_path, f"spool_dir =\n{SECTIONS}") as site:
        with (tmp_path / "forwarder.conf").open("a") as conf:
            conf.write(f"spool_dir = {tmp_path}/kept\nreplay_endpoint = {site.replayed}\n")
        with (tmp_path / "api.conf").open("a") as conf:
            conf.write(f"max_gap = {MAX_GAP}\n")
        with running(site):
            site.kill("api")
            away()
            site.start("api")
            all_time_is_counted(site)


def asked(question, *arguments):
    """Return what rrdtool says of a file, which is locked for a moment while kwapi-rrd writes to it."""
    for _ in range(100):
        try:
            return question(*arguments)
        except rrdtool.OperationalError as error:
            if "could not lock" not in str(error):
                raise
        time.sleep(0.02)
    return question(*arguments)


def test_time_in_which_the_graphs_were_dead_is_drawn(site):
    files = site.directory / "state" / "rrd"
    site.start("rrd")
    eventually((files / "positions.json").exists)
    began = int(asked(rrdtool.lastupdate, str(files / "taurus-1.rrd"))["date"].timestamp())
    site.kill("rrd")
    away()
    site.start("rrd")
    eventually(lambda: asked(rrdtool.last, str(files / "taurus-1.rrd")) > began + 2 * AWAY)
    arguments = ["AVERAGE", "--start", str(began), "--end", str(began + int(2 * AWAY) - 1)]
    _, names, rows = asked(rrdtool.fetch, str(files / "taurus-1.rrd"), *arguments)
    assert [row[names.index("w")] for row in rows] == [pytest.approx(3600.0)] * len(rows)


@pytest.mark.parametrize("workers", [0, 2], ids=["in one process", "in workers"])
def test_what_drivers_sent_before_they_were_killed_is_counted(site):
    """The API is dead meanwhile, so that it has two boots to catch up with."""
    site.kill("api")
    heard = site.bus.of("meter")[-1]
    away()
    site.kill("drivers")
    with closing(Reader(site.directory / "state" / "spool")) as reader:
        (kept,) = reader.runs_of(b"meter.")
    assert kept.boot == heard.boot and kept.last > heard.seq
    site.start("drivers")
    away()
    site.start("api")
    probe = caught_up(site)
    # What was on its way to the spool is lost; we may have missed what came first, and the API asked for it.
    there = [each for each in site.bus.of("meter") if each.boot != kept.boot or each.seq <= kept.last]
    assert len({each.boot for each in there}) == 2
    assert probe["unknown_seconds"] < unmeasured(there, probe["kwh_since"]) + 0.05
