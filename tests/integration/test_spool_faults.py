"""A disk that is full, broken or not to be written: live traffic goes on, it is told once, and repair resumes."""

import os
import subprocess
import sys

import pytest

from tests.integration.daemons import Site
from tests.integration.programs import needed
from tests.spool.disk import FAULTS
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def namespace():
    """Return the command that runs another one with mounts of its own, None if that is not allowed."""
    for flags in (["--mount"], ["--mount", "--user", "--map-root-user"]):
        command = ["unshare", *flags]
        trial = "mount -t tmpfs none /mnt && mount -o remount,ro /mnt"
        try:
            if not subprocess.run([*command, "sh", "-c", trial], capture_output=True).returncode:
                return command
        except FileNotFoundError:
            return None
    return None


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    """Return the processes in which each fault happens, all at the same time, since most of it is waiting."""
    found = namespace()
    command = [*found, sys.executable, "-W", "error", "-m", "tests.spool.disk"] if found else []
    needed("right to mount a file system (unshare --mount)", " ".join(command) or None)
    processes = {
        name: subprocess.Popen(
            [*command, name, tmp_path_factory.mktemp(name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in FAULTS
    }
    yield processes
    for process in processes.values():
        process.kill()
        process.communicate()


@pytest.mark.parametrize("name", FAULTS)
def test_only_what_passes_meanwhile_is_not_kept(faults, name):
    said, _ = faults[name].communicate(timeout=120)
    assert faults[name].returncode == 0, said


@pytest.mark.parametrize("workers", [0, 1])
def test_drivers_measure_where_no_spool_can_be(tmp_path, workers):
    section = "[meter]\ndriver = dummy\nload = steady\nwatts = 3600\ninterval = 0.1\nprobes = taurus-1\n"
    with Site(tmp_path, f"workers = {workers}\nspool_dir = /proc/{os.getpid()}/spool\n{section}") as site:
        site.start("drivers", "forwarder", "api")
        eventually(lambda: site.probes().get("taurus-1"))
        site.await_new_values("taurus-1")
        assert site.log("drivers").count("WARNING kwapi.spool") == 1
        assert "cannot keep what passes" in site.log("drivers")
        assert site.stop("drivers") == 0
