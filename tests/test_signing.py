import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.errors import BadMessage, ConfigError
from kwapi.signing import KeyRing, key_from, make_key_file, read_key, sign

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


def test_a_signed_frame_is_believed():
    assert KeyRing([KEY]).verify(FRAME) == (b"lyon.pdu1.", b"payload")


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


def test_a_made_key_is_private_random_and_made_once(tmp_path):
    path = tmp_path / "state" / "signing.key"
    assert make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    first = read_key(path)
    assert not make_key_file(path)
    assert read_key(path) == first
    assert os.listdir(path.parent) == ["signing.key"]
    make_key_file(tmp_path / "other.key")
    assert read_key(tmp_path / "other.key") != first


def test_a_key_never_shows_its_secret():
    assert "0123" not in repr(KEY)


@pytest.mark.parametrize(
    ("secret", "mode", "complaint"),
    [
        (b"change me\n", 0o600, "placeholder"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0o600, "placeholder"),
        (b"", 0o600, "placeholder"),
        (b"short one", 0o600, "shorter"),
        (b"0123456789abcdef0123456789", 0o640, "others"),
    ],
)
def test_a_bad_key_file_is_refused(tmp_path, secret, mode, complaint):
    path = tmp_path / "key"
    path.write_bytes(secret)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=complaint):
        read_key(path)


def test_a_missing_key_file_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="No such file"):
        read_key(tmp_path / "key")
