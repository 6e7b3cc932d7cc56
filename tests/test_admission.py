"""What one key may introduce; what it is limited to is tried with the gate."""

import tracemalloc
from dataclasses import replace

import pytest

from kwapi.admission import Admission
from kwapi.errors import BadMessage
from kwapi.measurement import topic_of
from kwapi.signing import key_from
from tests.messages import KEY, health, message

OTHER = key_from(b"another key of the tests, 32 byt")


def reason_of(admission, key=KEY, **fields):
    """Return why a message is refused, None if it is not."""
    said = message(**fields)
    try:
        admission.check(key, topic_of(said.wattmeter), said)
    except BadMessage as error:
        return error.reason
    return None


def test_a_key_introduces_so_many_wattmeters_and_no_more():
    admission = Admission(max_wattmeters=3)
    reasons = [reason_of(admission, wattmeter=f"pdu{number}") for number in (1, 2, 3, 4, 1, 5, 3)]
    assert reasons == [None, None, None, "too many wattmeters", None, "too many wattmeters", None]
    assert reason_of(admission, OTHER, wattmeter="pdu4") is None  # each key has its own


def test_health_counts_as_measurements_do():
    admission = Admission(max_wattmeters=1)
    admission.check_health(KEY, b"kwapi.health.pdu1.", health(wattmeter="pdu1"))
    with pytest.raises(BadMessage, match="too many wattmeters"):
        admission.check_health(KEY, b"kwapi.health.pdu2.", health(wattmeter="pdu2"))
    assert reason_of(admission, wattmeter="pdu1") is None
    assert reason_of(admission, wattmeter="pdu2") == "too many wattmeters"


def test_a_key_introduces_so_many_probes_of_all_wattmeters_together():
    admission = Admission(max_probes=5)
    assert reason_of(admission, wattmeter="pdu1", probes=["a", "b"]) is None
    assert reason_of(admission, wattmeter="pdu1", probes=["b"]) is None
    assert reason_of(admission, wattmeter="pdu1", probes=["b", "c"]) is None
    assert reason_of(admission, wattmeter="pdu2", probes=["d", "e"]) is None
    assert reason_of(admission, wattmeter="pdu2", probes=["e", "f"]) == "too many probes"
    assert reason_of(admission, wattmeter="pdu3", probes=["g"]) == "too many probes"
    assert reason_of(admission, wattmeter="pdu1", probes=["c", "a"]) is None


def test_a_wattmeter_that_speaks_by_another_key_counts_for_that_one():
    admission = Admission(max_wattmeters=2, max_probes=2)
    for name in ("pdu1", "pdu2"):
        assert reason_of(admission, wattmeter=name, probes=[name]) is None
    assert reason_of(admission, wattmeter="pdu3", probes=["pdu3"]) == "too many wattmeters"
    assert reason_of(admission, OTHER, wattmeter="pdu1", probes=["pdu1"]) is None
    assert reason_of(admission, wattmeter="pdu3", probes=["pdu3"]) is None
    assert reason_of(admission, wattmeter="pdu1", probes=["pdu1"]) == "too many wattmeters"  # it cannot come back
    assert reason_of(admission, OTHER, wattmeter="pdu2", probes=["pdu2", "x"]) == "too many probes"
    assert reason_of(admission, OTHER, wattmeter="pdu2", probes=["pdu2"]) is None


def test_a_key_whose_line_was_edited_counts_as_before():
    admission = Admission(max_wattmeters=2, max_probes=2)
    for key in (KEY, replace(KEY, ends=2e9), replace(KEY, prefixes=(b"pdu1.", b"pdu2."))):
        assert reason_of(admission, key, wattmeter="pdu1", probes=["pdu1"]) is None
        assert reason_of(admission, key, wattmeter="pdu2", probes=["pdu2"]) is None
    assert reason_of(admission, wattmeter="pdu3", probes=["pdu3"]) == "too many wattmeters"


def test_what_is_refused_introduces_nothing():
    admission = Admission(max_wattmeters=1, max_probes=1)
    limited = replace(KEY, prefixes=(b"lyon.",), ends=1000.0)
    assert reason_of(admission, wattmeter="a/b") == "malformed"
    assert reason_of(admission, wattmeter="a", probes=["a/b"]) == "malformed"
    assert reason_of(admission, wattmeter="a", probes=["a", "b"]) == "too many probes"
    assert reason_of(admission, limited, wattmeter="paris.pdu1") == "key not allowed"
    assert reason_of(admission, limited, wattmeter="lyon.pdu1") == "key not valid"
    with pytest.raises(BadMessage, match="wrong topic"):
        admission.check(KEY, b"b.", message(wattmeter="a"))
    assert reason_of(admission, wattmeter="lyon.pdu1") is None


def test_a_flood_of_new_names_takes_no_memory():
    admission = Admission(max_wattmeters=50, max_probes=500)

    def flood(wave):
        for number in range(2000):
            reason_of(admission, wattmeter=f"pdu{wave}-{number}", probes=[f"{wave}-{number}-{i}" for i in range(4)])
            reason_of(admission, wattmeter="pdu0-0", probes=[f"new-{wave}-{number}"])

    flood(0)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        flood(1)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # bytes; 2000 names alone would be ten times that
