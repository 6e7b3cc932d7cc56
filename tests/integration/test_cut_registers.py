"""The register file is cut to nothing while kwapi-api has it mapped: no process survives that, but the log tells."""

import os
import signal

import pytest

from tests.integration.daemons import Site
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 3600\ninterval = 0.1\nprobes = a\n"


def test_a_register_file_that_is_cut_ends_the_daemon_with_a_trace_and_the_next_start_tells(tmp_path):
    with Site(tmp_path, DUMMY) as site:
        site.start("drivers", "forwarder", "api")
        eventually(lambda: site.probes().get("a", {"kwh": 0})["kwh"] > 0)
        os.truncate(tmp_path / "state" / "energy" / "registers", 0)
        assert site.processes["api"].wait(10) == -signal.SIGBUS
        assert "Fatal Python error: Bus error" in site.log("api")
        assert 'plugins/api/slots.py", line' in site.log("api")
        site.start("api")
        site.await_new_values("a")
        assert site.log("api").count("its beginning is missing or damaged") == 1
