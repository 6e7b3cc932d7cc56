import pytest

from kwapi.drivers.dummy import Dummy
from tests.clock import Clock

DEFAULTS = {option.dest: option.default for option in Dummy.options}


def readings(seconds, probes=("a",), **values):
    """Return what a dummy measures each second, a list of watts for every probe."""
    clock = Clock()
    meter = Dummy(
        "meter",
        {**DEFAULTS, "probes": list(probes), "interval": 1.0, **values},
        wall_clock=clock,
        monotonic_clock=clock,
    )
    series = []
    for _ in range(seconds):
        series.append(meter.read())
        clock.now += 1
    return series


def test_a_steady_load_is_steady():
    assert {each.watts for (each,) in readings(10, load="steady", watts=42.0)} == {42.0}


@pytest.mark.parametrize("load", ["walk", "day"])
def test_a_seed_makes_two_runs_agree_and_two_probes_differ(load):
    first, second = (readings(50, ("a", "b"), load=load, seed=7) for _ in range(2))
    assert first == second
    assert [a.watts for a, _ in first] != [b.watts for _, b in first]
    assert first != readings(50, ("a", "b"), load=load, seed=8)


def test_a_walk_stays_around_its_mean():
    watts = [each.watts for (each,) in readings(5000, load="walk", watts=150.0, amplitude=50.0, seed=1)]
    assert 140 < sum(watts) / len(watts) < 160
    assert 0 <= min(watts) and max(watts) < 300
    assert len(set(watts)) > 4000


def test_a_sine_swings_by_its_amplitude():
    watts = [each.watts for (each,) in readings(600, load="sine", watts=100.0, amplitude=30.0, period=600.0)]
    assert (min(watts), max(watts)) == (pytest.approx(70, abs=0.1), pytest.approx(130, abs=0.1))


def test_a_load_is_never_negative():
    assert min(each.watts for (each,) in readings(500, load="sine", watts=10.0, amplitude=500.0, period=50.0)) == 0


def test_the_register_is_the_sum_of_what_was_shown():
    series = [each for (each,) in readings(100, load="walk", seed=3, register=True)]
    assert series[-1].kwh == pytest.approx(sum(each.watts for each in series[1:]) / 3.6e6)
    assert all(each.kwh is None for (each,) in readings(3, register=False))


def test_volts_times_amps_are_watts():
    (each,) = readings(1, load="steady", watts=460.0, volts=230.0)[0]
    assert (each.volts, each.amps) == (230.0, 2.0)
