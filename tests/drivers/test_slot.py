import pytest

from kwapi.drivers.slot import QUIET, Slot
from tests.clock import Clock
from tests.drivers.scripted import GOOD, wattmeter


@pytest.fixture
def clock():
    return Clock(1000.0)


@pytest.fixture
def slot(clock):
    wall = Clock()
    return Slot(wattmeter(GOOD, interval=1.0), clock=clock, wall_clock=lambda: wall.now + clock.now)


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_one_line_when_it_goes_down_and_one_when_it_is_back(slot, clock, caplog):
    caplog.set_level("INFO")
    slot.succeeded(True, 0.1)
    for reason in ("no answer", "no answer", "refused", "no answer"):
        clock.now += 1
        slot.failed(reason, 0.5)
    slot.hangs(10)
    slot.failed("no answer", 0.5)
    clock.now += 100
    slot.succeeded(True, 0.1)
    assert lines(caplog) == ["pdu1 is down: no answer", "pdu1 is back after 103 s"]


def test_short_outages_that_follow_are_counted_and_not_logged(slot, clock, caplog):
    caplog.set_level("INFO")
    for _ in range(10):
        slot.failed("lost", 1.0)
        clock.now += 1
        slot.succeeded(True, 0.1)
    clock.now += QUIET
    slot.failed("lost", 1.0)
    assert lines(caplog) == [
        "pdu1 is down: lost",
        "pdu1 is back after 1 s",
        "pdu1 is down: lost (and 9 times since the last such line)",
    ]


def test_a_long_outage_is_logged_also_when_it_follows_a_short_one(slot, clock, caplog):
    caplog.set_level("INFO")
    for _ in range(2):
        slot.failed("lost", 1.0)
        clock.now += 1
        slot.succeeded(True, 0.1)
    slot.failed("dead", 1.0)
    clock.now += QUIET
    slot.look(is_busy=False)
    slot.look(is_busy=False)
    clock.now += 1000
    slot.failed("quite dead", 1.0)
    slot.succeeded(True, 0.1)
    assert lines(caplog) == [
        "pdu1 is down: lost",
        "pdu1 is back after 1 s",
        "pdu1 is down: dead (and 1 times since the last such line)",
        "pdu1 is back after 1060 s",
    ]


def test_one_that_waits_for_its_first_poll_is_starting_however_long(slot, clock, caplog):
    clock.now += 1000
    slot.look(is_busy=False)
    assert (slot.state, lines(caplog)) == ("starting", [])
    slot.succeeded(False, 0.1)
    slot.look(is_busy=False)
    assert slot.state == "stale"
    slot.muted("maintenance = true")
    slot.unmuted()
    clock.now += 1000
    slot.look(is_busy=False)
    assert slot.state == "starting"


def test_a_poll_that_is_given_up_counts_as_one_that_failed(slot):
    slot.succeeded(True, 0.1)
    slot.hangs(10.0)
    health = slot.health(5.0)
    assert (health.polls, health.failures, health.in_a_row, health.poll_seconds) == (2, 1, 1, 10.0)


def test_it_is_stale_when_it_answers_without_measurements_for_long(slot, clock, caplog):
    caplog.set_level("INFO")
    slot.succeeded(True, 0.1)
    clock.now += 10
    slot.succeeded(False, 0.1)
    slot.look(is_busy=False)
    assert slot.state == "up"
    clock.now += 0.1
    slot.look(is_busy=False)
    assert (slot.state, slot.reason) == ("stale", "it answers, and gives no measurement")
    slot.succeeded(False, 0.1)
    assert slot.state == "stale"
    slot.succeeded(True, 0.1)
    assert slot.state == "up"
    assert lines(caplog) == ["pdu1 is stale: it answers, and gives no measurement", "pdu1 is back after 0 s"]


def test_it_is_stale_when_a_poll_takes_long(slot, clock):
    clock.now += 11
    slot.look(is_busy=True)
    assert (slot.state, slot.reason) == ("stale", "its poll takes long")


def test_a_device_that_answers_again_without_measurements_is_not_up(slot):
    slot.failed("off", 1.0)
    slot.succeeded(False, 0.1)
    assert slot.state == "stale"


def test_health_tells_what_happened(slot, clock):
    slot.succeeded(True, 0.25)
    clock.now += 5
    slot.failed("off", 1.5)
    clock.now += 2
    slot.failed("still off", 2.5)
    slot.missed = 3
    clock.now += 1
    health = slot.health(next_within=5.0)
    now = health.timestamp
    assert (health.wattmeter, health.state, health.reason, health.interval) == ("pdu1", "down", "still off", 1.0)
    assert (health.polls, health.failures, health.in_a_row, health.missed, health.restarts) == (3, 2, 2, 3, 0)
    assert health.poll_seconds == 2.5
    assert now - health.since == pytest.approx(3)
    assert now - health.last_success == pytest.approx(8)


def test_a_mute_ends_an_outage_without_a_word_of_being_back(slot, caplog):
    caplog.set_level("INFO")
    slot.failed("off", 1.0)
    slot.muted("maintenance = true")
    slot.muted("maintenance = true")
    slot.unmuted()
    slot.succeeded(True, 0.1)
    assert lines(caplog) == ["pdu1 is down: off", "pdu1 is muted: maintenance = true", "pdu1 is polled again"]
