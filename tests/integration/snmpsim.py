"""Serves SNMP recordings: a directory of .snmprec files becomes an agent on a free port of the loopback.

The community is the name of a file without its ending. snmpsim runs as a process of its own, one for all recordings.
"""

import grp
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.ports import free_port

START_LIMIT = 60.0  # seconds; indexing a recording of 8,000 rows takes one


@contextmanager
def serve_recordings(data_dir: Path, work_dir: Path) -> Iterator[int]:
    """Serve the recordings in ``data_dir`` and yield the UDP port on 127.0.0.1; indexes and log go to ``work_dir``."""
    port = free_port(socket.SOCK_DGRAM)
    command = [
        str(Path(sys.executable).with_name("snmpsim-command-responder")),
        f"--data-dir={data_dir}",
        f"--cache-dir={work_dir}",
        f"--agent-udpv4-endpoint=127.0.0.1:{port}",
        f"--process-user={pwd.getpwuid(os.getuid()).pw_name}",
        f"--process-group={grp.getgrgid(os.getgid()).gr_name}",
        "--logging-method=stderr",
    ]
    log = work_dir / "snmpsim.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        _wait_until_listening(process, log)
        yield port
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_listening(process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT
    while "Listening at" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"snmpsim did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)
