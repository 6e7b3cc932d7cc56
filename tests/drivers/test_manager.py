import threading

import pytest

from kwapi.drivers.base import Driver
from kwapi.drivers.manager import LONGEST_WAIT, MAX_HUNG_OF_ONE, Manager, Slot, Worker, back_off, next_poll, spread
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.errors import CredentialsRefused, DeviceError
from kwapi.measurement import Measurement
from tests.clock import Clock
from tests.waiting import eventually


class Scripted(Driver):
    """Does at each poll what its script says; shared is the list of what it did."""

    script: list

    @classmethod
    def open_shared(cls):
        return []

    def open(self):
        self.shared.append("open")

    def read(self):
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        self.shared.append("read")
        if isinstance(step, threading.Event):
            step.wait(20)
            return [Measurement("late", watts=1.0)]
        if isinstance(step, Exception):
            raise step
        return step

    def close(self):
        self.shared.append("close")


class FakePublisher:
    """Keeps what senders publish."""

    def __init__(self):
        self.sent = []

    def sender(self, wattmeter, interval):
        return FakeSender(self, wattmeter)


class FakeSender:
    def __init__(self, publisher, wattmeter):
        self.publisher, self.wattmeter, self.revoked = publisher, wattmeter, False

    def publish(self, measurements, timestamp, monotonic):
        if not self.revoked:
            self.publisher.sent.append((self.wattmeter, [each.probe for each in measurements]))
        return not self.revoked

    def revoke(self):
        self.revoked = True


GOOD = [Measurement("taurus-1", watts=100.0)]


def wattmeter(*script, name="pdu1", interval=0.01, hang_timeout=10.0):
    return Wattmeter(name, Scripted, {"script": list(script), "probes": ["taurus-1"]}, interval, hang_timeout)


def run_worker(meter, until):
    """Run a worker until the condition on (slot, sent, did) holds; return the three."""
    publisher, did = FakePublisher(), []
    slot = Slot(meter)
    worker = Worker(slot, publisher.sender(meter.name, meter.interval), did)
    worker.start()
    eventually(lambda: until(slot, publisher.sent, did))
    worker.stopping.set()
    worker.join(5)
    assert not worker.is_alive()
    return slot, publisher.sent, did


def test_waits_grow_and_are_bounded():
    assert [back_off(failures) for failures in range(1, 14)] == [0, 0, 0, 0, 1, 3, 7, 15, 31, 60, 60, 60, 60]
    assert back_off(10_000) == LONGEST_WAIT


@pytest.mark.parametrize(
    ("due", "now", "expected"),
    [(10.0, 10.2, 11.0), (10.0, 10.999, 11.0), (10.0, 11.0, 12.0), (10.0, 13.7, 14.0), (10.0, 9.9, 11.0)],
)
def test_polls_keep_their_beat_and_never_pile_up(due, now, expected):
    assert next_poll(due, now, 1.0) == pytest.approx(expected)


def test_polls_are_spread_the_same_way_after_every_restart():
    shares = [spread(f"pdu{i}") for i in range(1000)]
    assert shares == [spread(f"pdu{i}") for i in range(1000)]
    assert 0 <= min(shares) and max(shares) < 1
    assert 0.4 < sum(shares) / 1000 < 0.6


def test_a_healthy_device_is_opened_once_and_polled():
    slot, sent, did = run_worker(wattmeter(GOOD), lambda slot, sent, did: len(sent) > 3)
    assert slot.up
    assert did.count("open") == did.count("close") == 1
    assert set(map(str, sent)) == {"('pdu1', ['taurus-1'])"}


def test_nothing_this_time_is_not_published():
    slot, sent, _ = run_worker(wattmeter([]), lambda slot, sent, did: did.count("read") > 3)
    assert slot.up
    assert sent == []


@pytest.mark.parametrize("error", [DeviceError("no answer"), ConnectionRefusedError("refused")])
def test_a_failing_device_is_reopened_at_the_next_poll_and_comes_back(caplog, error):
    caplog.set_level("INFO")
    slot, _, did = run_worker(wattmeter(GOOD, error, error, GOOD), lambda slot, sent, did: len(sent) > 2)
    assert slot.up
    assert slot.failures == 0
    assert did[:9] == ["open", "read", "read", "close", "open", "read", "close", "open", "read"]
    assert caplog.text.count("pdu1 is down") == 1
    assert caplog.text.count("pdu1 is back") == 1


def test_refused_credentials_are_not_tried_again_soon():
    slot, _, did = run_worker(wattmeter(CredentialsRefused("wrong key")), lambda slot, sent, did: "close" in did)
    assert did == ["open", "read", "close"]
    assert (slot.up, slot.reason) == (False, "wrong key")


def managed(*meters, max_hung=32):
    clock, publisher = Clock(), FakePublisher()

    def new_worker(slot, sender, shared, *, clock):
        return Worker(slot, sender, shared)  # a worker waits in real time; the manager's clock is ours

    manager = Manager(meters, publisher, clock=clock, max_hung=max_hung, new_worker=new_worker)
    return manager, clock, publisher


def test_an_error_of_ours_ends_the_worker_and_the_manager_starts_another(caplog):
    manager, clock, publisher = managed(wattmeter(ZeroDivisionError("oops"), GOOD))
    manager.check()
    slot = manager.slots[0]
    eventually(lambda: not slot.worker.is_alive())
    assert "ZeroDivisionError: oops" in caplog.text
    assert "Traceback" in caplog.text
    manager.check()
    assert slot.worker is None
    clock.now += 0.02
    manager.check()
    eventually(lambda: slot.up)
    assert publisher.sent
    assert slot.restarts == 1
    manager.stop()


def test_a_hung_worker_is_replaced_and_what_it_brings_late_is_refused(caplog):
    hang = threading.Event()
    manager, clock, publisher = managed(wattmeter(hang, GOOD))
    manager.check()
    slot = manager.slots[0]
    first = slot.worker
    eventually(lambda: first.busy_since is not None)
    first.busy_since = clock.now  # by our clock
    clock.now += 10.1
    assert manager.check()
    assert (slot.up, slot.worker) == (False, None)
    assert manager.given_up == [first]
    assert "pdu1 is down: hangs" in caplog.text
    manager.check()
    eventually(lambda: slot.up)
    hang.set()
    eventually(lambda: not first.is_alive())
    manager.check()
    assert manager.given_up == []
    assert publisher.sent
    assert ("pdu1", ["late"]) not in publisher.sent
    assert slot.up
    manager.stop()


def test_a_wattmeter_that_hangs_again_and_again_does_not_end_the_daemon():
    hang = threading.Event()
    manager, clock, _ = managed(wattmeter(hang))
    for _ in range(20):
        assert manager.check()
        if (worker := manager.slots[0].worker) is not None:
            eventually(lambda worker=worker: worker.busy_since is not None)
            worker.busy_since = clock.now
        clock.now += 70
    assert len(manager.given_up) == MAX_HUNG_OF_ONE
    hang.set()
    for worker in manager.given_up:
        worker.join(5)
    manager.check()
    assert manager.slots[0].worker is not None
    manager.stop()


def test_a_new_reason_is_logged_and_the_same_one_is_not(caplog):
    slot = Slot(wattmeter(GOOD))
    for reason in ("no answer", "no answer", "wrong key", "no answer"):
        slot.failed(reason)
    assert [record.getMessage() for record in caplog.records] == [
        "pdu1 is down: no answer",
        "pdu1 is down: wrong key",
        "pdu1 is down: no answer",
    ]


def test_a_worker_that_waits_for_its_next_poll_does_not_hang():
    manager, clock, publisher = managed(wattmeter(GOOD, interval=100.0, hang_timeout=10.0))
    manager.slots[0].restarts = 1  # no spread
    manager.check()
    eventually(lambda: publisher.sent and manager.slots[0].worker.busy_since is None)
    clock.now += 99
    manager.check()
    assert manager.given_up == []
    manager.stop()


def test_too_many_hung_workers_end_the_daemon(caplog):
    hangs = [threading.Event() for _ in range(3)]
    manager, clock, _ = managed(*(wattmeter(hang, name=f"pdu{i}") for i, hang in enumerate(hangs)), max_hung=2)
    manager.check()
    for slot in manager.slots:
        eventually(lambda slot=slot: slot.worker.busy_since is not None)
        slot.worker.busy_since = clock.now
    clock.now += 11
    assert not manager.check()
    assert "max_hung_workers" in caplog.text
    for hang in hangs:
        hang.set()
    manager.stop()


def test_one_device_that_fails_holds_up_nobody():
    manager, _, publisher = managed(wattmeter(DeviceError("off"), name="off"), wattmeter(GOOD, name="on"))
    manager.check()
    eventually(lambda: len(publisher.sent) > 3 and manager.slots[0].reason == "off")
    assert {name for name, _ in publisher.sent} == {"on"}
    assert [slot.up for slot in manager.slots] == [False, True]
    assert manager.slots[0].reason == "off"
    manager.stop()


def test_stopping_does_not_wait_for_a_hung_worker(caplog):
    hang = threading.Event()
    manager, _, _ = managed(wattmeter(hang))
    manager.check()
    eventually(lambda: manager.slots[0].worker.busy_since is not None)
    manager.stop(deadline=0.05)
    assert "did not stop in time: pdu1" in caplog.text
    hang.set()
