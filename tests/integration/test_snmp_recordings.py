"""The Snmp driver against recordings of whole agents: what comes out is what the vendors' MIBs say, and no more."""

import pytest

from kwapi.drivers.profile import load
from kwapi.drivers.snmp import Snmp
from kwapi.drivers.snmp_client import Target, to_text
from kwapi.drivers.snmp_rows import find_rows
from tests.integration.recordings import PROFILES, copy_recordings, load_truth
from tests.integration.snmpsim import serve_recordings

pytestmark = pytest.mark.integration

DEFAULTS = {option.dest: option.default for option in Snmp.options}


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Return the port of an agent that serves the recordings."""
    recorded, work = tmp_path_factory.mktemp("recorded"), tmp_path_factory.mktemp("work")
    copy_recordings(recorded)
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


@pytest.mark.parametrize("version", ["1", "2c"])
@pytest.mark.parametrize("name", PROFILES)
def test_a_recorded_device_measures_what_its_mib_says(name, version, port, shared):
    profile = load()[PROFILES[name][0]]
    agent = shared.agent(Target("127.0.0.1", port, version, name))
    rows = [(level, to_text(index)) for level, index in find_rows(profile, agent.columns(profile.oids()))]

    found = read(shared, port, name, [f"{level} {index}@{level}.{index}" for level, index in rows], version=version)

    truth = load_truth(name)
    for (level, index), expected in truth.items():
        measured = found[f"{level} {index}"]
        assert {attribute: getattr(measured, attribute) for attribute in expected} == pytest.approx(expected, rel=1e-12)
    with_power = {(level, index) for level, index in rows if found[f"{level} {index}"].watts is not None}
    assert with_power == {row for row, values in truth.items() if "watts" in values} != set()
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
