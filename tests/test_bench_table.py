"""The parts of ``python -m bench``: the load, the daemons under it, and the table."""

import json
from importlib.metadata import distributions

import pytest

from bench import __main__ as program
from bench import table
from bench.bare import bare_cpu
from bench.chain import Load, chain
from bench.load import Load as LoadDriver
from bench.load import measurements, plug_in
from bench.way import BOUNDS, Options, cost, frame_bytes
from tests.clock import Clock


def driver(clock, **values):
    options = {"probes": ["a", "b"], "rate": 1.0, "growth": 1.0, "step": 2.0, "after": 0.0, **values}
    loaded = LoadDriver("pdu", options, clock.now, monotonic_clock=clock)
    loaded.open()
    return loaded


def test_the_load_is_found_as_a_driver_of_another_distribution(tmp_path):
    plug_in(tmp_path)
    (plugged,) = distributions(path=[str(tmp_path)])
    (point,) = plugged.entry_points
    assert (point.group, point.name, point.load()) == ("kwapi.drivers", "load", LoadDriver)


def test_the_load_gives_polls_whose_values_change():
    loaded = driver(Clock(), rate=1e9)
    polls = [loaded.read() for _ in range(3)]
    assert polls[0] != polls[1] != polls[2]
    assert [each.probe for each in polls[0]] == ["a", "b"]
    assert all(each.watts and each.volts and each.amps for poll in polls for each in poll)


@pytest.mark.parametrize(("rate", "growth", "given"), [(100.0, 1.0, 100), (100.0, 2.0, 200)])
def test_the_load_gives_as_many_polls_as_were_asked_for(rate, growth, given):
    clock = Clock(50.0)
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        clock.now += seconds

    loaded = driver(clock, rate=rate, growth=growth, step=10.0)
    loaded.sleep = sleep
    clock.now += 10.0
    while clock.now < 61.0:
        loaded.read()
    count = loaded._given
    begun = clock.now
    while clock.now < begun + 5.0:
        loaded.read()
    assert (loaded._given - count) / (clock.now - begun) == pytest.approx(given, rel=0.2)
    assert all(wait <= 1.0 for wait in waits)


def test_a_bare_loop_takes_some_cpu():
    assert 0 < bare_cpu(frame_bytes(8), 400) < 1


def test_a_measurement_costs_something_in_each_daemon():
    found = cost("CPU", Load(96, 48, 9600.0), Options(windows=1, seconds=0.3), spool=False)
    assert found.cpu.keys() == {"api", "forwarder", "drivers"}
    assert sum(found.cpu.values()) == pytest.approx(found.value)
    assert all(held > 1 for held in found.memory.values())
    assert found.bare > 0 and "lost" not in found.how


@pytest.mark.integration
def test_the_accounts_of_the_daemons_are_read():
    load = Load(96, 48, 480.0)
    with chain(load.sections()) as daemons:
        assert all(0 < seconds < 60 for seconds in daemons.start().values())
        daemons.wait_for(96)
        accounts = daemons.accounts()
        assert daemons.log() == ""
    assert accounts["produced"] == accounts["delivered"] > 0
    assert accounts["lost"] == accounts["refused"] == 0


def test_a_row_has_the_median_and_the_ratios_of_medians():
    found = table.row("a row", [3.0, 1.0, 2.0], "us", "so", bare=[1.0, 4.0, 2.0], baseline=[8.0])
    assert (found.value, found.lowest, found.highest, found.bare, found.baseline) == (2.0, 1.0, 3.0, 1.0, 0.25)
    (heading, line) = table.lines([found])
    assert heading.split()[:3] == ["median", "lowest", "highest"]
    assert line.split()[:7] == ["a", "row", "2", "us", "1", "3", "1.00"]
    assert json.loads(table.as_json([found]))["rows"][0]["name"] == "a row"


@pytest.mark.parametrize(("power", "expected"), [(0, 0.0), (1, 1.0), (2, 2.0)])
def test_the_exponent_of_a_growth(power, expected):
    assert table.exponent({n: 7.0 * n**power for n in (1.0, 10.0, 500.0)}) == pytest.approx(expected)


def test_a_row_whose_ratio_to_the_bare_loop_has_grown_by_half_is_told(tmp_path):
    kept = tmp_path / "ratios.json"
    before = [table.row(name, [2.0], "us", "", bare=[1.0]) for name in ("one", "other")]
    table.keep(before, kept)
    assert table.slower(before, kept) == []
    after = [table.row("one", [3.1], "us", "", bare=[1.0]), table.row("other", [2.9], "us", "", bare=[1.0])]
    assert table.slower(after, kept) == ["one: 3.10 times a bare loop, 2.00 before"]


def test_the_table_is_printed_and_kept_as_json(tmp_path, capsys):
    groups = {"some": lambda options: iter([table.row("a row", [1.0] * options.windows, "us", "so")])}
    assert program.main(["--only", "some", "--json", str(tmp_path / "rows.json")], groups=groups) == 0
    assert "a row" in capsys.readouterr().out
    assert json.loads((tmp_path / "rows.json").read_text())["rows"][0]["value"] == 1.0


def test_ready_made_measurements_are_those_of_a_pdu():
    found = measurements(["a", "b"], 3)
    assert [each.watts for each in found] == [103.0, 103.1]
    assert {each.level for each in found} == {"outlet"}
    assert set(BOUNDS) >= {"cpu 48", "rate 48"}
