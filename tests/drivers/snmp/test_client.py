import socket
import struct
import threading
from concurrent.futures import Future

import pytest
from pysnmp.entity import config
from pysnmp.proto.rfc1902 import Counter64, IpAddress, ObjectName, OctetString, Opaque
from pysnmp.proto.rfc1905 import endOfMibView

from kwapi.drivers.snmp.client import (
    MAX_HUNG,
    Client,
    Target,
    to_oid,
)
from kwapi.drivers.snmp.pysnmp import AUTH_PROTOCOLS, PRIV_PROTOCOLS, PysnmpLoop, to_value
from kwapi.errors import CredentialsRefused, DeviceError
from tests.drivers.snmp_agent import SnmpAgent
from tests.drivers.snmp_relay import Relay

WATTS, VOLTS, NAMES, END = "1.3.6.1.4.1.99999.1.1.2", "1.3.6.1.4.1.99999.1.1.3", "1.3.6.1.4.1.99999.1.1.4", "1.4"
TABLE = {
    **{f"{WATTS}.{outlet}": 100 + outlet for outlet in range(1, 49)},
    **{f"{VOLTS}.1.{outlet}": 230 for outlet in (1, 2, 4)},
    f"{NAMES}.0": OctetString("PDU é".encode()),
}
OUTLETS = {(outlet,): 100 + outlet for outlet in range(1, 49)}
USERS = (
    ("strong", config.USM_AUTH_HMAC192_SHA256, "auth-secret", config.USM_PRIV_CFB128_AES, "priv-secret"),
    ("signed", config.USM_AUTH_HMAC96_SHA, "auth-secret"),
    ("open",),
)
STRONG = {
    "version": "3",
    "user": "strong",
    "auth_protocol": "SHA-256",
    "auth_key": "auth-secret",
    "priv_protocol": "AES-128",
    "priv_key": "priv-secret",
}


@pytest.fixture(scope="module")
def agent():
    with SnmpAgent(TABLE, USERS) as agent:
        yield agent


@pytest.fixture(scope="module", params=["pysnmp", "gufo"])
def client(request):
    client = Client(PysnmpLoop)
    if request.param == "gufo":
        client = pytest.importorskip("kwapi.drivers.snmp.gufo", exc_type=ImportError).GufoClient(client)
    yield client
    client.close()


@pytest.fixture
def fresh_client():
    """A client that knows no agent yet: of one that had the same port before, pysnmp would take this for the other."""
    client = Client(PysnmpLoop)
    yield client
    client.close()


def ask(client, agent, **options):
    return client.agent(Target(agent.host, agent.port, **{"timeout": 2.0, "retries": 1, **options}))


@pytest.mark.parametrize(
    "options",
    [
        {"version": "1"},
        {"version": "2c"},
        STRONG,
        {"version": "3", "user": "signed", "auth_protocol": "SHA", "auth_key": "auth-secret"},
        {"version": "3", "user": "open"},
    ],
    ids=["v1", "v2c", "authPriv", "authNoPriv", "noAuthNoPriv"],
)
def test_every_version_reads_columns_and_values(client, agent, options):
    asked = ask(client, agent, **options)
    for _ in range(3):
        assert asked.columns([WATTS, VOLTS, END]) == {WATTS: OUTLETS, VOLTS: {(1, n): 230 for n in (1, 2, 4)}, END: {}}
    assert asked.get([f"{NAMES}.0", f"{WATTS}.49", f"{WATTS}.7"]) == {f"{NAMES}.0": "PDU é", f"{WATTS}.7": 107}


def test_columns_of_known_length_cost_no_more_rows_than_one_too_many(client, agent):
    asked = ask(client, agent)
    asked.columns([WATTS])
    agent.cells.asked.clear()
    assert asked.columns([WATTS]) == {WATTS: OUTLETS}
    assert sum(agent.cells.asked) in (len(OUTLETS), len(OUTLETS) + 1)


@pytest.mark.parametrize(
    "wrong",
    [{"auth_key": "other-secret"}, {"user": "nobody"}],
    ids=["key", "user"],
)
def test_refused_credentials_are_told_from_other_failures_without_showing_them(client, agent, wrong):
    with pytest.raises(CredentialsRefused) as caught:
        ask(client, agent, **{**STRONG, **wrong}).columns([WATTS])
    assert "secret" not in str(caught.value)


def test_a_forged_answer_is_not_believed(client):
    user = ("signed", config.USM_AUTH_HMAC96_SHA, "auth-secret")
    options = {"version": "3", "user": "signed", "auth_protocol": "SHA", "auth_key": "auth-secret"}
    with SnmpAgent({f"{WATTS}.1": 7}, [user]) as agent, Relay(agent) as relay:
        asked = ask(client, relay, **{**options, "timeout": 1.0, "retries": 0})
        assert asked.columns([WATTS]) == {WATTS: {(1,): 7}}
        relay.change = lambda answer: [answer[:-1] + bytes([answer[-1] ^ 1])]
        with pytest.raises(DeviceError):
            asked.columns([WATTS])


def test_a_refused_user_is_served_after_its_key_was_corrected(client, agent):
    with pytest.raises(CredentialsRefused):
        ask(client, agent, **{**STRONG, "auth_key": "other-secret"}).columns([WATTS])
    assert ask(client, agent, **STRONG).columns([WATTS]) == {WATTS: OUTLETS}


@pytest.mark.parametrize("version", ["1", "2c"])
def test_an_agent_that_answers_from_another_address_is_heard(client, agent, version):
    with Relay(agent) as relay:
        relay.astray = True
        asked = ask(client, relay, version=version, timeout=0.5)
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: OUTLETS}


def test_a_v3_agent_that_restarts_is_read_on(client):
    with SnmpAgent(TABLE, USERS, boots=7) as agent:
        asked = ask(client, agent, **STRONG)
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: OUTLETS}
    with SnmpAgent(TABLE, USERS, port=agent.port, engine_id=agent.engine_id, boots=8):
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: OUTLETS}


def test_a_v3_agent_that_replaced_another_is_read_as_soon_as_it_is_opened(client):
    with SnmpAgent(TABLE, USERS) as agent:
        assert ask(client, agent, **STRONG).columns([WATTS]) == {WATTS: OUTLETS}
    with SnmpAgent({f"{WATTS}.1": 7}, USERS, port=agent.port) as other:
        asked = ask(client, other, **STRONG)
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: {(1,): 7}}
    with SnmpAgent(TABLE, USERS, port=agent.port, engine_id=agent.engine_id) as agent:
        assert ask(client, agent, **STRONG).columns([WATTS]) == {WATTS: OUTLETS}


@pytest.mark.parametrize("secret", ["pässwörter", "€uro-cents"])
def test_secrets_may_have_any_letters(client, secret):
    user = ("many", config.USM_AUTH_HMAC96_SHA, secret.encode(), config.USM_PRIV_CFB128_AES, secret.encode())
    with SnmpAgent(TABLE, [user], community=secret.encode()) as agent:
        for options in (
            {"version": "3", "user": "many", "auth_key": secret, "priv_key": secret},
            {"version": "2c", "community": secret},
        ):
            asked = ask(client, agent, **options)
            for _ in range(2):
                assert asked.columns([WATTS]) == {WATTS: OUTLETS}


def test_two_agents_may_know_one_user_by_different_keys(client, agent):
    other_keys = [
        ("strong", config.USM_AUTH_HMAC96_MD5, "md5-secret", config.USM_PRIV_CFB256_AES_BLUMENTHAL, "aes-secret")
    ]
    other_options = {
        "version": "3",
        "user": "strong",
        "auth_protocol": "MD5",
        "auth_key": "md5-secret",
        "priv_protocol": "AES-256",
        "priv_key": "aes-secret",
    }
    with SnmpAgent({f"{WATTS}.1": 7}, other_keys) as other:
        here, there = ask(client, agent, **STRONG), ask(client, other, **other_options)
        for _ in range(3):
            assert there.columns([WATTS]) == {WATTS: {(1,): 7}}
            assert here.columns([WATTS]) == {WATTS: OUTLETS}


@pytest.mark.parametrize("protocol", sorted(AUTH_PROTOCOLS))
@pytest.mark.parametrize("privacy", ["DES", "AES-128"])
def test_every_way_of_signing_works(fresh_client, protocol, privacy):
    check_protocols(fresh_client, protocol, privacy)


@pytest.mark.parametrize("privacy", sorted(PRIV_PROTOCOLS))
def test_every_way_of_encrypting_works(fresh_client, privacy):
    check_protocols(fresh_client, "SHA-256", privacy)


def check_protocols(client, protocol, privacy):
    user = ("each", AUTH_PROTOCOLS[protocol], "auth-secret", PRIV_PROTOCOLS[privacy], "priv-secret")
    options = {"auth_protocol": protocol, "priv_protocol": privacy, "user": "each"}
    with SnmpAgent({f"{WATTS}.1": 7}, [user]) as agent:
        asked = ask(client, agent, **{**STRONG, **options})
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: {(1,): 7}}


def test_ipv6(client):
    with SnmpAgent(TABLE, USERS, socket.AF_INET6) as agent:
        for options in ({}, STRONG):
            asked = ask(client, agent, **options)
            for _ in range(2):
                assert asked.columns([WATTS]) == {WATTS: OUTLETS}


@pytest.fixture
def silent_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


@pytest.mark.parametrize("version", ["1", "2c", "3"])
def test_silence_names_the_agent(client, silent_port, version):
    asked = client.agent(Target("127.0.0.1", silent_port, version, user="me", timeout=0.1, retries=1))
    with pytest.raises(DeviceError, match=rf"127\.0\.0\.1:{silent_port}: no answer to 2 requests, 0\.1 s each, to"):
        asked.columns([WATTS])


def test_silence_names_what_was_asked(client, silent_port):
    first = f"{WATTS} and 1 more" if isinstance(client, Client) else r"1\.3\.6\.1\.2\.1\.1\.2\.0"  # whether it is there
    with pytest.raises(DeviceError, match=f"to {first}; is the host right, and the community[?]$"):
        client.agent(Target("127.0.0.1", silent_port, timeout=0.1, retries=0)).columns([WATTS, VOLTS])


def test_a_port_where_nobody_listens_refuses_v3_at_once(client, silent_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(DeviceError, match="refused"):
        client.agent(Target("127.0.0.1", port, **{**STRONG, "timeout": 5.0})).columns([WATTS])


def test_a_host_without_an_address_is_a_device_error(client):
    with pytest.raises(DeviceError, match="nowhere.invalid:161"):
        client.agent(Target("nowhere.invalid")).columns([WATTS])


def test_an_agent_whose_oids_go_backwards_is_refused(client):
    with SnmpAgent(TABLE) as agent:
        agent.cells.next_oid = lambda oid: to_oid(f"{WATTS}.7")
        with pytest.raises(DeviceError, match="do not increase"):
            ask(client, agent).columns([WATTS])


def test_a_malformed_answer_is_silence_and_harms_nobody(client, agent, silent_port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))

        def babble():
            for _ in range(2):
                _, peer = sock.recvfrom(2000)
                for junk in (b"", b"\x30", b"junk", bytes(range(256)), b"\x30\x84\xff\xff\xff\xff"):
                    sock.sendto(junk, peer)

        thread = threading.Thread(target=babble, daemon=True)
        thread.start()
        with pytest.raises(DeviceError, match="no answer to"):
            client.agent(Target("127.0.0.1", sock.getsockname()[1], timeout=0.1, retries=1)).columns([WATTS])
        thread.join(5)
    assert ask(client, agent).get([f"{WATTS}.1"]) == {f"{WATTS}.1": 101}


def test_values_are_plain():
    assert to_value(Counter64(2**63)) == 2**63
    assert to_value(ObjectName("1.3.6.1")) == "1.3.6.1"
    assert to_value(OctetString(b"12.5\0")) == "12.5"
    assert to_value(OctetString(b"\x07\xea\x01\xff")) == b"\x07\xea\x01\xff"
    assert to_value(IpAddress("192.0.2.1")) == "192.0.2.1"
    assert to_value(Opaque(b"\x9f\x78\x04" + struct.pack(">f", 12.5))) == 12.5
    assert to_value(Opaque(b"\x9f\x78")) == b"\x9f\x78"
    assert to_value(endOfMibView) is None


def test_a_target_does_not_show_its_secrets():
    shown = repr(Target("pdu", community="secret-1", auth_key="secret-2", priv_key="secret-3"))
    assert "secret" not in shown
    assert str(Target("2001:db8::1")) == "[2001:db8::1]:161"


class StuckLoop:
    """A loop that takes work and never finishes any. It ends when the test lets go of it."""

    def __init__(self, release):
        self.thread = threading.Thread(target=release.wait, daemon=True)
        self.thread.start()
        self.stopped = False

    def start(self, work):
        work.close()
        return Future()

    def stop(self):
        self.stopped = True


def test_a_hung_loop_is_replaced_and_hung_loops_are_bounded():
    release, loops = threading.Event(), []

    def start_loop():
        loops.append(StuckLoop(release))
        return loops[-1]

    client = Client(start_loop, call_limit=0.01, grace=0.01)
    asked = client.agent(Target("pdu"))
    for count in range(1, MAX_HUNG + 1):
        with pytest.raises(DeviceError, match="next call gets a new one"):
            asked.columns([WATTS])
        assert len(loops) == count
        assert loops[-1].stopped
    with pytest.raises(DeviceError, match="loops hang"):
        asked.columns([WATTS])
    release.set()
    for loop in loops:
        loop.thread.join(5)
    with pytest.raises(DeviceError, match="next call gets a new one"):  # those that came back make room
        asked.columns([WATTS])
    client.close()


def test_a_blocked_loop_is_replaced_by_one_that_works(agent):
    loops, release = [], threading.Event()

    def start_loop():
        loops.append(PysnmpLoop())
        return loops[-1]

    client = Client(start_loop, call_limit=2.0, grace=0.1)
    asked = ask(client, agent)
    assert asked.get([f"{WATTS}.1"])
    impatient = Client(lambda: loops[0], call_limit=0.01, grace=0.1)
    loops[0].loop.call_soon_threadsafe(release.wait)
    with pytest.raises(DeviceError, match="hung"):
        ask(impatient, agent).get([f"{WATTS}.1"])
    release.set()
    loops[0].thread.join(5)
    assert not loops[0].thread.is_alive()
    assert asked.get([f"{WATTS}.1"])  # by a new loop, since this client's has ended
    assert len(loops) == 2
    client.close()


def test_who_waits_when_the_loop_is_ended_gets_a_device_error():
    client = Client(PysnmpLoop)
    failures = []

    def wait(port):
        try:
            client.agent(Target("127.0.0.1", port, timeout=10.0)).columns([WATTS])
        except DeviceError as error:
            failures.append(str(error))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        waiting = threading.Thread(target=wait, args=[sock.getsockname()[1]], daemon=True)
        waiting.start()
        sock.recv(2000)  # the request is out
        client.close()
    waiting.join(5)
    assert [failure.partition(" while")[0] for failure in failures] == ["the SNMP loop was ended"]


def test_a_closed_client_refuses(agent):
    client = Client(PysnmpLoop)
    asked = ask(client, agent)
    assert asked.get([f"{WATTS}.1"])
    client.close()
    with pytest.raises(DeviceError, match="closed"):
        asked.get([f"{WATTS}.1"])
