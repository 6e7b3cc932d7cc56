"""The Snmp driver against recordings of whole agents: what comes out is what the vendors' MIBs say, and no more."""

import pytest

from kwapi.drivers.snmp.client import Target, to_text
from kwapi.drivers.snmp.driver import Snmp, identify
from kwapi.drivers.snmp.profile import KINDS, load
from kwapi.drivers.snmp.rows import find_rows
from kwapi.errors import DeviceError
from tests.integration.recordings import ALL_PROFILES, copy_recordings, load_truth, recordings_directory
from tests.integration.snmpsim import serve_recordings

pytestmark = pytest.mark.integration

DEFAULTS = {option.dest: option.default for option in Snmp.options}
FALLBACKS = {"apc-rpdu": "apc-rpdu2"}  # profile that is used: the one that is found by what the device calls itself
RECORDED = {  # recordings without a truth file: the profile, and watts by row as they stand in the file
    "cxc_ups": ("cxc-ups", {"output.1": 0}),
    "dell-ups_tower1000w": ("ups", {"output.1": 250, "inlet.1": 0}),
    "deltaups": ("ups", {"output.1": 951}),
    "deltaups_rfc1628string": ("delta-mini", {"output.1": 122}),
    "drac_r540": ("dell-idrac", {"device.1.3": 198}),
    "eatonups_eaton-connectups": ("eaton-xups", {"output.1": 246}),
    "eatonupsm2_9px+empg2": ("eaton-xups", {"output.1": 0}),
    "netvision-rfc": ("ups", {"output.1": 200}),
    "poweralert_2": ("ups", {"output.1": 357}),
    "poweralert_ups": ("ups", {"output.1": 301}),
    "powerwalker-vfi_20kcpgpf133": ("ups", {f"inlet.{line}": 0 for line in (1, 2, 3)}),  # 0 W at 14 A of output
    "rittal-cmc-iii-pu_pdu-controller": (
        "rittal-cmc3",
        {"inlet.2": 2742, "phase.2.1": 1041, "phase.2.2": 1240, "phase.2.3": 466},
    ),
}
POWERLESS = {  # recordings of known families whose columns have no watts
    "apc-mgeups_galaxy7000": "mge-galaxy",
    "apc_masterswitch2": "apc-rpdu2",
    "cxc": "cxc-ups",
    "cxc_e3": "cxc-ups",
    "dell-ups_rack3750w": "ups",
    "hpe-ilo_4": "hpe-ilo",
    "hpe-ilo_4_with_bat_checks": "hpe-ilo",
    "hpe-ilo_hpe-ilo6-with-vmware": "hpe-ilo",
    "liebert_apm": "liebert-mpx",
    "liebert_web485": "liebert-mpx",
    "liebert_weblbds": "liebert-mpx",
}
E3METER = "e3meterdc"


@pytest.fixture(scope="module")
def recordings():
    return sorted(path.stem for path in recordings_directory().glob("*.snmprec"))


@pytest.fixture(scope="module")
def port(recordings, tmp_path_factory):
    """Return the port of an agent that serves the recordings."""
    recorded, work = tmp_path_factory.mktemp("recorded"), tmp_path_factory.mktemp("work")
    copy_recordings(recorded, recordings)
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
    try:
        driver.open()
        return {each.probe: each for each in driver.read()}
    finally:
        driver.close()


def rows_of(shared, port, name, profile, version="2c"):
    """Return kind and index of each row that a profile finds in a recording."""
    agent = shared.agent(Target("127.0.0.1", port, version, name))
    return [(kind, to_text(index)) for kind, index in find_rows(load()[profile], agent.columns(load()[profile].oids()))]


def read_all(shared, port, name, used, version="2c", **options):
    """Return the measurements of all rows of a recording, by kind and index; what flows back has "@export" after it."""
    probes = {f"{kind} {index}": (kind, index) for kind, index in rows_of(shared, port, name, used, version)}
    names = [f"{probe}@{kind}.{index}" for probe, (kind, index) in probes.items()]
    probes |= {f"{probe}@export": (kind, f"{index}@export") for probe, (kind, index) in probes.items()}
    found = read(shared, port, name, names, version=version, **options)
    return {probes[probe]: measured for probe, measured in found.items()}


@pytest.mark.parametrize("version", ["1", "2c"])
@pytest.mark.parametrize("name", ALL_PROFILES)
def test_a_recorded_device_measures_what_its_mib_says(name, version, port, shared):
    profile = ALL_PROFILES[name][0]
    found = read_all(shared, port, name, profile, version)
    truth = load_truth(name)
    for row, expected in truth.items():
        measured = {attribute: getattr(found[row], attribute) for attribute in expected}
        assert measured == pytest.approx(expected, rel=1e-12), row
    worked_out = {}
    if any(column.product for table in load()[profile].tables for column in table.columns):
        worked_out = {row: each["volt_amperes"] * each["power_factor"] for row, each in truth.items()}
    for row, watts in worked_out.items():
        assert found[row].watts == pytest.approx(watts), row
    with_power = {row for row, measured in found.items() if measured.watts is not None}
    assert with_power == {row for row, values in truth.items() if "watts" in values} | set(worked_out)
    assert {row: measured.level for row, measured in found.items()} == {row: KINDS[row[0]] for row in found}
    assert all(measured.volts is None or measured.volts < 300 for measured in found.values())


@pytest.mark.parametrize("name", RECORDED)
def test_a_device_without_a_truth_file_measures_what_was_recorded(name, port, shared):
    profile, watts = RECORDED[name]
    found = read_all(shared, port, name, profile)
    measured = {f"{kind}.{index}": each.watts for (kind, index), each in found.items()}
    assert {row: value for row, value in measured.items() if value is not None} == watts
    assert all(each.volts is None or each.volts < 300 for each in found.values())


def test_a_rittal_pdu_measures_by_the_names_and_scales_of_its_list(port, shared):
    rittal = "rittal-cmc-iii-pu_pdu-controller"
    found = read(shared, port, rittal, ["rack@inlet.2", "l1@phase.2.1", "l3@phase.2.3"])
    rack, l1, l3 = found["rack"], found["l1"], found["l3"]
    assert (rack.watts, rack.kwh, rack.hertz, rack.volts) == (2742, 2641.8, 50.0, None)
    assert (l1.watts, l1.volt_amperes, l1.volts, l1.amps, l1.kwh) == (1041, 1085, 229.2, 4.73, 999.1)
    assert (l3.watts, l3.volts, l3.amps, l3.power_factor) == (466, 230.3, 2.36, None)


def test_meters_with_values_of_an_earlier_period_have_none(port, shared):
    found = read_all(shared, port, E3METER, "e3meter")
    back = {row: found.pop(row) for row in list(found) if row[1].endswith("@export")}
    assert len(found) == 26
    assert len(back) == sum(measured.watts is not None for measured in found.values())
    assert {(measured.watts, measured.kwh) for measured in back.values()} == {(0, None)}
    assert ("phase", "17404.0") not in found
    watts = {index: measured.watts for (_, index), measured in found.items() if measured.watts}
    assert watts == {
        "10245.0": 1792,
        "10261.0": 739,
        "10276.0": 21,
        "16756.0": 1186,
        "18144.0": 383,
        "19235.0": 2995,
        "25379.0": 812,
        "25379.1": 1138,
        "25379.2": 1045,
        "26656.0": 96,
        "26656.2": 44,
    }
    one = found["phase", "25379.1"]
    assert (one.volt_amperes, one.volts, one.amps, one.kwh) == (1155, 226.44, 5.101, 3460.523)


@pytest.mark.parametrize("name", POWERLESS)
def test_a_device_without_columns_of_power_gives_no_watts(name, port, shared):
    profile = load()[POWERLESS[name]]
    rows = rows_of(shared, port, name, profile.name)
    rows += rows_of(shared, port, name, profile.fallback) if profile.fallback else []
    if rows:  # volts or amperes all the same
        found = read(shared, port, name, [f"{kind} {index}@{kind}.{index}" for kind, index in rows])
        assert found
        assert {each.watts for each in found.values()} == {None}
    with pytest.raises(DeviceError, match="no power here|more names than outlets"):
        read(shared, port, name, ["server-1"])


def test_each_recording_is_detected(recordings, port, shared):
    expected = {name: FALLBACKS.get(profile, profile) for name, (profile, _) in ALL_PROFILES.items()}
    expected |= {name: profile for name, (profile, _) in RECORDED.items()}
    expected |= POWERLESS | {E3METER: "e3meter", "poweralert_ups": "tripplite-ats"}  # and on to its fallback
    profiles, found = load(), {}
    for name in recordings:
        profile, _ = identify(shared.agent(Target("127.0.0.1", port, "2c", name)), profiles)
        if profile:
            found[name] = profile.name
    assert found == expected


@pytest.mark.parametrize(
    ("name", "kind", "rows", "second"),
    [
        ("atenpdu", "outlet", 42, "02"),
        ("eatonpdu_2", "outlet", 24, "DC Converter-1"),
        ("hpe-mapdu_pdu3", "outlet", 48, "OUTLET 2"),
        ("panduit", "bank", 12, "B4"),
        ("raritan-pdu_px2", "outlet", 12, "OUTLET2"),
        ("schleifenbauer_dpm27e", "outlet", 27, "channel2"),
        ("sentry3_3phase", "phase", 4, "TowerA_InfeedB"),
        ("sentry4", "inlet", 2, "Link1_Cord_A"),
        ("vertiv-pdu_mg02e4w1", "phase", 3, "Phase B"),
    ],
)
def test_labels_are_those_of_the_rows(name, kind, rows, second, port, shared):
    (oid,) = (table.labels for table in load()[ALL_PROFILES[name][0]].tables if table.kind == kind)
    labels = shared.agent(Target("127.0.0.1", port, "2c", name)).columns([oid])[oid]
    known = {index for of, index in rows_of(shared, port, name, ALL_PROFILES[name][0]) if of == kind}
    assert known <= set(map(to_text, labels))
    assert (len(labels), labels[sorted(labels)[1]]) == (rows, second)


def test_profiles_that_were_checked_on_a_recording_say_so():
    checked = {profile for profile, _ in [*ALL_PROFILES.values(), *RECORDED.values()]} | {"e3meter", "mge-galaxy"}
    assert {profile.name for profile in load().values() if profile.checked == "recording"} == checked


def test_a_device_of_no_known_family_says_so(port, shared):
    for name in ("eltek-webpower", "huawei-smu"):  # the latter calls itself net-snmp
        with pytest.raises(DeviceError, match="which no profile knows; set profile"):
            read(shared, port, name, ["server-1"])


@pytest.mark.parametrize(
    ("name", "outlets", "total", "inlet"),
    [("eatonpdu_2", 24, 1568, 1584), ("raritan-pdu_px3", 24, 1671, 1665), ("raritan-pdu_px2", 12, 138, 138)],
)
def test_the_outlets_in_order_add_up_to_the_inlet(name, outlets, total, inlet, port, shared):
    names = [f"server-{number}" for number in range(1, outlets + 1)]
    found = read(shared, port, name, [*names, "rack@inlet"])
    assert found["rack"].watts == inlet
    assert sum(found[server].watts for server in names) == total


@pytest.mark.parametrize(
    ("name", "kind", "rows"),
    [
        ("apc_isx-pdu", "phase", 3),
        ("vertiv-pdu_mg02e4w1", "phase", 3),
        ("panduit", "bank", 12),
        ("sentry4", "phase", 6),
    ],
)
def test_the_parts_add_up_to_the_whole(name, kind, rows, port, shared):
    found = read_all(shared, port, name, ALL_PROFILES[name][0])
    parts = [each.watts for (of, _), each in found.items() if of == kind]
    whole = [each.watts for (of, _), each in found.items() if of == "inlet"]
    assert len(parts) == rows
    assert sum(parts) == pytest.approx(sum(whole), rel=0.02)


def test_a_nominal_voltage_is_no_measurement(port, shared):
    (only,) = read(shared, port, "apc_ap7900b", ["rack@inlet"]).values()
    assert (only.watts, only.volts) == (312, None)


def test_a_register_near_the_end_of_its_range_has_its_wrap(port, shared):
    (only,) = read(shared, port, "vertiv-pdu_mg02e4w1", ["rack@inlet"]).values()
    assert (only.kwh, only.kwh_wrap) == (8483.906, 9999.0)
