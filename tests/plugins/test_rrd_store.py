import json
import math
import os
from pathlib import Path

import pytest
import rrdtool
from hypothesis import given
from hypothesis import strategies as st

from kwapi.measurement import NAME_BYTES, probe_problem
from kwapi.plugins.rrd.archive import ARCHIVES, create, file_name, probe_of
from kwapi.plugins.rrd.store import Store
from tests.clock import Clock
from tests.messages import health, message
from tests.plugins.storing import NOW, add, fetch, warnings

names = st.text(min_size=1, max_size=NAME_BYTES).filter(lambda name: probe_problem(name) is None)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path / "rrd", clock=clock, steady_clock=clock)


def test_a_file_has_the_archives_of_the_periods(store):
    add(store, NOW)
    store.flush()
    layout = rrdtool.info(str(store.path("taurus-1")))
    assert layout["step"] == 1
    assert layout["ds[w].index"] == 0
    assert layout["ds[w].type"] == "GAUGE"
    assert layout["ds[w].minimal_heartbeat"] == 60
    assert layout["ds[w].min"] is None and layout["ds[w].max"] is None
    found = [(layout[f"rra[{n}].pdp_per_row"], layout[f"rra[{n}].rows"]) for n in range(len(ARCHIVES))]
    assert found == [tuple(archive) for archive in ARCHIVES.values()]
    assert [layout[f"rra[{n}].cf"] for n in range(14)] == ["AVERAGE"] * 6 + ["MIN"] * 4 + ["MAX"] * 4


def test_a_value_stands_for_the_second_before_it(store):
    for offset, watts in enumerate([10.0, 20.0, 30.0]):
        add(store, NOW - 3 + offset, watts)
    store.flush()
    assert fetch(store) == {NOW - 2: 20.0, NOW - 1: 30.0}


def test_a_value_of_many_seconds_has_its_own_power_in_each_whole_one(store):
    for step, watts in enumerate([100.0, 100.0, 2000.0, 100.0, 100.0]):
        add(store, NOW - 50.1 + 10 * step, watts, interval=10.0)
        fields = {"probes": ["taurus-2", "silent"], "w": [watts, None], "interval": 10.0}  # can't be taken at once
        store.add(message("other", timestamp=NOW - 50.1 + 10 * step, **fields))
    store.flush()
    for probe in ("taurus-1", "taurus-2"):
        found = fetch(store, probe, NOW - 50)
        assert [found[NOW - 40 + second] for second in range(1, 10)] == pytest.approx([2000.0] * 9)
        assert [found[NOW - 30 + second] for second in range(1, 10)] == pytest.approx([100.0] * 9)
        assert sum(found.values()) == pytest.approx(10 * 2000 + (len(found) - 10) * 100)


def test_fractions_of_a_second_share_their_second(store):
    for step, watts in enumerate([5.0, 10.0, 20.0, 30.0, 40.0]):
        add(store, NOW - 10 + step / 4, watts, interval=0.25)
    store.flush()
    assert fetch(store) == {NOW - 9: 25.0}


def test_neither_the_start_nor_the_end_of_a_gap_shows_as_a_dip(store):
    for step in range(20):
        add(store, NOW - 300.3 + step)
        add(store, NOW - 20.3 + step)
    store.flush()
    rows = fetch(store, start=NOW - 290, end=NOW)
    assert set(rows.values()) == {100.0}


def test_the_heartbeat_follows_the_wattmeter(store):
    def heartbeat():
        return rrdtool.info(str(store.path("taurus-1")))["ds[w].minimal_heartbeat"]

    add(store, NOW - 900)
    store.flush()
    for timestamp in (NOW - 800, NOW - 700, NOW - 600):
        add(store, timestamp, 50.0, interval=100.1)
    store.flush()
    assert heartbeat() == 251
    assert fetch(store, start=NOW - 650, end=NOW - 600, resolution=10)[NOW - 610] == 50.0
    add(store, NOW - 599, interval=1.0)
    store.flush()
    assert heartbeat() == 60


def test_unknown_old_and_future_values_are_left_out(store):
    add(store, NOW)
    add(store, NOW + 1, None)
    add(store, NOW, 200.0)
    add(store, NOW - 5, 200.0)
    add(store, NOW + 3600, 200.0)
    assert (store.dropped, store.probes()[0].watts) == (3, 100.0)
    store.add(message(probes=["meter"], kwh=[1.0]))
    assert [probe.name for probe in store.probes()] == ["taurus-1"]


def test_nothing_is_written_before_a_flush(store):
    add(store, NOW)
    assert list(store.directory.iterdir()) == []
    store.flush(["taurus-1"])
    assert [path.name for path in store.directory.iterdir()] == ["taurus-1.rrd"]
    store.flush()
    assert store.directory.joinpath("probes.json").exists()


def test_a_restart_keeps_the_probes_and_what_counts(tmp_path, clock):
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    for timestamp in (NOW - 2.5, NOW - 1.5):
        store.add(message(probes=["o-10", "o-9"], w=[40.0, 50.0], level=["outlet"] * 2, timestamp=timestamp))
        store.add(message("rack", probes=["in", "out"], w=[90.0, 80.0], level=["inlet", "outlet"], timestamp=timestamp))
    store.flush()
    before = store.probes()
    assert [probe.name for probe in before if probe.counted] == ["in", "o-9", "o-10"]

    again = Store(tmp_path, clock=clock, steady_clock=clock)
    after = again.probes()
    assert [(p.name, p.number, p.wattmeter, p.level, p.interval, p.watts, p.counted, p.stale) for p in after] == [
        (p.name, p.number, p.wattmeter, p.level, p.interval, p.watts, p.counted, p.stale) for p in before
    ]
    add(again, NOW - 0.5, 60.0, "o-9", level=["outlet"])
    again.flush()
    assert fetch(again, "o-9")[NOW - 1] == pytest.approx((50 + 60) / 2)


def test_a_removed_file_is_a_removed_probe(tmp_path, clock):
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    add(store, NOW)
    store.flush()
    store.path("taurus-1").unlink()
    assert Store(tmp_path, clock=clock, steady_clock=clock).probes() == []


def test_the_list_tells_what_the_files_do_not(store):
    for timestamp in (NOW - 2.5, NOW - 1.5):
        add(store, timestamp, interval=5.0)
    store.flush()
    listed = json.loads((store.directory / "probes.json").read_text())
    assert listed == {
        "taurus-1": {
            "number": 0,
            "wattmeter": "lyon.pdu1",
            "interval": 5.0,
            "first_seen": NOW - 2.5,
            "last_seen": NOW - 1.5,
        }
    }


def test_a_probe_is_stale_after_three_intervals_and_ten_seconds(store, clock):
    add(store, NOW, probe="quick", interval=1.0)
    add(store, NOW, probe="slow", interval=60.0)
    for later, stale in ((10, []), (11, ["quick"]), (180, ["quick"]), (181, ["quick", "slow"])):
        clock.now = NOW + later
        assert [probe.name for probe in store.probes() if probe.stale] == stale


def test_a_probe_is_down_or_muted_as_its_wattmeter_says(store, clock):
    def state():
        probe = store.probe("taurus-1")
        assert probe == store.probes()[0]
        return probe.state, probe.reason, probe.stale

    add(store, clock.now)
    assert state() == ("up", "", False)
    clock.now += 1
    store.add_health(health(state="down", reason="no answer in 2 s", timestamp=clock.now))
    assert state() == ("down", "no answer in 2 s", True)
    store.add_health(health(state="muted", timestamp=clock.now))
    assert state() == ("muted", "", True)
    add(store, clock.now + 1)
    assert state() == ("up", "", False)
    clock.now += 100
    assert state() == ("stale", "", True)
    assert store.probe("taurus-2") is None


def test_what_comes_late_is_not_shown_as_if_it_were_now_and_what_is_ahead_is(store, clock):
    add(store, NOW - 60, watts=1.0)
    clock.now = NOW
    store.add_late(message(seq=1, timestamp=NOW - 59, w=[2.0]))
    assert [(probe.state, probe.watts) for probe in store.probes()] == [("stale", 2.0)]
    store.show(message(seq=60, timestamp=NOW, w=[7.0]))
    store.add_late(message(seq=2, timestamp=NOW - 58, w=[3.0]))
    assert [(probe.state, probe.watts, probe.timestamp) for probe in store.probes()] == [("up", 7.0, NOW)]
    store.flush()
    assert fetch(store, start=NOW - 70)[NOW - 58] == 3.0
    assert NOW not in fetch(store)  # it has not come yet
    store.add_late(message(seq=60, timestamp=NOW, w=[7.0]))
    clock.now = NOW + 1
    add(store, NOW + 1, watts=8.0)
    assert [(probe.state, probe.watts, probe.timestamp) for probe in store.probes()] == [("up", 8.0, NOW + 1)]


def test_a_probe_that_comes_back_has_its_number(tmp_path, clock):
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    for name in "abc":
        add(store, NOW, probe=name, wattmeter=name)
    store.flush()
    store.path("b").unlink()
    again = Store(tmp_path, clock=clock, steady_clock=clock)
    add(again, NOW + 1, probe="d", wattmeter="d")
    again.flush()
    again = Store(tmp_path, clock=clock, steady_clock=clock)
    add(again, NOW + 1, probe="b", wattmeter="b")
    assert {probe.name: probe.number for probe in again.probes()} == {"a": 0, "b": 1, "c": 2, "d": 3}


def test_files_without_a_value_for_long_are_removed_with_the_totals_of_vanished_sites(tmp_path, clock):
    store = Store(tmp_path, retention=100 * 86400, clock=clock, steady_clock=clock)
    for second in range(3):
        for name in ("old.a", "old.b", "kept.c"):
            add(store, NOW + second, probe=name, wattmeter=name)
    clock.now += 60
    store.flush()
    clock.now += 99 * 86400
    add(store, clock.now, probe="kept.c", wattmeter="kept.c")
    store.flush()
    for path in tmp_path.rglob("*.rrd"):
        os.utime(path, (NOW, clock.now if "kept" in path.name else NOW))
    os.utime(store.path("old.b"), (clock.now, clock.now))  # somebody wrote to it
    store.remove_untouched()
    assert [probe.name for probe in store.probes()] == ["kept.c", "old.a", "old.b"]
    clock.now += 2 * 86400
    store.remove_untouched()
    assert [probe.name for probe in store.probes()] == ["kept.c", "old.b"]
    assert not store.path("old.a").exists()
    assert store.total_path("old").exists()
    os.utime(store.path("old.b"), (NOW, NOW))
    store.remove_untouched()
    store.remove_untouched()
    found = {path.name for path in tmp_path.rglob("*.rrd")}
    assert found == {"kept.c.rrd", "site-kept.rrd", "all.rrd"}
    add(store, clock.now, probe="old.a", wattmeter="old.a")
    assert [(probe.name, probe.number) for probe in store.probes()] == [("kept.c", 2), ("old.a", 0)]


@given(
    steps=st.lists(st.tuples(st.floats(0.01, 15.0), st.floats(0.0, 1e4)), min_size=2, max_size=30),
    flushed=st.sets(st.integers(0, 29)),
)
def test_the_energy_in_a_file_is_that_of_the_values(tmp_path_factory, steps, flushed):
    clock = Clock()
    store = Store(tmp_path_factory.mktemp("rrd"), max_gap=10.0, clock=clock, steady_clock=clock)
    covered, joules = 0.0, 0.0
    for number, (seconds, watts) in enumerate([*steps, (20.0, 1.0)]):
        clock.now = round(clock.now + seconds / 2, 3) if seconds < 20 else clock.now + 20
        if clock.now - covered > 10:
            covered = float(math.ceil(clock.now))
        elif clock.now > covered:
            joules += watts * (clock.now - covered)
            covered = clock.now
        add(store, clock.now, watts)
        if number in flushed:
            store.flush(["taurus-1"])
    store.flush()
    window = ["-r", "1", "-s", str(int(NOW) - 10), "-e", str(int(NOW) + 255)]
    found = rrdtool.fetch(str(store.path("taurus-1")), "AVERAGE", *window)[2]
    assert sum(w * known for w, known in found if w is not None) == pytest.approx(joules, rel=1e-3, abs=0.1)


def test_the_first_wattmeter_keeps_a_probe_until_it_was_stale_for_long(store, clock, caplog):
    add(store, clock.now, 1.0)
    for _ in range(2):
        clock.now += 1
        add(store, clock.now, 2.0, wattmeter="other")
    assert (store.conflicts.counts, store.probes()[0].watts) == ({"taurus-1": 2}, 1.0)
    assert warnings(caplog) == ["two wattmeters report the probe taurus-1"]
    clock.now += 310
    add(store, clock.now, 2.0, wattmeter="other")
    assert (store.probes()[0].wattmeter, store.probes()[0].watts) == ("other", 2.0)


def test_a_second_publisher_of_a_wattmeter_is_not_mixed_in(store, clock):
    for step in range(20):
        clock.now += 1
        add(store, clock.now, 100.0, boot=1, seq=step)
        if step > 5:
            add(store, clock.now + 0.5, 9000.0, boot=2, seq=step)
    store.flush()
    rows = fetch(store, end=clock.now + 1)
    assert sum(watts > 100.1 for watts in rows.values()) <= 1  # the one by which it looked like a restart
    assert store.conflicts.counts["lyon.pdu1"] >= 13


def test_a_probe_that_is_no_longer_listed_does_not_keep_others_from_the_total(store, clock):
    add(store, clock.now, probe="rack", level=["inlet"])
    add(store, clock.now, probe="outlet-1", level=["outlet"])
    assert {probe.name for probe in store.probes() if probe.counted} == {"rack"}
    for _ in range(320):
        clock.now += 1
        add(store, clock.now, probe="outlet-1", level=["outlet"])
    store.flush()
    assert {probe.name for probe in store.probes() if probe.counted} == {"outlet-1"}


def test_a_wattmeter_whose_clock_is_behind_is_not_stale(store, clock):
    add(store, clock.now - 40)
    assert not store.probes()[0].stale


@given(names)
def test_a_name_survives_its_file_name(name):
    file = file_name(name)
    assert probe_of(file) == name
    assert len(file.encode()) <= 253 and "/" not in file


def test_the_longest_name_can_be_a_file(tmp_path):
    path: Path = tmp_path / file_name("\N{ELECTRIC PLUG}" * 20 + "@export")
    create(path, 60, NOW)
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
