import gc
import os
import socket
from dataclasses import replace

import pytest
from pysnmp.entity import config
from pysnmp.smi.error import GenError

from kwapi.drivers.snmp.client import VARBINDS, Target
from kwapi.drivers.snmp.pysnmp import AUTH_PROTOCOLS, PRIV_PROTOCOLS
from kwapi.drivers.snmp.usm import open_envelope
from kwapi.errors import DeviceError
from tests.drivers.snmp_agent import SnmpAgent
from tests.drivers.snmp_relay import Relay

gufo = pytest.importorskip("kwapi.drivers.snmp.gufo", exc_type=ImportError)

WATTS = "1.3.6.1.4.1.99999.1.1.2"
TABLE = {f"{WATTS}.{n}": n for n in range(1, 101)} | {"1.3.6.1.4.1.99999.1.1.3.1": 230}
ROWS = {(n,): n for n in range(1, 101)}
STRONG = ("strong", config.USM_AUTH_HMAC192_SHA256, "auth-secret", config.USM_PRIV_CFB128_AES, "priv-secret")
OPTIONS = {
    "version": "3",
    "user": "strong",
    "auth_protocol": "SHA-256",
    "auth_key": "auth-secret",
    "priv_protocol": "AES-128",
    "priv_key": "priv-secret",
}


class Slow:
    """In pysnmp's place: gives these rows for each column, and counts how often it is asked."""

    def __init__(self):
        self.asked = 0

    def agent(self, target):
        return self

    def get(self, oids):
        return {}

    def columns(self, oids):
        self.asked += 1
        return {oid: dict(ROWS) for oid in oids}

    def close(self):
        pass


@pytest.fixture(scope="module")
def agent():
    with SnmpAgent(TABLE, [STRONG]) as agent:
        yield agent


def ask(slow, agent, **options):
    """Return the agent after a first reading, of rows alone."""
    options = {**OPTIONS, "timeout": 2.0, "retries": 1, **options}
    asked = gufo.GufoClient(slow).agent(Target(agent.host, agent.port, **options))
    asked.columns([WATTS])
    slow.asked = 0
    return asked


def hurry(asked, timeout):
    """Have an agent that will be silent waited for no longer than this; it was before, on whatever machine."""
    asked._target = asked._session._target = replace(asked._target, timeout=timeout)


def check_protocols(auth, priv):
    user = ("each", AUTH_PROTOCOLS[auth], "auth-secret", PRIV_PROTOCOLS[priv], "priv-secret")
    slow = Slow()
    with SnmpAgent(TABLE, [user]) as agent:
        asked = ask(slow, agent, user="each", auth_protocol=auth, priv_protocol=priv)
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
    assert slow.asked == 0


@pytest.mark.parametrize("protocol", sorted(AUTH_PROTOCOLS))
@pytest.mark.parametrize("privacy", ["DES", "AES-128"])
def test_every_way_of_signing_works_without_pysnmp(protocol, privacy):
    check_protocols(protocol, privacy)


@pytest.mark.parametrize("protocol", ["MD5", "SHA-256"])
@pytest.mark.parametrize("privacy", sorted(PRIV_PROTOCOLS))
def test_every_way_of_encrypting_works_without_pysnmp(protocol, privacy):
    check_protocols(protocol, privacy)


def test_no_encryption_works_without_pysnmp():
    slow = Slow()
    with SnmpAgent(TABLE, [("signed", config.USM_AUTH_HMAC96_SHA, "auth-secret")]) as agent:
        asked = ask(slow, agent, user="signed", auth_protocol="SHA", priv_key="")
        assert asked.columns([WATTS]) == {WATTS: ROWS}
    assert slow.asked == 0


def test_ipv6_works_without_pysnmp():
    slow = Slow()
    with SnmpAgent(TABLE, [STRONG], socket.AF_INET6) as agent:
        assert ask(slow, agent).columns([WATTS]) == {WATTS: ROWS}
    assert slow.asked == 0


def test_rows_are_found_without_pysnmp(agent):
    slow = Slow()
    target = Target(agent.host, agent.port, **OPTIONS)
    assert gufo.GufoClient(slow).agent(target).columns([WATTS]) == {WATTS: ROWS}
    assert slow.asked == 0


def test_an_error_in_the_midst_of_a_column_is_not_its_end():
    with SnmpAgent(TABLE, [STRONG]) as agent:
        read = agent.cells.read_next_variables

        def read_some(*pairs, **options):
            if pairs[0][0][-1] >= 15:
                raise GenError(idx=0)
            return read(*pairs, **options)

        agent.cells.read_next_variables = read_some
        slow = Slow()
        target = Target(agent.host, agent.port, **OPTIONS)
        assert gufo.GufoClient(slow).agent(target).columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == 1


def test_the_clock_is_asked_for_once(agent):
    slow = Slow()
    asked = ask(slow, agent)
    with Relay(agent) as relay:
        asked = ask(slow, relay)
        for _ in range(2):
            asked.columns([WATTS])
        walk = -(-(len(ROWS) + 1) // (gufo.FIRST_ROWS + 1))
        per_reading = -(-len(ROWS) // VARBINDS)
        assert len(relay.answers) == 2 + walk + 2 * per_reading  # engine id, clock


@pytest.mark.parametrize(
    "forge",
    [
        lambda answer: answer[:-1] + bytes([answer[-1] ^ 1]),
        lambda answer: answer.replace(signature_of(answer), bytes(24)),
        lambda answer: answer.replace(
            signature_of(answer), bytes([signature_of(answer)[0] ^ 1]) + signature_of(answer)[1:]
        ),
        lambda answer: answer.replace(b"strong", b"strung"),
        lambda answer: answer[:20],
        lambda answer: b"",
    ],
    ids=["content", "no signature", "signature", "user", "cut off", "nothing"],
)
def test_a_forged_answer_is_silence(agent, forge):
    with Relay(agent) as relay:
        slow = Slow()
        asked = ask(slow, relay)
        assert asked.columns([WATTS]) == {WATTS: ROWS}
        hurry(asked, 0.1)
        relay.change = lambda answer: [forge(answer)]
        with pytest.raises(DeviceError, match=r"no answer to 2 requests, 0\.1 s each, to .*; is the host right\?"):
            asked.columns([WATTS])
        assert slow.asked == 0


def signature_of(answer):
    return answer[slice(*open_envelope(answer).signature)]


def test_the_true_answer_is_found_among_forged_ones(agent):
    with Relay(agent) as relay:
        slow = Slow()
        asked = ask(slow, relay)
        asked.columns([WATTS])
        old = relay.answers[-1]
        relay.change = lambda answer: [b"junk", answer[:-1] + bytes([answer[-1] ^ 1]), old, answer, answer, b"junk"]
        for _ in range(3):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == 0


def test_an_older_answer_is_not_taken_for_a_new_one(agent):
    with Relay(agent) as relay:
        slow = Slow()
        asked = ask(slow, relay)
        asked.columns([WATTS])
        hurry(asked, 0.1)
        old = list(relay.answers)
        relay.change = lambda answer: old
        with pytest.raises(DeviceError, match="no answer to 2 requests"):
            asked.columns([WATTS])


def test_an_answer_that_comes_late_is_not_taken_for_the_next_ones():
    with SnmpAgent(TABLE, [STRONG]) as agent, Relay(agent) as relay:
        slow = Slow()
        asked = ask(slow, relay, retries=3)
        asked.columns([WATTS])
        hurry(asked, 0.2)
        held = []

        def hold(answer):
            held.append(answer)
            return held[-2:-1]  # each answer when the next is due

        relay.change = hold
        with pytest.raises(DeviceError, match="no answer to 4 requests"):
            asked.columns([WATTS])


@pytest.mark.parametrize("wrong", [{"auth_key": "other-secret"}, {"user": "nobody"}])
def test_whom_an_agent_refuses_pysnmp_finds_out(agent, wrong):
    slow = Slow()
    asked = ask(slow, agent, **wrong, timeout=5.0)
    asked.columns([WATTS])
    assert slow.asked == 1


def test_an_agent_that_restarts_is_read_on():
    with SnmpAgent(TABLE, [STRONG], boots=7) as agent:
        slow = Slow()
        asked = ask(slow, agent)
        assert asked.columns([WATTS]) == {WATTS: ROWS}
    with SnmpAgent(TABLE, [STRONG], port=agent.port, engine_id=agent.engine_id, boots=8):
        assert asked.columns([WATTS]) == {WATTS: ROWS}
    assert slow.asked == 0


def test_an_agent_that_was_replaced_is_read_on():
    with SnmpAgent(TABLE, [STRONG]) as agent:
        slow = Slow()
        asked = ask(slow, agent)
        asked.columns([WATTS])
    with SnmpAgent(TABLE, [STRONG], port=agent.port):
        for _ in range(3):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
    assert slow.asked == 0


def test_who_cannot_be_verified_is_left_to_pysnmp():
    slow = Slow()
    client = gufo.GufoClient(slow)
    target = {"host": "pdu", **OPTIONS}
    assert client.agent(Target(**{**target, "auth_key": "", "priv_key": ""})) is slow
    assert client.agent(Target(**target, context_name="bank-2")) is slow
    assert isinstance(client.agent(Target(**target)), gufo.GufoAgent)


def test_an_agent_that_is_let_go_of_leaves_no_socket(agent):
    gc.collect()  # what other tests left, which the collector may find at any moment
    before = len(os.listdir("/proc/self/fd"))
    asked = [ask(Slow(), agent) for _ in range(5)]
    for each in asked:
        each.columns([WATTS])
    assert len(os.listdir("/proc/self/fd")) == before + 3 * 5
    del asked, each
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_port_where_nobody_listens_is_a_device_error():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    asked = gufo.GufoClient(Slow()).agent(Target("127.0.0.1", port, **OPTIONS))
    with pytest.raises(DeviceError, match="refused"):
        asked.columns([WATTS])
