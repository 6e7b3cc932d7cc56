"""What kwapi-drivers says of a wattmeter is the state of its probes."""

import pytest

from kwapi.bus import Subscriber
from kwapi.gate import Gate
from kwapi.keys import KeyFile
from kwapi.plugins.rrd.store import Store
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def test_a_pdu_that_is_gone_is_down_with_the_reason_and_back_when_it_answers(tmp_path, pdu):
    section = f"[rack1.pdu]\ndriver = snmp\nhost = 127.0.0.1\nport = {pdu.port}\ntimeout = 0.5\nretries = 0\n"
    with Site(tmp_path, f"{section}probes = o1, o2\n") as site:
        site.start("drivers", "forwarder")
        store = Store(tmp_path / "rrd")
        gate = Gate(KeyFile(tmp_path / "state" / "signing.key"), health=True)
        subscriber = Subscriber([site.forwarded], [""], gate)
        with Listener(subscriber, add=store.add, add_health=store.add_health):
            eventually(lambda: [probe.state for probe in store.probes()] == ["up", "up"])
            pdu.kill()
            eventually(lambda: [probe.state for probe in store.probes()] == ["down", "down"])
            assert all(probe.reason and probe.stale for probe in store.probes())
            pdu.start()
            eventually(lambda: [(probe.state, probe.reason) for probe in store.probes()] == [("up", "")] * 2)
