import os
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.errors import BadMessage, ConfigError
from kwapi.keys import KeyFile, add_key, make_key_file, parse_key, parse_keys, read
from kwapi.signing import KeyRing, key_from, sign
from tests.clock import Clock

SECRETS = [f"{number}-0123456789abcdef" for number in range(9)]
KEYS = [key_from(secret.encode()) for secret in SECRETS]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "signing.key"


def write(path, *lines):
    """Write a file of keys as an editor does, that makes a new one."""
    new = path.with_suffix(".new")
    new.write_text("".join(f"{line}\n" for line in lines))
    new.chmod(0o600)
    new.replace(path)


def ids(path):
    return [key.id for key in read(path).keys]


def test_a_file_with_one_secret_is_a_key_without_limits(path):
    write(path, SECRETS[0])
    assert read(path).keys == [KEYS[0]]


def test_a_file_may_have_several_keys_limits_and_comments(path):
    write(
        path,
        "# of the machine room",
        f"{SECRETS[0]}  until=2027-01-15T08:00:00Z   # goes with Ann",
        "",
        f"\t{SECRETS[1]}# from=2027-01-15T09:00:00+01:00 wattmeters=lyon.,grenoble.rack1\r",
    )
    first, second = read(path).keys
    assert (first.id, first.begins, first.ends, first.prefixes) == (KEYS[0].id, float("-inf"), 1_800_000_000.0, ())
    assert second.id == key_from(f"{SECRETS[1]}#".encode()).id
    assert (second.begins, second.ends) == (1_800_000_000.0, float("inf"))
    assert second.prefixes == (b"lyon.", b"grenoble.rack1.")


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("change me", "holds a placeholder, not a secret"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaa", "holds a placeholder, not a secret"),
        ("hunter2short", "the secret is shorter than 16 bytes"),
        ("hunter2 is a secret of several words", "the secret is shorter than 16 bytes"),
        ("hunter2-has-a-bell\a", "the secret has characters that cannot be printed"),
        ("from=2027-01-15T08:00:00Z hunter2-0123456789", "begins with no secret"),
        ("hunter2-0123456789 hunter2", "a word after the secret begins with none of from=, until=, wattmeters="),
        ("hunter2-0123456789 hunter2=x", "a word after the secret begins with none of from=, until=, wattmeters="),
        ("hunter2-0123456789 from=hunter2", "from= is no time with its zone, such as 2026-11-22T12:00:00Z"),
        ("hunter2-0123456789 from", "from= is no time with its zone, such as 2026-11-22T12:00:00Z"),
        ("hunter2-0123456789 from=2027-01-15", "from= is no time with its zone, such as 2026-11-22T12:00:00Z"),
        ("hunter2-0123456789 until=0001-01-01T00:00:00+14:00", "until= is no time with its zone, such as 2026-11-22"),
        ("hunter2-0123456789 until=2027-01-15T08:00:00", "until= is no time with its zone, such as 2026-11-22T12"),
        ("hunter2-0123456789 from=2027-01-15T08:00:00Z until=2027-01-15T08:00:00Z", "until= is not after from="),
        ("hunter2-0123456789 wattmeters=a wattmeters=b", "wattmeters= stands twice"),
        ("hunter2-0123456789 wattmeters=", "wattmeters= is no list of names, or of first parts of names, such as"),
        ("hunter2-0123456789 wattmeters=hunter2,,b", "wattmeters= is no list of names, or of first parts of names"),
        ("hunter2-0123456789 wattmeters=hunter2/a", "wattmeters= is no list of names, or of first parts of names"),
        (SECRETS[0], "is the key of line 1 once more"),
    ],
)
def test_every_mistake_is_told_by_its_line_and_shows_no_secret(path, line, complaint):
    write(path, SECRETS[0], "# fine", line, "tooshort")
    with pytest.raises(ConfigError) as caught:
        read(path)
    first, second = caught.value.mistakes
    assert first.startswith(f"signing_key_file: {path}:3: {complaint}")
    assert second.startswith(f"signing_key_file: {path}:4: ")
    assert "hunter2" not in str(caught.value) and SECRETS[0] not in str(caught.value)


@given(st.text(max_size=100))
def test_no_mistake_ever_shows_a_word_of_its_line(text):
    line = "correct-horse-battery " + text
    try:
        parse_keys(line, "here")
    except ConfigError as error:
        said = re.sub("|".join(("from=", "until=", "wattmeters=")), "", str(error))
        assert "correct" not in said
        assert not [word for word in text.split() if len(word) > 12 and word in said]


@pytest.mark.parametrize(
    ("content", "mode", "complaint"),
    [
        (b"", 0o600, "holds no secret"),
        (b"# only words\n", 0o600, "holds no secret"),
        (b"0123456789abcdef0123456789", 0o640, "can be read by others"),
        (b"0123456789abcdef\xff\xfe", 0o600, "is not UTF-8: byte 16"),
        (b"0123456789abcdef\n" * 5000, 0o600, "is larger than 65536 bytes"),
    ],
)
def test_a_bad_file_is_refused(path, content, mode, complaint):
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=complaint):
        KeyFile(path)


def test_a_missing_file_is_refused(path):
    with pytest.raises(ConfigError, match="No such file"):
        KeyFile(path)


def test_a_made_key_is_private_random_and_made_once(tmp_path):
    path = tmp_path / "state" / "signing.key"
    assert make_key_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    first = ids(path)
    assert not make_key_file(path)
    assert ids(path) == first
    assert os.listdir(path.parent) == ["signing.key"]
    make_key_file(tmp_path / "other.key")
    assert ids(tmp_path / "other.key") != first


def test_an_added_key_is_the_last_and_the_rest_stays_as_it_was(path):
    first = add_key(path)
    path.write_text(f"# ours\n{path.read_text().rstrip()}")
    second = add_key(path, "from=2027-01-15T08:00:00Z", "wattmeters=lyon")
    assert ids(path) == [first.id, second.id]
    assert path.read_text().startswith("# ours\n")
    assert read(path).keys[1] == second
    assert path.stat().st_mode & 0o777 == 0o600
    assert os.listdir(path.parent) == ["signing.key"]


def test_nothing_is_added_to_a_file_that_is_wrong_or_by_a_limit_that_is(path):
    with pytest.raises(ValueError, match="from= is no time"):
        add_key(path, "from=noon")
    assert not path.exists()
    write(path, "tooshort")
    with pytest.raises(ConfigError, match="shorter"):
        add_key(path)
    assert path.read_text() == "tooshort\n"


def test_a_key_is_added_behind_a_link(path, tmp_path):
    write(path, SECRETS[0])
    link = tmp_path / "link"
    link.symlink_to(path)
    add_key(link)
    assert link.is_symlink()
    assert len(ids(path)) == 2


def believes(ring, key):
    try:
        return ring.verify(sign(key, b"a.", b"x"))[0].id == key.id
    except BadMessage:
        return False


def test_a_file_that_has_changed_is_read_again_within_a_second(path, caplog):
    caplog.set_level("INFO")
    clock = Clock()
    write(path, SECRETS[0])
    ring = KeyFile(path, clock=clock)
    write(path, SECRETS[1], SECRETS[2])
    clock.now += 0.9
    ring.look()
    assert believes(ring, KEYS[0]) and ring.newest(b"a.", 0.0) == KEYS[0]
    clock.now += 0.2
    ring.look()
    assert ring.newest(b"a.", 0.0) == KEYS[2]
    assert not believes(ring, KEYS[0])
    clock.now += 5
    ring.look()
    assert caplog.text.count("was read again; signing keys: ") == 1


def test_an_unknown_key_has_the_file_looked_at_and_no_more_than_once_a_second(path):
    clock = Clock()
    write(path, SECRETS[0])
    ring = KeyFile(path, clock=clock)
    clock.now += 2
    assert not believes(ring, KEYS[1])
    write(path, SECRETS[1])
    assert not believes(ring, KEYS[1])  # the look was wasted on the first
    clock.now += 1
    assert believes(ring, KEYS[1])


def test_a_new_file_that_cannot_be_used_keeps_the_old_keys_and_is_told_once(path, caplog):
    clock = Clock()
    write(path, SECRETS[0])
    ring = KeyFile(path, clock=clock)

    def look():
        for _ in range(3):
            clock.now += 1
            ring.look()
        assert believes(ring, KEYS[0])
        told = [record.getMessage() for record in caplog.records]
        caplog.clear()
        return told

    write(path, SECRETS[1], "tooshort")
    (told,) = look()
    assert told.startswith("the signing keys stay as they were: ") and told.endswith("shorter than 16 bytes")
    path.unlink()
    (told,) = look()
    assert "No such file" in told
    write(path, SECRETS[0])
    path.chmod(0o644)
    (told,) = look()
    assert "can be read by others" in told
    caplog.set_level("INFO")
    path.chmod(0o600)
    (told,) = look()
    assert told.endswith(f"was read again; signing keys: {KEYS[0].id.hex()}")
    assert look() == []


def test_a_process_that_is_started_later_has_the_keys_whatever_became_of_the_file(path):
    write(path, SECRETS[0])
    ring = KeyFile(path)
    path.unlink()
    assert pickle.loads(pickle.dumps(ring)).newest(b"a.", 0.0) == KEYS[0]  # noqa: S301 -- our own


def test_nothing_shows_a_secret(path):
    write(path, f"{SECRETS[0]} wattmeters=lyon")
    for shown in (KeyFile(path), KeyRing(KEYS), parse_key(SECRETS[0])):
        assert SECRETS[0] not in repr(shown) and SECRETS[0] not in str(shown)
