from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.simulator import load
from kwapi.simulator.load import Circuit, Inlet, Signal, rack

SEEDS = st.integers(0, 2**32)
SECONDS = st.integers(0, 10**7)
PROFILES = st.sampled_from(load.MIX)
BOUNDS = (  # watts
    (load.idle, 90, 120),
    (load.batch, 100, 350),
    (load.web_day, 110, 270),
    (load.step, 99, 301),
    (load.spiky, 115, 400),
)


def server(power: Signal, seed: int = 0) -> Circuit:
    return Circuit("server", power, partial(load.mains, seed), partial(load.power_factor, seed))


@pytest.mark.parametrize(("profile", "low", "high"), BOUNDS)
@given(seed=SEEDS, second=SECONDS)
def test_power_is_plausible_and_always_the_same(profile, low, high, seed, second):
    milliwatts = profile(seed, second)
    assert low * 1000 <= milliwatts <= high * 1000
    assert milliwatts == profile(seed, second)


@given(seed=SEEDS, second=SECONDS)
def test_mains_are_plausible(seed, second):
    assert 225_000 <= load.mains(seed, second) <= 235_000
    assert 49_900 <= load.frequency(seed, second) <= 50_100
    assert 900 <= load.power_factor(seed, second) <= 990


@pytest.mark.parametrize("profile", [profile for profile, _, _ in BOUNDS])
def test_power_has_noise(profile):
    assert len({profile(1, second) for second in range(60)}) > 20


def test_idle_server_hardly_changes():
    powers = [load.idle(3, second) for second in range(600)]
    assert max(powers) - min(powers) <= 6_000


def test_jobs_last_for_minutes():
    busy = [load.batch(7, second) > 150_000 for second in range(7200)]
    changes = [second for second in range(1, 7200) if busy[second] != busy[second - 1]]
    assert len(changes) >= 4
    assert min(end - start for start, end in zip(changes, changes[1:], strict=False)) >= 60


def test_web_server_works_most_in_the_middle_of_its_day():
    by_day = [load.web_day(5, second, day=1000) for second in range(3000)]
    assert min(by_day[480:520]) > max(by_day[:20] + by_day[980:1020] + by_day[-20:])


def test_step_is_switched_every_five_minutes():
    on = [load.step(0, second) > 200_000 for second in range(1200)]
    assert [second for second in range(1, 1200) if on[second] != on[second - 1]] == [300, 600, 900]


def test_spikes_are_rare_and_high():
    spikes = [power for second in range(2000) if (power := load.spiky(2, second)) > 200_000]
    assert 40 <= len(spikes) <= 180
    assert min(spikes) >= 250_000


@given(profile=PROFILES, seed=SEEDS, seconds=st.integers(0, 300))
def test_energy_is_the_sum_of_all_seconds(profile, seed, seconds):
    circuit = server(partial(profile, seed))
    circuit.advance(seconds * 1000)
    assert circuit.microjoules == 1000 * sum(profile(seed, second) for second in range(seconds))


@given(profile=PROFILES, seed=SEEDS, times=st.lists(st.integers(0, 60_000)))
def test_energy_does_not_depend_on_how_often_it_is_asked_for(profile, seed, times):
    often, once = server(partial(profile, seed)), server(partial(profile, seed))
    for milliseconds in times:  # some go back, which changes nothing
        often.advance(milliseconds)
    once.advance(max(times, default=0))
    assert (often.milliseconds, often.microjoules) == (once.milliseconds, once.microjoules)


def test_part_of_a_second_takes_its_part_of_the_energy():
    circuit = server(lambda second: (100_000, 300_000)[second])
    circuit.advance(1250)
    assert circuit.microjoules == 100_000 * 1000 + 300_000 * 250
    assert circuit.reading.milliwatts == 300_000


@given(profile=PROFILES, seed=SEEDS, milliseconds=st.integers(0, 120_000))
def test_electrical_values_agree(profile, seed, milliseconds):
    circuit = server(partial(profile, seed), seed)
    circuit.advance(milliseconds)
    reading = circuit.reading
    factor = load.power_factor(seed, milliseconds // 1000)
    assert reading.milliwatts * 1000 <= reading.microvolt_amperes == reading.millivolts * reading.milliamps
    assert reading.microvolt_amperes * factor / 1000 == pytest.approx(reading.milliwatts * 1000, abs=240_000)


@given(outlets=st.integers(0, 20), seed=SEEDS, milliseconds=st.integers(0, 20_000))
def test_inlet_is_the_sum_of_its_outlets_and_itself(outlets, seed, milliseconds):
    inlet = rack(outlets, seed)
    inlet.advance(milliseconds)
    reading = inlet.reading
    assert len(inlet.outlets) == outlets
    assert reading.milliwatts == 4_000 + sum(outlet.reading.milliwatts for outlet in inlet.outlets)
    assert inlet.microjoules == 4_000 * milliseconds + sum(outlet.microjoules for outlet in inlet.outlets)
    assert reading.milliwatts * 1000 <= reading.microvolt_amperes
    assert {circuit.reading.millivolts for circuit in inlet.circuits} == {reading.millivolts}


def powers(inlet: Inlet) -> list[int]:
    return [outlet.reading.milliwatts for outlet in inlet.outlets]


def test_seed_decides_the_rack():
    assert powers(rack(12, 1)) == powers(rack(12, 1)) != powers(rack(12, 2))
    assert len(set(powers(rack(12, 1)))) == 12


def test_pdu_may_take_nothing_for_itself():
    inlet = rack(2, own=load.no_power)
    assert inlet.reading.milliwatts == sum(powers(inlet))
