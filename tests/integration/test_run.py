"""What bin/run starts once the environment is there: all daemons on one machine, until Ctrl-C."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.daemons import DAEMONS, Site
from tests.integration.terminal import take_terminal
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DUMMY = "[lab.meter]\ndriver = dummy\nprobes = a\n"


def command(directory, state="state"):
    """Return the words by which bin/run starts it."""
    own = ["--demo", "/nowhere", "--state-dir", str(directory / state)]
    return [sys.executable, "-m", "kwapi.cli.run", *own, "--config-dir", str(directory)]


class Run:
    """``kwapi.cli.run`` as a process; ended with all it started."""

    def __init__(self, directory, state="state"):
        with (directory / "run.log").open("wb") as log:
            self.process = subprocess.Popen(
                command(directory, state),
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pid in self.children().values():
            os.kill(pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def children(self):
        """Return the pids of the daemons that run, by name."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            except (OSError, ValueError):
                continue
            if parent == str(self.process.pid) and (name := name_of(words)):
                found[name] = int(folder.name)
        return found


def name_of(words):
    return next((name for name in DAEMONS for word in words if word.endswith(f"/kwapi-{name}")), None)


def is_gone(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except OSError:
        return True


def await_values(site, run, tmp_path):
    eventually(lambda: "a" in site.probes() or run.process.poll() is not None)
    assert run.process.poll() is None, (tmp_path / "run.log").read_text()
    eventually(lambda: len(run.children()) == len(DAEMONS))


def test_ctrl_c_stops_everything_and_leaves_nothing(tmp_path):
    site = Site(tmp_path, DUMMY)
    with Run(tmp_path) as run:
        await_values(site, run, tmp_path)
        first_lines = [run.process.stdout.readline() for _ in range(2)]
        assert "Kwapi is running" in first_lines[1]
        pids = run.children().values()
        run.process.send_signal(signal.SIGINT)
        assert run.process.wait(5) == 0
        assert all(map(is_gone, pids))
        printed = run.process.stdout.read()
        assert f"http://127.0.0.1:{site.api_port}/v1/probes/\n" in printed
        assert f"http://127.0.0.1:{site.rrd_port}/\n" in printed
        assert "Traceback" not in (tmp_path / "run.log").read_text()


def test_a_daemon_that_is_killed_is_started_again(tmp_path):
    site = Site(tmp_path, DUMMY)
    with Run(tmp_path) as run:
        await_values(site, run, tmp_path)
        for name in DAEMONS:
            eventually(lambda: len(run.children()) == len(DAEMONS))
            pid = run.children()[name]
            os.kill(pid, signal.SIGKILL)
            eventually(lambda name=name, pid=pid: run.children().get(name, pid) != pid)
        site.await_new_values("a")


def test_sighup_reaches_kwapi_drivers_alone(tmp_path):
    site = Site(tmp_path, DUMMY)
    with Run(tmp_path) as run:
        await_values(site, run, tmp_path)
        pids = run.children()
        with (tmp_path / "drivers.conf").open("a") as file:
            file.write("[lab.second]\ndriver = dummy\nprobes = b\n")
        run.process.send_signal(signal.SIGHUP)
        site.await_new_values("b")
        assert run.children() == pids
        assert (tmp_path / "run.log").read_text().count("reloaded: ") == 1


def test_a_daemon_can_tell_its_state_for_as_long_as_it_runs(tmp_path):
    site = Site(tmp_path, DUMMY)
    with Run(tmp_path) as run:
        await_values(site, run, tmp_path)
        for number in range(24):  # each reload tells two notices; the kernel keeps ten
            run.process.send_signal(signal.SIGHUP)
            eventually(lambda number=number: (tmp_path / "run.log").read_text().count("reloaded: ") > number)
        assert "cannot tell systemd" not in (tmp_path / "run.log").read_text()


def test_files_that_name_no_state_dir_share_the_one_of_the_checkout(tmp_path):
    site = Site(tmp_path, DUMMY)
    for name in DAEMONS:
        path = tmp_path / f"{name}.conf"
        path.write_text(path.read_text().replace(f"state_dir = {tmp_path}/state\n", ""))
    with Run(tmp_path, state="var") as run:
        await_values(site, run, tmp_path)
        assert (tmp_path / "var" / "signing.key").exists()


def test_it_ends_with_its_terminal(tmp_path):
    site = Site(tmp_path, DUMMY)
    last = f":{site.rrd_port}/\r\n\r\n".encode()
    master, slave = os.openpty()
    process = subprocess.Popen(
        command(tmp_path), stdin=slave, stdout=slave, stderr=slave, start_new_session=True, preexec_fn=take_terminal
    )
    os.close(slave)
    shown = b""
    try:
        while last not in shown:
            shown += os.read(master, 4096)
    finally:
        os.close(master)
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()


def test_when_it_is_killed_itself_nothing_is_left(tmp_path):
    site = Site(tmp_path, DUMMY)
    with Run(tmp_path) as run:
        await_values(site, run, tmp_path)
        pids = list(run.children().values())
        run.process.kill()
    eventually(lambda: all(map(is_gone, pids)))


def test_the_mistakes_of_all_files_are_told_before_anything_starts(tmp_path):
    Site(tmp_path, "[lab.meter]\ndriver = dumy\nprobes = a\n")
    for name in ("forwarder", "api", "rrd"):
        with (tmp_path / f"{name}.conf").open("a") as file:
            file.write("nonsense = 1\n")
    ended = subprocess.run(
        command(tmp_path),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.returncode == 2
    assert "[lab.meter] driver: unknown driver 'dumy'" in ended.stderr
    assert ended.stderr.count("[DEFAULT] nonsense: unknown option") == 3
    assert not (tmp_path / "state").exists()
