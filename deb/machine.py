"""A Debian 12 with the package installed, made by debootstrap, and booted by systemd-nspawn: its systemd is a real one.

The tree stays as it is; each machine that is booted writes into an overlay of its own, and has no network but loopback.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.programs import needed, needed_program
from tests.waiting import eventually

SUITE = "bookworm"
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kwapi"
DAEMONS = ("drivers", "forwarder", "api", "rrd")
PLAIN = {
    "drivers": "[DEFAULT]\n[rack.pdu]\ndriver = dummy\nprobes = a, b\n",
    "forwarder": "[DEFAULT]\n",
    "api": "[DEFAULT]\nacl_enabled = false\n",
    "rrd": "[DEFAULT]\n",
}
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # of root on a Debian
FETCH = "import sys, urllib.request; sys.stdout.buffer.write(urllib.request.urlopen(sys.argv[1], timeout=10).read())"


def debian(directory: Path) -> None:
    """Unpack a minimal Debian, which is fetched once."""
    needed("root, who alone may boot a Debian", "root" if os.geteuid() == 0 else None)
    archive = CACHE / f"debian-{SUITE}.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        program = needed_program("debootstrap", "debootstrap")
        made = archive.with_suffix(".new")
        # With systemd as on every Debian that boots; all else has to come as a dependency of the package.
        command = [program, "--variant=minbase", "--include=systemd,systemd-sysv", SUITE, directory]
        subprocess.run(command, check=True, capture_output=True)
        subprocess.run(["tar", "-C", directory, "-cf", made, "."], check=True)
        made.replace(archive)
    else:
        subprocess.run(["tar", "-C", directory, "-xf", archive], check=True)


def container(directory: Path, *arguments: str) -> list[str]:
    """Return the command that runs something in a tree."""
    program = needed_program("systemd-nspawn", "systemd-container")
    return [program, "--quiet", f"--directory={directory}", "--register=no", "--keep-unit", *arguments]


def install(directory: Path, package: Path) -> None:
    """Install a package and what it depends on into a tree that is not booted."""
    script = (
        "export DEBIAN_FRONTEND=noninteractive;"
        " apt-get update -qq && apt-get install -y -qq --no-install-recommends /package.deb"
    )
    bind = f"--bind-ro={package}:/package.deb"
    ended = subprocess.run(container(directory, "--pipe", bind, "sh", "-c", script), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr


class Machine:
    """A machine that is booted."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def is_up(self) -> bool:
        """Return whether the machine has booted, be it that something has failed."""
        return self.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Return how a command of the machine's root ended."""
        enter = ["nsenter", f"--target={self._leader}", "--all", "--wdns=/", "--", *command]
        return subprocess.run(enter, capture_output=True, text=True, env={"PATH": PATH})

    def do(self, script: str) -> str:
        """Run lines of shell, each of which must work; return what they print."""
        ended = self.run("sh", "-ec", script)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def path(self, path: str) -> Path:
        """Return where a file of the machine is, seen from here."""
        return Path(f"/proc/{self._leader}/root") / path.lstrip("/")

    def configure(self, **files: str) -> None:
        """Write the daemons' files: those given, or as simple as may be."""
        for daemon, text in (PLAIN | files).items():
            self.path(f"/etc/kwapi/{daemon}.conf").write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Enable and start all daemons, as a person would."""
        self.do("systemctl enable --now kwapi.target")
        assert self.states() == ["active"] * 4, self.log()

    def states(self) -> list[str]:
        """Return the state of each daemon."""
        return self.run("systemctl", "is-active", *(f"kwapi-{name}" for name in DAEMONS)).stdout.split()

    def pids(self) -> list[int]:
        """Return the main process of each daemon, 0 for none."""
        return [int(self.show(name, "MainPID")) for name in DAEMONS]

    def show(self, name: str, key: str) -> str:
        """Return what systemd says of a daemon."""
        return self.do(f"systemctl show --value --property={key} kwapi-{name}").strip()

    def get(self, port: int, path: str) -> bytes:
        """Return what a daemon of the machine answers over HTTP, b"" if nothing."""
        enter = ["nsenter", f"--target={self._leader}", "--all", "--wdns=/", "--", "/usr/bin/python3", "-c", FETCH]
        return subprocess.run([*enter, f"http://127.0.0.1:{port}{path}"], capture_output=True).stdout

    def energies(self) -> dict[str, float]:
        """Return the kWh of each probe, {} while the API does not answer."""
        answer = self.get(5000, "/v1/probes/")
        return {name: probe["kwh"] for name, probe in json.loads(answer)["probes"].items()} if answer else {}

    def log(self) -> str:
        """Return the journal."""
        return self.run("journalctl", "--no-pager", "--output=cat").stdout


@contextmanager
def booted(directory: Path) -> Iterator[Machine]:
    """Boot a tree; what the machine writes is gone in the end."""
    options = ("--private-network", "--volatile=overlay", "--console=read-only", "--boot")
    command = container(directory, *options)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")

        def machine() -> Machine | None:
            leader = children.read_text().split()  # at first a process that only prepares the other
            return Machine(int(leader[0])) if leader else None

        try:
            eventually(lambda: process.poll() is not None or ((it := machine()) and it.is_up()), timeout=90)
            if process.poll() is not None or (it := machine()) is None:
                pytest.fail("systemd-nspawn does not boot here")
            assert it.run("systemctl", "--failed", "--plain", "--no-legend").stdout == ""
            yield it
        finally:
            process.terminate()  # which has its systemd power off
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
