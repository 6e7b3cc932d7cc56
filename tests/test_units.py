"""The systemd units, as systemd reads them: no mistake, no warning, and little that a daemon may do."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.integration.programs import needed_program
from tests.test_layers import ROOT

SOURCE = ROOT / "etc" / "systemd"
DAEMONS = ("kwapi-drivers", "kwapi-forwarder", "kwapi-api", "kwapi-rrd")
DEVICES = sorted(path.stem for path in (SOURCE / "devices").glob("*.conf") if "." not in path.stem)
OF_SYSTEM = Path("/usr/lib/systemd/system")
ADDED_UP = {"After", "Environment", "Wants"}  # a second line does not replace the first
MOST = 2.0  # of systemd's points of exposure; 10 is a daemon that may do everything


@pytest.fixture
def root(tmp_path):
    """Return a directory with the units, as on a machine where Kwapi is installed."""
    units = tmp_path / "usr/lib/systemd/system"
    needed_program("systemd-analyze", "systemd")
    units.mkdir(parents=True)
    for path in OF_SYSTEM.glob("*.target"):  # what the units refer to
        shutil.copy(path, units)
    for path in SOURCE.glob("kwapi*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, units / path.name)
    programs = tmp_path / "usr/bin"
    programs.mkdir()
    for name in (*DAEMONS, "sh"):
        (programs / name).touch(mode=0o755)
    return tmp_path


def analyze(root, verb, *arguments):
    """Return the status of systemd-analyze, and all that it prints."""
    program = needed_program("systemd-analyze", "systemd")
    ended = subprocess.run(
        [program, verb, f"--root={root}", *arguments], capture_output=True, text=True, env={"LC_ALL": "C.UTF-8"}
    )
    return ended.returncode, ended.stdout + ended.stderr


def verify(root):
    return analyze(root, "verify", "kwapi.target", *(f"{name}.service" for name in DAEMONS))


def exposure(root, name):
    """Return systemd's points of a daemon."""
    status, text = analyze(root, "security", "--offline=true", f"--threshold={int(10 * MOST)}", f"{name}.service")
    assert status == 0, text
    return float(text.rpartition("Overall exposure level")[2].split()[2])


def plug_in(root, device):
    """Put a drop-in for a kind of device where a person would."""
    directory = root / "etc/systemd/system/kwapi-drivers.service.d"
    directory.mkdir(parents=True)
    shutil.copy(SOURCE / "devices" / f"{device}.conf", directory)


def keys(path):
    """Return the keys of a unit."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return {line.partition("=")[0] for line in lines if line and line[0] not in "#["}


def test_systemd_has_nothing_to_say_about_the_units(root):
    assert verify(root) == (0, "")


@pytest.mark.parametrize("name", DAEMONS)
def test_systemd_finds_what_is_wrong_with_a_unit(root, name):
    """It warns of an unknown key, and ends with 0 all the same."""
    with (root / f"usr/lib/systemd/system/{name}.service").open("a") as unit:
        unit.write("WantedByy=multi-user.target\n")
    status, text = verify(root)
    assert "Unknown key 'WantedByy'" in text
    assert status == 0


@pytest.mark.parametrize("name", DAEMONS)
def test_a_daemon_may_do_little(root, name):
    assert 0 < exposure(root, name) <= MOST


def test_systemd_finds_what_a_daemon_may_do_more(root):
    common = root / "usr/lib/systemd/system/kwapi-.service.d/common.conf"
    common.write_text(common.read_text().replace("ProtectSystem=strict", "").replace("CapabilityBoundingSet=", ""))
    status, text = analyze(root, "security", "--offline=true", f"--threshold={int(10 * MOST)}", "kwapi-api.service")
    assert status == 1, text


@pytest.mark.parametrize("name", DAEMONS)
def test_what_a_unit_says_is_not_overruled_by_what_all_have_in_common(name):
    """Systemd reads that after the unit, though its name may suggest otherwise."""
    common, own = (keys(SOURCE / path) for path in ("kwapi-.service.d/common.conf", f"{name}.service"))
    assert {"Type", "Restart"} <= common
    assert common & own <= ADDED_UP


@pytest.mark.parametrize("device", DEVICES)
def test_with_a_device_kwapi_drivers_may_do_little_more(root, device):
    without = exposure(root, "kwapi-drivers")
    plug_in(root, device)
    assert verify(root) == (0, "")
    assert without < exposure(root, "kwapi-drivers") <= MOST


def test_there_is_a_drop_in_for_every_kind_of_device_of_a_machine():
    assert DEVICES == ["ipmi", "nvml", "serial"]


def test_the_users_of_the_units_are_made(tmp_path):
    program = needed_program("systemd-sysusers", "systemd")
    (tmp_path / "etc").mkdir()
    subprocess.run([program, f"--root={tmp_path}", SOURCE / "sysusers.conf"], check=True, capture_output=True)
    made = {line.split(":")[0] for line in (tmp_path / "etc/passwd").read_text().splitlines()}
    used = {
        line.removeprefix("User=")
        for name in DAEMONS
        for line in (SOURCE / f"{name}.service").read_text(encoding="utf-8").splitlines()
        if line.startswith("User=")
    }
    assert used == {"kwapi", "kwapi-forwarder"}
    assert used <= made
    groups = (tmp_path / "etc/group").read_text().splitlines()
    assert [line.split(":")[3] for line in groups if line.startswith("kwapi-forwarder:")] == ["kwapi"]
