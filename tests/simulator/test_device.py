"""What a device shows under each fault, and that the truth does not care."""

import pytest

from kwapi.simulator.device import Device, Fault, elapsed
from kwapi.simulator.load import MICROJOULES_PER_WH, Circuit, Inlet, Reading
from tests.clock import Clock

WATTS = 3600  # a Wh each second


def constant(value):
    return lambda second: value


def device(clock, **options):
    """Return a device with one outlet of 3600 W."""
    volts = constant(200_000)
    outlet = Circuit("server", constant(WATTS * 1000), volts, constant(900))
    own = Circuit("pdu", constant(0), volts, constant(900))
    return Device(Inlet((outlet,), own, constant(50_000)), clock=elapsed(clock), **options)


def register(shown):
    """Return what a register shows, in Wh."""
    assert shown.microjoules % MICROJOULES_PER_WH == 0
    return shown.microjoules // MICROJOULES_PER_WH


@pytest.mark.parametrize(
    ("kind", "watts", "registers"),  # what the register shows before, twice during, at the end of and after the fault
    [
        ("frozen", WATTS, (3999, 4000, 4000, 4102, 4103)),
        ("wrong-unit", 10 * WATTS, (3999, 4001, 4101, 4102, 4103)),
        ("step-back", WATTS, (3999, 3999, 4099, 4102, 4103)),
        ("clock-step", WATTS, (3999, 4001, 4101, 4102, 4103)),
        ("reset", WATTS, (3999, 1, 101, 102, 103)),
        ("reboot", WATTS, (3999, 4001, 4101, 4102, 4103)),
        ("power-loss", WATTS, (3999, 1, 101, 0, 1)),
    ],
)
def test_fault_shows_and_goes_while_the_truth_goes_on(kind, watts, registers):
    clock = Clock(0.0)
    meter = device(clock, start=3998 * MICROJOULES_PER_WH)
    outlet = meter.outlets[0]

    def later(seconds):
        clock.now += seconds
        meter.advance()
        assert meter.whole.microjoules == outlet.microjoules
        return register(outlet)

    seen = [later(1)]
    clock.now += 1
    meter.begin(Fault(kind, 30))
    seen += [later(1), later(100)]
    during = outlet.reading
    clock.now += 1
    meter.end(kind)
    seen += [later(0), later(1)]
    assert tuple(seen) == registers
    assert during == Reading(watts * 1000, 200_000, 20_000)
    assert outlet.reading == Reading(WATTS * 1000, 200_000, 20_000)
    assert outlet.source.microjoules == 105 * MICROJOULES_PER_WH


@pytest.mark.parametrize("wrap_wh", [2**16, 2**24, 2**32, 100_000_000])
def test_register_wraps_at_its_width(wrap_wh):
    clock = Clock(0.0)
    meter = device(clock, start=(wrap_wh - 2) * MICROJOULES_PER_WH, wrap=wrap_wh * MICROJOULES_PER_WH)
    seen = []
    for _ in range(4):
        meter.advance()
        seen.append(register(meter.outlets[0]))
        clock.now += 1
    assert seen == [wrap_wh - 2, wrap_wh - 1, 0, 1]
    assert meter.outlets[0].source.microjoules == 3 * MICROJOULES_PER_WH


def test_step_back_of_a_register_near_zero_stays_above_it():
    clock = Clock(0.0)
    meter = device(clock, wrap=2**16 * MICROJOULES_PER_WH)
    clock.now += 0.001
    meter.begin(Fault("step-back"))
    assert 0 < meter.outlets[0].microjoules < WATTS * 1000


def test_what_is_off_draws_nothing_while_time_goes_on():
    clock = Clock(0.0)
    meter = device(clock)
    clock.now += 1.5
    meter.switch(on=False)
    clock.now += 60
    meter.advance()
    assert meter.outlets[0].source.microjoules == 1.5 * MICROJOULES_PER_WH
    assert meter.outlets[0].reading == Reading(0, 200_000, 0)
    assert meter.milliseconds == 61_500
    clock.now += 1
    meter.switch(on=True)
    clock.now += 0.5
    meter.advance()
    assert meter.outlets[0].source.microjoules == 2 * MICROJOULES_PER_WH
    assert meter.outlets[0].reading.milliwatts == WATTS * 1000


def test_clock_of_the_device_is_off_as_long_as_the_fault_lasts():
    meter = device(Clock(0.0), wall_clock=lambda: 1_800_000_000.0)
    meter.begin(Fault("clock-step", -3600))
    assert meter.unix_time == 1_799_996_400
    meter.end("clock-step")
    assert meter.unix_time == 1_800_000_000


def test_device_counts_its_time_from_its_last_start():
    clock = Clock(0.0)
    meter = device(clock)
    clock.now += 100
    meter.begin(Fault("reboot"))
    assert meter.milliseconds == 100_000
    clock.now += 5
    meter.end("reboot")
    clock.now += 2
    meter.advance()
    assert meter.milliseconds == 2_000
