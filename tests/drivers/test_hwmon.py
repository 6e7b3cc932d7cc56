import os
from pathlib import Path

import pytest

from kwapi.drivers.hwmon import Hwmon, find_sensors, to_watts
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement, counted_probes
from tests.drivers.recordings import recordings_root
from tests.drivers.ttar import unpack


def add_chip(root, directory, name, device=None, **files):
    """Make a chip as the kernel shows it: its directory, and a link to the device behind it."""
    chip = root / "class" / directory
    chip.mkdir(parents=True)
    (chip / "name").write_text(f"{name}\n")
    if device:
        (root / "devices" / device).mkdir(parents=True, exist_ok=True)
        (chip / "device").symlink_to(root / "devices" / device)
    for file, content in files.items():
        (chip / file).write_text(f"{content}\n")
    return chip


@pytest.fixture
def machine(tmp_path):
    """A server with a meter, two graphics cards, a power supply and a chip without power."""
    add_chip(tmp_path, "hwmon5", "power_meter", "ACPI000D:00", power1_average=187_000_000, power1_average_interval=1000)
    add_chip(tmp_path, "hwmon2", "amdgpu", "0000:45:00.0", power1_average=31_250_000, power1_label="PPT")
    add_chip(tmp_path, "hwmon1", "amdgpu", "0000:03:00.0", power1_input=9_000_000)
    add_chip(
        tmp_path,
        "hwmon0",
        "pmbus",
        "3-0058",
        power1_input=240_000_000,
        power1_label="pin",
        power2_input=221_500_000,
        power2_label="pout1",
        power10_input=1_000_000,
        power10_label="pout2",
    )
    add_chip(tmp_path, "hwmon3", "coretemp", "coretemp.0", temp1_input=55000)
    return tmp_path


def driver(root, *probes, **values):
    values = {"root": str(root / "class"), "level": "device", "probes": list(probes), "interval": 1.0, **values}
    return Hwmon("machine", values)


def read_once(root, *probes, **values):
    meter = driver(root, *probes, **values)
    meter.open()
    return meter.read()


def test_sensors_stand_in_the_order_of_chips_devices_and_numbers(machine):
    assert [sensor.name for sensor in find_sensors(machine / "class")] == [
        "amdgpu-0000:03:00.0/power1",
        "amdgpu-0000:45:00.0/power1",
        "pmbus-3-0058/power1",
        "pmbus-3-0058/power2",
        "pmbus-3-0058/power10",
        "power_meter-ACPI000D:00/power1",
    ]


def test_names_in_order_and_names_of_sensors_are_read_in_watts(machine):
    assert read_once(
        machine, "", "gpu2", "in@pmbus/pin", "all@power_meter/power1", "gpu1@amdgpu-0000:03:00.0/power1"
    ) == [
        Measurement("gpu2", watts=31.25),
        Measurement("in", watts=240),
        Measurement("all", watts=187),
        Measurement("gpu1", watts=9),
    ]


def test_what_a_power_supply_gives_out_is_not_added_to_what_it_takes_in(machine):
    measured = read_once(machine, "in@pmbus/power1", "out1@pmbus/pout1", "out2@pmbus/power10", level="inlet")
    assert [each.watts for each in measured] == [240, 221.5, 1]
    assert counted_probes({each.probe: each.level for each in measured}) == ["in"]


@pytest.mark.parametrize(
    "names, problem",
    [
        (("a@amdgpu/power1",), "2 are called 'amdgpu/power1'"),
        (("a@power_meter/power2",), "0 are called .*; sensors in .*: amdgpu-0000:03:00.0/power1, .* PPT"),
        (tuple("abcdefg"), "none is left for 'g'"),
        (("a", "b@amdgpu-0000:03:00.0/power1"), "is amdgpu-0000:03:00.0/power1 a second time"),
    ],
)
def test_a_name_without_one_sensor_is_told_with_what_there_is(machine, names, problem):
    with pytest.raises(DeviceError, match=problem):
        driver(machine, *names).open()


@pytest.mark.parametrize(
    "raw, watts",
    [
        (0, 0),
        (187_000_000, 187),
        (4_294_967_295_000, None),  # 0xFFFFFFFF mW of ACPI: 4.29 MW
        (4_294_967_295, None),  # 0xFFFFFFFF uW
        (4_294_967_296, None),
        (4_294_000_000, 4294),
        (-1_000_000, None),
    ],
)
def test_implausible_power_is_none(raw, watts):
    assert to_watts(raw) == watts


@pytest.mark.parametrize(
    "files, measurements",
    [
        ({"power1_average": 5_000_000, "power1_input": 7_000_000}, [Measurement("a", watts=5)]),
        ({"power1_average": 4_294_967_295_000, "power1_input": 7_000_000}, [Measurement("a", watts=7)]),
        ({"power1_average": "", "power1_input": 7_000_000}, [Measurement("a", watts=7)]),
        ({"power1_input": 7_000_000, "power1_enable": 1}, [Measurement("a", watts=7)]),
        ({"energy1_input": 3_600_000_000_000}, [Measurement("a", kwh=1)]),
        (
            {
                "power1_input": 7_000_000,
                "power1_label": "System",
                "energy4_input": 1_800_000_000_000,
                "energy4_label": "System",
            },
            [Measurement("a", watts=7, kwh=0.5)],
        ),
        ({"power1_input": 7_000_000, "energy1_input": 3_600_000_000_000}, [Measurement("a", watts=7)]),  # unrelated
    ],
)
def test_a_chip_is_read_as_far_as_it_has_values(tmp_path, files, measurements):
    add_chip(tmp_path, "hwmon0", "chip", **files)
    assert read_once(tmp_path, "a") == measurements


def test_one_sensor_without_a_value_does_not_silence_the_others(machine):
    (machine / "class/hwmon5/power1_enable").write_text("0\n")
    meter = driver(machine, "all@power_meter/power1", "gpu@amdgpu/PPT")
    meter.open()
    assert meter.read() == [Measurement("gpu", watts=31.25)]
    (machine / "class/hwmon2/power1_average").unlink()
    with pytest.raises(DeviceError, match="none of the sensors"):
        meter.read()


def test_an_energy_register_that_was_reset_is_told_as_it_is(tmp_path):
    chip = add_chip(tmp_path, "hwmon0", "chip", energy1_input=3_600_000_000_000)
    meter = driver(tmp_path, "a")
    meter.open()
    assert meter.read() == [Measurement("a", kwh=1)]
    (chip / "energy1_input").write_text("0\n")
    assert meter.read() == [Measurement("a", kwh=0)]


def test_a_chip_whose_driver_was_loaded_again_is_found_again(machine):
    meter = driver(machine, "all@power_meter/power1", "gpu@amdgpu/PPT")
    meter.open()
    chips = machine / "class"
    (chips / "hwmon2").rename(machine / "away")
    assert [each.probe for each in meter.read()] == ["all"]
    (machine / "away").rename(chips / "hwmon9")
    assert meter.read() == [Measurement("all", watts=187), Measurement("gpu", watts=31.25)]


def test_two_chips_that_changed_their_numbers_are_not_mixed_up(tmp_path):
    """As the kernel has them: a chip is below its device, and the class has links."""
    (tmp_path / "class").mkdir()
    for card, watts in ((0, 10), (1, 20)):
        chip = add_chip(tmp_path / "made", f"hwmon{card}", "amdgpu", power1_average=watts * 10**6)
        device = tmp_path / "devices" / f"0000:0{card}:00.0"
        (device / "hwmon").mkdir(parents=True)
        (chip / "device").symlink_to(device)
        chip.rename(device / "hwmon" / chip.name)
        (tmp_path / "class" / chip.name).symlink_to(device / "hwmon" / chip.name)
    meter = driver(tmp_path, "gpu0", "gpu1")
    meter.open()
    before = meter.read()
    for card in (0, 1):
        device = tmp_path / "devices" / f"0000:0{card}:00.0" / "hwmon"
        (device / f"hwmon{card}").rename(device / f"hwmon{1 - card}")
        link = tmp_path / "class" / f"hwmon{1 - card}"
        link.unlink()
        link.symlink_to(device / f"hwmon{1 - card}")
    assert meter.read() == before == [Measurement("gpu0", watts=10), Measurement("gpu1", watts=20)]


def test_what_is_no_number_is_the_devices_failure(machine):
    (machine / "class/hwmon5/power1_average").write_text("187 W\n")
    with pytest.raises(DeviceError, match="no number in .*power1_average: '187 W'"):
        read_once(machine, "all@power_meter/power1")


def test_old_drivers_have_their_sensors_with_the_device(tmp_path):
    add_chip(tmp_path, "hwmon0", "ibm", "ibm.0")
    (tmp_path / "class/hwmon0/name").unlink()
    for file, content in (("name", "ibmaem"), ("power1_average", "97000000")):
        (tmp_path / "devices/ibm.0" / file).write_text(f"{content}\n")
    assert read_once(tmp_path, "a@ibmaem/power1") == [Measurement("a", watts=97)]


def test_a_recorded_machine_without_power_sensors_has_none(tmp_path):
    unpack(recordings_root() / "linux" / "node_exporter_sys.ttar", tmp_path, "sys/")
    root = tmp_path / "sys/class/hwmon"
    assert len(list(root.iterdir())) == 11
    assert find_sensors(root) == []
    meter = Hwmon("machine", {"root": str(root), "level": "device", "probes": ["a"], "interval": 1.0})
    with pytest.raises(DeviceError, match="none is left for 'a'; sensors in .*: none"):
        meter.open()


def test_a_sensor_that_only_root_may_read_is_told_with_its_path(machine):
    sensor = machine / "class/hwmon5/power1_average"
    sensor.chmod(0)
    if os.access(sensor, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(PermissionError, match="power1_average"):
        read_once(machine, "all@power_meter/power1")


@pytest.mark.parametrize("name", ["a@power_meter", "a@", "a@/power1", "@chip/power1"])
def test_mistakes_of_the_names_are_told(name):
    ((told, what),) = driver(Path("/"), name).problems()
    assert told == "probes"
    assert "does not name a probe, a chip and a sensor" in what


def test_names_are_published_without_their_sensors():
    meter = driver(Path("/"), "a", "", "b@chip/power1")
    assert meter.probe_names() == ["a", "b"]
    assert list(meter.problems()) == []
