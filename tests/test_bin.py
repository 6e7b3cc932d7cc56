"""The programs in bin/, from a checkout."""

import shutil
import subprocess

import pytest

from tests.test_layers import ROOT

TELLS_STATE_DIR = '#!/bin/sh\necho "$KWAPI_DEFAULT_STATE_DIR" "$@"\n'
PROGRAMS = ("kwapi", "kwapi-api", "kwapi-drivers", "kwapi-forwarder", "kwapi-rrd")


@pytest.fixture
def run(tmp_path):
    """Return what a program of a checkout's bin/ prints, whose .venv holds programs that tell their state_dir."""
    shutil.copytree(ROOT / "bin", tmp_path / "bin")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        program = tmp_path / ".venv" / "bin" / name
        program.write_text(TELLS_STATE_DIR)
        program.chmod(0o755)
    return lambda name, *argv, **environ: subprocess.run(
        [tmp_path / "bin" / name, *argv], env={"PATH": "/usr/bin:/bin", **environ}, capture_output=True, text=True
    )


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_of_a_checkout_keeps_state_where_bin_run_does(run, tmp_path, name):
    assert run(name, "--config-dir", "my site").stdout == f"{tmp_path}/var --config-dir my site\n"
    assert run(name, "--config-dir", "etc/demo").stdout.startswith(f"{tmp_path}/var/demo --config-dir")
    assert run(name, KWAPI_DEFAULT_STATE_DIR="/mine").stdout == "/mine\n"


def test_without_an_environment_it_says_what_makes_one(run, tmp_path):
    (tmp_path / ".venv" / "bin" / "kwapi").unlink()
    ended = run("kwapi")
    assert (ended.returncode, ended.stderr) == (1, "There is no environment yet: run bin/run first\n")
