import gc
import os
import struct
from dataclasses import replace

import pytest
from pysnmp.smi.error import GenError, NoAccessError, TooBigError

from kwapi.drivers.snmp.client import VARBINDS, Target
from kwapi.errors import DeviceError
from tests.drivers.snmp_agent import SnmpAgent
from tests.drivers.snmp_relay import Relay
from tests.waiting import eventually

gufo = pytest.importorskip("kwapi.drivers.snmp.gufo", exc_type=ImportError)
WATTS, VOLTS = "1.3.6.1.4.1.99999.1.1.2", "1.3.6.1.4.1.99999.1.1.3"
OTHERS = "1.3.6.1.4.1.99999.2"
TABLE = {f"{WATTS}.{n}": n for n in range(1, 121)} | {f"{OTHERS}.1": 0}
ROWS = {(n,): n for n in range(1, 121)}


class Slow:
    """In pysnmp's place: gives these rows for each column, and counts how often it is asked."""

    def __init__(self, rows=ROWS):
        self.rows = rows
        self.asked = []

    def agent(self, target):
        return self

    def get(self, oids):
        return {}

    def columns(self, oids):
        self.asked.append(list(oids))
        return {oid: dict(self.rows) for oid in oids}

    def close(self):
        self.asked.append("close")


@pytest.fixture(scope="module")
def agent():
    with SnmpAgent(TABLE) as agent:
        yield agent


def ask(slow, agent, **options):
    """Return the agent after a first reading."""
    asked = gufo.GufoClient(slow).agent(Target(agent.host, agent.port, **{"timeout": 2.0, "retries": 1, **options}))
    asked.columns([WATTS])
    slow.asked.clear()
    return asked


def hurry(asked, timeout):
    """Have an agent that will be silent waited for no longer than this; it was before, on whatever machine."""
    asked._target, asked._session = replace(asked._target, timeout=timeout), None


@pytest.mark.parametrize("version", ["1", "2c"])
def test_known_rows_are_read_without_pysnmp(agent, version):
    slow = Slow()
    asked = ask(slow, agent, version=version)
    agent.cells.asked.clear()
    assert asked.columns([WATTS]) == {WATTS: ROWS}
    assert agent.cells.asked == [VARBINDS, VARBINDS, 120 - 2 * VARBINDS]
    assert slow.asked == []


def without(agent, oid):
    """Take a cell away from an agent; the function that is returned gives it back."""
    cells, name = agent.cells, tuple(map(int, oid.split(".")))
    value = cells.values.pop(name)
    cells.oids.remove(name)

    def give_back():
        cells.values[name] = value
        cells.oids = sorted(cells.values)

    return give_back


def timed(agent, slow, clock, **options):
    target = Target(agent.host, agent.port, **{"timeout": 2.0, "retries": 1, **options})
    return gufo.GufoAgent(gufo.GufoClient(slow), target, slow, monotonic_clock=lambda: clock[0])


def test_rows_are_found_without_pysnmp(agent):
    slow = Slow({})
    asked = gufo.GufoClient(slow).agent(Target(agent.host, agent.port))
    assert asked.columns([VOLTS, WATTS]) == {VOLTS: {}, WATTS: ROWS}
    assert slow.asked == []


def test_the_last_column_of_all_is_left_to_pysnmp(agent):
    slow = Slow({(1,): 0})
    asked = gufo.GufoClient(slow).agent(Target(agent.host, agent.port))
    assert asked.columns([OTHERS, WATTS]) == {OTHERS: {(1,): 0}, WATTS: ROWS}
    assert slow.asked == [[OTHERS]]


@pytest.mark.parametrize(
    ("error", "status"), [(TooBigError, "too big"), (GenError, "general"), (NoAccessError, "no access")]
)
def test_an_error_in_the_midst_of_a_column_is_not_its_end(error, status):
    with SnmpAgent(TABLE) as agent:
        read = agent.cells.read_next_variables

        def read_some(*pairs, **options):
            if pairs[0][0][-1] >= 15:
                raise error(idx=0)
            return read(*pairs, **options)

        agent.cells.read_next_variables = read_some
        slow = Slow()
        asked = gufo.GufoClient(slow).agent(Target(agent.host, agent.port))
        assert asked.columns([WATTS]) == {WATTS: ROWS}, status
        assert slow.asked == [[WATTS]]


def test_oids_that_do_not_increase_are_left_to_pysnmp():
    with SnmpAgent(TABLE) as agent:
        agent.cells.next_oid = lambda oid: agent.cells.oids[3]
        slow = Slow()
        asked = gufo.GufoClient(slow).agent(Target(agent.host, agent.port))
        assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == [[WATTS]]


@pytest.mark.parametrize("version", ["1", "2c"])
def test_a_column_that_is_not_there_is_asked_for_again_after_a_while(version):
    with SnmpAgent({**TABLE, f"{VOLTS}.1": 230}) as agent:
        slow, clock = Slow({}), [0.0]
        give_back = without(agent, f"{VOLTS}.1")
        asked = timed(agent, slow, clock, version=version)
        assert asked.columns([VOLTS]) == {VOLTS: {}}
        give_back()
        slow.rows = {(1,): 230}
        slow.asked.clear()
        agent.cells.asked.clear()
        clock[0] += gufo.LOOK_AGAIN - 1
        assert asked.columns([VOLTS]) == {VOLTS: {}}
        assert (slow.asked, agent.cells.asked) == ([], [])
        clock[0] += 1
        assert asked.columns([VOLTS]) == {VOLTS: {(1,): 230}}


def test_a_cell_that_was_missing_at_first_is_found_after_a_while():
    with SnmpAgent(TABLE) as agent:
        slow, clock = Slow(), [0.0]
        give_back = without(agent, f"{WATTS}.120")
        asked = timed(agent, slow, clock)
        assert (120,) not in asked.columns([WATTS])[WATTS]
        give_back()
        assert (120,) not in asked.columns([WATTS])[WATTS]
        clock[0] += gufo.LOOK_AGAIN
        for _ in range(2):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == []


def test_columns_are_looked_at_again_one_at_a_reading():
    others = [f"1.3.6.1.4.1.99999.1.1.{number}" for number in (4, 5, 6)]
    with SnmpAgent(TABLE) as agent:
        slow, clock = Slow({}), [0.0]
        asked = timed(agent, slow, clock)
        asked.columns(others)
        clock[0] += gufo.LOOK_AGAIN
        agent.cells.asked.clear()
        for count in (1, 2, 3, 3):
            asked.columns(others)
            assert len(agent.cells.asked) == count


@pytest.mark.parametrize("version", ["1", "2c"])
def test_a_cell_that_has_gone_is_not_asked_of_pysnmp_at_each_reading(version):
    with SnmpAgent(TABLE) as agent:
        slow, clock = Slow(), [0.0]
        asked = timed(agent, slow, clock, version=version)
        asked.columns([WATTS])
        slow.asked.clear()
        give_back = without(agent, f"{WATTS}.5")
        slow.rows = {row: value for row, value in ROWS.items() if row != (5,)}
        for _ in range(4):
            assert asked.columns([WATTS]) == {WATTS: slow.rows}
        assert len(slow.asked) == (version == "1")
        give_back()
        slow.rows = ROWS
        clock[0] += gufo.LOOK_AGAIN if version == "1" else 0.0
        assert asked.columns([WATTS]) == {WATTS: ROWS}


def test_cells_that_have_gone_in_great_number_do_not_make_requests_smaller():
    with SnmpAgent(TABLE) as agent:
        slow, clock = Slow(), [0.0]
        asked = timed(agent, slow, clock)
        asked.columns([WATTS])
        for number in range(41, 121):
            without(agent, f"{WATTS}.{number}")
        rows = {(number,): number for number in range(1, 41)}
        for _ in range(3):
            assert asked.columns([WATTS]) == {WATTS: rows}
        agent.cells.asked.clear()
        assert asked.columns([WATTS]) == {WATTS: rows}
        assert agent.cells.asked == [40, 50, 30]
        assert slow.asked == []


def test_an_agent_with_small_answers_is_soon_asked_for_less():
    with SnmpAgent(TABLE) as agent:
        read = agent.cells.read_variables

        def read_few(*pairs, **options):
            if len(pairs) > 12:
                raise TooBigError
            return read(*pairs, **options)

        agent.cells.read_variables = read_few
        slow = Slow()
        asked = ask(slow, agent)
        for _ in range(5):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == []
        assert [count for count in agent.cells.asked if count > 1] == [12] * 20  # after 50, 50 and 25


def test_passing_troubles_of_an_agent_do_not_make_answers_smaller():
    with SnmpAgent(TABLE) as agent:
        read, troubled = agent.cells.read_variables, iter([True, *[False] * 3] * 4)

        def read_at_times(*pairs, **options):
            if next(troubled):
                raise TooBigError
            return read(*pairs, **options)

        agent.cells.read_variables = read_at_times
        slow = Slow()
        asked = ask(slow, agent)
        for _ in range(8):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert slow.asked == []
        assert [count for count in agent.cells.asked if count > 1] == [VARBINDS, VARBINDS, 120 - 2 * VARBINDS] * 4


@pytest.mark.parametrize("version", ["1", "2c"])
def test_who_was_never_heard_is_left_to_pysnmp(agent, version):
    with Relay(agent) as relay:
        relay.astray = True
        slow = Slow()
        asked = ask(slow, relay, version=version, timeout=0.2)
        for _ in range(gufo.MAX_STUMBLES + 2):
            assert asked.columns([WATTS]) == {WATTS: ROWS}
        assert len(slow.asked) == gufo.MAX_STUMBLES + 2
        eventually(lambda: len(relay.answers) == gufo.MAX_STUMBLES)


def test_zones_are_left_to_pysnmp():
    slow = Slow()
    client = gufo.GufoClient(slow)
    assert client.agent(Target("fe80::1%eth0")) is slow
    assert isinstance(client.agent(Target("pdu")), gufo.GufoAgent)


@pytest.mark.parametrize("version", ["1", "2c"])
def test_silence_ends_after_the_last_try_and_names_the_agent(agent, version):
    with Relay(agent) as relay:
        slow = Slow()
        asked = ask(slow, relay, version=version)
        asked.columns([WATTS])
        hurry(asked, 0.4)
        relay.answers.clear()
        relay.change = lambda answer: []
        with pytest.raises(DeviceError, match=rf"127\.0\.0\.1:{relay.port}: no answer to 2 requests, 0\.4 s each, to"):
            asked.columns([WATTS])
        assert len(relay.answers) == 2
        assert slow.asked == []


def test_an_agent_that_is_gone_is_a_device_error():
    with SnmpAgent(TABLE) as agent:
        asked = ask(Slow(), agent, timeout=1.0, retries=0)
        asked.columns([WATTS])
    with pytest.raises(DeviceError, match="no answer to"):
        asked.columns([WATTS])


def test_a_host_without_an_address_is_a_device_error():
    asked = gufo.GufoClient(Slow()).agent(Target("nowhere.invalid"))
    with pytest.raises(DeviceError, match="nowhere.invalid:161"):
        asked.columns([WATTS])


def test_an_agent_that_takes_too_long_is_given_up():
    with SnmpAgent(TABLE) as agent:
        clock = [0.0]
        asked = timed(agent, Slow(), clock)
        asked.columns([WATTS])
        read = agent.cells.read_variables

        def read_slowly(*pairs, **options):
            clock[0] += 16.0
            return read(*pairs, **options)

        agent.cells.read_variables = read_slowly
        with pytest.raises(DeviceError, match="took longer than 30 s"):
            asked.columns([WATTS])


def test_a_closed_client_refuses_and_closes_pysnmps(agent):
    slow = Slow()
    client = gufo.GufoClient(slow)
    asked = client.agent(Target(agent.host, agent.port))
    asked.columns([WATTS])
    slow.asked.clear()
    client.close()
    assert slow.asked == ["close"]
    with pytest.raises(DeviceError, match="closed"):
        asked.columns([WATTS])


def test_an_agent_that_is_let_go_of_leaves_no_socket(agent):
    gc.collect()  # what other tests left, which the collector may find at any moment
    before = len(os.listdir("/proc/self/fd"))
    asked = [ask(Slow(), agent) for _ in range(10)]
    for each in asked:
        each.columns([WATTS])
    assert len(os.listdir("/proc/self/fd")) == before + 2 * 10
    del asked, each
    assert len(os.listdir("/proc/self/fd")) == before


def test_values_are_plain():
    values = {
        "1.1": 2**63,
        "1.2": "192.0.2.1",
        "1.3": b"12.5\0",
        "1.4": b"\x07\xea\x01\xff",
        "1.5": b"\x9f\x78\x04" + struct.pack(">f", 12.5),
        "1.6": None,
    }
    plain = {"1.1": 2**63, "1.2": "192.0.2.1", "1.3": "12.5", "1.4": b"\x07\xea\x01\xff", "1.5": 12.5}
    assert gufo.to_values(values.items()) == plain
