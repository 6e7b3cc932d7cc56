import os
from pathlib import Path

import pytest

from kwapi.drivers.rapl import Rapl, choose_zones, find_zones, levels_of, watts_between
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement, counted_probes
from tests.drivers.recordings import recordings_root
from tests.drivers.ttar import unpack

RANGE = 262_143_328_850  # uJ, of a package
DRAM_RANGE = 65_712_999_613
KWH = 3.6e12  # uJ


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


def add_zone(root, directory, name, energy_uj=0, range_uj=RANGE):
    zone = root / directory
    zone.mkdir(parents=True, exist_ok=True)
    for file, content in (("name", name), ("energy_uj", energy_uj), ("max_energy_range_uj", range_uj)):
        (zone / file).write_text(f"{content}\n")


@pytest.fixture
def server(tmp_path):
    """Two sockets with memory, and what else lies in such a directory."""
    for socket in (0, 1):
        add_zone(tmp_path, f"intel-rapl:{socket}", f"package-{socket}")
        add_zone(tmp_path, f"intel-rapl:{socket}:0", "core")
        add_zone(tmp_path, f"intel-rapl:{socket}:1", "dram", range_uj=DRAM_RANGE)
        add_zone(tmp_path, f"intel-rapl-mmio:{socket}", f"package-{socket}")
    (tmp_path / "intel-rapl").mkdir()
    (tmp_path / "intel-rapl" / "enabled").write_text("1\n")
    return tmp_path


def driver(root, *probes, clock=None, **values):
    values = {"root": str(root), "probes": list(probes), "interval": 1.0, **values}
    return Rapl("cpu", values, monotonic_clock=clock or Clock())


def test_zones_are_found_with_what_is_around_them(server):
    names = ["package-0", "package-0/core", "package-0/dram", "package-1", "package-1/core", "package-1/dram"]
    assert [zone.name for zone in find_zones(server)] == names


def test_there_may_be_more_than_ten_packages(tmp_path):
    for number in range(12):
        add_zone(tmp_path, f"intel-rapl:{number}", f"package-{number}")
    assert [zone.name for zone in find_zones(tmp_path)] == [f"package-{number}" for number in range(12)]


def chosen(root, *names):
    return choose_zones(names, find_zones(root))


def test_names_in_order_are_packages_and_others_are_named(server):
    zones = chosen(server, "a", "b", "ram@package-1/dram", "cores@package-0/core")
    assert {probe: zone.name for probe, zone in zones.items()} == {
        "a": "package-0",
        "b": "package-1",
        "ram": "package-1/dram",
        "cores": "package-0/core",
    }
    assert [zone.name for zone in chosen(server, "", "b").values()] == ["package-1"]


@pytest.mark.parametrize(
    "names, problem",
    [
        (("a", "b", "c"), "none is left for 'c'"),
        (("a@dram",), "2 are called 'dram'"),
        (("a", "b@package-0"), "'b@package-0' is package-0 a second time, and would be counted twice"),
        (("a@package-0/dram", "b@package-0/dram"), "'b@package-0/dram' is package-0/dram a second time"),
        (("a@psys",), "0 are called 'psys'; zones in .*: package-0, package-0/core"),
    ],
)
def test_a_name_without_one_zone_is_told_with_what_there_is(server, names, problem):
    with pytest.raises(DeviceError, match=problem):
        driver(server, *names).open()


def test_a_package_and_its_parts_are_never_added_up(server):
    zones = chosen(server, "a", "b", "cores@package-0/core", "ram@package-0/dram")
    assert counted_probes(levels_of(zones)) == ["a", "b", "ram"]  # memory is not in the package
    zones = chosen(server, "a", "cores@package-0/core", "others@package-1/core")
    assert counted_probes(levels_of(zones)) == ["a", "others"]  # whose package was not chosen
    add_zone(server, "intel-rapl:2", "psys")
    zones = chosen(server, "a", "b", "cores@package-0/core", "ram@package-0/dram", "all@psys")
    assert counted_probes(levels_of(zones)) == ["all"]


@pytest.mark.parametrize(
    "before, after, range_uj, seconds, watts",
    [
        (0, 100_000_000, RANGE, 1.0, 100),
        (5, 5, RANGE, 1.0, 0),
        (RANGE - 30_000_000, 70_000_000, RANGE, 1.0, 100),
        (DRAM_RANGE - 1, 3_000_000, DRAM_RANGE, 2.0, 1.5),
        (200 * 10**9, 0, RANGE, 1.0, None),  # reset: 62 kW would be the wrap
        (0, 2_000_000_000, RANGE, 1.0, None),
        (0, 100_000_000, RANGE, 0.0, None),
        (0, 100_000_000, RANGE, 300.0, None),  # may have wrapped more than once
        (0, 100_000_000, DRAM_RANGE, 66.0, None),
    ],
)
def test_power_is_the_difference_of_two_readings(before, after, range_uj, seconds, watts):
    assert watts_between(before, after, range_uj, seconds) == (None if watts is None else pytest.approx(watts))


def test_a_board_may_show_more_than_a_package(server):
    add_zone(server, "intel-rapl:2", "psys", range_uj=4_294_967_295 * 10**6)
    clock = Clock()
    meter = driver(server, "all@psys", "a", clock=clock)
    meter.open()
    meter.read()
    clock.now += 1
    for zone in (0, 2):
        (server / f"intel-rapl:{zone}" / "energy_uj").write_text("1800000000\n")
    assert [each.watts for each in meter.read()] == [1800, None]


def test_power_is_unknown_at_first_and_then_the_mean_since_the_last_reading(server):
    clock = Clock()
    meter = driver(server, "a", "ram@package-0/dram", clock=clock)
    meter.open()
    first, memory = meter.read()
    assert first == Measurement("a", kwh=0, kwh_wrap=RANGE / KWH)
    assert memory.kwh_wrap == DRAM_RANGE / KWH
    for energy_uj, watts in ((50_000_000, 25), (RANGE - 10_000_000, None), (30_000_000, 20)):
        clock.now += 2
        (server / "intel-rapl:0" / "energy_uj").write_text(f"{energy_uj}\n")
        measured = meter.read()[0]
        assert measured.watts == (None if watts is None else pytest.approx(watts))
        assert measured.kwh == energy_uj / KWH
    meter.close()
    meter.open()
    assert meter.read()[0].watts is None


def test_a_recorded_machine_is_read_as_it_is(tmp_path):
    unpack(recordings_root() / "linux" / "node_exporter_sys.ttar", tmp_path, "sys/class/powercap")
    meter = driver(tmp_path / "sys/class/powercap", "cpu", "cores@core")
    meter.open()
    assert meter.read() == [
        Measurement("cpu", kwh=240_422_366_267 / KWH, kwh_wrap=RANGE / KWH, level="device"),
        Measurement("cores", kwh=118_821_284_256 / KWH, kwh_wrap=RANGE / KWH, level="outlet"),
    ]


def test_what_is_no_number_is_the_devices_failure(server):
    meter = driver(server, "a")
    meter.open()
    (server / "intel-rapl:0" / "energy_uj").write_text("\n")
    with pytest.raises(DeviceError, match="no number in .*energy_uj: '\\\\n'"):
        meter.read()


def test_a_counter_that_vanishes_and_comes_back(server):
    meter = driver(server, "a", "ram@package-0/dram")
    meter.open()
    memory = server / "intel-rapl:0:1"
    memory.rename(server / "away")
    with pytest.raises(OSError, match="No such file"):
        meter.read()
    with pytest.raises(DeviceError, match="0 are called 'package-0/dram'"):
        meter.open()
    (server / "away").rename(memory)
    meter.open()
    assert [each.probe for each in meter.read()] == ["a", "ram"]


def test_a_counter_that_was_reset_gives_no_power(server):
    add_zone(server, "intel-rapl:0", "package-0", energy_uj=200 * 10**9)
    clock = Clock()
    meter = driver(server, "a", clock=clock)
    meter.open()
    meter.read()
    clock.now += 1
    add_zone(server, "intel-rapl:0", "package-0")
    assert meter.read() == [Measurement("a", kwh=0, kwh_wrap=RANGE / KWH)]


def test_a_machine_without_counters_is_a_failure(tmp_path):
    with pytest.raises(DeviceError, match="none is left for 'a'; zones in .*: none"):
        driver(tmp_path, "a").open()
    with pytest.raises(OSError, match="No such file"):
        driver(tmp_path / "missing", "a").open()


def test_counters_that_only_root_may_read_are_told_with_their_path(server):
    meter = driver(server, "a")
    meter.open()
    counter = server / "intel-rapl:0" / "energy_uj"
    counter.chmod(0)
    if os.access(counter, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(PermissionError, match="energy_uj"):
        meter.read()


@pytest.mark.parametrize(
    "probe, values, option, problem",
    [
        ("a", {"interval": 61.0}, "interval", "is longer than 60 s"),
        ("a@", {}, "probes", "does not name a probe and a zone"),
        ("@dram", {}, "probes", "does not name a probe and a zone"),
    ],
)
def test_mistakes_of_the_options_are_told(probe, values, option, problem):
    ((told, what),) = driver(Path("/"), probe, **values).problems()
    assert told == option
    assert problem in what


def test_names_are_published_without_their_zones():
    meter = driver(Path("/"), "a", "", "b@package-0/dram")
    assert meter.probe_names() == ["a", "b"]
    assert list(meter.problems()) == []
