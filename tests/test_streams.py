"""What a subscriber takes of each wattmeter, in which order, and what it asks for again."""

import random
import sys
from itertools import chain, product
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwapi.stream import MAX_BOOTS, Account, Answer, Ask, Boots, Lost, Place, Position
from kwapi.streams import AGAIN, LAG, MAX_GOALS, Streams
from tests.clock import Clock
from tests.streaming import LATER, SEEN, TAKE, TOPIC, A, B, C, account, answer, helped, met, repaired


@pytest.fixture
def clock():
    return Clock(100.0)


@pytest.fixture
def streams(clock):
    return helped(spools=1, clock=clock)


def test_a_stream_begins_where_it_is_first_heard_and_goes_on(streams):
    assert met(streams, 5, 6, 7) == [TAKE] * 3
    assert account(streams) == Account(delivered=3)
    assert streams.positions() == {TOPIC: Position(A, 8)}


def test_what_was_taken_is_not_taken_again(streams):
    assert met(streams, 5, 6, 5, 4, 6) == [TAKE, TAKE, SEEN, SEEN, SEEN]
    assert account(streams).duplicates == 3


def test_a_hole_is_asked_for_and_what_comes_meanwhile_too(streams):
    assert met(streams, 0, 3, 4) == [TAKE, LATER, LATER]
    (ask,) = streams.asks()
    assert ask == Ask(TOPIC, A, 1, 4, 0)
    assert list(streams.asks()) == []
    assert met(streams, 5, 6) == [LATER, LATER]
    assert [streams.repair(ask, seq) for seq in (1, 2, 3, 4)] == [True] * 4
    streams.answer(ask, Answer(5, 6))
    (ask,) = streams.asks()
    assert ask == Ask(TOPIC, A, 5, 6, 0)
    assert answer(streams, ask, {A: range(7)}) == [5, 6]
    assert met(streams, 7, 8) == [TAKE, TAKE]
    assert account(streams) == Account(delivered=9, repaired=6)


def test_one_of_many_streams_meets_what_is_live_though_more_comes_before_each_question(streams):
    met(streams, 0, 2)
    for seq in range(3, 10):
        met(streams, seq)
        for ask in streams.asks():
            answer(streams, ask, {A: range(seq + 1)})
    assert streams.behind() == 0
    assert met(streams, 10) == [TAKE]


def test_a_message_that_comes_late_by_another_forwarder_makes_nobody_want_less(streams):
    met(streams, 0, 5)
    (ask,) = streams.asks()
    met(streams, 3)
    assert [streams.repair(ask, seq) for seq in (1, 2, 3, 4)] == [True] * 4
    streams.answer(ask, Answer(5, 5))
    assert repaired(streams, [{A: range(6)}]) == [(A, 5)]
    assert met(streams, 6) == [TAKE]


def test_what_no_spool_has_takes_nothing_with_it_that_came_live_later(streams, clock):
    """The spool gets 3 late, and never 1 and 2."""
    met(streams, 0, 2)
    (ask,) = streams.asks()
    answer(streams, ask, {A: ()})
    clock.now += 0.9 * LAG
    met(streams, 3)
    (ask,) = streams.asks()
    answer(streams, ask, {A: ()})
    clock.now += 0.2 * LAG
    (ask,) = streams.asks()
    assert ask.last == 2
    answer(streams, ask, {A: ()})
    assert list(streams.losses) == [Lost(TOPIC, A, 1, 2)]
    assert repaired(streams, [{A: (0, 3)}]) == [(A, 3)]
    assert met(streams, 4) == [TAKE]


def test_a_saved_position_is_gone_on_from(clock):
    streams = Streams({TOPIC: Position(A, 3)}, spools=1, clock=clock)
    assert streams.knows(TOPIC, A)
    assert met(streams, 2, 6) == [SEEN, LATER]
    assert repaired(streams, [{A: range(7)}]) == [(A, 3), (A, 4), (A, 5), (A, 6)]


def test_the_end_of_a_boot_is_asked_for_before_the_next_one(streams):
    met(streams, 0, 1)
    assert met(streams, 1, boot=B) == [LATER]
    assert repaired(streams, [{A: range(4), B: range(2)}]) == [(A, 2), (A, 3), (B, 0), (B, 1)]
    assert met(streams, 2, boot=B) == [TAKE]
    assert account(streams) == Account(delivered=7, repaired=4, unknown_ends=1)


def test_an_end_that_was_not_told_is_said_to_be_unknown(streams):
    """A spool that has nothing more may have been killed together with the publisher."""
    met(streams, 0)
    met(streams, 0, boot=B)
    assert repaired(streams, [{A: range(3), B: range(1)}]) == [(A, 1), (A, 2), (B, 0)]
    assert (account(streams).unknown_ends, account(streams).lost) == (1, 0)
    assert list(streams.losses) == [Lost(TOPIC, A, 3, None)]


def test_an_end_that_was_told_is_known(streams, clock):
    met(streams, 0, 1)
    streams.end(TOPIC, A)
    met(streams, 0, boot=B)
    assert repaired(streams, [{A: range(2), B: range(1)}]) == [(B, 0)]
    assert account(streams) == Account(delivered=3, repaired=1)
    unhelped = Streams(clock=clock)
    unhelped.meet(TOPIC, A, 0)
    unhelped.end(TOPIC, A)
    assert unhelped.meet(TOPIC, B, 0) is TAKE
    assert account(unhelped) == Account(delivered=2)


def test_an_end_that_is_told_late_is_known_then(clock):
    streams = Streams(clock=clock)
    met(streams, 0, 1)
    met(streams, 0, boot=B)
    assert account(streams).unknown_ends == 1
    met(streams, 2)
    streams.end(TOPIC, A)
    streams.end(TOPIC, A)
    assert account(streams).unknown_ends == 0
    streams.end(TOPIC, 77)  # of which nothing was taken
    assert met(streams, 1, boot=B) == [TAKE]


def test_the_newest_messages_of_a_wattmeter_that_fell_silent_are_asked_for(streams):
    met(streams, 0)
    streams.told(TOPIC, A, 0)
    assert streams.behind() == 0
    streams.told(TOPIC, A, 3)
    assert account(streams) == Account(delivered=1, awaited=3)
    streams.told(TOPIC, A, 4)
    streams.told(TOPIC, A, 2)
    assert repaired(streams, [{A: range(5)}]) == [(A, seq) for seq in range(1, 5)]
    streams.told(TOPIC, B, 1)
    streams.told(b"new.", B, 1)  # it spoke before we listened
    assert repaired(streams, [{A: range(5), B: range(2)}]) == [(B, 0), (B, 1)]
    assert account(streams) == Account(delivered=7, repaired=6, unknown_ends=1)
    assert met(streams, 2, boot=B) == [TAKE]


def test_what_is_awaited_is_known_up_to_what_came_last(streams):
    met(streams, 0, 3, 4)
    assert account(streams) == Account(delivered=1, awaited=4)
    met(streams, 1, boot=B)
    assert account(streams).awaited == 6
    assert account(streams).produced == 7


def test_accounts_go_on_after_a_restart_from_the_last_message_on(streams, clock):
    met(streams, 5, 6, 7, 8, 8)
    standings = streams.standings()
    assert standings == {TOPIC: Place(Position(A, 8), Account(delivered=3, duplicates=1))}
    positions, accounts = ({topic: pair[n] for topic, pair in standings.items()} for n in range(2))
    after = helped(positions, accounts, spools=1, clock=clock)
    assert repaired(after, [{A: range(10)}]) == [(A, 8), (A, 9)]
    met(after, 10)
    assert account(after) == Account(delivered=6, duplicates=1, repaired=2)


def test_what_was_refused_is_not_lost(streams, clock):
    """Whoever signed it said nothing that could be taken."""
    met(streams, 0, 5)
    (ask,) = streams.asks()
    assert streams.repair(ask, 1)
    streams.answer(ask, Answer(4, 5, refused=2))
    assert repaired(streams, [{A: (0, 1, 4, 5)}]) == [(A, 4), (A, 5)]
    assert account(streams) == Account(delivered=4, rejected=2, repaired=3)
    unhelped = Streams(clock=clock)
    unhelped.refuse(TOPIC)  # it is not known
    assert [unhelped.meet(TOPIC, A, seq) for seq in (0, 1)] == [TAKE, TAKE]
    unhelped.refuse(TOPIC)
    assert unhelped.meet(TOPIC, A, 4) is TAKE
    assert account(unhelped) == Account(delivered=3, rejected=1, lost=1)


def test_a_boot_that_was_not_heard_at_all_is_asked_for(streams):
    met(streams, 0)
    met(streams, 1, boot=B)
    assert repaired(streams, [{5: range(9), A: range(2), 17: range(2), 18: range(1), B: range(2)}]) == [
        (A, 1), (17, 0), (17, 1), (18, 0), (B, 0), (B, 1),
    ]  # fmt: skip


def test_a_boot_that_is_found_late_is_asked_for_after_the_end_of_the_one_before(streams):
    met(streams, 0)
    streams.discover(TOPIC, B, 0)
    assert repaired(streams, [{A: range(3), B: range(2)}]) == [(A, 1), (A, 2), (B, 0), (B, 1)]
    assert streams.behind() == 0


def test_what_two_publishers_of_one_name_send_meanwhile_is_taken_once_and_takes_no_room(streams):
    taken = [(boot, seq) for seq in range(500) for boot in (A, B) if met(streams, seq, boot=boot) == [TAKE]]
    assert len(streams._streams[TOPIC].goals) <= MAX_GOALS
    taken += repaired(streams, [{A: range(500), B: range(500)}])
    assert len(taken) == len(set(taken))


LATE = [[(B, 0)], [(B, 0), (C, 1)], [(B, 0), (C, 1), (B, 1)], [(17, 0), (C, 1)]]


@pytest.mark.parametrize(("late", "is_helped_in_time"), [*product(LATE, [True, False]), ([(17, 0)], True)])
def test_a_copy_that_comes_late_does_not_turn_a_stream_back(streams, clock, late, is_helped_in_time):
    met(streams, 0, 2)
    met(streams, 0, boot=B)
    met(streams, 0, boot=C)
    for boot, seq in late:
        met(streams, seq, boot=boot)
    if is_helped_in_time:
        assert repaired(streams, [{A: range(3), 17: range(1), B: range(2), C: range(2)}]) == [
            (A, 1), (A, 2), (17, 0), (B, 0), (B, 1), (C, 0), (C, 1),
        ]  # fmt: skip
    else:
        list(streams.asks())
        clock.now += 1000.0
        list(streams.asks())
    assert streams.behind() == 0
    assert met(streams, 5, boot=C) == [LATER]
    repaired(streams, [{17: range(1), C: range(6)}])  # what is missing of the newest is asked for
    assert streams.positions() == {TOPIC: Position(C, 6)}


def late_answer(streams):
    """While the end of A is asked for more of it comes, behind which B goes on."""
    met(streams, 0, 1, 2, 3, 4)
    met(streams, 0, boot=B)
    (ask,) = streams.asks()
    met(streams, 5, 6)
    met(streams, 1, boot=B)
    return ask


def test_what_came_live_of_a_boot_that_was_left_is_asked_for(streams):
    answer(streams, late_answer(streams), {A: range(5)})
    repaired(streams, [{A: range(7), B: range(2)}])
    assert account(streams) == Account(delivered=9, repaired=4, unknown_ends=1)
    assert streams.positions() == {TOPIC: Position(B, 2)}


def test_what_came_live_of_a_boot_that_was_left_is_lost_if_nobody_has_it(streams, clock):
    late_answer(streams)
    clock.now += 1000.0
    list(streams.asks())
    assert account(streams).produced == account(streams).settled == 9
    assert (account(streams).delivered, account(streams).lost) == (5, 4)


def test_a_restart_with_the_clock_set_back_is_repaired_though_the_boot_before_comes_late(streams):
    met(streams, 0, 1, boot=200)
    met(streams, 0, boot=100)
    assert repaired(streams, [{200: range(2), 100: range(1)}]) == [(100, 0)]
    assert met(streams, 2, boot=200) == [TAKE]
    assert met(streams, 4, boot=100) == [LATER]
    assert repaired(streams, [{200: range(3), 100: range(5)}]) == [(100, 1), (100, 2), (100, 3), (100, 4)]
    assert account(streams).lost == 0


def test_the_boots_that_are_gone_on_with_are_bounded(clock):
    boots = {TOPIC: Boots({boot: 1 for boot in range(1000)})}
    streams = Streams({TOPIC: Position(5000, 1)}, boots=boots, clock=clock)
    assert [boot for boot in range(1000) if streams.knows(TOPIC, boot)] == list(range(1001 - MAX_BOOTS, 1000))


def test_two_publishers_of_one_name_do_not_stop_each_other(streams):
    met(streams, 0)
    met(streams, 0, boot=B)
    repaired(streams, [{A: range(1), B: range(1)}])
    assert [met(streams, seq, boot=boot) for seq in (1, 2) for boot in (A, B)] == [[TAKE]] * 4
    assert list(streams.asks()) == []


def test_the_boots_that_are_remembered_are_bounded(clock):
    streams = Streams(clock=clock)
    for boot in range(1000):
        met(streams, 0, boot=boot)
    known = [boot for boot in range(1000) if streams.knows(TOPIC, boot)]
    assert known == list(range(1000 - MAX_BOOTS, 1000))


@settings(max_examples=100, deadline=None)
@given(st.randoms(use_true_random=False), st.floats(0, 0.9), st.floats(0, 0.9), st.integers(1, 3))
def test_everything_is_taken_once_and_in_order_or_lost(chance: random.Random, drops, forgets, spools):
    """A publisher restarts, the bus drops, spools forget and lag, and no message is without its account."""
    clock = Clock(0.0)
    streams = helped(spools=spools, clock=clock)
    kept = [{} for _ in range(spools)]
    produced, taken, heard, ends = [], [], set(), {}
    boot, seq = 1, 0
    for _ in range(chance.randrange(1, 60)):
        if chance.random() < 0.05 and boot < MAX_BOOTS:  # more than are remembered may be left out
            boot, seq = boot + 1, 0
        produced.append((boot, seq))
        for spool in kept:
            if chance.random() >= forgets:
                spool.setdefault(boot, set()).add(seq)
        if chance.random() >= drops:
            heard.add((boot, seq))
            if streams.meet(TOPIC, boot, seq) is TAKE:
                taken.append((boot, seq))
        seq += 1
        if chance.random() < 0.3:
            taken += repaired(streams, kept)
        clock.now += chance.choice((0.0, AGAIN, 30.0))
    produced.append((boot, seq))  # the last one is heard, and in every spool
    for spool in kept:
        spool.setdefault(boot, set()).add(seq)
    if streams.meet(TOPIC, boot, seq) is TAKE:
        taken.append((boot, seq))
    for _ in range(20):
        taken += repaired(streams, kept)
        clock.now += LAG
    assert taken == sorted(set(taken))
    lost = {
        (loss.boot, number)
        for loss in streams.losses
        if loss.last is not None
        for number in range(loss.first, loss.last + 1)
    }
    unknown = {loss.boot: loss.first for loss in streams.losses if loss.last is None}
    assert streams.behind() == 0
    for boot, seq in chain(heard, *(spool.items() for spool in kept)):
        ends[boot] = max(ends.get(boot, -1), seq if isinstance(seq, int) else max(seq))
    for message in produced[produced.index(taken[0]) :]:
        if message[1] > ends.get(message[0], -1):
            continue  # nobody has heard of it, and no spool
        is_unknown = message[0] in unknown and message[1] >= unknown[message[0]]
        accounts = (message in taken) + (message in lost)
        assert accounts == 1 or (accounts == 0 and is_unknown), message
    assert account(streams).delivered == len(taken)
    assert account(streams).lost == len(lost)
    assert account(streams).settled == account(streams).produced == len(taken) + len(lost)


def test_what_is_saved_holds_together_though_the_bus_goes_on():
    """Each boot has three messages: of the number n there are 3 n before it, and as many as its position says."""
    topics = [b"%d." % number for number in range(500)]
    streams = Streams({topic: Position(0, 0) for topic in topics}, spools=1)

    def go_on():
        for boot, topic in product(range(1, 25), topics):
            streams._streams[topic].lose(2)
            streams._streams[topic].begin(boot)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    bus = Thread(target=go_on)
    try:
        bus.start()
        while bus.is_alive():
            for position, account, _ in streams.standings().values():
                assert account.settled == 3 * position.boot + position.seq
    finally:
        sys.setswitchinterval(before)
        bus.join()
