import logging
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from kwapi.drivers.manager import Manager
from kwapi.drivers.names import NO_SUCH_NAME, PAUSE, QUIET, Names, at_any, connect, resolve
from kwapi.drivers.worker import Pace, Worker
from kwapi.errors import DeviceError
from tests.clock import Clock
from tests.drivers.scripted import GOOD, FakePublisher, wattmeter
from tests.waiting import eventually

SOON = 0.01  # seconds of patience with a name server that will not answer
UNREACHABLE = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class NameServer:
    """A resolver that says what stands in ``names``, raises it, or is silent until it is told to go on."""

    def __init__(self, **names):
        self.names = names
        self.is_silent = False
        self.asked = []
        self.busy = self.busiest = 0
        self._lock = threading.Lock()
        self._going = threading.Event()

    def __call__(self, host):
        with self._lock:
            self.asked.append(host)
            self.busy += 1
            self.busiest = max(self.busy, self.busiest)
        if self.is_silent:
            assert self._going.wait(20)
        with self._lock:
            self.busy -= 1
        answer = self.names.get(host, socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def go_on(self):
        self.is_silent = False
        self._going.set()
        eventually(lambda: not self.busy and not lookup_threads())


def lookup_threads():
    return [thread for thread in threading.enumerate() if thread.name == "names"]


@pytest.fixture
def server():
    server = NameServer(bmc1=["192.0.2.1"], bmc2=["2001:db8::2", "192.0.2.2"])
    yield server
    server.go_on()


def test_the_system_is_asked_for_addresses():
    assert set(Names().addresses("localhost")) <= {"127.0.0.1", "::1"}
    assert resolve("127.0.0.1") == ["127.0.0.1"]


def test_a_name_leads_to_its_addresses_in_order_and_each_once(server):
    server.names["bmc1"] = ["192.0.2.1", "192.0.2.1", "192.0.2.9"]
    names = Names(server)
    assert names.addresses("bmc1") == ["192.0.2.1", "192.0.2.9"]
    assert names.addresses("bmc2") == ["2001:db8::2", "192.0.2.2"]


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
def test_an_address_is_not_looked_up(server, address):
    assert Names(server).addresses(address) == [address]
    assert server.asked == []


def test_the_name_server_is_asked_each_time_for_a_device_may_have_moved(server):
    names = Names(server)
    assert names.addresses("bmc1") == ["192.0.2.1"]
    server.names["bmc1"] = ["192.0.2.7"]
    assert names.addresses("bmc1") == ["192.0.2.7"]


@pytest.mark.parametrize("error", [socket.gaierror(code, "?") for code in NO_SUCH_NAME])
def test_a_name_that_is_not_known_is_told_and_forgotten(server, error):
    names = Names(server)
    names.addresses("bmc1")
    server.names["bmc1"] = error
    with pytest.raises(DeviceError, match="^bmc1: this name is not known$"):
        names.addresses("bmc1")
    server.names["bmc1"] = UNREACHABLE
    with pytest.raises(DeviceError, match="^bmc1: the name server gave no answer: .*Temporary failure"):
        names.addresses("bmc1")


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".test"])
def test_what_cannot_be_a_name_is_not_known(host):
    with pytest.raises(DeviceError, match=f"^{host}: this name is not known$"):
        Names().addresses(host)


def test_a_silent_name_server_is_not_waited_for_longer_than_the_deadline(server):
    server.is_silent = True
    with pytest.raises(DeviceError, match="^bmc1: the name server has not answered in 0.01 s$"):
        Names(server, patience=SOON).addresses("bmc1")
    with pytest.raises(DeviceError, match="^bmc1: the name server has not answered in 0.01 s$"):
        Names(server).addresses("bmc1", SOON)


def test_a_late_answer_is_taken_next_time(server):
    names = Names(server, patience=SOON)
    server.is_silent = True
    with pytest.raises(DeviceError):
        names.addresses("bmc1")
    server.go_on()
    server.names["bmc1"] = UNREACHABLE
    assert names.addresses("bmc1") == ["192.0.2.1"]


def test_those_who_want_the_same_name_share_one_lookup(server):
    waiting = []  # each looks at the clock once it wants the name
    names = Names(server, clock=lambda: waiting.append(0.0) or 0.0)
    server.is_silent = True
    with ThreadPoolExecutor(5) as pool:
        found = [pool.submit(names.addresses, "bmc1") for _ in range(5)]
        eventually(lambda: server.busy and len(waiting) == 5)
        server.go_on()
        assert [each.result() for each in found] == [["192.0.2.1"]] * 5
    assert server.asked == ["bmc1"]


def test_lookups_that_are_stuck_fill_few_threads_and_the_others_wait_their_turn(server):
    names = Names(server, patience=SOON, max_threads=3)
    server.is_silent = True
    for _ in range(2):
        for number in range(10):
            with pytest.raises(DeviceError, match="has not answered"):
                names.addresses(f"pdu{number}")
    assert len(lookup_threads()) == 3
    server.go_on()
    assert server.busiest == 3
    assert sorted(server.asked) == [f"pdu{number}" for number in range(10)]


def test_while_the_name_server_is_silent_a_name_leads_where_it_last_did(server, caplog):
    caplog.set_level(logging.INFO)
    clock = Clock()
    names = Names(server, patience=3600, clock=clock)
    names.addresses("bmc1"), names.addresses("bmc2")
    server.is_silent = True
    for _ in range(3):
        assert names.addresses("bmc1", SOON) == ["192.0.2.1"]
        assert names.addresses("bmc2", SOON) == ["2001:db8::2", "192.0.2.2"]
        clock.now += PAUSE
    assert [record.getMessage() for record in caplog.records] == [
        "bmc1: the name server has not answered in 0.01 s; known names lead where they last did, this one to 192.0.2.1"
    ]
    clock.now += QUIET
    names.addresses("bmc2", SOON)
    assert len(caplog.records) == 2


def test_a_name_server_that_was_silent_is_not_waited_for_a_while_and_its_answer_is_taken_when_it_comes(server):
    clock = Clock()
    names = Names(server, patience=3600, clock=clock)
    names.addresses("bmc1")
    server.is_silent = True
    assert names.addresses("bmc1", SOON) == ["192.0.2.1"]
    assert names.addresses("bmc1") == ["192.0.2.1"]
    eventually(lambda: server.asked == ["bmc1", "bmc1"])
    server.names["bmc1"] = ["192.0.2.7"]
    server.go_on()
    names.addresses("bmc1")
    clock.now += PAUSE
    assert names.addresses("bmc1") == ["192.0.2.7"]


def test_an_attempt_is_made_at_each_place_with_its_share_of_the_time():
    attempts = []

    def attempt(place, seconds):
        attempts.append((place, seconds))
        if place != "b":
            raise OSError(place)
        return place.upper()

    assert at_any(["a", "b", "c"], attempt, 30.0) == "B"
    (first, share), (second, larger) = attempts
    assert (first, second) == ("a", "b")
    assert 9 < share < larger < 15.001
    with pytest.raises(OSError, match="^c$"):
        at_any(["a", "c"], attempt, 30.0)


def test_no_attempt_is_made_after_the_time():
    attempts = []

    def attempt(place, seconds):
        attempts.append(place)
        raise OSError(place)

    with pytest.raises(OSError, match="^a$"):
        at_any(["a", "b"], attempt, 0.0)
    assert attempts == ["a"]


def test_a_connection_is_made_to_the_address_that_takes_it():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with connect(["127.0.0.2", "127.0.0.1"], port, 5.0) as connection:
            assert connection.getpeername() == ("127.0.0.1", port)


def test_all_drivers_of_a_manager_share_their_names():
    given = []

    def new_worker(slot, sender, shared, pace, names, *, clock):
        given.append(slot.wattmeter.new_driver(shared, names).names)
        return Worker(slot, sender, shared, Pace(1000), names)

    manager = Manager([wattmeter(GOOD, name="a"), wattmeter(GOOD, name="b")], FakePublisher(), new_worker=new_worker)
    manager.check()
    manager.stop()
    assert len(given) == 2
    assert given[0] is given[1]
