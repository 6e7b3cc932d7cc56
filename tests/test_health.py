import msgspec
import pytest

from kwapi.errors import BadMessage
from kwapi.health import STATES, decode_health, encode_health, health_topic
from tests.messages import health

GOOD = msgspec.to_builtins(health())


def test_health_is_read_as_it_was_written():
    for state in STATES:
        told = health(state=state, reason="no answer", last_success=3.5, polls=7)
        assert decode_health(encode_health(told)) == told


def test_topics_are_of_kwapi_itself():
    assert health_topic("lyon.pdu1") == b"kwapi.health.lyon.pdu1."
    assert health_topic("") == b"kwapi.health."


def test_unknown_keys_are_ignored():
    assert decode_health(msgspec.msgpack.encode({**GOOD, "mood": "fine"})) == health()


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "malformed"),
        (b"\xc1", "malformed"),
        (msgspec.msgpack.encode({"version": 1}), "malformed"),
        (msgspec.msgpack.encode({**GOOD, "version": 2}), "unknown version"),
        (msgspec.msgpack.encode({**GOOD, "type": "measurement"}), "unknown type"),
        (msgspec.msgpack.encode({**GOOD, "state": "happy"}), "malformed"),
        (msgspec.msgpack.encode({**GOOD, "polls": "many"}), "malformed"),
        (msgspec.msgpack.encode({**GOOD, "since": float("nan")}), "malformed"),
        (msgspec.msgpack.encode({**GOOD, "last_success": float("inf")}), "malformed"),
        (msgspec.msgpack.encode({**GOOD, "wattmeter": "a/b"}), "malformed"),
    ],
)
def test_other_bytes_are_refused_with_a_reason(payload, reason):
    with pytest.raises(BadMessage) as raised:
        decode_health(payload)
    assert raised.value.reason == reason
