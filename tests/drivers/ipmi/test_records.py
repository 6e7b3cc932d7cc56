import pytest

from kwapi.drivers.ipmi.records import (
    choose_sensors,
    may_be_watts,
    parse_name,
    parse_power_reading,
    parse_sensor,
    parse_sensor_reading,
)
from kwapi.errors import DeviceError
from tests.drivers.ipmi.sensors import ON, supplies
from tests.integration.ipmi_sim import sensor_record


@pytest.mark.parametrize(
    ("octets", "expected"),
    [
        ("dc 29 01 1c 01 3d 01 29 01 2b 2e 54 56 10 27 00 00 40", (297, 284, 317, 297, 1448357419, 10.0, True)),
        ("dc e2 00 00 00 8a 02 ec 00 00 00 00 00 30 d9 0c a0 40", (226, 0, 650, 236, 0, 2685196.592, True)),
        ("dc 3f 01 3f 01 3f 01 3f 01 07 00 00 00 00 00 00 00 00", (319, 319, 319, 319, 7, 0.0, False)),
        (
            "dc ff ff 00 00 ff ff ff ff ff ff ff ff ff ff ff ff ff 01",
            (65535, 0, 65535, 65535, 2**32 - 1, 4294967.295, True),
        ),
    ],
)
def test_a_power_reading_has_watts_their_statistics_and_the_state(octets, expected):
    reading = parse_power_reading(bytes.fromhex(octets))
    assert (reading.watts, reading.minimum, reading.maximum, reading.average) == expected[:4]
    assert (reading.timestamp, reading.seconds, reading.active) == expected[4:]
    assert reading.is_measured


@pytest.mark.parametrize("octets", ["", "dc", "dc" + "00" * 16, "dd" + "00" * 17])
def test_a_power_reading_that_is_cut_or_of_another_group_is_a_device_error(octets):
    with pytest.raises(DeviceError, match="malformed DCMI power reading"):
        parse_power_reading(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("type_and_length", "octets", "name"),
    [
        (0xC9, b"PS1 Input", "PS1 Input"),
        (0xC4, b"PS1 \xb5W", "PS1"),
        (0xC3, b"\xb5W\0", "µW"),
        (0x03, "µW".encode(), "µW"),
        (0x42, b"\x12\xc3", "12.3"),
        (0x83, b"\x29\xdc\xa6", "IPMI"),  # the example of 43.15
        (0x84, b"\x29\xdc\xa6\x29", "IPMII"),
        (0xC0, b"", ""),
    ],
)
def test_names_are_in_four_codes(type_and_length, octets, name):
    assert parse_name(type_and_length, octets) == name


@pytest.mark.parametrize(
    ("values", "raw", "expected"),
    [
        ({"m": 4}, 40, 160),
        ({"m": 2, "b": -3}, 55, 107),
        ({"m": 15, "b": 1, "b_exponent": 2, "result_exponent": -1}, 100, 160),
        ({"m": -1, "b": 511}, 255, 256),
        ({"m": 1, "form": 2}, 0xFE, -2),
        ({"m": 1, "form": 1}, 0xFE, -1),
        ({"m": 7, "result_exponent": -3}, 1, 0.007),
    ],
)
def test_a_sensor_makes_watts_of_its_raw_reading(values, raw, expected):
    sensor = parse_sensor(sensor_record("Power", 7, **values))
    assert (sensor.name, sensor.number, sensor.lun, sensor.entity) == ("Power", 7, 0, 7)
    assert parse_sensor_reading(sensor, bytes([raw]) + ON) == expected


@pytest.mark.parametrize("flags", [b"\x00\0\0", b"\xe0\0\0", b"\x20"])
def test_a_sensor_that_is_not_scanned_has_no_reading(flags):
    assert parse_sensor_reading(parse_sensor(sensor_record("Power", 7)), b"\x10" + flags) is None


@pytest.mark.parametrize("values", [{"unit": 1}, {"unit": 9}, {"form": 3}, {"linearization": 7}, {"owner": 0x2C}])
def test_records_of_anything_but_plain_watts_are_left_out(values):
    assert parse_sensor(sensor_record("Power", 7, **values)) is None


def test_watts_per_something_are_no_watts():
    record = bytearray(sensor_record("Energy", 7))
    record[20] |= 0b100  # times the second unit
    assert not may_be_watts(record)


def test_malformed_records_and_readings_are_device_errors():
    with pytest.raises(DeviceError, match="malformed sensor record"):
        parse_sensor(sensor_record("Power", 7)[:40])
    with pytest.raises(DeviceError, match="malformed reading of sensor 'Power'"):
        parse_sensor_reading(parse_sensor(sensor_record("Power", 7)), b"\x10")


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], ["System Level"]),
        (["PS1 Input"], ["PS1 Input"]),
        (["PS? Input"], ["PS1 Input", "PS2 Input"]),
        (["PS1*", "PS1 Input", "System Level"], ["PS1 Input", "System Level"]),
    ],
)
def test_sensors_are_chosen_by_name_or_because_there_is_no_other(patterns, names):
    sensors = [sensor for record in supplies() if (sensor := parse_sensor(record))]
    assert [sensor.name for sensor in choose_sensors(sensors, patterns)] == names


def test_a_choice_that_is_not_clear_lists_the_sensors():
    sensors = [sensor for record in supplies() if (sensor := parse_sensor(record))]
    with pytest.raises(LookupError, match="'PS3' of watts: there are 'PS1 Input', 'PS2 Input', 'System Level'"):
        choose_sensors(sensors, ["PS1*", "PS3"])
    with pytest.raises(LookupError, match="not clear which.*there are 'PS1 Input', 'PS2 Input'; set sensor"):
        choose_sensors(sensors[:2], [])
    with pytest.raises(LookupError, match="there are none"):
        choose_sensors([], [])
    with pytest.raises(LookupError, match="not clear"):
        choose_sensors([parse_sensor(sensor_record("CPU", 9, entity=3))], [])


def test_the_only_power_supply_gives_the_machines_power():
    supply, processor = (parse_sensor(sensor_record("x", 9, entity=entity)) for entity in (10, 3))
    assert choose_sensors([supply, processor], []) == [supply]
