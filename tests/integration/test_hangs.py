"""The last resort against a driver that hangs for good: a new process."""

import os

import pytest

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DRIVER = """
import time
from kwapi.drivers.base import Driver

class Hang(Driver):
    def read(self):
        time.sleep(3600)
"""
GOOD = "[good]\ndriver = dummy\ninterval = 0.2\nprobes = good-1\n"
HANGING = "".join(f"[bad{n}]\ndriver = hang\nhang_timeout = 1\nprobes = bad-{n}\n" for n in range(3))


@pytest.fixture
def environ(tmp_path):
    """Return the environment of a daemon that has a driver which hangs."""
    place = tmp_path / "site"
    described = place / "kwapi_driver_hang-1.0.dist-info"
    described.mkdir(parents=True)
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: kwapi-driver-hang\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[kwapi.drivers]\nhang = kwapi_driver_hang:Hang\n")
    (place / "kwapi_driver_hang.py").write_text(DRIVER)
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))}


def test_a_daemon_in_which_too_much_hangs_exits_to_be_started_again(tmp_path, environ):
    with Site(tmp_path, "max_hung_workers = 2\n" + GOOD + HANGING) as site:
        site.start("drivers", environ=environ)
        assert site.processes.pop("drivers").wait(30) == 1
        assert "bad0 is hung: a poll has not ended for " in site.log("drivers")
        assert "3 workers hang, more than max_hung_workers: ending" in site.log("drivers")


def test_a_worker_process_in_which_too_much_hangs_is_replaced_and_the_rest_goes_on(tmp_path, environ):
    with Site(tmp_path, "max_hung_workers = 2\nworkers = 1\n" + GOOD + HANGING) as site:
        site.start("drivers", environ=environ)
        gate = Gate(KeyFile(site.directory / "state" / "signing.key"))
        with Listener(Subscriber([site.published], [""], gate)) as bus:
            eventually(lambda: len({message.boot for message in bus.messages}) > 1)
            since = len(bus.messages)
            eventually(lambda: len(bus.messages) > since + 5)
        assert (gate.lost, gate.rejected) == (0, {})
        assert site.stop("drivers") == 0
