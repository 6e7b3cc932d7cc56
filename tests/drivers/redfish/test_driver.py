import logging
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kwapi.drivers.redfish.driver import Redfish
from kwapi.drivers.redfish.resources import (
    Row,
    choose_rows,
    find_outer,
    lines_of,
    number,
    parse_chassis,
    parse_circuit,
    parse_line,
    parse_power,
    parse_probe,
    parse_sensor,
    parse_supplies,
    parse_supply,
    parse_total,
    reading_time,
    total_of,
)
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.integration.daemons import free_port
from tests.integration.redfish_server import (
    PASSWORD,
    ROOT,
    SESSIONS,
    USER,
    bmc,
    make_certificate,
    rack_pdu,
    serve_redfish,
)
from tests.waiting import eventually

DEFAULTS = {option.dest: option.default for option in Redfish.options}
PATIENT = {"timeout": 30.0, "deadline": 60.0}  # for machines with a lot else to do
CHASSIS = f"{ROOT}/Chassis"
METRICS = f"{CHASSIS}/1U/EnvironmentMetrics"
OUTLETS = f"{ROOT}/PowerEquipment/RackPDUs/1/Outlets"


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def reading(value):
    return {"Reading": value}


def environment(watts=300, kwh=1200):
    return {"PowerWatts": reading(watts), "EnergykWh": reading(kwh)}


def server(watts=300, kwh=1200):
    return {"1U": {"EnvironmentMetrics": environment(watts, kwh)}}


def outlet(watts, kwh=None):
    return {"PowerWatts": reading(watts), "EnergykWh": reading(kwh)}


def total(quantity, value, units, **more):
    return {"ReadingType": quantity, "Reading": value, "ReadingUnits": units, "PhysicalContext": "Chassis", **more}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def shared():
    shared = Redfish.open_shared()
    yield shared
    Redfish.close_shared(shared)


@pytest.fixture
def device(certificate, shared):
    """Return what makes a server of these resources, and a driver for it with these probes and options."""
    servers, drivers = [], []

    def start(resources, probes, **options):
        context = serve_redfish(resources, certificate)
        served = context.__enter__()
        servers.append(context)
        values = {"host": "127.0.0.1", "port": served.port, "user": USER, "password": PASSWORD, "interval": 1.0}
        driver = Redfish(
            "rack.bmc", DEFAULTS | PATIENT | values | {"ca_file": str(certificate), "probes": probes} | options, shared
        )
        drivers.append(driver)
        return served, driver

    yield start
    for driver in drivers:
        driver.close()
    for context in servers:
        context.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(374, 374.0), (1.5, 1.5), (0, 0.0), (None, None), ("374", None), (True, None), (-1, None), ([], None)]
    + [(float("nan"), None), (float("inf"), None), (10**400, None)],
)
def test_only_a_finite_number_that_is_not_negative_is_a_number(value, expected):
    assert number(value) == expected


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        ({"PowerWatts": reading(197.4), "EnergykWh": reading(36166)}, {"watts": 197.4, "kwh": 36166}),
        (
            {"PowerWatts": {"Reading": 90, "ApparentVA": 100, "PowerFactor": 0.9}, "Voltage": reading(230.2)},
            {"watts": 90, "volt_amperes": 100, "power_factor": 0.9, "volts": 230.2},
        ),
        ({"CurrentAmps": reading(1.68), "FrequencyHz": reading(60)}, {"amps": 1.68, "hertz": 60}),
        ({"PowerWatts": reading(0)}, {"watts": 0}),
        ({"PowerWatts": reading(None), "EnergykWh": {}}, {}),
        ({"PowerWatts": 5, "EnergykWh": None, "Voltage": [230]}, {}),
        ({"EnergyJoules": reading(7.2e6)}, {"kwh": 2}),
        ({"EnergyJoules": reading(7.2e6), "EnergykWh": reading(5)}, {"kwh": 5}),
        ({"PowerLimitWatts": {"SetPoint": 500}, "PowerCapacityWatts": 1600, "RatedCurrentAmps": 20}, {}),
    ],
)
def test_a_circuit_tells_its_readings(resource, expected):
    assert parse_circuit(resource) == expected


def test_a_line_of_a_circuit_is_measured_against_neutral():
    circuit = {
        "PowerWatts": reading(500),
        "PolyPhasePowerWatts": {"Line1ToNeutral": reading(198.4), "Line1ToLine2": reading(738.9)},
        "PolyPhaseCurrentAmps": {"Line1": reading(8.02), "Neutral": reading(2.74)},
        "PolyPhaseVoltage": {"Line1ToNeutral": reading(117.8), "Line1ToLine2": reading(202.8)},
        "PolyPhaseEnergykWh": {"Line1ToNeutral": reading(12)},
    }
    assert parse_line(circuit, 1) == {"watts": 198.4, "amps": 8.02, "volts": 117.8, "kwh": 12}
    assert parse_line(circuit, 2) == {}


@pytest.mark.parametrize(
    ("sensor", "expected"),
    [
        (total("Power", 374, "W", ApparentVA=380), {"watts": 374, "volt_amperes": 380}),
        (total("Power", 374, "W", PowerFactor=0.98), {"watts": 374, "power_factor": 0.98}),
        (total("Power", 1.2, "kW"), {"watts": 1200}),
        (total("EnergykWh", 325675, "kW.h"), {"kwh": 325675}),
        (total("EnergyWh", 1500, "W.h"), {"kwh": 1.5}),
        (total("EnergyJoules", 3.6e6, "J"), {"kwh": 1}),
        (total("Power", 100, "V.A"), {}),  # apparent power is no power
        (total("Temperature", 39, "Cel"), {}),
        (total("Power", None, "W"), {}),
        (total("Power", 374, None), {}),
    ],
)
def test_a_sensor_tells_by_its_unit(sensor, expected):
    assert parse_sensor(sensor) == expected


@pytest.mark.parametrize(
    ("sensor", "expected"),
    [
        (total("Power", 374, "W", ElectricalContext="Total"), "watts"),
        (total("EnergykWh", 1, "kW.h"), "kwh"),
        (total("Power", 374, "W", ElectricalContext="Line1"), ""),
        (total("Power", 374, "W", PhysicalSubContext="Output"), ""),
        (total("Power", 90, "W", PhysicalContext="CPU"), ""),
        (total("Temperature", 39, "Cel"), ""),
        ({}, ""),
    ],
)
def test_only_a_sensor_of_the_whole_chassis_is_its_total(sensor, expected):
    assert total_of(sensor) == expected


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ([(100, 7), (120, 8)], {"watts": 220, "kwh": 15}),
        ([(100, None), (0, 8)], {"watts": 100}),  # a supply in reserve draws nothing
        ([(100, 7), (None, 8)], {"kwh": 15}),  # what one of them does not tell is unknown
        ([(0, 7), (0, 8)], {"kwh": 15}),  # a machine that answers draws something
        ([], {}),
    ],
)
def test_power_supplies_add_up_if_all_of_them_tell(supplies, expected):
    metrics = [{"InputPowerWatts": reading(watts), "EnergykWh": reading(kwh)} for watts, kwh in supplies]
    assert parse_supplies(*metrics) == expected


def test_an_absent_power_supply_does_not_count():
    absent = {"Status": {"State": "Absent"}, "InputPowerWatts": reading(None)}
    assert parse_supplies({"InputPowerWatts": reading(150)}, absent) == {"watts": 150}


@pytest.mark.parametrize(
    ("power", "expected"),
    [
        ({"PowerControl": [{"PowerConsumedWatts": 344, "PowerCapacityWatts": 800}]}, {"watts": 344}),
        ({"PowerControl": [{"PowerConsumedWatts": 400}, {"PowerConsumedWatts": 150}]}, {"watts": 400}),
        ({"PowerControl": {"PowerConsumedWatts": 80}}, {"watts": 80}),
        ({"PowerControl": [{"PowerConsumedWatts": None}]}, {}),  # iDRAC 7
        ({"PowerControl": [{"PowerConsumedWatts": 0}]}, {}),
        ({"PowerControl": []}, {}),
        ({"PowerConsumedWatts": 590, "PowerCapacityWatts": 1600}, {"watts": 590}),  # iLO 4
        (
            {
                "PowerControl": [{"PowerConsumedWatts": None}],
                "Oem": {"ts_fujitsu": {"ChassisPowerConsumption": {"CurrentPowerConsumptionW": 116}}},
            },
            {"watts": 116},
        ),
        (
            {
                "PowerControl": [{"PowerCapacityWatts": 1600}],
                "PowerSupplies": [{"PowerInputWatts": 900, "LastPowerOutputWatts": 650, "PowerCapacityWatts": 750}],
            },
            {},
        ),
        ({"PowerControl": [7]}, {}),
        ({}, {}),
    ],
)
def test_power_tells_watts_that_are_no_rating(power, expected):
    assert parse_power(power) == expected


def test_chassis_inside_of_others_are_found_by_the_links_of_either_side():
    chassis = {
        "/c/rack": {"Links": {"Contains": [{"@odata.id": "/c/box/"}]}},
        "/c/box": {},
        "/c/blade": {"Links": {"ContainedBy": {"@odata.id": "/c/box"}}},
        "/c/other": {"Links": {"ContainedBy": {"@odata.id": "/c/unknown"}}},
        "/c/loop": {"Links": {"ContainedBy": {"@odata.id": "/c/loop"}}},
    }
    assert find_outer(chassis) == {
        "/c/rack": [],
        "/c/box": ["/c/rack"],
        "/c/blade": ["/c/box", "/c/rack"],
        "/c/other": [],
        "/c/loop": [],
    }


NAMES = st.sampled_from(
    ["PowerWatts", "Reading", "PowerControl", "PowerConsumedWatts", "Oem", "ts_fujitsu", "Status", "State", "Links"]
    + ["Contains", "ContainedBy", "@odata.id", "ReadingUnits", "PolyPhasePowerWatts", "Line1ToNeutral", "ReadingTime"]
)
VALUES = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text() | st.sampled_from(["W", "J", "/c/1", "Absent"])
)
JSON = st.recursive(VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(NAMES, JSON))
def test_no_resource_is_too_odd(resource):
    for parse in (parse_circuit, parse_supply, parse_chassis, parse_sensor, parse_total, parse_supplies, parse_power):
        assert all(value >= 0 for value in parse(resource).values())
    assert all(value >= 0 for value in parse_line(resource, 1).values())
    assert set(find_outer({"/c/1": resource, "/c/2": resource})) == {"/c/1", "/c/2"}
    assert total_of(resource) in ("", "watts", "kwh")
    assert lines_of(resource) in ([], [1])
    assert reading_time(resource) is None or isinstance(reading_time(resource), str)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("srv1", ("srv1", "", "")),
        ("", ("", "", "")),
        ("srv1@export", ("srv1@export", "", "")),
        ("rack7@inlet", ("rack7", "inlet", "")),
        ("srv1@outlet.A1", ("srv1", "outlet", "A1")),
        ("srv1@device.System.Embedded.1", ("srv1", "device", "System.Embedded.1")),
    ],
)
def test_a_name_may_have_a_row(name, expected):
    assert parse_probe(name) == expected


@pytest.mark.parametrize("name", ["srv1@", "srv1@socket.1", "srv1@outlet.", "srv1@outlets"])
def test_a_row_that_is_none_is_refused(name):
    with pytest.raises(ValueError, match="is no row such as"):
        parse_probe(name)


ROWS = [
    Row(level, index, parse_circuit, ()) for level, index in [("device", "1"), ("outlet", "1.A1"), ("outlet", "1.A11")]
]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a", "b"], ["a outlet.1.A1", "b outlet.1.A11"]),
        (["", "b"], ["b outlet.1.A11"]),
        (["a@outlet.A1", "all@device"], ["a outlet.1.A1", "all device.1"]),
        (["a@outlet.1.A11"], ["a outlet.1.A11"]),
    ],
)
def test_names_take_rows_in_order_or_by_the_end_of_their_index(names, expected):
    assert [f"{probe} {row}" for probe, row in choose_rows(names, ROWS, "outlet")] == expected


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a", "b", "c"], "more names than outlets: 'c' is left over"),
        (["a@outlet"], "'a@outlet' matches 2 of the rows"),
        (["a@outlet.11"], "'a@outlet.11' matches none"),
        (["a", "b@outlet.A1"], "'b@outlet.A1' and 'a' name the same row"),
    ],
)
def test_a_name_without_a_row_of_its_own_is_refused(names, message):
    with pytest.raises(LookupError, match=message):
        choose_rows(names, ROWS, "outlet")


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


def pdu(expands=False):
    mains = {
        "AC1": {
            "PolyPhasePowerWatts": {"Line1ToNeutral": reading(300), "Line2ToNeutral": reading(200)},
            "PolyPhaseCurrentAmps": {"Line1": reading(1.5), "Line2": reading(1)},
            "FrequencyHz": reading(50),
        }
    }
    outlets = {"A1": outlet(197.4, 36166), "A2": outlet(0), "A3": {"PowerState": "On"}, "B1": outlet(None)}
    branches = {"A": {"PowerWatts": reading(197.4), "CurrentAmps": reading(0.9)}}
    return rack_pdu(expands, environment(480, 56438), Mains=mains, Branches=branches, Outlets=outlets)


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


def test_basic_authentication_opens_no_session(device):
    served, driver = device(bmc(server()), ["srv1"], auth="basic")
    driver.open()
    driver.read()
    driver.close()
    assert {method for method, _ in served.asked} == {"GET"}


def test_a_session_is_kept_and_ended_at_close(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    assert len(served.sessions) == 1
    driver.read()
    driver.close()
    assert served.sessions == {}
    counted = served.counted()
    assert sum(count for (method, _), count in counted.items() if method == "POST") == 1
    driver.close()  # once more, as after a failure
    assert served.counted() == {}


def test_a_session_that_has_expired_is_made_once_more(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.sessions.clear()  # also after a reboot
    served.counted()
    assert driver.read() == [Measurement("srv1", watts=300, kwh=1200)]
    counted = served.counted()
    assert (counted["GET", METRICS], counted["POST", SESSIONS]) == (2, 1)
    assert len(served.sessions) == 1


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_refused_login_is_told_as_such_and_not_tried_again(status, device):
    served, driver = device(bmc(server()), ["srv1"], password="wrong secret")
    served.login_status = status
    with pytest.raises(CredentialsRefused, match=f"refuses user 'kwapi': {status} at login") as raised:
        driver.open()
    assert "wrong secret" not in str(raised.value)
    assert served.counted()["POST", SESSIONS] == 1


def test_refused_basic_credentials_are_told_as_such(device):
    served, driver = device(bmc(server()), ["srv1"], auth="basic", password="wrong secret")
    with pytest.raises(CredentialsRefused, match="refuses user 'kwapi'"):
        driver.open()
    assert served.counted() == {("GET", f"{ROOT}/"): 1, ("GET", CHASSIS): 1}


def test_a_password_changed_meanwhile_is_refused(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.sessions.clear()
    served.password = "another"
    with pytest.raises(CredentialsRefused):
        driver.read()
    assert served.counted()["POST", SESSIONS] == 2  # one of them at open


def test_a_session_that_counts_for_nothing_is_a_refusal(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = 401
    served.counted()
    with pytest.raises(CredentialsRefused, match=f"401 for {METRICS}"):
        driver.read()
    counted = served.counted()
    assert (counted["GET", METRICS], counted["POST", SESSIONS]) == (2, 1)
    driver.close()
    assert served.sessions == {}  # also the one that is still good, though of no use


def test_sessions_are_ended_with_the_loop_whatever_is_under_way(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.shared = Redfish.open_shared()
    driver.open()
    served.faults[METRICS] = "silence"
    served.counted()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(driver.read)
        eventually(lambda: ("GET", METRICS) in served.asked)
        Redfish.close_shared(driver.shared)
        with pytest.raises(DeviceError, match="has ended"):
            waiting.result()
    assert served.sessions == {}
    with pytest.raises(DeviceError, match="has ended"):
        driver.close()


def test_a_device_without_sessions_is_told_to_use_basic(device):
    served, driver = device(bmc(server()), ["srv1"])
    served.faults[SESSIONS] = 404
    with pytest.raises(DeviceError, match="answers 404 and opens no session; auth = basic may do"):
        driver.open()


def test_a_certificate_of_nobody_we_know_is_refused(device):
    served, driver = device(bmc(server()), ["srv1"], ca_file=None)
    with pytest.raises(DeviceError, match="CERTIFICATE_VERIFY_FAILED"):
        driver.open()
    assert served.counted() == {}


def test_a_certificate_is_not_looked_at_without_verify(device):
    _, driver = device(bmc(server()), ["srv1"], ca_file=None, verify=False)
    driver.open()
    assert driver.read()[0].watts == 300


@pytest.mark.parametrize("fault", ["silence", "trickle"])
def test_a_device_that_does_not_come_to_an_end_is_left(fault, device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = fault
    driver.deadline = 0.1
    with pytest.raises(DeviceError, match=f"did not answer GET {METRICS} within 0.1 s"):
        driver.read()
    served.faults.clear()
    driver.deadline = 60.0
    assert driver.read()[0].watts == 300


def test_a_request_has_a_timeout_of_its_own(device):
    served, driver = device(bmc(server()), ["srv1"], timeout=0.1)
    served.faults[f"{ROOT}/"] = "silence"
    with pytest.raises(DeviceError, match=f"did not answer GET {ROOT}/ within 0.1 s"):
        driver.open()


def test_all_requests_of_a_poll_share_one_deadline(device):
    class Slow(Clock):
        def __call__(self):
            self.now += 10
            return self.now

    served, driver = device(pdu(), ["a1", "a2", "a3", "b1"], deadline=1000.0)
    driver.monotonic_clock = Slow()
    driver.open()
    driver.deadline = 35.0
    served.counted()
    with pytest.raises(DeviceError, match=f"took too long for everything that is asked; {OUTLETS}/B1 was to come"):
        driver.read()
    assert served.counted() == {("GET", f"{OUTLETS}/{name}"): 1 for name in ("A1", "A2", "A3")}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (b"", "disconnected"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 900\r\n\r\n{", "closed connection"),
        (b"\x15\x03\x01 no HTTP at all\r\n\r\n", "illegal"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 7\r\n\r\n<html/>", "answers 200, b'<html/>'"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]", r"answers 200, b'\[\]'"),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 20000\r\n\r\n" + b"[" * 20000, "answers 200"),
        (
            b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5000000\r\n\r\n" + b" " * 5_000_000,
            "more than 4194304 bytes",
        ),
        (503, "answers 503"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: https://example.org/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
            "to another device",
        ),
        (
            f"HTTP/1.1 301 Moved\r\nLocation: {METRICS}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode(),
            "on and on",
        ),
    ],
)
def test_no_usable_answer_is_a_device_error(fault, message, device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = fault
    with pytest.raises(DeviceError, match=message) as raised:
        driver.read()
    assert METRICS in str(raised.value)
    served.faults.clear()
    assert driver.read() == [Measurement("srv1", watts=300, kwh=1200)]


def test_a_connection_that_was_closed_just_now_is_made_once_more(device):
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    served.faults[METRICS] = [b""]
    served.counted()
    assert driver.read()[0].watts == 300
    assert served.counted() == {("GET", METRICS): 2}


def test_a_login_is_not_sent_twice(device):
    served, driver = device(bmc(server()), ["srv1"])
    served.faults[SESSIONS] = b""
    with pytest.raises(DeviceError, match="disconnected"):
        driver.open()
    assert served.counted()["POST", SESSIONS] == 1


def test_a_redirect_on_the_same_device_is_followed(device):
    served, driver = device(bmc(server()), ["srv1"])
    served.faults[CHASSIS] = (
        f"HTTP/1.1 308 X\r\nLocation: {CHASSIS}/\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    driver.open()
    assert driver.read()[0].watts == 300


def test_links_to_other_devices_are_not_followed(device):
    resources = bmc(server())
    resources[CHASSIS]["Members"].insert(0, {"@odata.id": "https://other.example/redfish/v1/Chassis/1"})
    _, driver = device(resources, ["srv1"])
    driver.open()
    assert driver.read()[0].watts == 300


def test_nobody_there_is_a_device_error(device):
    _, driver = device(bmc(server()), ["srv1"], port=free_port())
    with pytest.raises(DeviceError, match=f"GET {ROOT}/"):
        driver.open()


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


def test_neither_requests_nor_secrets_are_logged(device, caplog):
    caplog.set_level(logging.DEBUG)
    served, driver = device(bmc(server()), ["srv1"])
    driver.open()
    driver.read()
    (token,) = served.sessions
    driver.close()
    assert [record.name for record in caplog.records if record.name.startswith("http")] == []
    assert token not in caplog.text
    assert PASSWORD not in caplog.text + repr(driver._service.target)


@pytest.mark.parametrize("location", ["https://[bmc/1", "\x01", ""])
def test_a_session_without_a_usable_address_ends_by_itself(location, device):
    served, driver = device(bmc(server()), ["srv1"])
    body = (
        b"HTTP/1.1 201 Created\r\nX-Auth-Token: token\r\nLocation: %b\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    )
    served.faults[SESSIONS] = body % location.encode()
    served.sessions["token"] = "known"
    driver.open()
    assert driver.read()[0].watts == 300


def test_a_loop_that_has_ended_is_a_device_error(device):
    _, driver = device(bmc(server()), ["srv1"])
    driver.shared = Redfish.open_shared()
    Redfish.close_shared(driver.shared)
    with pytest.raises(DeviceError, match="has ended"):
        driver.open()
    with pytest.raises(DeviceError, match="has ended"):
        driver.close()
