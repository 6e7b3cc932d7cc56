"""What a subscriber makes of messages that come out of a stream, in order and of any age. No server."""

from dataclasses import replace

import pytest

from kwapi.gate import Gate
from kwapi.health import encode_health, health_topic
from kwapi.signing import KeyRing, sign
from kwapi.stream import Account, Ask, Place, Position
from kwapi.streams import Streams
from tests.messages import KEY, frame, health
from tests.streaming import LATER, TAKE, TOPIC, A, B, account, met

NOW, HOUR = 1_800_000_000.0, 3600.0


@pytest.fixture
def streams():
    return Streams({TOPIC: Position(A, 5)}, resumes=True)


def gate(streams, **limits):
    return Gate(KeyRing([KEY]), streams=streams, clock=lambda: NOW, **limits)


def stored(doorman, *frames):
    return [doorman.take(each, is_stored=True) is not None for each in frames]


def old(**fields):
    return frame(**{"timestamp": NOW - HOUR, **fields})


def test_runs_that_follow_are_taken_whatever_their_age(streams):
    doorman = gate(streams, since=NOW - 60)
    assert stored(doorman, old(boot=A, seq=5), old(boot=B, seq=0), old(boot=B, seq=1)) == [True] * 3
    assert doorman.rejected == {}


def test_a_run_from_before_those_that_are_known_is_a_replay(streams):
    doorman = gate(streams)
    assert stored(doorman, old(boot=A - 1), old(boot=A, seq=4)) == [False, False]
    assert doorman.rejected == {"too old": 1, "seen before": 1}
    assert stored(doorman, frame(boot=A - 1, timestamp=NOW)) == [True]  # a second publisher of the name, at work now


def test_a_wattmeter_that_is_new_may_be_as_old_as_what_was_read_last(streams):
    doorman = gate(streams, since=NOW - 2 * HOUR)
    assert stored(doorman, old(wattmeter="new")) == [True]
    assert stored(doorman, old(wattmeter="other", timestamp=NOW - 3 * HOUR)) == [False]


def test_without_such_a_time_it_has_to_be_recent(streams):
    doorman = gate(streams)
    assert stored(doorman, old(wattmeter="new"), frame(wattmeter="new", boot=2, timestamp=NOW - 60)) == [False, True]


def test_what_was_signed_by_a_key_that_has_ended_since_is_taken(streams):
    doorman = Gate(KeyRing([replace(KEY, ends=NOW - 60)]), streams=streams, clock=lambda: NOW)
    assert stored(doorman, old(boot=A, seq=5), frame(boot=A, seq=6, timestamp=NOW)) == [True, False]


def test_positions_hold_though_there_is_no_spool(streams):
    met(streams, 5, 6)
    assert streams.positions() == {TOPIC: Position(A, 7)}
    assert streams.exact() == {TOPIC: Place(Position(A, 7), Account(delivered=2))}
    assert streams.standings() == {TOPIC: Place(Position(A, 6), Account(delivered=1))}
    assert Streams({TOPIC: Position(A, 5)}).positions() == {}


def test_no_spool_is_asked_for_what_comes_by_itself():
    streams = Streams({TOPIC: Position(A, 5)}, spools=1, resumes=True)
    assert met(streams, 5, 6) == [TAKE, TAKE]
    assert list(streams.asks()) == []
    assert met(streams, 8) == [LATER]
    assert list(streams.asks()) == [Ask(TOPIC, A, 7, 8)]


def test_what_health_tells_of_is_still_to_come():
    for spools in (0, 1):
        streams = Streams({TOPIC: Position(A, 5)}, spools=spools, resumes=True)
        doorman = gate(streams, health=True)
        told = health(boot=A, last_seq=9, timestamp=NOW)
        assert stored(doorman, sign(KEY, health_topic(told.wattmeter), encode_health(told))) == [True]
        assert met(streams, 5, 6) == [TAKE, TAKE]
        assert account(streams) == Account(delivered=2)


def test_once_a_spool_is_heard_of_what_health_tells_of_is_asked_for():
    streams = Streams({TOPIC: Position(A, 5)}, spools=1, resumes=True)
    streams.heard_of_spool(0)
    streams.told(TOPIC, A, 9)
    assert list(streams.asks()) == [Ask(TOPIC, A, 5, 9)]
