"""A Debian 12 with the package installed, booted by qemu: with a kernel, a disk and a plug of its own.

Commands come over its second serial line, one line of base64 each, and so do the answers; the first is its console.
"""

import base64
import shlex
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from deb.machine import FETCH, Machine, container
from tests.integration.programs import needed_program
from tests.waiting import eventually

DISK = "3G"
MEMORY = "1024"  # MB
BOOT = 180.0  # seconds, also without a processor that helps
PACKAGES = "linux-image-cloud-amd64 initramfs-tools"
LISTEN = """#!/bin/sh
exec < /dev/ttyS1 > /dev/ttyS1
stty raw -echo
echo ready
while read -r line; do
    echo "$line" | base64 --decode > /run/asked
    sh -e /run/asked < /dev/null > /run/out 2> /run/err
    echo "$? =$(base64 --wrap=0 /run/out) =$(base64 --wrap=0 /run/err)"
done
"""
UNIT = """[Service]
ExecStart=/bin/sh /usr/local/sbin/listen
Restart=always
[Install]
WantedBy=multi-user.target
"""


def make_bootable(tree: Path) -> None:
    """Install a kernel into a tree, and what listens for commands."""
    script = f"export DEBIAN_FRONTEND=noninteractive; apt-get install -y -qq --no-install-recommends {PACKAGES}"
    ended = subprocess.run(container(tree, "--pipe", "sh", "-ec", script), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (tree / "usr/local/sbin/listen").write_text(LISTEN)
    (tree / "etc/systemd/system/listen.service").write_text(UNIT)
    (tree / "etc/fstab").write_text("/dev/vda / ext4 errors=remount-ro 0 1\n")
    wants = tree / "etc/systemd/system/multi-user.target.wants/listen.service"
    wants.unlink(missing_ok=True)
    wants.symlink_to("/etc/systemd/system/listen.service")


class VirtualMachine(Machine):
    """A machine with a disk in a directory, which may be switched on and off."""

    def __init__(self, tree: Path, directory: Path) -> None:
        """Make the disk: what is in a tree that was made bootable."""
        self._directory = directory
        self._disk = directory / "disk"
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy((tree / name).resolve(), directory / name)
        command = [needed_program("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-d", tree, self._disk, DISK]
        subprocess.run(command, check=True)

    def switch_on(self) -> None:
        """Boot, and return once all that is enabled has been started."""
        path = self._directory / "line"
        path.unlink(missing_ok=True)
        command = [needed_program("qemu-system-x86_64", "qemu-system-x86"), "-m", MEMORY, "-smp", "2", "-nodefaults"]
        command += ["-machine", "q35,accel=tcg", "-display", "none", "-nic", "none"]
        command += ["-kernel", self._directory / "vmlinuz", "-initrd", self._directory / "initrd.img"]
        command += ["-append", "root=/dev/vda rw console=ttyS0 panic=-1"]
        command += ["-drive", f"file={self._disk},format=raw,if=virtio,cache=none"]
        command += ["-serial", f"file:{self._directory}/console"]
        command += ["-serial", f"unix:{path},server=on,wait=off"]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        eventually(path.exists, BOOT)
        self._line = socket.socket(socket.AF_UNIX)
        self._line.connect(str(path))
        self._line.settimeout(BOOT)
        try:
            assert self._answer().endswith(b"ready\n")
        except OSError as error:
            raise AssertionError((self._directory / "console").read_text(errors="replace")[-2000:]) from error
        eventually(self.is_up, BOOT)

    def cut_power(self) -> None:
        """Pull the plug: what the disk was not given is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._line is not None:
            self._line.close()
        self._process = self._line = None

    def switch_off(self) -> None:
        """Have it end what runs, and power off."""
        assert self._process is not None
        with suppress(AssertionError, OSError):
            self.do("systemctl poweroff --no-block")
        self._process.wait(BOOT)
        self.cut_power()

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Return how a command of the machine's root ended."""
        status, out, err = self._ask(f"exec {shlex.join(command)}")
        return subprocess.CompletedProcess(command, status, out.decode(), err.decode())

    def get(self, port: int, path: str) -> bytes:
        """Return what a daemon of the machine answers over HTTP, b"" if nothing."""
        url = f"http://127.0.0.1:{port}{path}"
        return self._ask(f"exec /usr/bin/python3 -c {shlex.quote(FETCH)} {url}")[1]

    def _ask(self, script: str) -> tuple[int, bytes, bytes]:
        assert self._line is not None
        self._line.sendall(base64.b64encode(script.encode()) + b"\n")
        status, out, err = self._answer().split()
        return int(status), base64.b64decode(out[1:]), base64.b64decode(err[1:])

    def _answer(self) -> bytes:
        """Return the next line that it says."""
        assert self._line is not None
        answer = b""
        while not answer.endswith(b"\n"):
            if not (more := self._line.recv(1 << 16)):
                raise ConnectionError("the machine was switched off")
            answer += more
        return answer


@contextmanager
def virtual_machine(tree: Path, directory: Path) -> Iterator[VirtualMachine]:
    """Have a machine that is switched on, and end it."""
    machine = VirtualMachine(tree, directory)
    try:
        machine.switch_on()
        yield machine
    finally:
        machine.cut_power()
