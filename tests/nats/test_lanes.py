import pytest

from kwapi.nats.lanes import Lanes, Parcel
from kwapi.stream import Position

A, B = b"lyon.pdu1.", b"paris.pdu1."
FRAME = b"x" * 100


@pytest.fixture
def lanes():
    return Lanes(10 * len(FRAME), has_spool=True)


def parcel(seq, topic=A, boot=1, *, is_kept=True):
    return Parcel(topic, boot, seq, FRAME, is_kept)


def hand(lanes, *seqs, topic=A):
    for seq in seqs:
        lanes.hand(topic, parcel(seq, topic))


def sent(lanes, most=100):
    return [(each.topic, each.seq) for _, each in lanes.ready(most)]


def test_of_each_wattmeter_one_message_is_on_its_way(lanes):
    hand(lanes, 0, 1)
    hand(lanes, 0, 1, topic=B)
    assert sent(lanes) == [(A, 0), (B, 0)]
    assert sent(lanes) == []
    lanes.done(A)
    assert sent(lanes) == [(A, 1)]
    assert lanes.positions() == {A: Position(1, 1)}


def test_no_more_are_sent_than_there_is_room_for(lanes):
    for number in range(5):
        hand(lanes, 0, topic=b"pdu%d." % number)
    assert len(sent(lanes, 3)) == 3
    assert len(sent(lanes, 3)) == 2


def test_what_was_refused_is_sent_again_before_what_came_later(lanes):
    hand(lanes, 0, 1)
    sent(lanes)
    lanes.again(A)
    assert sent(lanes) == [(A, 0)]


def test_all_that_was_on_its_way_is_sent_again_over_a_new_connection(lanes):
    hand(lanes, 0, 1)
    hand(lanes, 0, topic=B)
    sent(lanes)
    lanes.all_again()
    assert sent(lanes) == [(A, 0), (B, 0)]


def test_an_answer_that_comes_twice_moves_nothing(lanes):
    hand(lanes, 0, 1)
    sent(lanes)
    lanes.done(A)
    lanes.done(A)
    assert sent(lanes) == [(A, 1)]


def test_when_memory_is_full_a_lane_is_read_from_the_spool(lanes):
    hand(lanes, *range(8), topic=B)
    hand(lanes, *range(4))
    assert [key for key, _ in lanes.behind()] == [A]
    assert lanes.size == 8 * len(FRAME)
    hand(lanes, 4)  # which is in the spool too
    assert dict(lanes.behind()) == {A: None}
    lanes.add_page(A, [parcel(seq) for seq in range(3)])
    assert list(lanes.behind()) == []
    for seq in range(3):
        assert (A, seq) in sent(lanes)
        lanes.done(A)
    assert dict(lanes.behind()) == {A: Position(1, 3)}
    lanes.add_page(A, [parcel(3), parcel(4)])
    for _ in range(2):
        sent(lanes)
        lanes.done(A)
    assert lanes.late == 0
    hand(lanes, 5)
    assert (A, 5) in sent(lanes)
    assert lanes.dropped == 0


def test_what_was_on_its_way_when_memory_was_full_is_not_read_again(lanes):
    hand(lanes, 0)
    assert sent(lanes) == [(A, 0)]
    hand(lanes, *range(1, 20))
    lanes.done(A)
    assert dict(lanes.behind()) == {A: Position(1, 1)}


def test_what_the_spool_has_not_either_is_lost_and_the_next_is_sent(lanes):
    lanes.fall_behind(A, Position(1, 4))
    lanes.give_up(A)
    assert lanes.dropped == 5
    hand(lanes, 5)
    assert sent(lanes) == [(A, 5)]


def test_without_a_spool_the_oldest_are_lost():
    lanes = Lanes(3 * len(FRAME), has_spool=False)
    hand(lanes, 0)
    assert sent(lanes) == [(A, 0)]
    hand(lanes, 1, 2, 3, 4)
    assert lanes.dropped == 2
    order = []
    for _ in range(3):
        lanes.done(A)
        order += sent(lanes)
    assert order == [(A, 3), (A, 4)]


def test_without_a_spool_one_wattmeter_does_not_push_out_another():
    lanes = Lanes(3 * len(FRAME), has_spool=False)
    hand(lanes, 0, 1, 2)
    hand(lanes, 0, topic=B)
    assert lanes.dropped == 1
    assert sent(lanes) == [(A, 0)]


def test_health_waits_in_its_wattmeters_turn_and_no_spool_has_it(lanes):
    hand(lanes, 0)
    lanes.hand(A, parcel(0, b"kwapi.health." + A, is_kept=False))
    assert sent(lanes) == [(A, 0)]
    lanes.done(A)
    assert sent(lanes) == [(b"kwapi.health." + A, 0)]
    lanes.done(A)
    assert lanes.positions() == {A: Position(1, 1)}
    lanes.fall_behind(A, Position(1, 9))
    lanes.hand(A, parcel(1, b"kwapi.health." + A, is_kept=False))
    assert sent(lanes) == []


def test_what_waits_when_the_spool_is_to_be_read_is_read_from_there_too(lanes):
    hand(lanes, 3, 4)
    lanes.hand(A, parcel(0, b"kwapi.health." + A, is_kept=False))
    lanes.fall_behind(A, Position(1, 2))
    assert (lanes.count, lanes.size) == (0, 0)
    lanes.add_page(A, [parcel(seq) for seq in range(5)])
    for seq in range(5):
        assert lanes.late == 1
        assert sent(lanes) == [(A, seq)]
        lanes.done(A)
    assert lanes.late == lanes.dropped == 0


def test_a_restart_goes_on_where_all_was_stored():
    lanes = Lanes(1000, has_spool=True, stored={A: Position(1, 7)})
    lanes.fall_behind(A, Position(2, 1))
    assert dict(lanes.behind()) == {A: Position(1, 7)}
