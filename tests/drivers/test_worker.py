import threading
import time

import pytest

from kwapi.drivers.slot import Slot
from kwapi.drivers.worker import LONGEST_SPREAD, LONGEST_WAIT, Pace, Worker, back_off, first_wait, next_poll, spread
from kwapi.errors import CredentialsRefused, DeviceError, NoKey
from tests.clock import Clock
from tests.drivers.scripted import GOOD, FakePublisher, wattmeter
from tests.waiting import eventually


class CountedTurns:
    """A pace by which everybody waits equally long."""

    def __init__(self, wait):
        self.wait, self.taken, self.given_back = wait, 0, 0

    def take_turn(self):
        self.taken += 1
        return self.wait

    def give_back(self):
        self.given_back += 1


class TakesLong(threading.Event):
    """A step of a script that takes 50 ms."""

    def wait(self, timeout=None):
        return super().wait(0.05)


def run_worker(meter, until, pace=None):
    """Run a worker until the condition on (slot, sent, did) holds; return the three."""
    publisher, did = FakePublisher(), []
    slot = Slot(meter)
    worker = Worker(slot, publisher.sender(meter.name, meter.interval), did, pace or Pace(1000))
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
    ("now", "wait", "expected", "missed"),
    [
        (10.2, 0, 11.0, 0),
        (10.999, 0, 11.0, 0),
        (11.0, 0, 12.0, 1),
        (13.7, 0, 14.0, 3),
        (9.9, 0, 11.0, 0),
        (10.2, 7, 17.0, 0),
        (12.5, 1, 13.0, 2),
        (10.2, 60, 70.0, 0),
        (10.2, 0.5, 11.0, 0),
    ],
)
def test_polls_keep_their_beat_and_never_pile_up(now, wait, expected, missed):
    assert next_poll(10.0, now, 1.0, wait) == (pytest.approx(expected), missed)


def test_tries_are_no_more_than_the_longest_wait_apart():
    for interval in (0.5, 1.0, 7.0, 45.0):
        due, _ = next_poll(10.0, 10.1, interval, LONGEST_WAIT)
        assert LONGEST_WAIT - interval < due - 10.0 <= LONGEST_WAIT


def test_a_restart_keeps_the_beat():
    for time_of_day in (1000.0, 1000.3, 1234567.9):
        assert (time_of_day + first_wait("pdu1", 1.0, time_of_day)) % 1.0 == pytest.approx(spread("pdu1"), abs=1e-6)
        assert 0 <= first_wait("pdu1", 300.0, time_of_day) < LONGEST_SPREAD


@pytest.mark.parametrize("interval", [0.5, 1.0, 10.0, 300.0])
def test_a_worker_that_replaces_another_polls_at_once_and_then_on_the_beat_of_its_wattmeter(interval):
    names = [f"pdu{i}" for i in range(100)]
    dues = [1000 + first_wait(name, interval, 5000.3, at_once=True) for name in names]
    assert max(dues) <= 1000
    following = [next_poll(due, 1000.0, interval) for due in dues]
    assert {missed for _, missed in following} == {0}
    if interval <= LONGEST_SPREAD:
        assert [due for due, _ in following] == pytest.approx([1000 + first_wait(n, interval, 5000.3) for n in names])
    assert max(due for due, _ in following) - min(due for due, _ in following) > 0.9 * min(interval, LONGEST_SPREAD)


def test_polls_are_spread_the_same_way_after_every_restart():
    shares = [spread(f"pdu{i}") for i in range(1000)]
    assert shares == [spread(f"pdu{i}") for i in range(1000)]
    assert 0 <= min(shares) and max(shares) < 1
    assert 0.4 < sum(shares) / 1000 < 0.6


def test_devices_are_opened_one_after_the_other():
    clock = Clock()
    pace = Pace(20, clock)
    assert [pace.take_turn() for _ in range(4)] == pytest.approx([0, 0.05, 0.1, 0.15], abs=1e-6)
    clock.now += 0.1
    assert pace.take_turn() == pytest.approx(0.1, abs=1e-6)
    pace.give_back()
    assert pace.take_turn() == pytest.approx(0.1, abs=1e-6)
    clock.now += 100
    assert [pace.take_turn() for _ in range(2)] == pytest.approx([0, 0.05], abs=1e-6)


def test_a_worker_waits_for_its_turn_to_open_and_not_for_its_polls():
    pace = CountedTurns(0.0)
    _, sent, did = run_worker(wattmeter(GOOD, DeviceError("off"), GOOD), lambda slot, sent, did: len(sent) > 3, pace)
    assert did.count("open") == pace.taken == 2
    assert did.count("read") > 3
    assert pace.given_back == 0


def test_a_worker_that_waits_for_its_turn_is_not_busy_and_can_be_stopped():
    pace = CountedTurns(1000.0)
    _, _, did = run_worker(wattmeter(GOOD), lambda slot, sent, did: pace.taken, pace)
    assert did == []
    assert pace.given_back == 1  # or those that many reloads have stopped would hold up the rest


def test_a_device_that_cannot_be_opened_gives_its_turn_back():
    pace = CountedTurns(0.0)
    run_worker(wattmeter(GOOD, opens=[DeviceError("off")]), lambda slot, sent, did: sent, pace)
    assert (pace.taken, pace.given_back) == (2, 1)


def test_a_healthy_device_is_opened_once_and_polled():
    slot, sent, did = run_worker(wattmeter(GOOD), lambda slot, sent, did: len(sent) > 3)
    assert slot.state == "up"
    assert did.count("open") == did.count("close") == 1
    assert set(map(str, sent)) == {"('pdu1', ['taurus-1'])"}


def test_nothing_this_time_is_not_published():
    slot, sent, _ = run_worker(wattmeter([]), lambda slot, sent, did: did.count("read") > 3)
    assert slot.state == "starting"  # nothing is known of it yet
    assert sent == []


@pytest.mark.parametrize("error", [DeviceError("no answer"), ConnectionRefusedError("refused")])
def test_a_failing_device_is_reopened_at_the_next_poll_and_comes_back(caplog, error):
    caplog.set_level("INFO")
    slot, _, did = run_worker(wattmeter(GOOD, error, error, GOOD), lambda slot, sent, did: len(sent) > 2)
    health = slot.health(5.0)
    assert (health.state, health.failures, health.in_a_row) == ("up", 2, 0)
    assert health.polls >= 4
    assert did[:9] == ["open", "read", "read", "close", "open", "read", "close", "open", "read"]
    assert caplog.text.count("pdu1 is down") == 1
    assert caplog.text.count("pdu1 is back") == 1


def test_refused_credentials_are_not_tried_again_soon():
    slot, _, did = run_worker(wattmeter(CredentialsRefused("wrong key")), lambda slot, sent, did: "close" in did)
    assert did == ["open", "read", "close"]
    assert (slot.state, slot.reason) == ("down", "wrong key")


def test_a_worker_that_was_given_up_changes_nothing_any_more(caplog):
    publisher, slow = FakePublisher(), threading.Event()
    slot = Slot(wattmeter(slow, interval=0.01))
    worker = Worker(slot, publisher.sender("pdu1", 0.01), [], Pace(1000))
    worker.start()
    eventually(lambda: worker.busy_since is not None)
    worker.sender.revoke()
    worker.stopping.set()
    slow.wait(0.05)  # beats pass
    before = slot.health(5.0)
    slow.set()
    worker.join(5)
    after = slot.health(5.0)
    assert (after.missed, after.polls, after.state) == (before.missed, before.polls, before.state) == (0, 0, "starting")
    assert not slot.is_checked
    assert publisher.sent == []


def test_a_poll_that_an_error_of_ours_ends_is_counted():
    publisher = FakePublisher()
    slot = Slot(wattmeter(ZeroDivisionError("oops")))
    worker = Worker(slot, publisher.sender("pdu1", 0.01), [], Pace(1000))
    worker.start()
    worker.join(5)
    health = slot.health(5.0)
    assert (health.state, health.reason) == ("down", "ZeroDivisionError: oops")
    assert (health.polls, health.failures, health.in_a_row) == (1, 1, 1)


def test_what_no_key_may_sign_is_told_once_and_it_resumes_by_itself(caplog):
    caplog.set_level("INFO")
    publisher = FakePublisher()
    publisher.refuses = [NoKey("its last signing key has ended")] * 3
    slot = Slot(wattmeter(GOOD))
    worker = Worker(slot, publisher.sender("pdu1", 0.01), [], Pace(1000))
    worker.start()
    eventually(lambda: len(publisher.sent) > 2)
    worker.stopping.set()
    worker.join(5)
    health = slot.health(5.0)
    assert (health.state, health.failures, health.in_a_row) == ("up", 3, 0)
    assert caplog.text.count("pdu1 is down: its last signing key has ended") == 1
    assert caplog.text.count("pdu1 is back") == 1


def test_a_poll_that_is_longer_than_the_interval_counts_what_it_misses():
    began, meter = time.monotonic(), wattmeter(TakesLong(), GOOD, interval=0.01)
    slot, _, _ = run_worker(meter, lambda slot, sent, did: len(sent) > 1)
    assert 4 <= slot.missed <= (time.monotonic() - began) / 0.01
