import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from tests.drivers.redfish.parts import reading, total


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
