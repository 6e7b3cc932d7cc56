from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.admission import Admission
from kwapi.gate import Early, Gate
from kwapi.health import encode_health, health_topic
from kwapi.measurement import encode
from kwapi.signing import KeyRing, key_from, sign
from kwapi.stream import MAX_BOOTS, Account, Answer, Ask, Position
from kwapi.streams import Streams
from tests.messages import KEY, frame, message
from tests.messages import health as new_health

NOW = 1_800_000_000.0


def gate(**limits):
    return Gate(KeyRing([KEY]), clock=lambda: NOW, **limits)


def fresh(**fields):
    return frame(**{"timestamp": NOW, **fields})


def taken(doorman, *frames):
    return [doorman.take(each) is not None for each in frames]


def test_a_signed_message_is_taken_once():
    doorman = gate()
    assert taken(doorman, fresh(seq=1), fresh(seq=1), fresh(seq=2)) == [True, False, True]
    assert doorman.rejected == {"seen before": 1}
    assert (doorman.accepted, doorman.lost) == (2, 0)


def test_holes_are_counted_as_lost():
    doorman = gate()
    taken(doorman, fresh(seq=5), fresh(seq=9), fresh(seq=8), fresh(seq=10), fresh(wattmeter="other", seq=3))
    assert doorman.lost == 3
    assert doorman.rejected == {"seen before": 1}


def test_an_unknown_boot_must_be_recent():
    doorman = gate(max_age=600, max_skew=60)
    old, future = fresh(timestamp=NOW - 601), fresh(timestamp=NOW + 61)
    assert taken(doorman, old, future) == [False, False]
    assert doorman.rejected == {"too old": 1, "from the future": 1}


def test_a_known_boot_is_believed_whatever_its_clock_says():
    doorman = gate()
    assert taken(doorman, fresh(seq=1), fresh(seq=2, timestamp=NOW - 7200), fresh(seq=3, timestamp=NOW + 7200)) == [
        True,
        True,
        True,
    ]
    assert doorman.skew == {"lyon.pdu1": -7200}


def ending(**fields):
    return fresh(type="end", probes=[], w=None, kwh=None, **fields)


def helped(positions=None):
    streams = Streams(positions, spools=1)
    streams.heard_of_spool(0)
    return streams


def account(doorman):
    return doorman.streams.accounts()[b"lyon.pdu1."]


def test_the_end_of_a_publisher_is_counted_and_nobody_else_is_given_it():
    doorman = gate()
    assert taken(doorman, fresh(seq=0), ending(seq=1), ending(seq=1), fresh(boot=2, seq=0)) == [
        True,
        False,
        False,
        True,
    ]
    assert account(doorman) == Account(delivered=3, duplicates=1)


def test_an_end_that_a_spool_has_is_known():
    doorman = gate(streams=helped())
    taken(doorman, fresh(seq=0), fresh(boot=2, seq=0))
    ask = Ask(b"lyon.pdu1.", 1, 1, None)
    assert list(doorman.streams.asks()) == [ask]
    assert doorman.take_again(doorman.believe(ending(seq=1), ask), ask)
    doorman.streams.answer(ask, Answer(None, 1))
    ask = Ask(b"lyon.pdu1.", 2, 0, 0)
    assert list(doorman.streams.asks()) == [ask]
    assert doorman.take_again(doorman.believe(fresh(boot=2, seq=0), ask), ask)
    assert account(doorman) == Account(delivered=3, repaired=2)


def test_what_comes_before_its_turn_is_known_as_that():
    doorman = gate(streams=helped())
    first, early = doorman.take(fresh(seq=0)), doorman.take(fresh(seq=2, w=[7.0]))
    assert not isinstance(first, Early)
    assert isinstance(early, Early)
    assert early.message.w == [7.0]
    assert doorman.take(ending(seq=3)) is None
    assert account(doorman) == Account(delivered=1, awaited=3)


def test_a_signed_message_that_is_none_is_rejected_and_not_lost():
    doorman = gate()
    assert taken(doorman, fresh(seq=0), fresh(seq=1, w=[float("nan")]), fresh(seq=4)) == [True, False, True]
    assert account(doorman) == Account(delivered=2, rejected=1, lost=2)


def test_what_was_sent_before_we_were_stopped_is_no_news_of_a_boot_that_we_do_not_know():
    """Somebody recorded it, and waited until we had forgotten."""
    doorman = gate(since=NOW - 60, streams=Streams({b"lyon.pdu1.": Position(9, 5)}))
    assert taken(doorman, fresh(boot=8, seq=3, timestamp=NOW - 61), fresh(boot=9, seq=4, timestamp=NOW - 61)) == [
        False,
        False,
    ]
    assert doorman.rejected == {"too old": 1, "seen before": 1}
    assert taken(doorman, fresh(boot=9, seq=5, timestamp=NOW - 61), fresh(boot=10, seq=0)) == [True, True]


def test_a_spool_alone_is_not_believed_about_a_time_before_we_were_stopped():
    doorman = gate(since=NOW - 60, streams=helped())
    doorman.streams.discover(b"lyon.pdu1.", 8, 0)
    (ask,) = doorman.streams.asks()
    assert doorman.believe(fresh(boot=8, timestamp=NOW - 61), ask) is None
    assert doorman.rejected == {"too old": 1}
    assert doorman.believe(fresh(boot=8, timestamp=NOW - 59), ask) is not None
    doorman.take(fresh(boot=8, seq=5))
    assert doorman.believe(fresh(boot=8, timestamp=NOW - 61), ask) is not None


def test_boots_are_remembered_and_their_number_is_bounded():
    doorman = gate()
    assert all(taken(doorman, *(fresh(boot=boot, seq=7) for boot in range(MAX_BOOTS))))
    assert not any(taken(doorman, *(fresh(boot=boot, seq=7) for boot in range(MAX_BOOTS))))
    assert taken(doorman, fresh(boot=99, seq=0)) == [True]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (b"", "wrong size"),
        (b"lyon.pdu1.\0", "wrong size"),
        (bytes(2 << 20), "wrong size"),
        (frame(key=key_from(b"the key of somebody else, 32 byte"), timestamp=NOW), "unknown key"),
        (fresh()[:-1] + bytes([fresh()[-1] ^ 1]), "bad signature"),
        (fresh()[:-5], "bad signature"),
        (fresh().replace(b"lyon.pdu1.", b"lyon.pdu2.", 1), "bad signature"),
        (sign(KEY, b"lyon.pdu2.", encode(message(timestamp=NOW))), "wrong topic"),
        (sign(KEY, b"lyon.pdu1.", b"not a payload"), "malformed"),
        (fresh(wattmeter="a/b"), "malformed"),
        (fresh(probes=["a/b"]), "malformed"),
        (fresh(w=[float("nan")]), "malformed"),
        (fresh(probes=[], w=None, kwh=None), "malformed"),
        (fresh(type="end"), "malformed"),
    ],
)
def test_everything_else_is_dropped_and_counted_by_reason(bad, reason):
    doorman = gate()
    assert doorman.take(bad) is None
    assert doorman.rejected == {reason: 1}
    assert doorman.accepted == 0
    assert taken(doorman, fresh()) == [True]  # and changes nothing


@given(st.binary(max_size=400))
def test_random_bytes_never_raise(junk):
    doorman = gate()
    assert doorman.take(junk) is None


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_a_message_with_other_bytes_in_it_is_dropped(position, junk):
    genuine = fresh()
    position %= len(genuine)
    forged = genuine[:position] + junk + genuine[position + len(junk) :]
    doorman = gate()
    assert (doorman.take(forged) is None) or forged == genuine


def test_the_topics_of_kwapi_itself_are_passed_over():
    doorman = gate()
    assert doorman.take(sign(KEY, b"kwapi.health.lyon.pdu1.", b"x")) is None
    assert not doorman.rejected
    assert doorman.take(b"kwapi.health.lyon.pdu1.\0" + bytes(100)) is None
    assert doorman.rejected == {"unknown key": 1}


def told(topic=None, **fields):
    health = new_health(**{"timestamp": NOW, **fields})
    return sign(KEY, topic or health_topic(health.wattmeter), encode_health(health))


def test_health_is_taken_once_by_a_gate_that_was_made_for_it():
    doorman = gate(health=True)
    first = doorman.take(told(seq=4))
    assert (first.wattmeter, first.state) == ("lyon.pdu1", "up")
    assert taken(doorman, told(seq=4), told(seq=9), told(boot=8, timestamp=NOW - 601)) == [False, True, False]
    assert doorman.rejected == {"seen before": 1, "too old": 1}
    assert doorman.lost == 0  # of what is measured


def test_health_tells_of_the_newest_measurement():
    doorman = gate(health=True)
    assert taken(doorman, fresh(boot=7, seq=5), told(seq=0, last_seq=5), told(seq=1, last_seq=8)) == [True] * 3
    assert account(doorman) == Account(delivered=1, lost=3)


def test_health_and_measurements_are_numbered_apart():
    doorman = gate(health=True)
    assert taken(doorman, fresh(boot=7, seq=5), told(seq=0), fresh(boot=7, seq=6)) == [True, True, True]
    assert doorman.lost == 0


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (told(topic=b"kwapi.health.lyon.pdu2."), "wrong topic"),
        (told(topic=b"kwapi.health."), "wrong topic"),
        (sign(KEY, b"kwapi.health.lyon.pdu1.", b"x"), "malformed"),
        (told()[:-1] + bytes([told()[-1] ^ 1]), "bad signature"),
    ],
)
def test_other_health_is_dropped_and_counted(bad, reason):
    doorman = gate(health=True)
    assert doorman.take(bad) is None
    assert doorman.rejected == {reason: 1}


HOUR = 3600.0
OLD, NEW = key_from(b"the key of the tests until noon!"), key_from(b"the key of the tests from noon on")
LYON = replace(key_from(b"the key of the tests for Lyon..."), prefixes=(b"lyon.",))


def rotated(*, now=NOW, old_ends=NOW, **limits):
    """Return a gate that knows a key until now, one from now on, and one for Lyon only."""
    keys = [replace(OLD, ends=old_ends), replace(NEW, begins=NOW), LYON]
    return Gate(KeyRing(keys), clock=lambda: now, **limits)


@pytest.mark.parametrize(
    ("key", "timestamp", "reason"),
    [
        (OLD, NOW - HOUR / 10, None),
        (OLD, NOW + 59.0, None),  # clocks differ by max_skew
        (OLD, NOW + 60.0, "key not valid"),
        (NEW, NOW - 60.0, None),
        (NEW, NOW - 60.5, "key not valid"),
        (NEW, NOW, None),
    ],
)
def test_a_key_is_believed_while_it_is_valid(key, timestamp, reason):
    doorman = rotated()
    assert (doorman.take(frame(key, timestamp=timestamp)) is None) == bool(reason)
    assert doorman.rejected == ({reason: 1} if reason else {})


def test_what_was_signed_before_a_key_ended_is_believed_out_of_a_spool_long_after():
    doorman, ask = rotated(now=NOW + 20 * HOUR), Ask(b"lyon.pdu1.", 1, 0, None)
    assert doorman.believe(frame(OLD, timestamp=NOW - HOUR), ask)
    assert doorman.believe(frame(OLD, timestamp=NOW + HOUR), ask) is None
    assert doorman.believe(frame(NEW, timestamp=NOW + HOUR), ask)
    assert doorman.rejected == {"key not valid": 1}


def test_whoever_has_a_key_that_has_ended_cannot_go_on_with_a_boot_that_is_known():
    """Of one by a key that has not, an old timestamp would be taken for a wrong clock."""
    doorman = rotated(now=NOW + HOUR)
    assert taken(doorman, frame(NEW, seq=1, timestamp=NOW + HOUR)) == [True]
    assert taken(doorman, frame(OLD, seq=2, timestamp=NOW - 1.0)) == [False]
    assert taken(doorman, frame(LYON, seq=2, timestamp=NOW - 1.0)) == [True]
    assert doorman.rejected == {"too old": 1}


def test_a_key_that_was_taken_out_of_the_file_is_unknown():
    doorman = Gate(KeyRing([NEW]), clock=lambda: NOW)
    assert taken(doorman, fresh(key=OLD), fresh(key=NEW)) == [False, True]
    assert doorman.rejected == {"unknown key": 1}


def test_a_key_for_some_wattmeters_speaks_for_no_other():
    doorman = rotated(health=True)
    assert taken(doorman, fresh(key=LYON, wattmeter="lyon.pdu1"), signed_health(LYON, "lyon.pdu1")) == [True, True]
    others = ("paris.pdu1", "lyonel.pdu1", "pdu1.lyon")
    assert not any(taken(doorman, *(fresh(key=LYON, wattmeter=name) for name in others)))
    assert not any(taken(doorman, *(signed_health(LYON, name) for name in others)))
    assert doorman.rejected == {"key not allowed": 6}


def test_a_key_for_some_wattmeters_cannot_go_on_where_another_has_spoken():
    doorman = rotated()
    assert taken(doorman, fresh(key=NEW, wattmeter="paris.pdu1", seq=1)) == [True]
    assert taken(doorman, fresh(key=LYON, wattmeter="paris.pdu1", seq=2)) == [False]
    assert doorman.believe(fresh(key=LYON, wattmeter="paris.pdu1", seq=2), Ask(b"paris.pdu1.", 1, 2, 2)) is None
    assert taken(doorman, fresh(key=NEW, wattmeter="paris.pdu1", seq=2)) == [True]
    assert doorman.rejected == {"key not allowed": 2}
    assert doorman.lost == 0


def test_a_limited_key_cannot_hide_behind_the_topic_of_its_own():
    doorman = rotated(health=True)
    inner = message(wattmeter="paris.pdu1", timestamp=NOW)
    assert doorman.take(sign(LYON, b"lyon.pdu1.", encode(inner))) is None
    assert doorman.take(sign(LYON, b"paris.pdu1.", encode(message(wattmeter="lyon.pdu1", timestamp=NOW)))) is None
    hidden = new_health(wattmeter="paris.pdu1", timestamp=NOW)
    assert doorman.take(sign(LYON, b"kwapi.health.lyon.pdu1.", encode_health(hidden))) is None
    assert doorman.rejected == {"wrong topic": 3}


def signed_health(key, wattmeter):
    return sign(key, health_topic(wattmeter), encode_health(new_health(wattmeter=wattmeter, timestamp=NOW)))


def test_what_a_key_introduces_is_bounded_and_what_is_refused_leaves_no_trace():
    doorman = gate(admission=Admission(max_wattmeters=2, max_probes=3), health=True)
    flood = [fresh(wattmeter=f"pdu{number}", probes=[f"p{number}"]) for number in range(100)]
    flood += [signed_health(KEY, f"pdu{number}") for number in range(100)]
    flood += [fresh(wattmeter="pdu0", seq=1, probes=["p0", f"q{number}"]) for number in range(100)]
    assert sum(taken(doorman, *flood)) == 2 + 2 + 1
    assert doorman.rejected == {"too many wattmeters": 98 + 98, "too many probes": 99}
    assert set(doorman.skew) == {"pdu0", "pdu1"}
    assert set(doorman.streams.accounts()) == {b"pdu0.", b"pdu1."}


@pytest.mark.parametrize("timestamp", [1e300, -1e300, 1e18])
def test_a_time_that_is_no_date_is_refused_and_raises_nothing(timestamp):
    doorman = rotated(health=True)
    assert doorman.take(frame(NEW, timestamp=timestamp)) is None
    assert doorman.take(frame(OLD, timestamp=timestamp)) is None
    assert doorman.rejected.total() == 2


def test_who_lacks_a_key_is_told_which_ones_there_are(caplog):
    gate().take(frame(key=key_from(b"the key of somebody else, 32 byte"), timestamp=NOW))
    assert caplog.messages[-1].endswith(f"? Here it has {KEY.id.hex()}")
