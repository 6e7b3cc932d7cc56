import socket

import pytest

from kwapi.cli.discover.found import label_of
from kwapi.cli.discover.ipmi import find
from kwapi.drivers.ipmi.driver import Ipmi
from kwapi.errors import DeviceError
from tests.drivers.ipmi.sensors import INVALID_COMMAND, ON, POWER, Sdr
from tests.drivers.ipmi.test_driver import DEFAULTS, LAN, Bmc, answer
from tests.integration.ipmi_sim import sensor_record

IDENTITY = 0, bytes.fromhex("20 01 02 85 02 df a20200 0001 00000000")
SUPPLY, BOARD, PROCESSOR = 0x0A, 0x07, 0x03
NONE = b"\x00\xe0\0"  # a reading's flags: unavailable


def discover(sensors, dcmi=INVALID_COMMAND, **options):
    """Return what is found, given entity and watts of each sensor by name."""
    records = [sensor_record(name, place, entity=entity) for place, (name, (entity, _)) in enumerate(sensors.items())]
    records.append(sensor_record("Inlet Temp", 99, unit=1))
    readings = {
        place: (0, NONE if watts is None else bytes([watts]) + ON) for place, (_, watts) in enumerate(sensors.values())
    }
    sdr = Sdr(records, readings)

    def answers(netfn, command, payload, lun):
        if (netfn, command) == (0x06, 0x01):
            return IDENTITY
        return dcmi if (netfn, command) == POWER else sdr(netfn, command, payload, lun)

    (found,) = find(Ipmi, {**DEFAULTS, **LAN, "device": None, **options}, Bmc(answers))
    ((_, first), *_) = found.measured.items()
    return found.settings.get("sensor"), first.watts, list(found.notes)


WHOLE = {"Total": (BOARD, 200), "CPU": (PROCESSOR, 90)}
SUPPLIES = {"PS1 Input": (SUPPLY, 110), "PS1 Output": (SUPPLY, 95), "PS2 Input": (SUPPLY, 100)}
SUM = "The sum of several sensors is taken for the machine's power: see that they are its inputs."


@pytest.mark.parametrize(
    ("sensors", "dcmi", "expected"),
    [
        (WHOLE | SUPPLIES, answer(205), (None, 205, [])),
        (WHOLE | SUPPLIES, answer(0, active=False), ("Total", 200, [])),
        (WHOLE | SUPPLIES, INVALID_COMMAND, ("Total", 200, [])),
        (WHOLE | SUPPLIES, (0xFF, b""), ("Total", 200, ["DCMI: code 0xff"])),
        (SUPPLIES, INVALID_COMMAND, ("PS1 Input, PS2 Input", 210, [SUM])),
        ({"Total, of all*": (BOARD, 200)}, INVALID_COMMAND, ("Total? of all?", 200, [])),
        (
            {"PS1": (SUPPLY, 110), "PS2": (SUPPLY, None)},
            INVALID_COMMAND,
            ("PS1", 110, ["'PS2' has no reading now; if it will have one, add it to sensor."]),
        ),
    ],
)
def test_what_measures_the_machine_is_taken(sensors, dcmi, expected):
    assert discover(sensors, dcmi) == expected


@pytest.mark.parametrize(
    ("sensors", "message"),
    [
        ({}, "no DCMI, and it is not clear which sensors are the machine's power: there are none; set sensor"),
        ({"A": (BOARD, 1), "B": (BOARD, 2)}, "there are 'A', 'B'; set sensor, by --sensor"),
        ({"CPU": (PROCESSOR, 90)}, "there are 'CPU'; set sensor, by --sensor"),
        ({"PS1 Out": (SUPPLY, 90), "PS2 Out": (SUPPLY, 90)}, "there are 'PS1 Out', 'PS2 Out'; set sensor"),
    ],
)
def test_where_it_is_not_clear_what_measures_the_machine_the_sensors_are_told(sensors, message):
    with pytest.raises(DeviceError, match=f"^BMC of Dell, product 0x0100, firmware 2.85, IPMI 2.0: .*{message}"):
        discover(sensors)


def test_sensors_that_are_named_are_taken_before_dcmi():
    assert discover(SUPPLIES, answer(205), sensor=["PS? Input"]) == ("PS1 Input, PS2 Input", 210, [SUM])


def test_the_bmc_of_this_machine_is_called_as_the_machine():
    def answers(netfn, command, payload, lun):
        return {(0x06, 0x01): IDENTITY, POWER: answer(205)}.get((netfn, command), INVALID_COMMAND)

    (found,) = find(Ipmi, {**DEFAULTS, "device": "/dev/ipmi0"}, Bmc(answers))
    assert found.name == label_of(socket.gethostname())
