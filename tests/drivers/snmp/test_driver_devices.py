"""Devices that are read in a way of their own, from cells in memory."""

import pytest

from kwapi.drivers.snmp.driver import SYS_OBJECT_ID, SYS_UP_TIME
from kwapi.drivers.snmp.profile import load
from kwapi.drivers.snmp.rows import find_rows, list_rows
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.clock import Clock
from tests.drivers.snmp.agents import (
    EATON,
    METERS,
    RARITAN,
    RPDU,
    Agent,
    apc,
    column,
    e3meter,
    make,
    opened,
    raritan,
    rittal,
    rnx,
    watts,
)


def test_a_device_that_restarts_has_its_rows_looked_up_anew():
    clock = Clock()
    driver, agent = opened(["a@phase.2.1"], rittal(5000, "L1", "L2"), clock, slow_interval=10.0)
    assert watts(driver.read()) == {"a": 100}
    agent.cells = rittal(90, "L3", "L1", "L2")  # it found another meter, and counts its variables anew
    clock.now += 10
    with pytest.raises(DeviceError, match="pdu has restarted"):
        driver.read()
    driver.open()
    assert watts(driver.read()) == {"a": 200}


def test_a_device_without_an_up_time_is_believed_to_run():
    clock = Clock()
    cells = {oid: value for oid, value in rittal(0, "L1").items() if oid != f"{SYS_UP_TIME}.0"}
    driver, _ = opened(["a@phase.2.1"], cells, clock, slow_interval=0.0)
    assert [watts(driver.read()), watts(driver.read())] == [{"a": 100}, {"a": 100}]


def test_sensors_of_one_column_are_split_and_scaled_by_the_devices_own_digits():
    driver, agent = opened(["a", "b"], raritan())
    agent.asked.clear()
    first, _ = driver.read()
    assert first == Measurement(
        "a", watts=123.4, volt_amperes=130.0, amps=0.5, kwh=5000.0, kwh_wrap=4294967.296, level="outlet"
    )
    assert agent.asked == [[f"{RARITAN}.5.4.3.1.4", f"{RARITAN}.5.4.3.1.2"], [SYS_UP_TIME]]


def test_a_sensor_must_be_available_where_the_device_tells():
    driver, agent = opened(["a", "b"], raritan())
    agent.cells[f"{RARITAN}.5.4.3.1.2.1.1.5"] = 2
    assert watts(driver.read()) == {"a": None, "b": 123.4}


def test_a_device_that_does_not_tell_availability_is_believed():
    cells = {oid: value for oid, value in raritan().items() if not oid.startswith(f"{RARITAN}.5.4.3.1.2.")}
    driver, _ = opened(["a"], cells)
    assert watts(driver.read()) == {"a": 123.4}


@pytest.mark.parametrize("digits", ["none", -1, 99])
def test_a_value_of_unknown_scale_is_no_value(digits):
    driver, _ = opened(["a"], raritan(digits=digits))
    with pytest.raises(DeviceError, match="without a usable value"):
        driver.read()


def test_a_register_wraps_where_its_digits_put_it():
    driver, _ = opened(["a"], raritan(digits=1))
    (only,) = driver.read()
    assert (only.kwh, only.kwh_wrap) == (500.0, 429496.7296)


def test_an_apc_with_the_new_tree_is_read_by_it():
    driver, _ = opened(["rack@inlet", "l1@phase"], apc(114))
    inlet, phase = driver.read()
    assert inlet == Measurement("rack", watts=1140.0, kwh=3512.8, level="inlet")
    assert phase == Measurement("l1", amps=4.9, level="phase")


def test_an_apc_whose_new_tree_has_no_power_is_read_by_the_old_one():
    driver, _ = opened(["rack@inlet", "l1@phase.1", "b2@bank.3"], apc(-1))
    assert driver.read() == [
        Measurement("rack", watts=312.0, level="inlet"),
        Measurement("l1", amps=4.9, level="phase"),
        Measurement("b2", amps=4.7, level="bank"),
    ]


def test_an_old_apc_without_bank_numbers_has_phases():
    cells = {oid: value for oid, value in apc(-1).items() if not oid.startswith(f"{RPDU}.2.3.1.1.5")}
    rows = find_rows(load()["apc-rpdu"], Agent(cells).columns(load()["apc-rpdu"].oids()))
    assert list_rows(list(rows)) == "inlet.0, phase.1, phase.2, phase.3"


def test_apparent_power_is_never_active_power():
    cells = {SYS_OBJECT_ID: EATON, **column(f"{EATON}.6.5.1.2", {"0.1": 93})}
    driver, _ = opened(["a"], cells)
    assert driver.read() == [Measurement("a", volt_amperes=93.0, level="outlet")]


SIGNED = {"profile": "generic", "oid": ["1.3.9"], "signed": True}


@pytest.mark.parametrize(
    ("probes", "options", "names"),
    [
        (["a", "", "c"], SIGNED, ["a", "a@export", "c", "c@export"]),
        (["a", "a@export"], SIGNED, ["a", "a@export"]),  # the second row has what flows back
        (["b@export@outlet.2", "b@outlet.1"], SIGNED, ["b@export", "b"]),
        (["a", "b"], {**SIGNED, "quantity": "va"}, ["a", "b"]),
        (["a", "b"], {"profile": "generic", "oid": ["1.3.9"]}, ["a", "b"]),
    ],
)
def test_what_flows_back_is_a_probe_of_its_own_and_told_before_the_device_is_asked(probes, options, names):
    driver, _ = make(probes, column("1.3.9", {"1": 5, "2": 0, "3": 8}), **options)
    assert driver.probe_names() == names
    driver.open()
    assert driver.probe_names() == names
    assert [each.probe for each in driver.read()] == names


def test_an_average_that_the_device_repeats_with_its_own_time_is_measured_once():
    clock = Clock()
    driver, agent = opened(["a@phase.9463.0", "b@phase.9463.1"], e3meter(1583229000, 100, 50), clock)
    everything = {"a": 100, "a@export": 0, "b": 50, "b@export": 0}
    assert watts(driver.read()) == everything
    clock.now += 150
    assert driver.read() == []
    agent.cells = e3meter(1583229300, 100, 50)
    again = driver.read()
    assert watts(again) == everything, "the same watts of the next five minutes"
    assert {each.probe: each.kwh for each in again if each.kwh} == {"a": 5.0, "b": 5.0}
    agent.cells |= {cell: 1583229600 for cell in agent.cells if cell.endswith("13.9463.1")}
    assert watts(driver.read()) == {"b": 50, "b@export": 0}


def test_a_profile_tells_which_rows_have_power_that_flows_back():
    names = ["a", "a@export", "b", "b@export", "rack", "rack@export"]
    driver, _ = opened(["a", "b", "rack@inlet"], rnx(), profile="rnx-updu")
    assert make(["a", "b", "rack@inlet"], {}, profile="rnx-updu")[0].probe_names() == driver.probe_names() == names
    assert driver.read() == [
        Measurement("a", watts=60, kwh=9.0, level="outlet"),
        Measurement("a@export", watts=0, level="outlet"),
        Measurement("b", watts=0, kwh=0.0, level="outlet"),
        Measurement("b@export", watts=100, level="outlet"),
        Measurement("rack", watts=0, kwh=7.0, level="inlet"),
        Measurement("rack@export", watts=40, level="inlet"),
    ]


def test_an_auto_profile_tells_what_flows_back_when_it_has_asked_the_device():
    driver, _ = make(["a", "b"], rnx())
    assert driver.probe_names() == ["a", "b"]
    driver.open()
    assert driver.probe_names() == [each.probe for each in driver.read()] == ["a", "a@export", "b", "b@export"]


def test_power_that_is_unknown_just_now_is_no_power_that_flows_back():
    driver, agent = opened(["a", "b"], rnx(), profile="rnx-updu")
    del agent.cells[f"{METERS}.7.0.1"]
    assert driver.read()[0] == Measurement("a", kwh=9.0, level="outlet")
    assert [each.probe for each in driver.read()] == ["b", "b@export"]  # the register is not read at each poll
