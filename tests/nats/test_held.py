"""What waits for its turn, and from where on it would have to be read again. No server."""

import pytest

from kwapi.nats.held import Held, Waiter
from kwapi.stream import Mark

A, B = b"lyon.pdu1.", b"lyon.pdu2."


def early(topic, seq, key="0 kwapi.>"):
    return Waiter(topic + b"\0" + str(seq).encode(), key, Mark("", seq, 0.0))


def taken(held, behind=(), most=100):
    return [each.mark.seq for each in held.due(most, lambda topic: topic in behind)]


@pytest.fixture
def held():
    held = Held()
    for topic, seq in ((A, 5), (B, 6), (A, 7), (B, 8)):
        held.add(early(topic, seq))
    return held


def test_each_topic_waits_for_itself_and_comes_in_order(held):
    assert taken(held, behind={A, B}) == []
    assert taken(held, behind={A}) == [6, 8]
    assert taken(held) == [5, 7]
    assert taken(held) == []


def test_one_after_which_its_topic_waits_again_stays_the_first(held):
    behind = {B}
    for each in held.due(100, behind.__contains__):
        assert each.mark.seq == 5
        behind.add(A)
    assert taken(held, behind={B}) == [5, 7]


def test_no_more_come_at_a_time_than_are_asked_for(held):
    assert taken(held, most=3) == [5, 7, 6]
    assert taken(held) == [8]


def test_all_is_read_again_from_the_first_that_waits(held):
    held.add(early(A, 3, "1 kwapi.>"))
    assert held.begins() == {"0 kwapi.>": Mark("", 4, 0.0), "1 kwapi.>": Mark("", 2, 0.0)}
    taken(held, behind={B})
    assert held.begins() == {"0 kwapi.>": Mark("", 5, 0.0)}
    taken(held)
    assert held.begins() == {}


def test_it_is_full_when_it_has_so_many_bytes_until_some_are_taken():
    held = Held(2 * len(early(A, 1).frame))
    held.add(early(A, 1))
    assert not held.is_full
    held.add(early(A, 2))
    assert held.is_full
    taken(held, most=1)
    assert not held.is_full
