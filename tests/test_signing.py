import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.errors import BadMessage, NoKey
from kwapi.signing import PIECE, KeyRing, key_from, sign

KEY = key_from(b"0123456789abcdef0123456789abcdef")
FRAME = sign(KEY, b"lyon.pdu1.", b"payload")


def test_golden_frame():
    """The bytes on the wire: another implementation must come to the same."""
    assert FRAME.hex() == (
        b"lyon.pdu1.\0".hex()
        + "da299452"
        + b"payload".hex()
        + "09856dd30068e0600f9e893d09f689236da4ef3a332b36c13e9185fdf8da05b7"
    )


@pytest.mark.parametrize("size", [0, 1, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 3 * PIECE + 5])
def test_a_signature_is_the_hmac_of_all_of_it(size):
    content = bytes(range(251)) * (size // 251 + 1)
    content = content[:size]
    assert KEY.signature(content) == hmac.digest(KEY.secret, content, "sha256")


def test_a_signed_frame_is_believed():
    assert KeyRing([KEY]).verify(FRAME) == (KEY, b"lyon.pdu1.", b"payload")


@pytest.mark.parametrize("position", range(len(FRAME)))
def test_one_changed_bit_anywhere_is_noticed(position):
    forged = bytearray(FRAME)
    forged[position] ^= 1
    with pytest.raises(BadMessage):
        KeyRing([KEY]).verify(bytes(forged))


@pytest.mark.parametrize("length", range(len(FRAME)))
def test_a_cut_frame_is_noticed(length):
    with pytest.raises(BadMessage):
        KeyRing([KEY]).verify(FRAME[:length])


def test_another_key_is_unknown_and_the_reason_says_so():
    with pytest.raises(BadMessage) as caught:
        KeyRing([key_from(b"another secret of some length")]).verify(FRAME)
    assert caught.value.reason == "unknown key"


@given(st.binary(max_size=200))
def test_random_bytes_are_never_believed(frame):
    with pytest.raises(BadMessage):
        KeyRing([KEY]).verify(frame)


def test_a_key_never_shows_its_secret():
    assert "0123" not in repr(KEY)


OLD, NEW, NEWEST, LYON = (key_from(f"a secret that is {name}".encode()) for name in ("old", "new", "newest", "lyon's"))
ROTATED = [
    replace(OLD, ends=300.0),
    replace(NEWEST, begins=200.0),
    replace(NEW, begins=100.0),
    replace(LYON, begins=150.0, ends=180.0, prefixes=(b"lyon.", b"rennes.rack1.")),
]


@pytest.mark.parametrize(
    ("topic", "timestamp", "key"),
    [
        (b"paris.pdu1.", -1e12, OLD),
        (b"paris.pdu1.", 99.999, OLD),
        (b"paris.pdu1.", 100.0, NEW),
        (b"paris.pdu1.", 199.999, NEW),
        (b"paris.pdu1.", 200.0, NEWEST),
        (b"paris.pdu1.", 1e12, NEWEST),
        (b"lyon.pdu1.", 149.999, NEW),
        (b"lyon.pdu1.", 150.0, LYON),
        (b"rennes.rack1.pdu1.", 179.999, LYON),
        (b"rennes.rack10.pdu1.", 150.0, NEW),
        (b"lyonel.pdu1.", 150.0, NEW),
        (b"lyon.pdu1.", 180.0, NEW),
    ],
)
def test_the_newest_key_that_is_valid_then_and_may_speak_for_the_wattmeter_signs(topic, timestamp, key):
    assert KeyRing(ROTATED).newest(topic, timestamp).id == key.id


def test_of_keys_that_begin_together_the_last_one_is_the_newest():
    assert KeyRing([OLD, NEW]).newest(b"pdu1.", 0.0) == NEW
    assert KeyRing([NEW, OLD]).newest(b"pdu1.", 0.0) == OLD


@pytest.mark.parametrize(
    ("topic", "timestamp", "reason"),
    [
        (b"paris.pdu1.", 60.0, "no signing key is for this wattmeter"),
        (b"lyon.pdu1.", 59.0, "no signing key is valid until 1970-01-01T00:01:00Z"),
        (b"lyon.pdu1.", 120.0, "its last signing key has ended at 1970-01-01T00:02:00Z"),
    ],
)
def test_why_no_key_may_sign_is_said(topic, timestamp, reason):
    ring = KeyRing([replace(LYON, begins=60.0, ends=120.0, prefixes=(b"lyon.",))])
    with pytest.raises(NoKey) as caught:
        ring.newest(topic, timestamp)
    assert str(caught.value) == reason
