"""What a restart costs the wattmeters that were fine: ``tox -e soak``.

When too many workers hang the daemon ends, for systemd to start it again; here it is killed, which is no kinder.
"""

import os
import signal
import time

import pytest

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.integration.test_manager import children, section
from tests.waiting import eventually

NAMES = [f"m{number}" for number in range(20)]
TIMES = 5
RESTART_SEC = 0.1  # of systemd, unless told otherwise
WORKER_PROCESS = 3  # beats that the death of one may cost its own wattmeters


@pytest.mark.parametrize("workers", [0, 2])
def test_a_restart_costs_the_healthy_a_poll_at_most(tmp_path, workers):
    sections = "".join(section(name, interval=1) for name in NAMES)
    with Site(tmp_path, f"workers = {workers}\n{sections}") as site:
        site.start("drivers")
        gate = Gate(KeyFile(site.directory / "state" / "signing.key"))
        with Listener(Subscriber([site.published], [""], gate)) as bus:
            eventually(lambda: bus.wattmeters() == set(NAMES))
            for _ in range(TIMES):
                time.sleep(5)
                restart(site, workers)
                since = len(bus.messages)
                eventually(lambda since=since: bus.wattmeters(since) == set(NAMES))
    missed = {name: beats_missed([message.timestamp for message in bus.of(name)]) for name in NAMES}
    worst = max(max(each) for each in missed.values())
    mean = sum(map(sum, missed.values())) / len(NAMES) / TIMES
    print(f"\nbeats that a restart costs with workers = {workers}: {mean:.2f}, at worst {worst}")
    assert worst <= (WORKER_PROCESS if workers else 1)


def restart(site, workers):
    if workers:
        os.kill(children(site)[0], signal.SIGKILL)
        return
    site.kill("drivers")
    time.sleep(RESTART_SEC)
    site.start("drivers")


def beats_missed(stamps):
    """Return for each pair of measurements that follow each other how many are missing between them."""
    return [round(later - earlier) - 1 for earlier, later in zip(stamps, stamps[1:], strict=False)]
