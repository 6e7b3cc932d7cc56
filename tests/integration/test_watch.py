"""kwapi watch hears the real bus."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.daemons import Site

pytestmark = pytest.mark.integration


def test_watch_prints_what_the_bus_carries(tmp_path):
    with Site(tmp_path, "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = a\n") as site:
        site.start("drivers", "forwarder")
        program = str(Path(sys.executable).with_name("kwapi"))
        printed = subprocess.run(
            [program, "watch", "lab", "--count", "2", "--config-file", str(tmp_path / "api.conf")],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    heading, *others = [line.split() for line in printed.splitlines()]
    assert heading == ["timestamp", "wattmeter", "probe", "W"]
    assert [line[1:] for line in others] == [["lab.meter", "a", "42"]] * 2
