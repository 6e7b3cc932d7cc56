import json
import socket

import pytest

from kwapi.cli.discover.modbus import UNLIKE_MAINS, fitness, list_units
from kwapi.drivers.modbus.profile import load
from kwapi.drivers.modbus.registers import LOW_FIRST, TYPES
from kwapi.measurement import Measurement
from tests.cli.discover.test_command import accepted, run
from tests.drivers.modbus_meter import Meter, RtuServer, TcpServer, serial_line, words
from tests.ports import free_port

ONE_PHASE = {0: 230.5, 6: 1.0, 12: 200.0, 18: 230.5, 30: 0.875, 70: 50.0, 72: 1234.5}
PROFILES = load()
FUNCTIONS = {"holding": 3, "input": 4}


def meter(values, unit=1, **behaviour):
    """Return a meter of 32-bit floats, given them by address."""
    registers = {at + number: word for at, value in values.items() for number, word in enumerate(words("f", value))}
    return Meter(registers, unit, **behaviour)


def meter_of(profile, **behaviour):
    """Return a meter of a model, each phase with 230 V and 1 A, which knows no registers but those of its profile."""
    one = {"w": 200.0, "va": 230.0, "v": 230.0, "a": 1.0, "pf": 0.87, "hz": 50.0, "kwh": 1234.0, "export_kwh": 7.0}
    registers = {}
    for place in profile.places:
        phases = len(profile.places) - 1 if place.name == "device" and len(profile.places) > 1 else 1
        for register in place.registers:
            value = one[register.quantity] * (phases if register.quantity in ("w", "va", "kwh") else 1)
            count = value / register.scale
            kind = TYPES[register.type]
            encoded = words(kind, float(count) if kind in "fd" else round(count), register.words == LOW_FIRST)
            registers |= dict(enumerate(encoded, register.at))
    return Meter(registers, table=FUNCTIONS[profile.table], **behaviour)


def test_a_meter_is_found_by_what_its_registers_read_like(tmp_path, capsys):
    with TcpServer(meter(ONE_PHASE)) as server:
        port = server.port
        assert run("modbus", f"127.0.0.1:{port}") == 0
    printed = capsys.readouterr()
    (values,) = accepted(printed.out, tmp_path / "drivers.conf").values()
    assert (values["profile"], values["unit"], values["probes"]) == ("sdm120", 1, [f"127-0-0-1-{port}"])
    assert printed.out.startswith(
        "# 127.0.0.1: Eastron SDM120, one phase; or Eastron SDM230, one phase (profile sdm120)\n"
    )
    assert printed.err == ""


def test_a_meter_of_three_phases_is_found_alone(tmp_path, capsys):
    volts, amps = {0: 230.5, 2: 231.5, 4: 229.5}, {6: 1.0, 8: 2.0, 10: 1.0}
    watts, volt_amperes = {12: 200.0, 14: 400.0, 16: 210.0}, {18: 230.5, 20: 463.0, 22: 229.5}
    whole = {52: 810.0, 56: 923.0, 70: 50.0}
    with TcpServer(meter(volts | amps | watts | volt_amperes | whole)) as server:
        port = server.port
        assert run("modbus", "127.0.0.1", "--port", port, "--name", "main") == 0
    (values,) = accepted(capsys.readouterr().out, tmp_path / "drivers.conf").values()
    assert values["profile"] == "sdm630"
    assert (values["host"], values["port"]) == ("127.0.0.1", port)
    assert values["probes"] == ["main", *(f"main-phase-L{line}" for line in (1, 2, 3))]


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("name", PROFILES)
def test_a_meter_of_each_model_is_found(name, strict, capsys):
    with TcpServer(meter_of(PROFILES[name], strict=strict)) as server:
        assert run("modbus", "--json", f"127.0.0.1:{server.port}") == 0
    found = json.loads(capsys.readouterr().out)
    assert PROFILES[found["profile"]].places == PROFILES[name].places
    watts = [row["watts"] for row in found["rows"]]
    assert watts == pytest.approx([200 * max(len(watts) - 1, 1), *[200] * (len(watts) - 1)])


@pytest.mark.parametrize("name", ["em24", "iem3155"])
def test_a_meter_with_one_phase_connected_is_found(name, capsys):
    one = meter_of(PROFILES[name])
    for place in PROFILES[name].places[2:]:
        one.registers |= {at: 0 for register in place.registers for at in range(register.at, register.end)}
    with TcpServer(one) as server:
        assert run("modbus", "--json", f"127.0.0.1:{server.port}") == 0
    assert json.loads(capsys.readouterr().out)["profile"] == name


def test_something_else_than_a_meter_is_told(capsys):
    with TcpServer(meter({})) as server:
        assert run("modbus", f"127.0.0.1:{server.port}") == 1
    assert "127.0.0.1: unit 1 answers, but no profile fits what it answers" in capsys.readouterr().err


def test_a_profile_that_is_chosen_is_taken_with_a_warning_if_it_reads_unlike_mains(tmp_path, capsys):
    with TcpServer(meter({70: 400.0})) as server:
        assert run("modbus", f"127.0.0.1:{server.port}", "--profile", "sdm630") == 0
    text = capsys.readouterr().out
    assert "# What it reads is not like mains: is it this model?" in text
    assert [each["profile"] for each in accepted(text, tmp_path / "drivers.conf").values()] == ["sdm630"]


def test_units_of_a_serial_line_are_looked_for(tmp_path, capsys):
    units = meter(ONE_PHASE, unit=2), meter_of(PROFILES["b23"]), meter({}, unit=4)
    units[1].unit = 3
    with serial_line() as (far, near), RtuServer(far, *units):
        assert run("modbus", near, "--units", "1-4", "--timeout", "0.1", "--profile-dir", tmp_path) == 1
    printed = capsys.readouterr()
    found = accepted(printed.out, tmp_path / "drivers.conf")
    name = near.rpartition("/")[2]
    assert {each: (values["device"], values["unit"], values["profile"]) for each, values in found.items()} == {
        f"{name}-2": (near, 2, "sdm120"),
        f"{name}-3": (near, 3, "b23"),
    }
    assert printed.err == f"{near}: unit 4 answers, but no profile fits what it answers\n"


def test_units_behind_a_gateway_are_looked_for(tmp_path, capsys):
    with TcpServer(meter(ONE_PHASE, unit=5), meter({**ONE_PHASE, 72: 77.0}, unit=7)) as server:
        port = server.port
        assert run("modbus", f"127.0.0.1:{port}", "--units", "4-5,7", "--timeout", "0.1") == 0
    found = accepted(capsys.readouterr().out, tmp_path / "drivers.conf")
    assert {name: values["unit"] for name, values in found.items()} == {
        f"127-0-0-1-{port}-{unit}": unit for unit in (5, 7)
    }


def test_a_meter_that_heeds_no_unit_is_found_once(capsys):
    with TcpServer(meter(ONE_PHASE, unit=0)) as server:
        assert run("modbus", "--json", f"127.0.0.1:{server.port}", "--units", "1-3") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["unit"] == 1
    assert printed.err.splitlines() == [
        f"127.0.0.1: unit {unit} counts the same energy as unit 1: one meter, which heeds no unit" for unit in (2, 3)
    ]


def test_silence_is_told_and_so_is_a_closed_port(capsys):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert run("modbus", f"127.0.0.1:{port}", "--timeout", "0.1", "--units", "1,2,9") == 1
    assert capsys.readouterr().err == "127.0.0.1: nothing answers at the units 1-2, 9\n"
    assert run("modbus", f"127.0.0.1:{free_port(socket.SOCK_STREAM)}", "--units", "1-255") == 1
    assert "Connection refused" in capsys.readouterr().err
    assert run("modbus", "/dev/nothing") == 1
    assert "No such file or directory: '/dev/nothing'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([{"volts": 230.0, "hertz": 50.0}], (2, 0)),
        ([{"volts": 120.0, "hertz": 60.0}], (2, 0)),
        ([{"hertz": 50.0}, {"volts": 230.0}, {"volts": 0.0}], (2, -1)),
        ([{"volts": 0.0, "hertz": 0.0}], UNLIKE_MAINS),
        ([{"watts": 100.0}], UNLIKE_MAINS),
        ([{"volts": 2.3, "hertz": 50.0}], UNLIKE_MAINS),
        ([{"volts": 230.0, "hertz": 400.0}], UNLIKE_MAINS),
        ([{"volts": 230.0, "watts": 300.0, "volt_amperes": 200.0}], UNLIKE_MAINS),
        ([{"volts": 230.0, "amps": 1.0, "watts": 900.0}], UNLIKE_MAINS),
        ([{"volts": 230.0, "amps": 1.0, "watts": 200.0}], (1, 0)),
    ],
)
def test_what_reads_like_mains_speaks_for_a_profile(measured, expected):
    assert fitness({str(place): Measurement("a", **each) for place, each in enumerate(measured)}) == expected


def test_units_are_listed_short():
    assert list_units([1, 2, 3, 7, 9, 10]) == "1-3, 7, 9-10"
