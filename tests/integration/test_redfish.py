"""The Redfish driver against recorded services: what comes out is what their resources say, and no more."""

import json

import pytest

from kwapi.drivers.redfish.driver import Redfish
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement
from tests.drivers.recordings import recordings_root
from tests.integration.redfish_server import PASSWORD, ROOT, USER, make_certificate, root, serve_redfish

pytestmark = pytest.mark.integration

DEFAULTS = {option.dest: option.default for option in Redfish.options}
CHASSIS = f"{ROOT}/Chassis/1U"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def shared():
    shared = Redfish.open_shared()
    yield shared
    Redfish.close_shared(shared)


@pytest.fixture
def read(certificate, shared):
    """Return what reads a service with these resources once, with the measurements by probe and the server."""

    def read(resources, probes, **options):
        with serve_redfish(resources, certificate) as server:
            values = {"host": "127.0.0.1", "port": server.port, "user": USER, "password": PASSWORD, "interval": 1.0}
            values |= {"ca_file": str(certificate), "probes": probes, "timeout": 30.0, "deadline": 60.0, **options}
            driver = Redfish("rack.bmc", DEFAULTS | values, shared)
            assert list(driver.problems()) == []
            try:
                driver.open()
                return {each.probe: each for each in driver.read()}
            finally:
                driver.close()

    return read


def load(name):
    return json.loads((recordings_root() / "redfish" / name).read_text("utf-8"))


def rackmount():
    """Return the resources of DMTF's example of a server, by address."""
    top = recordings_root() / "redfish" / "dmtf-rackmount1"
    files = {file.parent.relative_to(top).as_posix(): file for file in top.rglob("index.json")}
    return {f"{ROOT}/{path}".removesuffix("/."): json.loads(file.read_text("utf-8")) for path, file in files.items()}


def without(resources, *parts):
    """Return the resources without these parts of the chassis and what is below them."""
    chassis = {name: content for name, content in resources[CHASSIS].items() if name not in parts}
    gone = tuple(f"{CHASSIS}/{part}" for part in parts)
    return {path: content for path, content in resources.items() if not path.startswith(gone)} | {CHASSIS: chassis}


@pytest.mark.parametrize("auth", ["session", "basic"])
@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ((), {"watts": 374, "kwh": 325675}),  # the register of the sensor TotalEnergy
        (("Sensors",), {"watts": 374}),
        (("EnvironmentMetrics",), {"watts": 374, "kwh": 325675, "volt_amperes": 2749.2, "power_factor": 0.99}),
        (("EnvironmentMetrics", "Sensors"), {"watts": 937.4, "kwh": 325675}),  # its one power supply
        (("EnvironmentMetrics", "Sensors", "PowerSubsystem"), {"watts": 344}),
    ],
)
def test_the_dmtf_server_is_read_where_it_tells_most(missing, expected, auth, read):
    found = read(without(rackmount(), *missing), ["srv1"], auth=auth)
    assert found == {"srv1": Measurement("srv1", **expected)}


def test_the_dmtf_server_has_one_power_supply_that_is_fed(read):
    found = read(rackmount(), ["srv1", "psu1@inlet"])
    assert found["psu1"] == Measurement(
        "psu1", watts=937.4, volts=230.2, amps=5.19, hertz=60, kwh=325675, level="inlet"
    )
    with pytest.raises(DeviceError, match=r"'psu2@inlet.Bay2' matches none of the rows; .* inlet.1U.Bay1"):
        read(rackmount(), ["srv1", "psu2@inlet.Bay2"])


def test_the_dmtf_server_without_its_readings_says_that_it_has_none(read):
    parts = ("EnvironmentMetrics", "Sensors", "PowerSubsystem", "Power")
    with pytest.raises(DeviceError, match="tells no power: none of its 1 chassis"):
        read(without(rackmount(), *parts), ["srv1"])


def hp(chassis, resources):
    """Return the resources of an HP server of the capture, which links with a final slash."""
    collection = {"Members": [{"@odata.id": f"{ROOT}/Chassis/1/"}]}
    return root(Chassis="Chassis/") | {f"{ROOT}/Chassis": collection, f"{ROOT}/Chassis/1": load(chassis)} | resources


def test_an_hp_server_tells_its_consumption_and_not_what_leaves_its_power_supplies(read):
    found = read(
        hp("telegraf-hp/hp_chassis.json", {f"{ROOT}/Chassis/1/Power": load("telegraf-hp/hp_power.json")}), ["srv1"]
    )
    assert found == {"srv1": Measurement("srv1", watts=221)}


def test_an_hp_server_with_a_power_subsystem_tells_its_input(read):
    path, files = f"{ROOT}/Chassis/1/PowerSubsystem", "telegraf-hp/power_subsys/hp_power_subsys"
    resources = {
        path: load(f"{files}.json"),
        f"{path}/PowerSupplies": load(f"{files}_psu.json"),
        f"{path}/PowerSupplies/PowerSupply1": load(f"{files}_psu_1.json"),
        f"{path}/PowerSupplies/PowerSupply1/Metrics": load(f"{files}_metrics.json"),
    }
    found = read(hp("telegraf-hp/hp_chassis_subsys.json", resources), ["srv1"])
    assert found == {"srv1": Measurement("srv1", watts=937.4, kwh=325675)}


def test_an_hp_server_whose_answer_is_no_json_is_a_device_error(read):
    broken = (recordings_root() / "redfish" / "telegraf-hp" / "hp_powerinvalid.json").read_text("utf-8")
    with pytest.raises(json.JSONDecodeError):
        json.loads(broken)
    with pytest.raises(DeviceError, match=f"answers 200, .* for {ROOT}/Chassis/1/Power"):
        read(hp("telegraf-hp/hp_chassis.json", {f"{ROOT}/Chassis/1/Power": broken}), ["srv1"])
