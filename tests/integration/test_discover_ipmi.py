"""``kwapi discover ipmi`` against BMCs over RMCP+: pyghmi's with DCMI, OpenIPMI's with sensors."""

import json
import re

import pytest

from kwapi.cli.main import main
from kwapi.cli.read import find, poll
from tests.integration import bmc
from tests.integration.bmc import POWER_READING, Bmcs, power_reading
from tests.integration.ipmi_sim import sensor_record, serve_sensors
from tests.integration.test_ipmi import ipmitool
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DEVICE_ID = "06/01"
DELL = "00" + "200102" + "8502df" + "a20200" + "0001" + "00000000"  # firmware 2.85, IPMI 2.0, maker 674, product 0x0100


@pytest.fixture(autouse=True)
def password(monkeypatch):
    monkeypatch.setenv("KWAPI_PASSWORD", bmc.PASSWORD)
    monkeypatch.setenv("KWAPI_NODE__PASSWORD", bmc.PASSWORD)


def run(port, *argv):
    return main(["discover", "ipmi", f"127.0.0.1:{port}", "--name", "node", "--user", bmc.USER, *argv])


def read_section(text, tmp_path, extra=""):
    """Return what kwapi-drivers would measure by a section."""
    path = tmp_path / "drivers.conf"
    path.write_text(text + extra)
    return poll(find("node", path))


def test_a_bmc_with_dcmi_has_a_section_that_reads_it(tmp_path, capsys):
    with Bmcs(tmp_path) as bmcs:
        (port,) = bmcs.ports
        bmcs.set(port, {POWER_READING: power_reading(187), DEVICE_ID: DELL})
        assert run(port) == 0
        printed = capsys.readouterr()
        title = "BMC of Dell, product 0x0100, firmware 2.85, IPMI 2.0 (profile dcmi)"
        assert printed.out.splitlines()[0] == f"# 127.0.0.1: {title}"
        assert (printed.err, bmc.PASSWORD in printed.out) == ("", False)
        assert [(each.probe, each.watts) for each in read_section(printed.out, tmp_path)] == [("node", 187)]
        assert run(port, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["host"], found["port"], found["profile"]) == ("127.0.0.1", port, "dcmi")
    (row,) = found["rows"]
    assert (row["row"], row["level"], row["watts"], row["kwh"]) == ("device.dcmi", "device", 187.0, None)


def test_a_bmc_that_tells_no_power_is_told_with_what_it_is(tmp_path, capsys):
    with Bmcs(tmp_path) as bmcs:
        (port,) = bmcs.ports
        bmcs.set(port, {DEVICE_ID: DELL, POWER_READING: "c1"})
        assert run(port) == 1
        refused = capsys.readouterr().err
        bmcs.set(port, {DEVICE_ID: DELL, POWER_READING: power_reading(0, active=False)})
        assert run(port) == 1
        silent = capsys.readouterr().err
    assert "answered its sensor records' command 0x20 with code 0xc1" in refused
    assert "BMC of Dell" in silent
    assert (
        "DCMI measures nothing now, and it is not clear which sensors are the machine's power: there are none" in silent
    )


def test_wrong_credentials_and_silence_are_told_in_a_line_each(tmp_path, monkeypatch, capsys):
    with Bmcs(tmp_path, 2) as bmcs:
        wrong, silent = bmcs.ports
        bmcs.set(silent, silent=True)
        monkeypatch.setenv("KWAPI_PASSWORD", "nonsense")
        hosts = [f"127.0.0.1:{port}" for port in (wrong, silent)]
        assert main(["discover", "ipmi", *hosts, "--user", bmc.USER, "--timeout", "1"]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"127.0.0.1:{wrong} refuses user 'user'")
    assert second.startswith(f"127.0.0.1:{silent}: no login for user 'user' in 1.0 s; is the host right")


def test_a_device_of_this_machine_that_is_not_there_is_told(capsys):
    assert main(["discover", "ipmi", "/dev/ipmi_nowhere"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("/dev/ipmi_nowhere, asked 0x06 0x01: ")


SUPPLIES = [
    sensor_record("PS1 Input", 1, entity=10, m=4),
    sensor_record("PS2 Input", 2, entity=10, m=2, b=-3),
    sensor_record("PS1 Output", 3, entity=10, m=4),
    sensor_record("Inlet Temp", 4, unit=1),
]
WHOLE = [*SUPPLIES, sensor_record("System Level", 5, m=15, result_exponent=-1, b=1, b_exponent=2)]
RAW = {1: 40, 2: 55, 3: 30, 4: 22, 5: 100}


@pytest.fixture
def sensors(tmp_path, capsys):
    """Return what starts an ipmi_sim with sensor records and returns its port, when its readings are there."""
    running = []

    def start(records):
        directory = tmp_path / "ipmi_sim"
        directory.mkdir()
        for number, raw in RAW.items():
            (directory / str(number)).write_text(str(raw))
        serving = serve_sensors(directory, records)
        running.append(serving)
        port = serving.__enter__()
        eventually(lambda: run(port, "--json", "--sensor", "PS2*") == 0 and '"watts":107' in capsys.readouterr().out)
        return port

    yield start
    for serving in running:
        serving.__exit__(None, None, None)


def test_the_sensor_of_the_whole_machine_is_taken(sensors, tmp_path, capsys):
    port = sensors(WHOLE)
    assert run(port) == 0
    text = capsys.readouterr().out
    assert "maker 4753, product 0x0f02, firmware 9.08, IPMI 2.0 (profile sensors)" in text.splitlines()[0]
    told = dict(re.findall(r"(\S.*?) +: (.*)", ipmitool(port, "mc", "info")))
    assert told["Manufacturer ID"] == "4753"
    assert told["Product ID"] == "3842 (0x0f02)"
    assert told["Firmware Revision"] == "9.08"
    assert f"# DCMI: 127.0.0.1:{port} wants more than privilege = user for 0x2c 0x02" in text
    assert "\nsensor = System Level\n" in text
    assert [each.watts for each in read_section(text, tmp_path)] == [160]
    assert run(port, "--json") == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["row"]: row["watts"] for row in rows} == {
        "inlet.PS1 Input": 160,
        "inlet.PS2 Input": 107,
        "inlet.PS1 Output": 120,
        "device.System Level": 160,
    }


def test_the_sum_of_what_goes_into_the_power_supplies_is_taken(sensors, tmp_path, capsys):
    port = sensors(SUPPLIES)
    assert run(port, "--privilege", "administrator") == 0
    text = capsys.readouterr().out
    assert "\nsensor = PS1 Input, PS2 Input\n" in text
    assert "# The sum of several sensors is taken for the machine's power: see that they are its inputs." in text
    assert [each.watts for each in read_section(text, tmp_path)] == [267]
    assert run(port, "--sensor", "PS? Output") == 0
    assert [each.watts for each in read_section(capsys.readouterr().out, tmp_path)] == [120]
    assert run(port, "--sensor", "Fan*") == 1
    assert "no sensor 'Fan*' of watts: there are 'PS1 Input', 'PS2 Input', 'PS1 Output'" in capsys.readouterr().err
