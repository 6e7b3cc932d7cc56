"""What is lost is told, and not more often than somebody can read."""

from collections import deque

import pytest

from kwapi.losses import Losses
from kwapi.stream import Lost
from tests.clock import Clock


@pytest.fixture
def lost():
    return deque(maxlen=1000)


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def losses(lost, clock):
    return Losses(lost, clock)


def test_what_is_lost_is_told_once(lost, losses, clock, caplog):
    lost += [Lost(b"lyon.pdu1.", 7, 3, 5), Lost(b"lyon.pdu1.", 7, 9, 9), Lost(b"lyon.pdu2.", 7, 0, 0)]
    losses.look()
    clock.now += 100
    losses.look()
    assert caplog.messages == [
        "5 messages lost that nobody could repeat: lyon.pdu1 (4), lyon.pdu2 (1)",
    ]


def test_ten_thousand_wattmeters_fill_a_line_only(lost, losses, caplog):
    lost += [Lost(f"pdu{number}.".encode(), 7, 0, 0) for number in range(1000)]
    losses.look()
    assert caplog.messages == [
        "at least 1000 messages lost that nobody could repeat: pdu0 (1), pdu1 (1), pdu2 (1), 997 more wattmeters"
    ]


def test_an_end_that_nobody_knows_is_no_loss(lost, losses, caplog):
    lost.append(Lost(b"lyon.pdu1.", 7, 3, None))
    losses.look()
    assert caplog.messages == ["a publisher was killed, nobody knows whether it had sent more: lyon.pdu1 (1)"]


def test_a_link_that_loses_all_the_time_is_told_of_every_ten_seconds(lost, losses, clock, caplog):
    for second in range(30):
        lost.append(Lost(b"lyon.pdu1.", 7, second, second))
        losses.look()
        clock.now += 1
    assert [message.split()[0] for message in caplog.messages] == ["1", "10", "10"]


def test_what_is_lost_just_before_a_stop_is_told_too(lost, losses, caplog):
    lost.append(Lost(b"lyon.pdu1.", 7, 3, 3))
    losses.look()
    lost.append(Lost(b"lyon.pdu1.", 7, 5, 5))
    losses.look()
    assert len(caplog.messages) == 1
    losses.tell()
    losses.tell()
    assert len(caplog.messages) == 2
