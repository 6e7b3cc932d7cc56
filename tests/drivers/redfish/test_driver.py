import pytest

from kwapi.drivers.redfish.driver import Redfish
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.redfish.conftest import DEFAULTS
from tests.drivers.redfish.parts import CHASSIS, METRICS, OUTLETS, environment, pdu, reading, server, total
from tests.integration.redfish_server import SESSIONS, bmc


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, []),
        ({"verify": False, "ca_file": "/etc/ca.pem"}, [("ca_file", "is of no use with verify = false")]),
        ({"auth": "basic", "user": "a:b"}, [("user", "cannot have a colon with auth = basic")]),
        ({"user": None}, []),  # required: told already
        ({"probes": ["@inlet"]}, [("probes", "'@inlet' names a row, but not the probe")]),
        (
            {"probes": ["a@nowhere"]},
            [("probes", "'a@nowhere': 'nowhere' is no row such as inlet, inlet.AC1 or outlet.A12")],
        ),
    ],
)
def test_problems_are_told(options, expected):
    driver = Redfish("rack.bmc", {**DEFAULTS, "probes": ["srv1"], "user": "kwapi", **options})
    assert list(driver.problems()) == expected


def test_probe_names_are_without_their_rows():
    driver = Redfish("rack.pdu", {**DEFAULTS, "probes": ["a", "", "rack@inlet", "wrong@nowhere"]})
    assert driver.probe_names() == ["a", "rack"]


def test_a_poll_asks_for_nothing_but_what_the_names_need(device):
    sensors = {"TotalEnergy": total("EnergykWh", 5, "kW.h"), "FanBay1": {}, "PS1InputPower": {}}
    parts = {"EnvironmentMetrics": {"PowerWatts": reading(374)}, "Sensors": sensors, "Power": {}}
    served, driver = device(bmc({"1U": parts, "2U": parts}), ["srv1"])
    driver.open()
    at_open = served.counted()
    assert at_open["POST", SESSIONS] == 1
    assert ("GET", f"{CHASSIS}/1U/Sensors/FanBay1") not in at_open
    for _ in range(3):
        driver.read()
    assert served.counted() == {("GET", METRICS): 3, ("GET", f"{CHASSIS}/1U/Sensors/TotalEnergy"): 3}
    assert served.handshakes == 1


def test_a_register_that_power_supplies_have_is_not_asked_for_elsewhere(device):
    metrics = {"InputPowerWatts": reading(130), "EnergykWh": reading(10)}
    parts = {"PowerSupplies": {"Bay1": metrics}, "Sensors": {"TotalEnergy": total("EnergykWh", 5, "kW.h")}}
    served, driver = device(bmc({"1U": parts}), ["srv1"])
    driver.open()
    served.counted()
    assert driver.read() == [Measurement("srv1", watts=130, kwh=10)]
    assert served.counted() == {("GET", f"{CHASSIS}/1U/PowerSubsystem/PowerSupplies/Bay1/Metrics"): 1}


def test_an_old_reading_is_not_told_twice(device):
    sensor = total("Power", 210, "W", ReadingTime="2026-11-22T10:00:00Z")
    served, driver = device(bmc({"1U": {"Sensors": {"TotalPower": sensor}}}), ["srv1"])
    driver.open()
    assert driver.read() == [Measurement("srv1", watts=210)]
    assert driver.read() == []
    served.resources[f"{CHASSIS}/1U/Sensors/TotalPower"]["ReadingTime"] = "2026-11-22T10:00:01Z"
    assert driver.read() == [Measurement("srv1", watts=210)]


def test_a_reading_that_changes_is_told_though_its_time_stands_still(device):
    sensor = total("Power", 210, "W", ReadingTime="1970-01-01T00:00:00Z")
    served, driver = device(bmc({"1U": {"Sensors": {"TotalPower": sensor}}}), ["srv1"])
    driver.open()
    driver.read()
    served.resources[f"{CHASSIS}/1U/Sensors/TotalPower"]["Reading"] = 211
    assert [driver.read() for _ in range(2)] == [[Measurement("srv1", watts=211)]] * 2


def test_outlets_come_by_one_request_where_the_device_can(device):
    served, driver = device(pdu(expands=True), ["a1", "a2", "a3", "b1"])
    driver.open()
    served.counted()
    assert [each.watts for each in driver.read()] == [197.4, 0]
    assert served.counted() == {("GET", f"{OUTLETS}?$expand=.($levels=1)"): 1}


def test_a_single_outlet_comes_without_the_others(device):
    served, driver = device(pdu(expands=True), ["a1"])
    driver.open()
    served.counted()
    assert [each.watts for each in driver.read()] == [197.4]
    assert served.counted() == {("GET", f"{OUTLETS}/A1"): 1}


def test_resources_that_vanish_or_go_silent_are_no_measurement(device):
    served, driver = device(bmc({**server(), "2U": {"EnvironmentMetrics": environment(50, 1)}}), ["a", "b"])
    driver.open()
    del served.resources[METRICS]
    assert driver.read() == [Measurement("b", watts=50, kwh=1)]
    served.resources[f"{CHASSIS}/2U/EnvironmentMetrics"] = environment(None, None)
    with pytest.raises(DeviceError, match="without a usable value for any probe"):
        driver.read()


def test_a_register_that_was_reset_is_told_as_it_is(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.resources[METRICS]["EnergykWh"] = reading(0)
    assert driver.read() == [Measurement("srv1", watts=300, kwh=0)]


def test_the_answer_is_marked_before_the_energy_is_read(device):
    parts = {
        "EnvironmentMetrics": {"PowerWatts": reading(374)},
        "Sensors": {"TotalEnergy": total("EnergykWh", 5, "kW.h")},
    }
    served, driver = device(bmc({"1U": parts}), ["srv1"])
    driver.open()
    served.faults[f"{CHASSIS}/1U/Sensors/TotalEnergy"] = 503
    driver.answered_at = None
    with pytest.raises(DeviceError):
        driver.read()
    assert driver.answered_at is not None
