"""What each daemon tells systemd's watchdog, over a socket like systemd's."""

import os
import socket

import pytest

from tests.integration.daemons import DAEMONS, Site

pytestmark = pytest.mark.integration
DUMMY = "[rack.pdu]\ndriver = dummy\nprobes = a, b\n"
PERIOD = "2000000"  # us


def told(systemd):
    """Return the lines of the next notice."""
    return systemd.recv(4096).decode().splitlines()


def test_every_daemon_tells_the_watchdog_again_and_again_once_it_is_ready(tmp_path):
    with Site(tmp_path, DUMMY) as site:
        for name in DAEMONS:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
                systemd.bind(f"\0kwapi-test-{os.getpid()}-{name}")
                systemd.settimeout(20)
                address = f"@kwapi-test-{os.getpid()}-{name}"
                site.start(name, environ={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": PERIOD})
                lines = []
                while lines.count("WATCHDOG=1") < 3:
                    lines += told(systemd)
                assert "READY=1" in lines[: lines.index("WATCHDOG=1")]
            assert site.processes[name].poll() is None
        assert [site.stop(name) for name in reversed(DAEMONS)] == [0] * 4
