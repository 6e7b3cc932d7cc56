"""The driver ``ipmi`` against recordings, through ipmitool's eyes, and against OpenIPMI's ipmi_sim."""

import json
import os
import re
import subprocess
from datetime import UTC, datetime

import pytest

from kwapi.drivers.ipmi.driver import Ipmi
from kwapi.drivers.ipmi.records import parse_power_reading
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root
from tests.integration import bmc, ipmi_sim
from tests.integration.bmc import POWER_READING, Bmcs, power_reading
from tests.integration.ipmi_sim import sensor_record, serve_sensors
from tests.integration.programs import needed_program
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DEFAULTS = {option.dest: option.default for option in Ipmi.options} | {"interval": 1.0, "min_interval": 0.0}
STAMP = "%a %b %d %H:%M:%S %Y"
RECORDINGS = (
    "freeipmi_chameleon_2024",
    "freeipmi_not_available",
    "node_300s_2025",
    "openbmc_zero_deactivated",
    "openpower_2015_ms_period",
    "power8_2020",
    "telegraf_test",
)
SENSORS = [
    sensor_record("PS1 Input", 1, entity=10, m=4),
    sensor_record("PS2 Input", 2, entity=10, m=2, b=-3),
    sensor_record("Inlet Temp", 3, unit=1),
    sensor_record("System Level", 4, m=15, result_exponent=-1, b=1, b_exponent=2),
]
RAW = {1: 40, 2: 55, 3: 22, 4: 100}


@pytest.fixture
def shared():
    client = Ipmi.open_shared()
    yield client
    Ipmi.close_shared(client)


def opened(shared, port, **options):
    lan = {"host": "127.0.0.1", "port": port, "user": bmc.USER, "password": bmc.PASSWORD, "probes": ["server"]}
    driver = Ipmi("server", {**DEFAULTS, **lan, **options}, shared)
    driver.open()
    return driver


def recorded(name):
    """Return the text of a capture, and the answer of a BMC that makes a tool print it."""
    text = (recordings_root() / "ipmi" / "dcmi" / f"{name}.txt").read_text()
    watts = list(map(int, re.findall(r"(\d+) watts", text, re.IGNORECASE))) or [0, 0, 0, 0]
    stamp = re.search(r"IPMI timestamp: *(.*)", text)
    moment = datetime.strptime(stamp[1], STAMP).replace(tzinfo=UTC) if stamp else None
    period = re.search(r"period[^:]*: *(\d+) (seconds|milliseconds)", text, re.IGNORECASE)
    return text, power_reading(
        watts[0],
        statistics=watts[1:],
        timestamp=int(moment.timestamp()) if moment else 0,
        period=int(period[1]) * (1000 if period[2].lower() == "seconds" else 1) if period else 0,
        active=not re.search(r"deactivated|Not Available", text),
    )


def ipmitool(port, *arguments):
    """Return what ipmitool prints; suite 3 because ipmi_sim cannot be asked which there are."""
    program = needed_program("ipmitool", "ipmitool")
    command = [program, "-I", "lanplus", "-C", "3", "-H", "127.0.0.1", "-p", str(port), "-U", bmc.USER, "-E"]
    environment = {**os.environ, "IPMI_PASSWORD": bmc.PASSWORD, "TZ": "UTC", "LC_ALL": "C"}
    return subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout


@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recorded_reading_is_understood(name):
    expected = json.loads((recordings_root() / "ipmi" / "dcmi" / "expected.json").read_text())[name]["expected"]
    _, answer = recorded(name)
    reading = parse_power_reading(bytes.fromhex(answer)[1:])
    seen = {
        "w": reading.watts if reading.is_measured else None,
        "min": reading.minimum,
        "max": reading.maximum,
        "avg": reading.average,
        "period_s": reading.seconds,
        "active": reading.active,
    }
    assert {key: seen[key] for key in expected if key != "note"} == {k: v for k, v in expected.items() if k != "note"}


def test_every_recording_is_tried():
    assert {path.stem for path in (recordings_root() / "ipmi" / "dcmi").glob("*.txt")} == set(RECORDINGS)


def test_recorded_readings_are_measured_and_ipmitool_prints_them_as_recorded(tmp_path, shared):
    with Bmcs(tmp_path) as bmcs:
        port = bmcs.ports[0]
        for name in RECORDINGS:
            text, answer = recorded(name)
            bmcs.set(port, {POWER_READING: answer})
            watts = int.from_bytes(bytes.fromhex(answer)[2:4], "little")
            assert opened(shared, port).read() == ([Measurement("server", watts=watts)] if watts else [])
            printed = ipmitool(port, "dcmi", "power", "reading")
            if text.startswith("\n"):  # ipmitool's own
                assert facts(printed) == facts(text)
            else:
                assert facts(printed)["Instantaneous power reading"] == str(watts)


def facts(text):
    """Return what ipmitool says by its own words, times as numbers: two versions write them in different ways."""
    said = dict(re.findall(r"(\S[^:\n]+?): +(.+?)(?: Watts)?(?=\s+Sampling period|\n)", text))
    stamp = said.pop("IPMI timestamp").removesuffix(" UTC").replace("S+", "01/01/70")  # seconds after 1970
    said["timestamp"] = datetime.strptime(stamp, STAMP if stamp[0].isalpha() else "%m/%d/%y %H:%M:%S")
    count, unit = said.pop("Sampling period").split()
    said["seconds"] = int(count) / (1000 if unit == "Milliseconds" else 1)
    return said


@pytest.fixture(scope="module")
def sensors(tmp_path_factory):
    directory = tmp_path_factory.mktemp("ipmi_sim")
    for number, raw in RAW.items():
        (directory / str(number)).write_text(str(raw))
    with serve_sensors(directory, SENSORS) as port:
        eventually(lambda: "| 160" in ipmitool(port, "sensor", "reading", "System Level"))
        yield port, directory


@pytest.mark.parametrize(
    ("names", "watts"),
    [
        ([], 160),
        (["System Level"], 160),
        (["PS1 Input"], 160),
        (["PS2 Input"], 107),
        (["PS1 Input", "PS2 Input"], 267),
        (["PS? Input"], 267),
    ],
)
def test_sensors_of_a_real_bmc_are_read(sensors, shared, names, watts):
    port, _ = sensors
    # Commands that it does not know it denies to all but administrators.
    assert opened(shared, port, sensor=names, privilege="administrator").read() == [Measurement("server", watts=watts)]


def test_sensors_need_no_more_than_a_users_privilege_and_ipmitool_agrees(sensors, shared):
    port, directory = sensors
    driver = opened(shared, port, sensor=["PS*"])
    assert [each.watts for each in driver.read()] == [267]
    (directory / "1").write_text("50")
    eventually(lambda: [each.watts for each in driver.read()] == [307])
    rows = [row.split("|") for row in ipmitool(port, "sensor").splitlines()]
    printed = {row[0].strip(): float(row[1]) for row in rows if row[2].strip() == "Watts"}
    assert printed == {"PS1 Input": 200, "PS2 Input": 107, "System Level": 160}
    (directory / "1").write_text("40")
    eventually(lambda: [each.watts for each in driver.read()] == [267])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"password": "wrong"}, "refuses user 'user': login failed, Incorrect password"),
        ({"user": "nobody"}, "refuses user 'nobody': login failed, Unauthorized name"),
        ({"kg": "0x" + "12" * 20}, "refuses user 'user': login failed, Invalid RAKP4 integrity code"),
        ({}, "wants more than privilege = user for 0x2c 0x02"),
    ],
)
def test_refused_credentials_are_told_as_such(sensors, shared, options, message):
    with pytest.raises(CredentialsRefused, match=rf"127.0.0.1:{sensors[0]} {message}"):
        opened(shared, sensors[0], **options).read()


def test_a_sensor_that_is_not_there_is_a_device_error_that_lists_those_that_are(sensors, shared):
    with pytest.raises(DeviceError, match="'Fan' of watts: there are 'PS1 Input', 'PS2 Input', 'System Level'"):
        opened(shared, sensors[0], sensor=["Fan"]).read()


def test_the_servers_have_the_same_user():
    assert (bmc.USER, bmc.PASSWORD) == (ipmi_sim.USER, ipmi_sim.PASSWORD)
