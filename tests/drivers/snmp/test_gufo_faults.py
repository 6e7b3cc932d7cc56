"""What is no answer of an agent, and who reads it then."""

import socket
import threading

import pytest

from tests.drivers.snmp.test_gufo import ROWS, TABLE, WATTS, Slow, ask, gufo
from tests.drivers.snmp_agent import SnmpAgent
from tests.drivers.snmp_relay import Relay

PANIC = bytes.fromhex("3082")  # a length that is not there: gufo-snmp 0.13 reads beyond the end


class Peer:
    """A socket that answers each datagram with the given ones."""

    def __init__(self, *answers):
        self._answers = answers
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(5)
        self.host, self.port = self._socket.getsockname()
        self.heard = 0

    def __enter__(self):
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._answers = None
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", (self.host, self.port))
        self._thread.join(10)

    def _serve(self):
        with self._socket:
            while True:
                _, peer = self._socket.recvfrom(2000)
                if self._answers is None:
                    return
                self.heard += 1
                for answer in self._answers:
                    self._socket.sendto(answer, peer)


@pytest.mark.parametrize("junk", [b"", b"\x30", b"junk", bytes(range(256)), PANIC])
@pytest.mark.parametrize("version", ["1", "2c"])
def test_what_cannot_be_understood_is_left_to_pysnmp(version, junk):
    with Peer(junk) as peer:
        slow = Slow()
        assert ask(slow, peer, version=version).columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == [[WATTS]]


def test_malformed_answers_leave_the_journal_clean(capfd):
    """gufo-snmp prints its panics itself."""
    with SnmpAgent(TABLE) as agent, Relay(agent) as relay:
        ask(Slow(), relay).columns([WATTS])
        answer = relay.answers[-1]
    broken = [answer[:length] for length in range(0, len(answer), 29)]
    broken += [answer[:place] + b"\xff" + answer[place + 1 :] for place in range(0, 80)]
    for datagram in broken:
        with Peer(datagram) as peer:
            assert ask(Slow(), peer, timeout=0.02, retries=0).columns([WATTS]) == {WATTS: ROWS}
    assert "panicked" not in capfd.readouterr().err


def test_who_stumbles_three_times_is_left_to_pysnmp():
    with Peer(b"junk") as peer:
        slow = Slow()
        asked = ask(slow, peer)
        for _ in range(gufo.MAX_STUMBLES + 2):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert peer.heard == gufo.MAX_STUMBLES
        assert len(slow.asked) == gufo.MAX_STUMBLES + 2
