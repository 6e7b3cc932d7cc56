"""What is killed, and a clock that is set, change no kWh: a wattmeter without a register draws 1 kW all the time."""

import os
import signal
from pathlib import Path

import pytest

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.plugins.api.collector import Collector
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.integration.programs import needed
from tests.integration.test_manager import children, section
from tests.waiting import eventually

pytestmark = pytest.mark.integration

WATTS = 1000.0
NAMES = [f"m{number}" for number in range(4)]
SECTIONS = "".join(section(name).replace("watts = 42", f"watts = {WATTS}") for name in NAMES)
HOUR = 3600
LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")


class Accounts:
    """Counts as the API does, and keeps the messages to compare with."""

    def __init__(self, site):
        self.collector = Collector()
        gate = Gate(KeyFile(site.directory / "state" / "signing.key"))
        self.bus = Listener(Subscriber([site.published], [""], gate), add=self._add)
        self.messages = self.bus.messages

    def _add(self, message):
        self.collector.add(message)
        self.messages.append(message)

    def check(self, stamp):
        """Compare the energy of each probe with the time it was measured, by "timestamp" or by "monotonic"."""
        assert self.bus.gate.rejected == {}
        for name in NAMES:
            stamps = [getattr(message, stamp) for message in self.messages if message.wattmeter == name]
            kwh = WATTS * (stamps[-1] - stamps[0]) / 3.6e6
            assert self.collector.reading(f"{name}-1").kwh == pytest.approx(kwh, abs=1e-6)

    def more(self, count=5):
        """Wait until each wattmeter was heard so many times more."""
        since = len(self.messages)

        def heard():
            names = [message.wattmeter for message in self.messages[since:]]
            return all(names.count(name) >= count for name in NAMES)

        eventually(heard)


def test_a_killed_worker_process_costs_no_energy(tmp_path):
    with Site(tmp_path, "workers = 2\n" + SECTIONS) as site:
        site.start("drivers")
        accounts = Accounts(site)
        with accounts.bus:
            accounts.more()
            for _ in range(2):
                os.kill(children(site)[0], signal.SIGKILL)
                accounts.more()
        accounts.check("timestamp")


def test_a_killed_daemon_that_is_started_again_costs_no_energy(tmp_path):
    with Site(tmp_path, SECTIONS) as site:
        site.start("drivers")
        accounts = Accounts(site)
        with accounts.bus:
            accounts.more()
            for _ in range(2):
                site.kill("drivers")
                site.start("drivers")
                accounts.more()
        accounts.check("timestamp")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_clock_that_is_set_costs_and_invents_no_energy(tmp_path, workers):
    library = next((str(path) for pattern in LIBRARIES for path in Path("/").glob(pattern[1:])), None)
    needed("libfaketime; apt-get install faketime", library)
    offset = tmp_path / "offset"
    set_clock(offset, 0)
    environ = {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(offset),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Site(tmp_path, f"workers = {workers}\n" + SECTIONS) as site:
        site.start("drivers", environ=environ)
        accounts = Accounts(site)
        with accounts.bus:
            accounts.more()
            for step in (HOUR, -HOUR, 0):
                set_clock(offset, step)
                accounts.more()
        stamps = [message.timestamp for message in accounts.messages]
        assert max(stamps) - min(stamps) > 2 * HOUR - 60  # the clock was set indeed
        accounts.check("monotonic")


def set_clock(path, seconds):
    beside = path.with_suffix(".new")
    beside.write_text(f"{seconds:+d}\n")
    beside.replace(path)
