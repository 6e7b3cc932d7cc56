import pytest

from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.redfish.parts import CHASSIS, OUTLETS, environment, pdu, reading, total
from tests.integration.redfish_server import ROOT, bmc, rack_pdu


@pytest.mark.parametrize(
    ("chassis", "expected"),
    [
        ({"EnvironmentMetrics": environment(300, 1200)}, {"watts": 300, "kwh": 1200}),
        (
            {
                "EnvironmentMetrics": {"PowerWatts": reading(374)},
                "Sensors": {"TotalEnergy": total("EnergykWh", 325675, "kW.h"), "CPU1Temp": total("Power", 1, "W")},
            },
            {"watts": 374, "kwh": 325675},
        ),
        (
            {
                "EnvironmentMetrics": {"TemperatureCelsius": reading(39)},
                "Sensors": {
                    "TotalPower": total("Power", 210, "W"),
                    "CPU1Power": total("Power", 90, "W", PhysicalContext="CPU"),
                },
            },
            {"watts": 210},
        ),
        (
            {
                "Sensors": {"InputPower": total("Power", 210, "W"), "PeakPower": total("Power", 400, "W")},
                "Power": {"PowerControl": [{"PowerConsumedWatts": 205}]},
            },
            {"watts": 205},  # two sensors of the whole are one too many
        ),
        (
            {
                "PowerSupplies": {
                    "Bay1": {"InputPowerWatts": reading(130), "EnergykWh": reading(10)},
                    "Bay2": {"InputPowerWatts": reading(120), "EnergykWh": reading(20)},
                    "Bay3": None,
                },
                "Power": {"PowerControl": [{"PowerConsumedWatts": 1}]},
            },
            {"watts": 250, "kwh": 30},
        ),
        (
            {
                "EnvironmentMetrics": {"PowerWatts": reading(None)},
                "PowerSupplies": {"Bay1": {"InputPowerWatts": reading(0)}},
                "Power": {"PowerControl": [{"PowerConsumedWatts": 221}]},
            },
            {"watts": 221},
        ),
    ],
)
def test_a_chassis_is_read_where_it_tells_most(chassis, expected, device):
    _, driver = device(bmc({"1U": chassis}), ["srv1"])
    driver.open()
    assert driver.read() == [Measurement("srv1", **expected)]


def test_a_sensor_of_the_total_is_found_among_many(device):
    others = {f"PS{number}InputPower": total("Power", 9, "W", PhysicalContext="PowerSupply") for number in range(20)}
    sensors = {**others, "TotalPower": total("Power", 210, "W")}
    _, driver = device(bmc({"1U": {"Sensors": sensors}}), ["srv1"])
    driver.open()
    assert driver.read() == [Measurement("srv1", watts=210)]


def test_a_chassis_is_not_counted_again_inside_of_another(device):
    inside = {"Links": {"ContainedBy": {"@odata.id": f"{CHASSIS}/Enclosure"}}}
    chassis = {
        "Blade1": {"EnvironmentMetrics": environment(200), **inside},
        "Blade2": {"EnvironmentMetrics": environment(250), **inside},
        "Enclosure": {"EnvironmentMetrics": environment(500)},
    }
    served, driver = device(bmc(chassis), ["enclosure"])
    driver.open()
    assert ("GET", f"{CHASSIS}/Blade1/EnvironmentMetrics") not in served.counted()
    assert driver.read() == [Measurement("enclosure", watts=500, kwh=1200)]

    _, driver = device(bmc(chassis), ["enclosure", "b2@outlet.Blade2"])
    driver.open()
    assert driver.read()[1] == Measurement("b2", watts=250, kwh=1200, level="outlet")

    _, driver = device(bmc(chassis), ["enclosure", "b1"])
    with pytest.raises(DeviceError, match="more names than devices: 'b1' is left over; .* has device.Enclosure"):
        driver.open()


def test_chassis_inside_of_one_that_is_not_measured_are_devices(device):
    chassis = {
        "Rack": {"Links": {"Contains": [{"@odata.id": f"{CHASSIS}/Node1"}, {"@odata.id": f"{CHASSIS}/Node2"}]}},
        "Node1": {"EnvironmentMetrics": environment(200)},
        "Node2": {"EnvironmentMetrics": environment(250)},
    }
    _, driver = device(bmc(chassis), ["n1", "n2"])
    driver.open()
    assert [each.watts for each in driver.read()] == [200, 250]


def test_a_chassis_that_is_silent_for_now_keeps_its_place(device):
    chassis = {"A": {"EnvironmentMetrics": environment(None, None)}, "B": {"EnvironmentMetrics": environment(250, 3)}}
    _, driver = device(bmc(chassis), ["a", "b"])
    driver.open()
    assert driver.read() == [Measurement("b", watts=250, kwh=3)]


def test_power_supplies_are_inlets(device):
    metrics = {"InputPowerWatts": reading(130), "InputVoltage": reading(230.2), "InputCurrentAmps": reading(0.6)}
    chassis = {"1U": {"EnvironmentMetrics": environment(), "PowerSupplies": {"Bay1": metrics, "Bay2": metrics}}}
    _, driver = device(bmc(chassis), ["srv1", "psu2@inlet.Bay2"])
    driver.open()
    assert driver.read()[1] == Measurement("psu2", watts=130, volts=230.2, amps=0.6, level="inlet")


@pytest.mark.parametrize(
    "chassis",
    [
        {},
        {"1U": {}},
        {"1U": {"Power": {"PowerControl": [{"PowerConsumedWatts": None}]}}},  # iDRAC 7
        {"1U": {"Power": {"PowerControl": [{"PowerConsumedWatts": 0}]}}},
        {"1U": {"Power": {"PowerSupplies": [{"PowerInputWatts": 900, "LastPowerOutputWatts": 650}]}}},
        {"1U": {"EnvironmentMetrics": {"PowerLimitWatts": {"SetPoint": 500}}}},
    ],
)
def test_a_device_without_power_says_so(chassis, device):
    _, driver = device(bmc(chassis), ["srv1"])
    with pytest.raises(DeviceError, match="127.0.0.1:.* tells no power"):
        driver.open()


def test_the_names_of_a_pdu_are_its_outlets_in_order(device):
    _, driver = device(pdu(), ["a1", "a2", "a3", "b1"])
    driver.open()
    assert driver.read() == [
        Measurement("a1", watts=197.4, kwh=36166, level="outlet"),
        Measurement("a2", watts=0, level="outlet"),
    ]


def test_a_pdu_has_rows_of_every_level(device):
    names = ["rack@device", "in@inlet", "l1@phase.L1", "l2@phase.L2", "a@bank.A", "a1@outlet.A1"]
    _, driver = device(pdu(), names)
    driver.open()
    assert {each.probe: (each.level, each.watts, each.amps) for each in driver.read()} == {
        "rack": ("device", 480, None),
        "in": ("inlet", None, None),
        "l1": ("phase", 300, 1.5),
        "l2": ("phase", 200, 1),
        "a": ("bank", 197.4, 0.9),
        "a1": ("outlet", 197.4, None),
    }


def test_a_pdu_whose_outlets_are_not_metered_is_a_device(device):
    _, driver = device(rack_pdu(metrics=environment(480, 9), Outlets={"1": {"PowerState": "On"}}), ["rack"])
    driver.open()
    assert driver.read() == [Measurement("rack", watts=480, kwh=9)]


@pytest.mark.parametrize("status", [400, 404, 501])
def test_a_device_that_only_says_it_can_is_asked_for_each(status, device):
    served, driver = device(pdu(expands=True), ["a1", "a2"])
    for path in (OUTLETS, CHASSIS, f"{ROOT}/PowerEquipment/RackPDUs"):
        served.faults[f"{path}?$expand=.($levels=1)"] = status
    driver.open()
    served.counted()
    assert [each.watts for each in driver.read()] == [197.4, 0]
    assert served.counted() == {("GET", f"{OUTLETS}/A1"): 1, ("GET", f"{OUTLETS}/A2"): 1}


def test_collections_come_in_pages(device):
    resources = pdu()
    members = resources[OUTLETS]["Members"]
    resources[f"{OUTLETS}/more"] = {"Members": members[2:]}
    resources[OUTLETS] = {"Members": members[:2], "Members@odata.nextLink": f"{OUTLETS}/more"}
    resources[f"{OUTLETS}/B1"]["PowerWatts"] = reading(7)
    _, driver = device(resources, ["b1@outlet.B1"])
    driver.open()
    assert [each.watts for each in driver.read()] == [7]
