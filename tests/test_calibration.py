from kwapi.calibration import calibrate
from kwapi.measurement import Measurement


def test_without_a_calibration_nothing_changes():
    measured = [Measurement("a", watts=100.0)]
    assert calibrate(measured, {}, {}) == measured


def test_a_factor_scales_power_current_and_energy_and_no_voltage():
    measured = Measurement("a", watts=100.0, volt_amperes=110.0, volts=230.0, amps=0.5, kwh=10.0, kwh_wrap=1000.0)
    (calibrated,) = calibrate([measured], {"a": 2.0}, {})
    assert calibrated == Measurement(
        "a", watts=200.0, volt_amperes=220.0, volts=230.0, amps=1.0, kwh=20.0, kwh_wrap=2000.0
    )


def test_an_offset_is_of_watts_alone_and_nothing_stays_nothing():
    measured = [Measurement("a", watts=100.0, kwh=5.0), Measurement("a", watts=0.0), Measurement("a", volts=230.0)]
    calibrated = calibrate(measured, {"a": 1.5}, {"a": -2.0})
    assert [one.watts for one in calibrated] == [148.0, 0.0, None]
    assert calibrated[0].kwh == 7.5


def test_each_probe_has_its_own():
    measured = [Measurement("a", watts=100.0), Measurement("b", watts=100.0)]
    assert [one.watts for one in calibrate(measured, {"a": 1.1}, {"b": 3.0})] == [110.00000000000001, 103.0]
