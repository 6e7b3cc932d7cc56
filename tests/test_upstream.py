"""What a forwarder adds to its own answer of what other spools say; over sockets see test_replay.py."""

import pytest
import zmq

from kwapi.questions import HELLO, Frames, Runs, Since, Wanted
from kwapi.transport import Transport
from kwapi.upstream import AT_ONCE, PATIENCE, Answer, Upstream, first_of, up_to_hole
from tests.clock import Clock
from tests.messages import frame

A, B = 10, 20


def answer(said, *frames):
    return Answer(b"client", b"12345678", said, list(frames))


def test_what_comes_earlier_is_taken_with_all_boots_and_the_later_end():
    ours = answer(Frames(9, [A]), frame(seq=7))
    ours.learn(Frames(12, [A, B]), [frame(seq=4), frame(seq=5)])
    assert (ours.said, [first_of([each]) for each in ours.frames]) == (Frames(12, [A, B]), [4, 5])
    ours.learn(Frames(None, [B]), [frame(seq=6)])
    assert (ours.said, first_of(ours.frames)) == (Frames(12, [A, B]), 4)


def test_what_comes_after_a_hole_is_left_out():
    """It would say that nobody has what is missing."""
    frames = [frame(seq=seq) for seq in (3, 4, 7, 8)]
    assert up_to_hole(frames) == frames[:2]
    assert up_to_hole([]) == up_to_hole([b"junk", frames[0]]) == []
    ours = answer(Frames(9, [A]), frame(seq=7))
    ours.learn(Frames(12, [A]), frames)
    assert ours.frames == frames[:2]


def test_of_two_pages_only_what_both_cover_is_told():
    ours = answer(Runs([(b"a.", A, 5), (b"c.", A, 1)], b"c."))
    ours.learn(Runs([(b"a.", A, 5), (b"b.", A, 2)], b"b."), [])
    assert ours.said == Runs([(b"a.", A, 5), (b"b.", A, 2)], b"b.")
    ours = answer(Runs([(b"a.", A, 5)], b"a."))
    ours.learn(Runs([(b"a.", A, 5), (b"b.", A, 2)]), [])
    assert ours.said == Runs([(b"a.", A, 5)], b"a.")


def test_of_two_that_know_a_run_the_earlier_beginning_is_told():
    ours = answer(Runs([(b"a.", A, 5), (b"b.", A, 1)]))
    ours.learn(Runs([(b"a.", A, 3), (b"b.", A, 2), (b"c.", B, 0)]), [])
    assert sorted(ours.said.runs) == [(b"a.", A, 3), (b"b.", A, 1), (b"c.", B, 0)]


@pytest.mark.parametrize(
    ("frames", "lacks"), [([], True), ([frame(seq=4)], True), ([frame(seq=3), frame(seq=9)], False), ([b"junk"], True)]
)
def test_an_answer_that_does_not_begin_where_it_should_lacks_something(frames, lacks):
    assert answer(Frames(9, [A]), *frames).lacks(Wanted(b"lyon.pdu1.", A, 3)) is lacks


def test_another_spool_may_know_of_other_runs_and_nobody_else_has_to_greet():
    assert answer(Runs([])).lacks(Since(b"lyon.", 0.0))
    assert not answer(Runs([])).lacks(HELLO)


@pytest.fixture
def asked():
    """Return what asks a spool that never answers, and its clock."""
    clock, context = Clock(), zmq.Context()
    silent = context.socket(zmq.ROUTER)
    silent.bind("inproc://silent")
    upstream = Upstream(context, ["inproc://silent"], Transport(), clock=clock)
    yield upstream, clock
    upstream.close()
    silent.close(linger=0)
    context.term()


def test_of_what_may_be_elsewhere_nothing_is_said_and_a_list_is_said_to_lack_some(asked):
    """Whoever asked would take it for lost."""
    upstream, clock = asked
    upstream.ask(Wanted(b"a.", A, 3), answer(Frames(None, [])))
    upstream.ask(Since(b"a.", 0.0), answer(Runs([(b"a.", A, 5)])))
    assert list(upstream.answers()) == []
    clock.now += PATIENCE + 1
    (list_of_runs,) = upstream.answers()
    assert list_of_runs.said == Runs([(b"a.", A, 5)], is_complete=False)
    assert list(upstream.answers()) == []


def test_who_asks_without_end_is_not_asked_for_without_end(asked):
    upstream, clock = asked
    for seq in range(AT_ONCE + 10):
        upstream.ask(Since(b"a.", float(seq)), answer(Runs([])))
    clock.now += PATIENCE + 1
    assert len(list(upstream.answers())) == AT_ONCE


def test_an_answer_to_something_else_changes_nothing():
    ours = answer(Frames(9, [A]), frame(seq=7))
    ours.learn(Runs([(b"a.", A, 0)]), [frame(seq=1)])
    assert (ours.said, first_of(ours.frames)) == (Frames(9, [A]), 7)
