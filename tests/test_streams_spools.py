"""What becomes of what is missing when spools lag, are dead, know less than they say, or more."""

from itertools import islice

import pytest

from kwapi.stream import MAX_BOOTS, Account, Answer, Lost, Position
from kwapi.streams import AGAIN, LAG, MAX_GOALS, UNHEARD, Streams
from tests.clock import Clock
from tests.streaming import LATER, TAKE, TOPIC, A, B, account, answer, helped, met, repaired


@pytest.fixture
def clock():
    return Clock(100.0)


@pytest.fixture
def streams(clock):
    return helped(spools=1, clock=clock)


def test_without_a_spool_a_hole_is_lost_at_once(clock):
    streams = Streams(clock=clock)
    assert met(streams, 0, 3, 4) == [TAKE] * 3
    assert met(streams, 2, 3, boot=B) == [TAKE] * 2
    assert account(streams) == Account(delivered=5, lost=4, unknown_ends=1)
    assert list(streams.losses) == [Lost(TOPIC, A, 1, 2), Lost(TOPIC, A, 5, None), Lost(TOPIC, B, 0, 1)]
    assert list(streams.asks()) == []


def test_before_a_spool_was_heard_of_a_hole_is_lost_at_once(clock):
    streams = Streams(spools=1, clock=clock)
    assert met(streams, 0, 3) == [TAKE, TAKE]
    assert streams.positions() == {}
    streams.heard_of_spool(0)
    assert streams.positions() == {TOPIC: Position(A, 4)}
    assert met(streams, 5) == [LATER]


def test_without_a_spool_what_we_are_told_of_is_lost(clock):
    streams = Streams(clock=clock)
    met(streams, 0)
    streams.told(TOPIC, A, 2)
    streams.told(TOPIC, B, 1)
    assert met(streams, 2, 3, boot=B) == [TAKE, TAKE]
    assert account(streams) == Account(delivered=3, lost=4, unknown_ends=1)


def test_what_no_spool_has_any_more_is_lost_at_once(streams):
    met(streams, 0, 9)
    assert repaired(streams, [{A: (4, 5, 8, 9)}]) == [(A, 4), (A, 5), (A, 8), (A, 9)]
    assert list(streams.losses) == [Lost(TOPIC, A, 1, 3), Lost(TOPIC, A, 6, 7)]
    assert account(streams) == Account(delivered=5, repaired=4, lost=5)


def test_what_one_spool_lacks_another_one_has(clock):
    streams = helped(spools=2, clock=clock)
    met(streams, 0, 9)
    assert repaired(streams, [{A: (1, 2, 6, 7, 8, 9)}, {A: (3, 4, 7)}]) == [
        (A, seq) for seq in (1, 2, 3, 4, 6, 7, 8, 9)
    ]
    assert account(streams).lost == 1


def test_what_is_not_in_the_spool_yet_is_asked_for_again(streams, clock):
    met(streams, 0, 2)
    assert repaired(streams, [{A: range(2)}]) == [(A, 1)]
    clock.now += AGAIN
    assert repaired(streams, [{A: range(3)}]) == [(A, 2)]
    assert met(streams, 3) == [TAKE]


def test_a_spool_that_was_asked_too_early_is_asked_again_before_anything_is_lost(clock):
    """One was cut off for a while, the other said what it had long before the first one answered."""
    streams = helped({TOPIC: Position(A, 0)}, spools=2, clock=clock)
    (ask,) = streams.asks()
    answer(streams, ask, {})
    clock.now += 4.0
    (ask,) = streams.asks()
    assert answer(streams, ask, {A: range(3, 5)}) == []
    clock.now += AGAIN
    assert repaired(streams, [{A: range(5)}, {A: range(3, 5)}]) == [(A, seq) for seq in range(5)]
    assert account(streams).lost == 0


def test_a_spool_that_lags_is_asked_again_before_anything_is_lost(clock):
    """What kwapi-drivers sent at once, after it was stopped for a while, is on its way to the disk still."""
    streams = helped(spools=3, clock=clock)
    met(streams, 0, 9)
    assert repaired(streams, [{A: (0, 9)}, {A: range(1)}, {}]) == []
    clock.now += AGAIN
    assert repaired(streams, [{A: (0, 9)}, {A: range(10)}, {}]) == [(A, seq) for seq in range(1, 10)]
    met(streams, 19)
    assert repaired(streams, [{A: (0, 19)}, {A: range(10)}, {}]) == []
    clock.now += LAG
    assert repaired(streams, [{A: (0, 19)}, {A: range(10)}, {}]) == [(A, 19)]
    assert account(streams).lost == 9


def test_what_came_live_is_lost_only_if_a_spool_that_was_asked_late_enough_has_it_not(clock):
    streams = helped(spools=2, clock=clock)
    met(streams, 0, 2)
    (ask,) = streams.asks()
    answer(streams, ask, {A: range(1)})
    clock.now += 2 * LAG
    (ask,) = streams.asks()
    assert answer(streams, ask, {A: range(1)}) == []
    clock.now += AGAIN
    assert repaired(streams, [{A: range(3)}, {A: range(1)}]) == [(A, 1), (A, 2)]
    assert account(streams).lost == 0


def test_what_was_asked_for_late_and_came_live_just_before_is_waited_for(streams, clock):
    """Of many streams one is asked for late; the spool has 3 a moment later, and never 1 and 2."""
    met(streams, 0, 2)
    clock.now += 1.2 * LAG
    met(streams, 3)
    (ask,) = streams.asks()
    assert answer(streams, ask, {A: ()}) == []
    clock.now += AGAIN
    assert repaired(streams, [{A: (0, 3)}]) == [(A, 3)]
    assert account(streams) == Account(delivered=2, repaired=1, lost=2)


def test_of_two_spools_none_is_asked_for_more_than_the_other_was(clock):
    streams = helped(spools=2, clock=clock)
    streams.heard_of_spool(1)
    met(streams, 0, 2)
    clock.now += 1.2 * LAG
    (ask,) = streams.asks()
    met(streams, 3, 4)
    answer(streams, ask, {A: ()})
    (ask,) = streams.asks()
    assert (ask.spool, ask.last) == (1, 2)
    answer(streams, ask, {A: ()})
    assert repaired(streams, [{A: (0, 3, 4)}, {}]) == [(A, 3), (A, 4)]
    assert account(streams).lost == 2


def test_what_came_live_and_is_in_no_spool_is_lost_after_a_while(streams, clock):
    met(streams, 0, 3)
    for _ in range(100):
        repaired(streams, [{A: range(2)}])
        clock.now += AGAIN
    assert account(streams) == Account(delivered=2, repaired=1, lost=2)
    assert met(streams, 4) == [TAKE]


def test_a_spool_that_keeps_nothing_delays_live_values_for_a_moment(streams, clock):
    """Its disk is full, and it answers that it has nothing."""
    met(streams, 0, 3)
    verdicts = []
    for seq in range(4, 200):
        clock.now += AGAIN
        verdicts += met(streams, seq)
        repaired(streams, [{A: range(1)}])
    assert verdicts[-1] is TAKE
    assert verdicts.count(LATER) * AGAIN <= 2 * LAG + 1
    assert account(streams).delivered + account(streams).lost == 200


def test_a_boot_of_which_only_a_spool_tells_is_not_given_up_with_what_is_in_vain(streams, clock):
    spool = {A: range(1), 15: range(2), B: range(3)}
    met(streams, 0, 3)
    for seq in range(4, 4 + int(1.5 * LAG / AGAIN)):
        clock.now += AGAIN
        met(streams, seq)
        repaired(streams, [spool])
    assert met(streams, 2, boot=B) == [LATER]
    taken = []
    for _ in range(int(3 * LAG / AGAIN)):
        clock.now += AGAIN
        taken += repaired(streams, [spool])
    assert taken == [(15, 0), (15, 1), (B, 0), (B, 1), (B, 2)]


def test_what_had_to_wait_for_its_question_is_waited_for_no_less(clock):
    """After a long outage of a large fleet the last wattmeter is asked for minutes after the first."""
    streams = helped({b"paris.": Position(A, 0), TOPIC: Position(A, 0)}, spools=1, clock=clock)
    for _ in range(100):
        (first,) = islice(streams.asks(), 1)  # as where only so many questions may be asked at once
        clock.now += 1.0
        streams.repair(first, first.first)
        streams.answer(first, Answer(first.first + 1, 1000))
    asked = {ask.topic for ask in streams.asks()}
    assert asked == {b"paris.", TOPIC}
    clock.now += 59.0
    assert list(streams.asks()) == []
    assert streams.behind() == 2
    clock.now += 2.0
    assert list(streams.asks()) == []
    assert streams.behind() == 0


def test_a_spool_that_never_helps_is_given_up(streams, clock):
    met(streams, 0, 3)
    (ask,) = streams.asks()
    met(streams, 4)
    clock.now += 61
    assert list(streams.asks()) == []
    assert met(streams, 5) == [TAKE]
    assert account(streams) == Account(delivered=2, lost=4)
    assert not streams.repair(ask, 1)


def test_a_spool_that_is_gone_since_a_restart_holds_live_messages_up_for_seconds_only(clock):
    streams = Streams({TOPIC: Position(A, 3)}, spools=1, clock=clock)
    assert len(list(streams.asks())) == 1
    clock.now += UNHEARD + 1
    assert list(streams.asks()) == []
    assert met(streams, 9) == [LATER]  # nothing was live before: the way to both was cut
    assert list(streams.asks()) == []
    assert met(streams, 10) == [TAKE]


def test_a_spool_that_is_dead_delays_what_is_live_by_a_minute_however_many_wattmeters_there_are(clock):
    streams = Streams({b"%d." % number: Position(A, 1) for number in range(1000)}, spools=1, wait=60.0, clock=clock)
    for _ in range(14):  # a client asks 32 things at a time, and waits 5 s for the answers
        asked = list(islice(streams.asks(), 32))
        clock.now += 5.0
        for ask in asked:
            streams.unanswered(ask)
    assert streams.behind() == 0
    assert streams.meet(b"999.", A, 7) is LATER  # a hole; once more it is asked
    (ask,) = streams.asks()
    streams.unanswered(ask)
    assert streams.meet(b"999.", A, 8) is TAKE


def test_a_spool_that_is_dead_is_waited_for_no_more_while_another_one_helps(clock):
    streams = Streams({TOPIC: Position(A, 1)}, spools=2, wait=60.0, clock=clock)
    taken = []
    for _ in range(100):
        for ask in list(streams.asks()):
            if ask.spool == 0:
                clock.now += 5.0
                streams.unanswered(ask)
            else:
                taken += answer(streams, ask, {A: range(9), B: range(9)})
        clock.now += AGAIN
        met(streams, 9)
    assert taken == list(range(1, 9))
    streams.heard_of_spool(0)
    met(streams, 11)
    (ask,) = streams.asks()
    assert ask.spool == 0


def test_a_spool_that_tells_of_boots_without_end_is_not_listened_to_for_ever(streams):
    met(streams, 0)
    streams.discover(TOPIC, 10**9, 0)
    for boot in range(1000):
        streams.discover(TOPIC, 2 * 10**9 + boot, 0)
    for _ in range(4 * MAX_GOALS):
        for ask in list(streams.asks()):
            streams.answer(ask, Answer(None, None, tuple(range(ask.boot + 1, ask.boot + 100))))
    assert streams.behind() == 0
    assert account(streams).unknown_ends <= MAX_GOALS + MAX_BOOTS


def test_more_boots_than_are_remembered_are_all_asked_for(streams):
    """A plugin was away while a publisher was started again and again."""
    boots = range(A + 1, A + 4 * MAX_BOOTS)
    met(streams, 0)
    met(streams, 0, boot=A + 4 * MAX_BOOTS)
    spool = {A: range(1), **{boot: range(2) for boot in boots}, A + 4 * MAX_BOOTS: range(1)}
    assert repaired(streams, [spool]) == [*((boot, seq) for boot in boots for seq in (0, 1)), (A + 4 * MAX_BOOTS, 0)]
    assert account(streams) == Account(
        delivered=2 + 2 * len(boots), repaired=1 + 2 * len(boots), unknown_ends=1 + len(boots)
    )


def test_without_an_answer_the_next_spool_is_asked(clock):
    streams = helped(spools=2, clock=clock)
    met(streams, 0, 3)
    asked = []
    for _ in range(3):
        (ask,) = streams.asks()
        streams.unanswered(ask)
        assert list(streams.asks()) == []
        clock.now += AGAIN
        asked.append(ask.spool)
    assert asked == [0, 1, 0]


def test_from_saved_positions_everything_that_is_there_is_asked_for(clock):
    streams = Streams({TOPIC: Position(A, 3)}, spools=1, clock=clock)
    streams.discover(TOPIC, A, 0)
    streams.discover(TOPIC, B, 0)
    streams.discover(b"new.", B, 7)
    taken = repaired(streams, [{A: range(5), B: range(9)}])
    assert sorted(taken) == sorted([(A, 3), (A, 4), *((B, seq) for seq in range(9)), (B, 7), (B, 8)])
    assert streams.positions() == {TOPIC: Position(B, 9), b"new.": Position(B, 9)}
    assert streams.behind() == 0


def test_a_boot_that_is_made_up_keeps_nothing_of_the_one_that_speaks_from_being_asked_for(clock):
    """A forwarder keeps and tells of what passes, of which nobody has signed this one."""
    streams = Streams({TOPIC: Position(A, 3)}, spools=1, clock=clock)
    streams.discover(TOPIC, 2**62, 0)
    assert repaired(streams, [{A: range(5)}]) == [(A, 3), (A, 4)]
    assert streams.positions() == {TOPIC: Position(A, 5)}
    assert (account(streams), list(streams.losses)) == (Account(delivered=2, repaired=2), [])
    assert met(streams, 5, 8) == [TAKE, LATER]
    assert repaired(streams, [{A: range(9)}]) == [(A, 6), (A, 7), (A, 8)]
    assert met(streams, 0, boot=B) == [LATER]
    assert repaired(streams, [{A: range(10), B: range(1)}]) == [(A, 9), (B, 0)]
    assert account(streams) == Account(delivered=8, repaired=7, unknown_ends=1)


def test_an_answer_that_was_not_asked_for_is_refused(streams):
    met(streams, 0, 3)
    (ask,) = streams.asks()
    assert not streams.repair(ask, 2)
    assert not streams.repair(ask._replace(boot=B), 1)
    assert not streams.repair(ask._replace(topic=b"other."), 1)
    streams.answer(ask._replace(boot=B), Answer(None, None))
    assert streams.repair(ask, 1)


def test_what_is_in_no_spool_twice_gives_no_boot_up_of_which_a_spool_has_told(streams, clock):
    met(streams, 0)
    met(streams, 0, boot=B)
    met(streams, 0, boot=B + 2)
    taken = []
    for boot in (B + 4, B + 4, B + 4):
        taken += repaired(streams, [{B + 3: range(2), B + 4: range(2)}])
        clock.now += LAG + AGAIN
        met(streams, 1, boot=boot)
    for _ in range(3):
        taken += repaired(streams, [{B + 3: range(2), B + 4: range(2)}])
        clock.now += LAG + AGAIN
    assert taken == [(B + 3, 0), (B + 3, 1), (B + 4, 0), (B + 4, 1)]


def test_a_spool_cannot_make_up_topics_without_end(clock):
    streams = helped(spools=1, most=3, clock=clock)
    met(streams, 0)
    for number in range(100):
        streams.discover(f"made-up-{number}.".encode(), A, 0)
    assert streams.behind() == 2
    assert streams.meet(b"signed.", A, 0) is TAKE


def test_of_what_only_a_spool_has_told_no_position_is_saved(clock):
    streams = helped(spools=1, clock=clock)
    streams.discover(TOPIC, A, 0)
    assert streams.positions() == streams.standings() == {}  # or it would pass for a topic that was believed
    assert streams.exact() == {}
    assert repaired(streams, [{A: range(3)}]) == [(A, 0), (A, 1), (A, 2)]
    assert streams.positions() == {TOPIC: Position(A, 3)}
