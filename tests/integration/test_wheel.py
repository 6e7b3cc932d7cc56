"""The wheel of ``tox -e build``, installed where there is no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.test_layers import ROOT

pytestmark = pytest.mark.integration
SOURCES = ("kwapi", "etc", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")
PROGRAMS = ("kwapi", "kwapi-drivers", "kwapi-forwarder", "kwapi-api", "kwapi-rrd", "kwapi-simulator")


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Return the wheel of a copy of this tree, built with the setuptools that is here."""
    copy = tmp_path_factory.mktemp("tree")
    for name in SOURCES:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, copy)
    pip("wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", copy / "dist", copy)
    (built,) = (copy / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """Return a new virtual environment with the wheel; all else it finds where these tests do."""
    directory = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory], check=True)
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(directory), "platbase": str(directory)}))
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site / "libraries.pth").write_text("".join(f"{path}\n" for path in libraries))
    pip("--python", directory, "install", "--no-deps", "--no-index", wheel)
    return directory


def files_below(directory):
    """Return the paths of what belongs into the wheel."""
    return {str(path.relative_to(ROOT)) for path in directory.rglob("*") if path.is_file() and ".pyc" not in path.name}


def run(environment, name, *arguments):
    """Return how a program of the environment ended."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("KWAPI_", "PYTHON"))}
    command = [environment / "bin" / name, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=environment, env=environ)


def test_the_wheel_has_all_that_belongs_to_the_programs(wheel):
    packed = set(ZipFile(wheel).namelist())
    assert files_below(ROOT / "kwapi") <= packed
    samples = {name.partition("/data/share/kwapi/")[2] for name in packed}
    assert files_below(ROOT / "etc") <= samples


@pytest.mark.parametrize("name", PROGRAMS)
def test_an_installed_program_tells_what_it_does(environment, name):
    ended = run(environment, name, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: {name} ")


def test_the_installed_program_is_not_that_of_the_checkout(environment):
    where = run(environment, "python", "-c", "import kwapi; print(*kwapi.__path__)").stdout
    assert where.startswith(str(environment))


def test_the_installed_samples_are_right(environment):
    samples = environment / "share" / "kwapi" / "etc"
    ended = run(environment, "kwapi", "check", "--config-dir", samples / "demo")
    assert (ended.returncode, ended.stderr) == (0, "")
    ended = run(environment, "kwapi", "check", "--config-dir", samples / "kwapi")
    assert ended.returncode == 2
    assert {line.split(": ")[1].split("]")[0] for line in ended.stderr.splitlines()} == {"[keystone_authtoken"}


def test_an_installed_daemon_has_the_profiles_of_devices(environment, tmp_path):
    conf = tmp_path / "drivers.conf"
    conf.write_text("[rack.pdu]\ndriver = snmp\nhost = 127.0.0.1\nprofile = no-such\nprobes = a\n")
    ended = run(environment, "kwapi-drivers", "--check-config", "--config-file", conf)
    assert ended.returncode == 2
    assert "apc" in ended.stderr
