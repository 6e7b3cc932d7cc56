import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.energy import EnergyRegister, Instant, seconds_between

KWH = 3.6e6


def at(seconds, boot=1):
    return Instant(boot, 1_800_000_000 + seconds, seconds)


def fed(*rows, max_gap=60.0):
    """Return a register that took rows of (seconds, watts, kwh[, kwh_wrap]), and the events."""
    energy = EnergyRegister()
    events = [energy.add(at(row[0]), *row[1:], max_gap=max_gap) for row in rows]
    return energy, [event.kind for event in events if event]


def test_a_new_value_counts_for_the_time_before_it():
    energy, _ = fed((0, 1000), (36, 3000))
    assert energy.kwh == pytest.approx(0.03)
    assert (energy.total.measured, energy.total.unknown) == (36, 0)


def test_the_first_measurement_counts_nothing():
    energy, _ = fed((0, 5000))
    assert energy.kwh == 0
    assert energy.coverage is None


def test_a_gap_adds_nothing_and_is_unknown():
    energy, _ = fed((0, 1000), (60, 1000), (120.1, 1000), (121.1, 1000))
    assert energy.kwh == pytest.approx(1000 * 61 / KWH)
    assert energy.total.unknown == pytest.approx(60.1)
    assert energy.coverage == pytest.approx(61 / 121.1)


def test_a_value_that_is_not_known_is_no_zero():
    energy, _ = fed((0, 1000), (10, None), (20, 1000))
    assert energy.kwh == pytest.approx(1000 * 20 / KWH)


def test_negative_power_is_not_energy_consumed():
    energy, _ = fed((0, -500), (10, -500), (20, 1000))
    assert energy.kwh == pytest.approx(1000 * 10 / KWH)


def test_within_a_boot_the_monotonic_clock_counts_and_across_boots_the_timestamp():
    stepped = Instant(1, at(0).timestamp - 3600, 5)
    assert seconds_between(at(0), stepped) == 5
    assert seconds_between(at(0), Instant(2, at(0).timestamp + 7, 99999)) == pytest.approx(7)


def test_a_restart_with_the_clock_set_back_adds_nothing_and_goes_on():
    energy = EnergyRegister()
    energy.add(at(0), 1000)
    energy.add(Instant(2, at(-3600).timestamp, 1), 1000)
    assert energy.kwh == 0
    energy.add(Instant(2, at(-3590).timestamp, 11), 1000)
    assert energy.kwh == pytest.approx(1000 * 10 / KWH)


def test_a_register_counts_on_over_a_restart_with_the_clock_set_back():
    """0.3 kWh were drawn in half a minute, and the register's steps are a hundredth of that."""
    energy, _ = fed((0, 36000, 50.0), (1, 36000, 50.01), (2, 36000, 50.02))
    assert energy.add(Instant(2, at(-3600).timestamp, 1), 36000, 50.32) is None
    assert energy.kwh == pytest.approx(0.32)
    event = energy.add(Instant(3, at(-7200).timestamp, 1), 36000, 99.0)
    assert event is not None and event.kind == "jump"


def test_a_device_register_counts_by_its_difference_and_bridges_a_gap():
    energy, events = fed((0, 1000, 50.0), (1, 1000, 50.5), (7201, 100, 52.5))
    assert energy.kwh == pytest.approx(2.5)
    assert events == []
    assert (energy.total.measured, energy.total.unknown) == (7201, 0)


def test_between_two_readings_of_the_register_watts_count_nothing():
    energy, _ = fed((0, 1000, 50.0), (1, 1000, None), (2, 1000, None), (3, 1000, 50.0))
    assert energy.kwh == 0


def test_watts_before_the_first_register_reading_are_kept():
    energy, _ = fed((0, 3600), (1, 3600), (2, 3600, 80.0), (3, 3600, 80.25))
    assert energy.kwh == pytest.approx(0.002 + 0.25)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_a_wrap_of_the_register_is_counted_over_the_top(bits):
    wrap = 2**bits / 1000
    energy, events = fed((0, 500, wrap - 0.003, wrap), (60, 500, 0.005, wrap))
    assert energy.kwh == pytest.approx(0.008)
    assert events == ["wrap"]


def test_a_reset_is_no_wrap_and_the_watts_count_instead():
    wrap = 2**32 / 1000
    energy, events = fed((0, 1000, 8185.493, wrap), (10, 1000, 0.001, wrap), (20, 1000, 0.004, wrap))
    assert energy.kwh == pytest.approx(1000 * 10 / KWH + 0.003)
    assert events == ["reset"]


def test_a_reset_behind_a_gap_is_unknown_time():
    energy, events = fed((0, 1000, 100.0), (600, 1000, 0.05))
    assert energy.kwh == 0
    assert energy.total.unknown == 600
    assert events == ["reset"]


def test_a_register_that_steps_back_a_little_counts_only_past_its_highest_value():
    energy, events = fed((0, 0, 8000.0), (1, 0, 8000.5), (2, 0, 8000.2), (3, 0, 8000.4), (4, 0, 8001.0))
    assert energy.kwh == pytest.approx(1.0)
    assert events == ["step back"]


def test_a_register_that_stays_back_counts_on_from_there():
    rows = [(0, 1000, 8000.0), (1, 1000, 8000.5)]
    rows += [(1 + second, 1000, 7999.0 + second / 3600) for second in range(1, 200)]
    energy, events = fed(*rows)
    assert events == ["step back", "reset"]
    assert energy.kwh == pytest.approx(0.5 + 199 / 3600, abs=1e-6)


def test_a_register_that_leaps_up_is_not_believed():
    energy, events = fed((0, 100, 5.0), (10, 100, 5000.0), (20, 100, 5.001), (30, 100, 5.002))
    assert events == ["jump", "reset"]
    assert energy.kwh == pytest.approx(2 * 100 * 10 / KWH + 0.001)


@pytest.mark.parametrize("period", [10, 40, 300])
@pytest.mark.parametrize(("true", "wrong"), [(3.5, 0.0), (60.0, 0.0), (100.0, 103.0), (0.5, 0.0), (8000.0, 17.0)])
def test_a_single_wrong_reading_adds_no_energy(period, true, wrong):
    rows = [(second, 100, true + 100 * second / KWH if second % period == 0 else None) for second in range(0, 3001, 5)]
    place = next(i for i, row in enumerate(rows) if row[0] >= 1500 and row[2] is not None)
    rows[place] = (rows[place][0], 100, wrong)
    energy, events = fed(*rows)
    assert energy.kwh == pytest.approx(100 * 3000 / KWH, rel=0.01)
    assert "jump" in events


def test_watts_in_messages_of_their_own_are_not_counted_twice_at_a_reset():
    energy, _ = fed((0, 1000, None), (5, None, 50.0), (10, 1000, None), (15, None, 0.0), (20, 1000, None))
    assert energy.kwh == pytest.approx(1000 * 5 / KWH)


def test_time_of_which_a_reset_register_tells_nothing_is_unknown():
    energy, events = fed((0, None, 50.0), (10, None, 51.0), (3000, None, 0.0))
    assert events == ["reset"]
    assert (energy.total.measured, energy.total.unknown) == (10, 2990)


def test_a_load_that_no_poll_of_the_watts_saw_is_in_the_register():
    energy, events = fed((0, 1, 50.0), (60, 1, 50.001), (120, 1, 50.026), max_gap=150)
    assert energy.kwh == pytest.approx(0.026)
    assert events == []


def test_a_register_that_is_no_longer_reported_gives_way_to_the_watts():
    energy, _ = fed((0, 3600, 10.0), *((second, 3600, None) for second in range(1, 101)))
    assert energy.kwh == pytest.approx(0.1)


def test_a_register_that_returns_makes_the_sum_exact_again():
    rows = [(0, 3600, 10.0), *((second, 3600, None) for second in range(1, 101)), (101, 3600, 10.2)]
    energy, _ = fed(*rows)
    assert energy.kwh == pytest.approx(0.2)
    assert (energy.total.measured, energy.total.unknown) == (pytest.approx(101), pytest.approx(0))


def test_what_watts_counted_too_much_is_worked_off_not_taken_back():
    rows = [(0, 3600, 10.0), *((second, 3600, None) for second in range(1, 101))]
    energy, _ = fed(*rows)
    energy.add(at(101), 3600, 10.06)
    assert energy.kwh == pytest.approx(0.1)
    energy.add(at(102), 3600, 10.12)
    assert energy.kwh == pytest.approx(0.12)


def test_another_device_takes_no_difference():
    energy, _ = fed((0, 100, 10.0), (10, 100, 10.1))
    energy.change_source()
    assert energy.add(at(20), 100, 900.0) is None
    energy.add(at(30), 100, 900.02)
    assert energy.kwh == pytest.approx(0.1 + 100 * 10 / KWH + 0.02)


rows = st.lists(
    st.tuples(
        st.floats(0.1, 1000),
        st.none() | st.floats(-1e5, 1e5),
        st.none() | st.floats(0, 1e7),
        st.none() | st.sampled_from([65.536, 2**24 / 1000, 2**32 / 1000]),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(rows)
def test_whatever_comes_the_sum_never_decreases_and_stays_finite(rows):
    energy, seconds, before = EnergyRegister(), 0.0, 0.0
    for step, watts, kwh, wrap, boot in rows:
        seconds += step
        energy.add(at(seconds, boot), watts, kwh, wrap)
        assert energy.kwh >= before
        assert math.isfinite(energy.kwh)
        assert energy.coverage is None or -1e-9 <= energy.coverage <= 1 + 1e-9
        before = energy.kwh


@given(st.lists(st.tuples(st.floats(0.1, 59), st.floats(0, 1e5)), min_size=1, max_size=50))
def test_without_gaps_the_sum_is_the_sum_of_watts_times_time(rows):
    energy, seconds = EnergyRegister(), 0.0
    energy.add(at(0), 7)
    for step, watts in rows:
        seconds += step
        energy.add(at(seconds), watts)
    times = [0.0]
    for step, _ in rows:
        times.append(times[-1] + step)
    exact = math.fsum(watts * (times[i + 1] - times[i]) for i, (_, watts) in enumerate(rows)) / KWH
    assert energy.kwh == pytest.approx(exact, rel=1e-9)
    assert energy.total.measured == pytest.approx(times[-1])


@given(st.integers(2, 60), st.integers(1, 120), st.floats(50, 300), st.floats(0.05, 90_000))
def test_a_register_that_steps_back_and_returns_invents_nothing_however_long_it_took(begin, lasts, watts, start):
    """The register counts Wh and is read every 2 s; it shows a two-thousandth too little for a while."""
    energy, true, back = EnergyRegister(), 0.0, 0.0
    for seconds in range(begin + lasts + 30):
        true += watts / KWH if seconds else 0.0
        shown = math.floor((start + true) * 1000) / 1000
        back = shown / 2000 if seconds == begin else back
        shown -= back if begin <= seconds < begin + lasts else 0.0
        energy.add(at(seconds), watts, shown if seconds % 2 == 0 else None)
    assert true - 0.005 <= energy.kwh <= true + 0.003


def test_a_register_that_hung_makes_up_for_it_at_once():
    energy = EnergyRegister()
    energy.add(at(0), 200.0, 49.999)
    for seconds in range(1, 90):
        energy.add(at(seconds), 200.0, 50.0)
    assert energy.add(at(90), 600.0, 50.014) is None
    assert energy.kwh == pytest.approx(0.015)


def test_a_register_that_stood_still_because_nothing_was_drawn_cannot_leap():
    energy = EnergyRegister()
    energy.add(at(0), 0.0, 49.999)
    for seconds in range(1, 90):
        energy.add(at(seconds), 0.0, 50.0)
    assert energy.add(at(90), 0.0, 50.014).kind == "jump"
    assert energy.kwh == pytest.approx(0.001)


def test_a_register_that_was_silent_for_long_while_the_watts_were_known_cannot_leap():
    energy = EnergyRegister()
    energy.add(at(0), 100.0, 0.0)
    for seconds in (60, 120):
        energy.add(at(seconds), 50.0)
    assert energy.add(at(180), 50.0, 50.0075).kind == "jump"
    assert energy.kwh == pytest.approx(50.0 * 180 / KWH)


@given(
    st.lists(
        st.tuples(st.floats(50, 300), st.sampled_from(["good"] * 8 + ["zero", "high", "reset", "none"])), max_size=99
    ),
    st.floats(0, 100),
    st.sampled_from([10, 60]),
)
def test_whatever_a_register_shows_no_energy_is_invented(rows, start, period):
    """A steady sample each period, so that watts times time is the truth; the register is right but where it is not."""
    energy, register, true, seconds = EnergyRegister(), start, 0.0, 0
    energy.add(at(0), 100.0, register)
    for watts, what in rows:
        seconds += period
        true += watts * period / KWH
        register = 0.0 if what == "reset" else register + watts * period / KWH
        shown = {"zero": 0.0, "high": register + 50, "none": None}.get(what, register)
        energy.add(at(seconds), watts, shown)
    # What a wrong reading can add is less than the rise from it that a surge could explain.
    wrong = sum(what in ("zero", "high", "reset") for _, what in rows)
    assert energy.kwh <= true + wrong * (10_000 * period / KWH + 0.002) + 1e-6


@given(
    st.lists(st.integers(0, 60), min_size=2, max_size=60),
    st.sampled_from([16, 24, 32]),
    st.integers(0, 2**32),
)
def test_a_wrapping_register_is_followed_exactly(steps, bits, start):
    """Up to 60 Wh a minute, 3.6 kW: however often the register wraps, our sum is the device's."""
    raw, seconds, energy = start % 2**bits, 0, EnergyRegister()
    energy.add(at(0), 3600.0, raw / 1000, 2**bits / 1000)
    for step in steps:
        raw, seconds = (raw + step) % 2**bits, seconds + 60
        energy.add(at(seconds), 3600.0, raw / 1000, 2**bits / 1000)
    assert energy.kwh == pytest.approx(sum(steps) / 1000, abs=1e-6)


@given(st.lists(st.floats(0.001, 50), min_size=1, max_size=30), st.lists(st.booleans(), min_size=30, max_size=30))
def test_lost_readings_change_nothing_in_a_register_sum(steps, lost):
    energy, kwh, seconds, last = EnergyRegister(), 100.0, 0.0, 100.0
    energy.add(at(0), None, kwh)
    for step, is_lost in zip(steps, lost, strict=False):
        kwh, seconds = kwh + step, seconds + 3600
        if not is_lost:
            energy.add(at(seconds), None, kwh)
            last = kwh
    assert energy.kwh == pytest.approx(last - 100.0)
