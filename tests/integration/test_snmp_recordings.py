"""The Snmp driver against recordings of whole agents: what comes out is what the vendors' MIBs say, and no more.

The recordings are not part of the project (their licence differs); KWAPI_RECORDINGS says where they lie.
"""

import json
import math
import os
import shutil
from pathlib import Path

import pytest

from kwapi.drivers.profile import load
from kwapi.drivers.snmp import Snmp
from kwapi.drivers.snmp_client import Target, to_text
from kwapi.drivers.snmp_rows import find_rows
from tests.integration.snmpsim import serve_recordings

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PROFILES = {  # recording: profile that must be found, "mib" in its truth file
    "eatonpdu_2": ("eaton-g3", "eaton-g3"),
    "raritan-pdu_px2": ("raritan-pdu2", None),
    "raritan-pdu_px3": ("raritan-pdu2", None),
    "apc_ap8853": ("apc-rpdu2", "apc-rpdu2"),
    "apc_ap7900b": ("apc-rpdu", "apc-rpdu"),
}
ATTRIBUTES = {
    "P": ("watts", 1),
    "S": ("volt_amperes", 1),
    "V": ("volts", 1),
    "I": ("amps", 1),
    "PF": ("power_factor", 1),
    "f": ("hertz", 1),
    "E": ("kwh", 1000),  # the truth is in Wh
}
DEFAULTS = {option.dest: option.default for option in Snmp.options}


@pytest.fixture(scope="module")
def recordings():
    """Return the directory of the SNMP recordings."""
    folder = Path(os.environ.get("KWAPI_RECORDINGS", ROOT.parent / "shared" / "recordings")) / "snmp"
    if missing := [name for name in PROFILES if not (folder / f"{name}.snmprec").is_file()]:
        told = "KWAPI_RECORDINGS" in os.environ and "CI" in os.environ
        (pytest.fail if told else pytest.skip)(f"no recordings of {', '.join(missing)} in {folder}")
    return folder


@pytest.fixture(scope="module")
def port(recordings, tmp_path_factory):
    """Return the port of an agent that serves the recordings."""
    recorded, work = tmp_path_factory.mktemp("recorded"), tmp_path_factory.mktemp("work")
    for name in PROFILES:
        shutil.copy(recordings / f"{name}.snmprec", recorded)
    with serve_recordings(recorded, work) as port:
        yield port


@pytest.fixture(scope="module")
def shared():
    shared = Snmp.open_shared()
    yield shared
    Snmp.close_shared(shared)


def read(shared, port, name, probes, **options):
    """Return the first measurements of a recorded device, by probe."""
    values = {"probes": probes, "interval": 1.0, "host": "127.0.0.1", "port": port, "community": name, **options}
    driver = Snmp("rack.pdu", {**DEFAULTS, **values}, shared)
    assert list(driver.problems()) == []
    driver.open()
    measurements = driver.read()
    driver.close()
    return {each.probe: each for each in measurements}


def load_truth(recordings, name):
    """Return the values of a recording by level, index, and attribute of a measurement."""
    mib = PROFILES[name][1]
    truth = {}
    for entry in json.loads((recordings / "truth" / f"{name}.json").read_text()):
        if entry.get("mib") != mib or entry["quantity"] not in ATTRIBUTES:
            continue
        attribute, divisor = ATTRIBUTES[entry["quantity"]]
        level = "inlet" if entry["level"] == "input" else entry["level"]
        index = entry["index"] if mib else entry["index"].rpartition(".")[0]  # without the type of the sensor
        truth[level, index, attribute] = entry["value"] / divisor
    return truth


@pytest.mark.parametrize("version", ["1", "2c"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_recorded_device_measures_what_its_mib_says(name, version, recordings, port, shared):
    profile = load()[PROFILES[name][0]]
    agent = shared.agent(Target("127.0.0.1", port, version, name))
    rows = [(level, to_text(index)) for level, index in find_rows(profile, agent.columns(profile.oids()))]

    found = read(shared, port, name, [f"{level} {index}@{level}.{index}" for level, index in rows], version=version)

    truth = load_truth(recordings, name)
    assert truth
    for (level, index, attribute), expected in truth.items():
        value = getattr(found[f"{level} {index}"], attribute)
        assert math.isclose(value, expected, rel_tol=1e-12), (level, index, attribute, value, expected)
    measured = {(level, index, "watts") for level, index in rows if found[f"{level} {index}"].watts is not None}
    assert measured == {key for key in truth if key[2] == "watts"}
    assert all(found[f"{level} {index}"].level == level for level, index in rows)


@pytest.mark.parametrize(
    ("name", "outlets", "total", "inlet"),
    [("eatonpdu_2", 24, 1568, 1584), ("raritan-pdu_px3", 24, 1671, 1665), ("raritan-pdu_px2", 12, 138, 138)],
)
def test_the_outlets_in_order_add_up_to_the_inlet(name, outlets, total, inlet, port, shared):
    names = [f"server-{number}" for number in range(1, outlets + 1)]
    found = read(shared, port, name, [*names, "rack@inlet"])
    assert found["rack"].watts == inlet
    assert sum(found[server].watts for server in names) == total


def test_a_nominal_voltage_is_no_measurement(port, shared):
    (only,) = read(shared, port, "apc_ap7900b", ["rack@inlet"]).values()
    assert (only.watts, only.volts) == (312, None)
