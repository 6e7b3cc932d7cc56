import json
import logging
import tempfile
import threading
from pathlib import Path

import pytest
import rrdtool
from hypothesis import given, settings
from hypothesis import strategies as st

from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.tool import Tool
from tests.clock import Clock
from tests.messages import health, message

NOW = 1_800_000_000.0
MAX_GAP = 10.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path, max_gap=MAX_GAP, clock=clock, steady_clock=clock)


def rows(path, start=NOW, seconds=300):
    """Return {second: values} of the seconds that a file knows, by data source."""
    window = ["-r", "1", "-s", str(int(start)), "-e", str(int(start) + seconds - 1)]
    (first, _, step), sources, found = rrdtool.fetch(str(path), "AVERAGE", *window)
    return {
        int(first + number * step): dict(zip(sources, values, strict=True))
        for number, values in enumerate(found)
        if values[0] is not None
    }


def joules(path, **window):
    return sum(row["w"] * row["known"] for row in rows(path, **window).values())


def measure(store, clock, seconds, **wattmeters):
    """Let wattmeters report one after the other, each second; their probes' watts by name."""
    for _ in range(seconds):
        clock.now += 1
        for name, watts in wattmeters.items():
            store.add(message(name.replace("_", "."), probes=list(watts), w=list(watts.values()), timestamp=clock.now))


def test_a_total_is_kept_of_each_site_and_over_all(store, clock):
    measure(store, clock, 20, lyon_a={"a": 10.0, "b": 20.0}, nancy_a={"c": 5.0}, alone={"d": 1.0})
    store.flush()
    for site, watts in (("lyon", 30.0), ("nancy", 5.0), ("", 1.0), (None, 36.0)):
        found = rows(store.total_path(site))
        assert len(found) == 19
        assert set(map(str, found.values())) == {str({"w": watts, "known": 1.0, "complete": 1.0})}
    assert store.sites() == ["", "lyon", "nancy"]


def test_only_the_outermost_level_counts(store, clock):
    for _ in range(5):
        clock.now += 1
        store.add(message(probes=["in", "out"], level=["inlet", "outlet"], w=[100.0, 90.0], timestamp=clock.now))
    store.flush()
    assert {row["w"] for row in rows(store.total_path("lyon")).values()} == {100.0}


def test_a_second_waits_for_the_slowest_that_is_measured(store, clock):
    measure(store, clock, 3, a={"a": 10.0}, b={"b": 20.0})
    measure(store, clock, 8, a={"a": 10.0})
    store.flush_totals()
    assert set(rows(store.total_path(None))) == {NOW + 1, NOW + 2}
    store.add(message("b", probes=["b"], w=[20.0], timestamp=clock.now))
    store.flush_totals()
    assert {row["w"] for row in rows(store.total_path(None)).values()} == {30.0}
    assert len(rows(store.total_path(None))) == 10


def test_a_probe_that_falls_silent_holds_the_total_up_for_a_gap_and_is_missed_from_then_on(store, clock):
    measure(store, clock, 5, a={"a": 10.0}, b={"b": 20.0})
    measure(store, clock, 12, a={"a": 10.0})
    store.flush()
    assert len(rows(store.total_path(None))) == 4
    measure(store, clock, 1, a={"a": 10.0})
    store.flush()
    found = rows(store.total_path(None))
    assert [row["w"] for row in found.values()] == [30.0] * 4 + [10.0] * 13
    assert [row["complete"] for row in found.values()] == [1.0] * 4 + [0.5] * 13


def test_what_is_no_longer_reported_is_no_longer_expected(store, clock):
    measure(store, clock, 5, a={"a": 10.0}, b={"b": 20.0})
    measure(store, clock, 320, a={"a": 10.0})
    store.flush()
    measure(store, clock, 20, a={"a": 10.0})
    store.flush()
    assert [row["complete"] for row in rows(store.total_path(None), clock.now - 15, 10).values()] == [1.0] * 10


def test_a_wattmeter_that_is_known_to_be_down_is_expected_all_the_time(store, clock):
    measure(store, clock, 5, a={"a": 10.0}, b={"b": 20.0})
    measure(store, clock, 320, a={"a": 10.0})
    store.add_health(health(wattmeter="b", state="down", timestamp=clock.now, reason="no answer"))
    store.flush()
    measure(store, clock, 5, a={"a": 10.0})
    store.flush()
    assert [row["complete"] for row in rows(store.total_path(None), clock.now - 4, 3).values()] == [0.5] * 3


def test_a_new_probe_is_not_missed_in_the_time_before_it(store, clock):
    measure(store, clock, 10, a={"a": 10.0})
    measure(store, clock, 10, a={"a": 10.0}, b={"b": 20.0})
    store.flush()
    found = rows(store.total_path(None)).values()
    assert [row["w"] for row in found] == [10.0] * 10 + [30.0] * 9
    assert {row["complete"] for row in found} == {1.0}


def test_a_gap_of_all_is_a_gap_of_the_total(store, clock):
    measure(store, clock, 5, a={"a": 10.0})
    clock.now += 100
    measure(store, clock, 5, a={"a": 10.0})
    store.flush()
    found = rows(store.total_path(None))
    assert set(found) == {NOW + second for second in (*range(1, 5), *range(106, 110))}
    window = ["-r", "1", "-s", str(int(NOW) + 5), "-e", str(int(NOW) + 105)]
    assert {row[1:] for row in rrdtool.fetch(str(store.total_path(None)), "AVERAGE", *window)[2]} == {(0.0, 0.0)}


def test_a_restart_goes_on_with_what_was_not_written(tmp_path, clock):
    for part in range(3):
        store = Store(tmp_path, max_gap=MAX_GAP, clock=clock, steady_clock=clock)
        measure(store, clock, 7, a={"a": 10.0, "b": 1.0})
        store.add(message("b", probes=["c"], w=[5.0], timestamp=clock.now - 3.3, seq=part))
        store.flush()
    clock.now += 20
    store.add(message("a", probes=["a", "b"], w=[9.0, 9.0], timestamp=clock.now))
    store.add(message("b", probes=["c"], w=[9.0], timestamp=clock.now))
    clock.now += 20
    store.flush()
    parts = sum(joules(store.path(probe)) for probe in "abc")
    assert joules(store.total_path(None)) == joules(store.total_path("")) == pytest.approx(parts)
    assert parts == pytest.approx(11 * 20 + 5 * 13.7)


def test_a_total_waits_for_who_catches_up_however_long_that_takes(tmp_path, clock):
    store = Store(tmp_path, max_gap=MAX_GAP, clock=clock, steady_clock=clock)
    measure(store, clock, 5, a={"a": 10.0}, b={"b": 20.0})
    store.flush()
    missed, behind = clock.now, [True]
    again = Store(tmp_path, max_gap=MAX_GAP, is_behind=lambda: bool(behind), clock=clock, steady_clock=clock)
    for _ in range(10):  # b has the spool's attention only after that
        measure(again, clock, 9, a={"a": 10.0})
        again.flush()
    for second in range(1, 91):
        again.add(message("b", probes=["b"], w=[20.0], timestamp=missed + second))
    behind.clear()
    again.flush()
    found = rows(again.total_path(None))
    assert [found[missed + second]["w"] for second in range(90)] == [30.0] * 90


def test_what_was_written_before_a_kill_is_not_written_again(tmp_path, clock):
    store = Store(tmp_path, max_gap=MAX_GAP, clock=clock, steady_clock=clock)
    measure(store, clock, 7, a={"a": 10.0}, b={"b": 20.0})
    measure(store, clock, 5, a={"a": 10.0})
    store.flush()
    store.add(message("b", probes=["b"], w=[20.0], timestamp=clock.now))
    store.flush_totals()  # and then the process is killed
    found = rows(store.total_path(None))
    again = Store(tmp_path, max_gap=MAX_GAP, clock=clock, steady_clock=clock)
    measure(again, clock, 5, a={"a": 10.0}, b={"b": 20.0})
    again.flush()
    assert rows(again.total_path(None)).items() >= found.items()
    assert {row["w"] for row in rows(again.total_path(None)).values()} == {30.0}


def test_a_kill_between_what_waits_and_the_list_of_probes_counts_nothing_twice(tmp_path, clock):
    def opened():
        return Store(tmp_path, max_gap=MAX_GAP, clock=clock, steady_clock=clock)

    store = opened()
    for second in range(1, 8):
        measure(store, clock, 1, a={"a": 10.0}, **({"b": {"b": 20.0}} if second < 3 else {}))
        listed = (tmp_path / "probes.json").read_text() if second > 1 else ""
        store.flush()
    (tmp_path / "probes.json").write_text(listed)
    clock.now -= 1
    again = opened()
    measure(again, clock, 1, a={"a": 10.0})  # the bus sends it again
    measure(again, clock, 30, a={"a": 10.0})
    again.flush()
    found = rows(again.total_path(None))
    assert [row["w"] for row in found.values()] == [30.0] + [10.0] * 35


def test_a_total_that_can_not_be_written_is_said_once_and_made_up_for(store, clock, caplog):
    (store.directory / "totals").write_text("in the way")
    for _ in range(3):
        measure(store, clock, 5, a={"a": 10.0})
        store.flush()
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 3  # of the site, of all, and of what waits
    (store.directory / "totals").unlink()
    measure(store, clock, 5, a={"a": 10.0})
    store.flush()
    assert len(rows(store.total_path(None))) == len(rows(store.total_path(""))) == 19


def test_damaged_totals_are_said_and_made_anew(tmp_path, clock, caplog):
    (tmp_path / "totals").mkdir()
    (tmp_path / "totals" / "pending.json").write_text('[[1, {"all.rrd": [[1, 2]]}]]')
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    assert "pending.json can't be read" in caplog.text
    measure(store, clock, 5, a={"a": 10.0})
    store.flush()
    ((as_of, pending),) = json.loads((tmp_path / "totals" / "pending.json").read_text())
    assert (as_of, list(pending)) == (clock.now, ["all.rrd", "site-.rrd"])


steps = st.lists(
    st.tuples(
        st.sampled_from(["lyon.a", "lyon.b", "nancy.c"]),
        st.floats(0.05, 25.0),  # seconds since the step before
        st.lists(st.floats(0.0, 1e5), min_size=2, max_size=2),
        st.sampled_from(["", "", "", "flush", "flush_totals", "restart", "one"]),
        st.sampled_from([1.0, 1.0, 8.0]),  # interval
    ),
    min_size=1,
    max_size=25,
)


@settings(deadline=None, max_examples=150)
@given(steps)
def test_the_energy_of_a_total_is_the_sum_of_that_of_its_probes(steps):
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:

        def opened():
            return Store(directory, max_gap=MAX_GAP, clock=clock, steady_clock=clock)

        store = opened()
        for wattmeter, seconds, watts, deed, interval in steps:
            clock.now = round(clock.now + seconds / 3, 3)
            names = [f"{wattmeter}-1", f"{wattmeter}-2"]
            if deed == "one":
                names, watts = names[:1], watts[:1]
            store.add(message(wattmeter, probes=names, w=watts, timestamp=clock.now, interval=interval))
            if deed == "flush":
                store.flush()
            elif deed == "flush_totals":
                store.flush_totals()
            elif deed == "restart":
                store.flush()
                store = opened()
        clock.now += 40  # a gap for all
        probes = [probe.name for probe in store.probes()]
        for probe in probes:
            wattmeter = probe.rpartition("-")[0]
            store.add(message(wattmeter, probes=[probe], w=[1.0], timestamp=clock.now, interval=1.0))
        clock.now += 40
        store.flush()
        highest = max(1.0, *(power for _, _, watts, _, _ in steps for power in watts))
        # rrdtool is a microsecond off at times, at both ends
        of = {probe: joules(store.path(probe), start=clock.now - 335, seconds=290) for probe in probes}
        for site in (None, *store.sites()):
            path = store.total_path(site)
            total = joules(path, start=clock.now - 335, seconds=290) if path.exists() else 0.0
            expected = sum(value for probe, value in of.items() if site is None or probe.startswith(f"{site}."))
            assert total == pytest.approx(expected, rel=1e-4, abs=2e-6 * highest)
        assert Path(directory, "probes.json").exists()


class SlowTool(Tool):
    """Waits for ``gate`` before each call, and says that somebody waits."""

    def __init__(self):
        self.gate, self.waits = threading.Event(), threading.Event()
        self.gate.set()

    def calls(self, calls):
        self.waits.set()
        assert self.gate.wait(10)
        return super().calls(calls)


def test_nobody_who_wants_the_totals_waits_for_a_flush_of_all(tmp_path):
    clock, tool = Clock(), SlowTool()
    store = Store(tmp_path, tool=tool, clock=clock, steady_clock=clock)
    for step in range(10):
        store.add(message(timestamp=clock.now - 9 + step))
    tool.gate.clear()
    tool.waits.clear()
    flush = threading.Thread(target=store.flush)
    flush.start()
    assert tool.waits.wait(10)
    store.flush_totals()  # comes back
    tool.gate.set()
    flush.join()
    assert rrdtool.last(str(store.total_path(None))) == clock.now
