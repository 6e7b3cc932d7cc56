"""Which rows of a device the names of the probes take."""

import pytest

from kwapi.drivers.snmp.rows import parse_probe
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.snmp.agents import EATON, eaton, opened, rnx, watts


def test_names_are_the_outlets_in_numerical_order_and_an_empty_one_skips_one():
    driver, _ = opened(["a", "", "c"], eaton())
    assert driver.probe_names() == ["a", "c"]
    assert driver.read() == [
        Measurement("a", watts=10, kwh=1.0, kwh_wrap=4294967.296, level="outlet"),
        Measurement("c", watts=12, kwh=1.002, kwh_wrap=4294967.296, level="outlet"),
    ]


def test_the_tenth_outlet_comes_after_the_ninth():
    names = [f"server-{number}" for number in range(1, 13)]
    driver, _ = opened(names, eaton([f"0.{number}" for number in range(1, 13)]))
    assert watts(driver.read()) == {name: 10 + place for place, name in enumerate(names)}


def test_names_do_not_slip_past_an_outlet_that_is_missing():
    with pytest.raises(DeviceError, match=r"outlets are missing between 0\.2 and 0\.4"):
        opened(["a", "b", "c"], eaton(("0.1", "0.2", "0.4", "0.5")))
    driver, _ = opened(["a", "b", "d@outlet.4"], eaton(("0.1", "0.2", "0.4", "0.5")))
    assert watts(driver.read()) == {"a": 10, "b": 11, "d": 12}


def test_names_do_not_slip_past_a_first_outlet_that_is_missing():
    with pytest.raises(DeviceError, match=r"outlets are missing before 0\.2; pdu has"):
        opened(["a", "b"], eaton(("0.2", "0.3")))
    with pytest.raises(DeviceError, match=r"outlets are missing before 1\.3"):  # of the second strip
        opened(["a", "b", "c"], eaton(("0.1", "0.2", "1.3")))
    driver, _ = opened(["b@outlet.2"], eaton(("0.2", "0.3")))
    assert watts(driver.read()) == {"b": 10}


def test_where_numbers_begin_elsewhere_the_first_outlet_is_the_first_there_is():
    driver, _ = opened(["a"], rnx())
    assert watts(driver.read()) == {"a": 60, "a@export": 0}


def test_generic_does_not_go_on_without_one_of_its_oids():
    with pytest.raises(DeviceError, match=r"has nothing at 1\.3\.5\.0"):
        opened(["a", "b"], {"1.3.4.0": 50}, profile="generic", oid=["1.3.5.0", "1.3.4.0"])


def test_names_take_rows_by_index_beside_those_in_order():
    driver, _ = opened(["rack@inlet", "l2@phase.1.2", "last@outlet.3", "a"], eaton())
    assert driver.probe_names() == ["rack", "l2", "last", "a"]
    assert watts(driver.read()) == {"rack": 300, "l2": 200, "last": 12, "a": 10}
    assert {each.probe: each.level for each in driver.read()}["l2"] == "phase"


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        (
            ["a", "b", "c", "d"],
            "more names than outlets: 'd' is left over; pdu has inlet.0.1, phase.0.1.1, phase.0.1.2",
        ),
        (["a@outlet.4"], r"'a@outlet.4' matches none of the rows; pdu has .*outlet.0.1, outlet.0.2, outlet.0.3"),
        (["a@phase"], "'a@phase' matches 2 of the rows"),
        (["a@bank.1"], "matches none"),
        (["a", "b@outlet.1"], "'b@outlet.1' and 'a' name the same row"),
    ],
)
def test_a_name_without_a_row_of_its_own_is_a_device_error_that_lists_the_rows(probes, message):
    with pytest.raises(DeviceError, match=message):
        opened(probes, eaton())


def test_an_end_of_an_index_must_be_unique_in_a_chain_of_devices():
    chain = eaton(("0.1", "0.2", "1.1"))
    with pytest.raises(DeviceError, match="matches 2 of the rows"):
        opened(["a@outlet.1"], chain)
    driver, _ = opened(["a@outlet.1.1", "b@outlet.2"], chain)
    assert watts(driver.read()) == {"a": 12, "b": 11}


def test_a_cell_missing_at_the_start_shifts_nothing():
    cells = eaton()
    del cells[f"{EATON}.6.5.1.3.0.1"]
    driver, agent = opened(["a", "b"], cells)
    assert watts(driver.read()) == {"a": None, "b": 11}
    agent.cells[f"{EATON}.6.5.1.3.0.1"] = 10
    assert watts(driver.read()) == {"a": 10, "b": 11}


def test_a_row_that_vanishes_is_left_out_and_nothing_else():
    driver, agent = opened(["a", "b", "c"], eaton())
    for oid in [oid for oid in agent.cells if oid.endswith(".0.2")]:
        del agent.cells[oid]
    assert watts(driver.read()) == {"a": 10, "c": 12}


@pytest.mark.parametrize(
    ("name", "parsed"),
    [
        ("taurus-1", ("taurus-1", None, ())),
        ("pv@export", ("pv@export", None, ())),
        ("rack@inlet", ("rack", "inlet", ())),
        ("rack@outlet.1.12", ("rack", "outlet", (1, 12))),
        ("pv@export@phase.1", ("pv@export", "phase", (1,))),
    ],
)
def test_names_of_probes(name, parsed):
    assert parse_probe(name) == parsed
