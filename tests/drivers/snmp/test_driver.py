import pytest

from kwapi.drivers.snmp.driver import SYS_OBJECT_ID, Snmp, split_oids
from kwapi.drivers.snmp.profile import load
from kwapi.drivers.snmp.rows import find_rows
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.clock import Clock
from tests.drivers.snmp.agents import DEFAULTS, EATON, NAMES, Agent, column, eaton, make, opened, watts


def test_slow_columns_are_read_once_in_their_interval_and_never_repeated():
    clock = Clock()
    driver, agent = opened(["a"], eaton(), clock, slow_interval=60.0)
    assert [each.kwh for each in driver.read()] == [1.0]
    clock.now += 59
    assert [(each.kwh, each.kwh_wrap) for each in driver.read()] == [(None, None)]
    clock.now += 1
    assert [each.kwh for each in driver.read()] == [1.0]


@pytest.mark.parametrize("early", [0.0, 0.01, -0.01])
def test_slow_columns_that_are_due_are_not_put_off_by_a_poll_that_comes_early(early):
    clock = Clock()
    driver, _ = opened(["a"], eaton(), clock, slow_interval=10.0, interval=10.0)
    driver.read()
    clock.now += 10 - early
    assert [each.kwh for each in driver.read()] == [1.0]


def test_power_that_was_read_is_published_though_the_other_columns_time_out(caplog):
    caplog.set_level("INFO")
    clock = Clock()
    driver, agent = opened(["a", "b"], eaton() | column(f"{EATON}.6.4.1.3", {"0.1": 500}), clock)
    agent.silent = [f"{EATON}.6.4"]
    for _ in range(3):
        assert driver.read() == [
            Measurement("a", watts=10, level="outlet"),
            Measurement("b", watts=11, level="outlet"),
        ]
        clock.now += 10
    agent.silent = []
    assert [(each.watts, each.amps) for each in driver.read()] == [(10, 0.5), (11, None)]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "rack.pdu answers in part: no answer"),
        ("INFO", "rack.pdu answers in full after 30 s"),
    ]


def test_slow_columns_that_time_out_are_told_once_though_the_others_answer_between(caplog):
    clock = Clock()
    driver, agent = opened(["a"], eaton() | column(f"{EATON}.6.4.1.3", {"0.1": 500}), clock)
    agent.silent = [f"{EATON}.6.5.1.4"]
    for _ in range(25):
        driver.read()
        clock.now += 1
    assert len(caplog.records) == 1


def test_columns_that_time_out_are_not_waited_for_at_each_poll():
    clock = Clock()
    driver, agent = opened(["a"], eaton() | column(f"{EATON}.6.4.1.3", {"0.1": 500}), clock, slow_interval=10.0)
    agent.silent = [f"{EATON}.6.4"]
    agent.asked.clear()
    for _ in range(20):
        driver.read()
        clock.now += 1
    assert len(agent.asked) == 20 + 3  # at first, the others alone, and when the slow ones are due again
    agent.silent = []
    assert [each.amps for each in driver.read()] == [0.5]
    assert [each.amps for each in driver.read()] == [0.5]


def test_without_power_a_time_out_is_the_devices_failure():
    driver, agent = opened(["a"], eaton())
    del agent.cells[f"{EATON}.6.5.1.3.0.1"]
    agent.silent = [f"{EATON}.6.5.1.4"]
    with pytest.raises(DeviceError, match="no answer"):
        driver.read()


def test_power_is_read_first_and_its_time_taken():
    clock = Clock()
    driver, agent = opened(["a", "rack@inlet"], eaton(), clock)
    agent.asked.clear()
    agent.clock = clock
    driver.read()
    assert agent.asked[0] == [f"{EATON}.6.5.1.3", f"{EATON}.3.5.1.4"]
    assert len(agent.asked) == 2
    assert driver.answered_at == (1_800_000_001.0, 1_800_000_001.0)
    assert clock.now == 1_800_000_002.0


def test_amperes_that_tell_whether_no_watts_are_true_are_read_with_them():
    driver, agent = opened(["a@output"], {f"{UPS_OUTPUT}.3.1": 145, f"{UPS_OUTPUT}.4.1": 0}, profile="ups")
    agent.silent = [f"{UPS_OUTPUT}.2"]
    assert driver.read() == [Measurement("a", amps=14.5, level="device")]


def test_only_columns_of_named_levels_are_polled():
    driver, agent = opened(["rack@inlet"], eaton())
    agent.asked.clear()
    driver.read()
    assert not any(f"{EATON}.6." in oid for oids in agent.asked for oid in oids)


def test_an_answer_without_any_value_is_a_device_error():
    driver, agent = opened(["a"], eaton())
    agent.cells.clear()
    with pytest.raises(DeviceError, match="without a usable value"):
        driver.read()


def test_an_unknown_device_is_told_by_its_object_id():
    with pytest.raises(DeviceError, match="1.3.6.1.4.1.8072"):
        opened(["a"], {SYS_OBJECT_ID: "1.3.6.1.4.1.8072.3.2.10"})
    with pytest.raises(DeviceError, match="sysObjectID None"):
        opened(["a"], {})


UPS_OUTPUT, PLANET = "1.3.6.1.2.1.33.1.4.4.1", "1.3.6.1.4.1.10456.3.3"


@pytest.mark.parametrize("named", [{SYS_OBJECT_ID: "1.3.6.1.4.1.8072.3.2.10"}, {}])
@pytest.mark.parametrize("power", [f"{UPS_OUTPUT}.4.1", f"{PLANET}.2.1.6.1"])
def test_a_device_that_does_not_say_what_it_is_is_known_by_what_it_has(named, power):
    driver, agent = opened(["a@output" if power.startswith(UPS_OUTPUT) else "a@inlet"], {**named, power: 200})
    assert watts(driver.read()) == {"a": 200}
    assert agent.asked[0] == [profile.known_by for profile in load().values() if profile.known_by]


def test_what_a_device_says_it_is_goes_before_what_it_has():
    driver, agent = opened(["a"], {**eaton(), f"{UPS_OUTPUT}.4.1": 200})
    assert watts(driver.read()) == {"a": 10}
    assert not any(f"{UPS_OUTPUT}.4" in oids for oids in agent.asked)


def test_a_profile_may_be_named():
    cells = eaton()
    del cells[SYS_OBJECT_ID]
    driver, _ = opened(["a"], cells, profile="eaton-g3")
    assert watts(driver.read()) == {"a": 10}


def test_generic_reads_a_column_in_its_unit():
    driver, agent = opened(["a", "b"], column("1.3.9", {"1": 5, "3": 7, "2": -1}), profile="generic", oid=["1.3.9"])
    assert watts(driver.read()) == {"a": 5}
    driver, _ = opened(
        ["a", "b"], column("1.3.9", {"1": 5, "2": -1}), profile="generic", oid=["1.3.9"], unit="kW", signed=True
    )
    assert watts(driver.read()) == {"a": 5000, "a@export": 0, "b": 0, "b@export": 1000}


def test_generic_reads_single_values_and_columns_in_the_order_of_the_list():
    cells = {"1.3.5.0": 50, "1.3.4.0": 40, **column("1.3.9", {"1": 1, "2": 2})}
    driver, _ = opened(["a", "b", "c", "d"], cells, profile="generic", oid=["1.3.5.0", "1.3.9", "1.3.4.0"])
    assert watts(driver.read()) == {"a": 50, "b": 1, "c": 2, "d": 40}


def test_generic_reads_registers_and_other_levels():
    options = {"quantity": "kwh", "unit": "0.1 kWh", "wrap": 1000, "level": "inlet"}
    driver, _ = opened(["a"], {"1.3.5.0": 50}, profile="generic", oid=["1.3.5.0"], **options)
    assert driver.read() == [Measurement("a", kwh=5.0, kwh_wrap=100.0, level="inlet")]


def test_all_columns_are_read_first_when_none_is_power():
    rows = find_rows(load()["eaton-g3"], Agent(column(f"{EATON}.3.2.1.3", {"0.1.1": 1})).columns([f"{EATON}.3.2.1.3"]))
    (cells,) = rows.values()
    volts_only = [cell for cell in cells if cell.column.quantity == "v"]
    assert split_oids(volts_only) == ([f"{EATON}.3.2.1.3"], [], [])
    registers = [cell for cell in cells if cell.column.quantity == "kwh"]
    assert split_oids(registers) == ([f"{EATON}.3.4.1.5"], [], [])


V3 = {"version": "3", "user": "kwapi", "auth_key": "long enough", "priv_key": "long enough"}


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        (V3, []),
        ({"community": ""}, ["community"]),
        ({**V3, "user": ""}, ["user"]),
        ({**V3, "auth_key": "short"}, ["auth_key"]),
        ({**V3, "priv_key": "short"}, ["priv_key"]),
        ({**V3, "auth_key": ""}, ["priv_key"]),
        ({"profile": "unheard-of"}, ["profile"]),
        ({"oid": ["1.3"]}, ["oid"]),
        ({"profile": "generic"}, ["oid"]),
        ({"profile": "generic", "oid": ["1.3", ".1.3", "ifTable"]}, ["oid", "oid"]),
        ({"profile": "generic", "oid": ["1.3"], "unit": "VA"}, ["unit"]),
        ({"profile": "generic", "oid": ["1.3"], "unit": "VA", "quantity": "va"}, []),
        ({"probes": ["a", "", "", "b@inlet"]}, []),
        ({"probes": ["a@plug.1", "b@outlet.x", "c@inlet."]}, ["probes"] * 3),
        ({"probes": ["x@outlet.1", "y@outlet.1", "z@outlet.2"]}, ["probes"]),
        ({"timeout": 5.0, "retries": 1}, ["timeout"]),
        ({"probes": ["a/b", "@inlet"]}, ["probes"]),  # the names themselves are checked with every driver's
    ],
)
def test_problems(options, found):
    driver, _ = make(**{"probes": ["a"], "cells": {}, **options})
    problems = list(driver.problems())
    assert [option for option, _ in problems] == found
    assert not any("short" in text.replace("shorter", "") for _, text in problems)


def test_drivers_of_a_process_share_one_client():
    shared = Snmp.open_shared()
    Snmp.close_shared(shared)
    with pytest.raises(DeviceError, match="closed"):
        Snmp("pdu", {**DEFAULTS, "probes": ["a"]}, shared, names=NAMES).open()
