"""Probes that go in step are counted as each of them would be by itself, whatever comes between, kills among it."""

import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.energy import EnergyRegister, Instant
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.column_file import FORMAT
from kwapi.plugins.api.column_record import MOST
from kwapi.plugins.api.registers import Registers, read_registers
from kwapi.plugins.api.slots import FIRST_SLOTS
from tests.clock import Clock
from tests.messages import message

PROBES = ["a", "b", "c"]
WATTS = st.lists(st.sampled_from([0.0, -5.0, 3600.0, 7.25]), min_size=3, max_size=3)
ALIKE = st.fixed_dictionaries({"w": WATTS})
UNLIKE = st.fixed_dictionaries(
    {"w": st.just([1.0, None, 2.0])}
    | {name: st.sampled_from([None, [5.0, 6.0, 7.0]]) for name in ("v", "kwh")}
    | {"level": st.sampled_from([None, ["outlet"] * 3, ["inlet", "outlet", "outlet"]])}
)
STEPS = st.lists(st.tuples(st.sampled_from([0.1, 1.0, 10.0, 61.0]), ALIKE | UNLIKE, st.booleans()), max_size=12)


def collector_of(directory, **clocks):
    return Collector(
        Registers(directory, boot_id="boot one"), **{"clock": Clock(), "wall_clock": Clock(1010.0), **clocks}
    )


def killed(collector):
    """Leave the files as kill -9 does."""
    registers = collector._registers
    for file in (registers._slots, registers.columns, registers.events):
        file.close()
    os.close(registers._lock)


def feed(collector, *rows, probes=PROBES, **columns):
    """Add messages of (second, watts)."""
    for second, watts in rows:
        collector.add(
            message(
                seq=int(second),
                timestamp=1000.0 + second,
                monotonic=second,
                probes=probes,
                w=[watts] * len(probes),
                **columns,
            )
        )


def kwhs(collector):
    return {name: reading.kwh for name, reading in collector.readings().items()}


def are_in_step(collector):
    return len(collector._steps) == 1


@given(STEPS)
def test_they_count_as_each_would_by_itself_whenever_the_process_is_killed(tmp_path_factory, steps):
    directory = tmp_path_factory.mktemp("state")
    collector, alone, seconds = collector_of(directory), {name: EnergyRegister() for name in PROBES}, 0.0
    for number, (wait, columns, kills) in enumerate(steps):
        seconds += wait
        each = message(seq=number, timestamp=1000.0 + seconds, monotonic=seconds, probes=PROBES, **columns)
        collector.add(each)
        at = Instant(each.boot, each.timestamp, each.monotonic)
        for name, watts, kwh in zip(PROBES, columns["w"], columns.get("kwh") or [None] * 3, strict=True):
            alone[name].add(at, watts, kwh)
        if kills:
            killed(collector)
            collector = collector_of(directory)
            collector.add(each)  # a spool sends it once more
    for state in collector.snapshot().probes:
        total = alone[state.id].total
        assert (state.kwh, state.measured_seconds, state.unknown_seconds) == (
            pytest.approx(total.kwh),
            pytest.approx(total.measured),
            pytest.approx(total.unknown),
        )
    assert len(collector.snapshot().probes) == (len(PROBES) if steps else 0)
    collector._registers.close()


def test_probes_are_in_step_from_their_first_message_to_one_that_is_not_like_it():
    collector = Collector(clock=Clock())
    feed(collector, (0, 1.0))
    assert are_in_step(collector)
    feed(collector, (1, 1.0), (61, 1.0), v=[230.0] * 3)
    assert are_in_step(collector)
    feed(collector, (62, 1.0), kwh=[1.0] * 3)
    assert not are_in_step(collector)


@pytest.mark.parametrize(
    "unlike",
    [
        {"probes": ["a", "b"]},
        {"probes": ["b", "a", "c"]},
        {"probes": ["a", "b", "x"]},
        {"level": ["inlet", "outlet", "outlet"]},
        {"interval": 2.0},
        {"kwh": [1.0, 2.0, 3.0]},
    ],
)
def test_what_is_not_like_the_message_before_is_counted_one_by_one(unlike):
    collector = Collector(clock=Clock())
    feed(collector, (0, 3600.0), (10, 3600.0))
    feed(collector, (20, 3600.0), **unlike)
    for name in unlike.get("probes", PROBES):
        assert collector.reading(name).kwh == pytest.approx(0.0 if name == "x" else 0.02)


def test_what_they_keep_themselves_is_never_much_older(tmp_path):
    """So much is lost at most where the file of the columns is."""
    collector = collector_of(tmp_path)
    feed(collector, *((second, 3600.0) for second in range(0, 1000, 10)))
    killed(collector)
    (tmp_path / "columns").unlink()
    assert kwhs(collector_of(tmp_path)) == dict.fromkeys(PROBES, pytest.approx(0.61))


def test_wattmeters_with_many_probes_have_several_records(tmp_path):
    names = [f"p{number}" for number in range(2 * MOST + 1)]
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 7200.0), probes=names)
    assert are_in_step(before)
    killed(before)
    after = collector_of(tmp_path)
    assert kwhs(after) == dict.fromkeys(names, pytest.approx(0.02))


def test_where_the_disk_is_full_probes_are_counted_one_by_one_and_that_is_told_once(tmp_path, caplog):
    collector = collector_of(tmp_path)
    wattmeters = {f"w{number}": [f"a{number}", f"b{number}"] for number in range(FIRST_SLOTS + 1)}
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "columns").stat().st_size, limits[1]))
    try:
        for second in (0, 10, 20):
            for wattmeter, probes in wattmeters.items():
                feed(collector, (second, 3600.0), probes=probes, wattmeter=wattmeter)
            collector._registers.sync()  # after which there might be room
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(collector._steps) == FIRST_SLOTS
    killed(collector)
    assert all(kwh == pytest.approx(0.02) for kwh in kwhs(collector_of(tmp_path)).values())
    assert caplog.text.count("has no room for more") == 1


def test_after_a_stop_the_records_of_the_probes_say_it_all(tmp_path):
    """So an older version, which knows nothing of columns, goes on where this one stopped."""
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 7200.0))
    shown = kwhs(before)
    before._registers.close()
    assert kwhs(before) == shown
    (tmp_path / "columns").unlink()
    assert kwhs(collector_of(tmp_path)) == shown == dict.fromkeys(PROBES, pytest.approx(0.02))


def test_an_export_has_what_was_counted_in_step_while_the_daemon_runs(tmp_path):
    collector = collector_of(tmp_path)
    feed(collector, (0, 3600.0), (10, 7200.0))
    probes = read_registers(tmp_path).probes
    assert {name: probe.energy.kwh for name, probe in probes.items()} == kwhs(collector)
    assert {probe.watts for probe in probes.values()} == {7200.0}


def test_an_export_takes_an_empty_file_of_columns_for_none(tmp_path):
    """So it is left where the disk is full."""
    collector = collector_of(tmp_path)
    feed(collector, (0, 3600.0))
    killed(collector)
    os.truncate(tmp_path / "columns", 0)
    assert set(read_registers(tmp_path).probes) == set(PROBES)


def test_a_record_of_columns_does_not_count_for_a_probe_that_has_got_the_slot(tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 7200.0))
    old = (tmp_path / "columns").read_bytes()
    before._clock.now += 1000
    for name in PROBES:
        before.forget(name)
    feed(before, (5, 36.0), probes=["x", "y", "z"])
    killed(before)
    (tmp_path / "columns").write_bytes(old)
    assert kwhs(collector_of(tmp_path)) == dict.fromkeys("xyz", 0.0)


@given(st.lists(st.tuples(st.integers(0, 6 * 4096), st.binary(min_size=1, max_size=3000)), max_size=4), st.booleans())
def test_whatever_happens_to_the_file_of_columns_no_energy_is_invented(tmp_path_factory, tears, is_cut):
    directory = tmp_path_factory.mktemp("torn")
    before = collector_of(directory)
    feed(before, *((second, 3600.0) for second in range(5)))
    killed(before)
    with (directory / "columns").open("r+b") as file:
        for place, wrong in tears:
            file.seek(place)
            file.write(wrong)
        if is_cut:
            file.truncate(6000)
    after = collector_of(directory)
    assert set(kwhs(after)) == set(PROBES)
    assert len(set(kwhs(after).values())) == 1
    assert kwhs(after)["a"] in [pytest.approx(seconds / 1000) for seconds in (0, 3, 4)]
    after._registers.close()


def test_a_file_of_another_version_is_kept_aside(tmp_path, caplog):
    (tmp_path / "columns").write_bytes(FORMAT.replace(b"1", b"7") + bytes(5000))
    killed(collector_of(tmp_path))
    assert "has another version" in caplog.text
    assert (tmp_path / "columns.aside-1").exists()


def test_what_readers_see_of_a_probe_goes_on_when_it_falls_into_step_and_out_of_it():
    collector = Collector(clock=Clock())
    for second in range(40):
        feed(collector, (second, 3600.0), probes=PROBES if second % 4 else PROBES[::-1])
        collector._clock.now += 1
        (b,) = [state for state in collector.snapshot().probes if state.id == "b"]
        assert b.kwh == collector.reading("b").kwh == pytest.approx(second / 1000)


def test_probes_that_are_shown_before_their_turn_stay_in_step():
    collector = Collector(clock=Clock(), wall_clock=Clock(1010.0))
    feed(collector, (0, 3600.0), (1, 3600.0))
    collector.show(message(seq=9, timestamp=1009.0, monotonic=9.0, probes=PROBES, w=[7.0] * 3))
    assert are_in_step(collector)
    collector._clock.now += 1
    assert {state.w for state in collector.snapshot().probes} == {7.0}
    collector.add_late(message(seq=2, timestamp=1002.0, monotonic=2.0, probes=PROBES, w=[3600.0] * 3))
    assert are_in_step(collector)
    collector._clock.now += 1
    assert {state.w for state in collector.snapshot().probes} == {7.0}
    assert kwhs(collector) == dict.fromkeys(PROBES, pytest.approx(0.002))
    feed(collector, (3, 3600.0))
    assert are_in_step(collector)
    assert kwhs(collector) == dict.fromkeys(PROBES, pytest.approx(0.003))
