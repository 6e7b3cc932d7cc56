import os

import pytest

from kwapi.drivers.mutes import Mutes, read_mutes, write_mutes
from tests.clock import Clock


def test_mutes_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "muted.json"
    assert read_mutes(path) == {}
    mutes = {"lyon.pdu1": 1.5, "Zürich": None}
    write_mutes(path, mutes)
    assert read_mutes(path) == mutes
    assert [file.name for file in tmp_path.iterdir()] == ["muted.json"]


def test_a_mute_ends_by_itself(tmp_path):
    path, now = tmp_path / "muted.json", Clock(1000.0)
    write_mutes(path, {"a": 1001.0, "b": None})
    mutes = Mutes(path, wall_clock=now)
    mutes.look()
    assert mutes.reason("a").startswith("by kwapi mute until 1970-01-01 ")
    assert (mutes.reason("b"), mutes.reason("c")) == ("by kwapi mute", None)
    now.now = 1001.0
    assert (mutes.reason("a"), mutes.reason("b")) == (None, "by kwapi mute")


def test_the_file_may_change_and_vanish(tmp_path):
    path = tmp_path / "muted.json"
    mutes = Mutes(path)
    mutes.look()
    assert mutes.reason("a") is None
    write_mutes(path, {"a": None})
    mutes.look()
    assert mutes.reason("a")
    write_mutes(path, {"b": None})
    mutes.look()
    assert (mutes.reason("a"), bool(mutes.reason("b"))) == (None, True)
    path.unlink()
    mutes.look()
    assert mutes.reason("b") is None


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[]",
        b'{"a": "soon"}',
        b'{"a": true}',
        b"\xff",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e20}',
        b'{"a": -1}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_list_of_mutes_is_told_once_and_changes_nothing(tmp_path, caplog, content):
    path = tmp_path / "muted.json"
    write_mutes(path, {"a": None})
    mutes = Mutes(path)
    mutes.look()
    path.with_name("other").write_bytes(content)
    path.with_name("other").replace(path)
    mutes.look()
    mutes.look()
    assert mutes.reason("a")
    assert caplog.text.count("cannot be read") == 1


def test_a_file_that_may_not_be_looked_at_changes_nothing_and_one_that_can_be_read_again_counts(tmp_path, caplog):
    path, moved = tmp_path / "state" / "muted.json", tmp_path / "moved"
    path.parent.mkdir()
    write_mutes(path, {"a": None})
    mutes = Mutes(path)
    mutes.look()
    path.parent.rename(moved)
    path.parent.symlink_to(path.parent)  # to look through it fails, whoever asks
    for each in (mutes, Mutes(path)):
        caplog.clear()
        each.look()
        each.look()
        assert caplog.text.count("cannot be read") == 1
    assert mutes.reason("a")
    path.parent.unlink()
    moved.rename(path.parent)
    write_mutes(path, {"b": None})
    mutes.look()
    assert (mutes.reason("a"), bool(mutes.reason("b"))) == (None, True)


def test_the_daemon_can_read_what_a_careful_administrator_writes(tmp_path):
    before = os.umask(0o077)
    try:
        write_mutes(tmp_path / "muted.json", {"a": None})
    finally:
        os.umask(before)
    assert (tmp_path / "muted.json").stat().st_mode & 0o777 == 0o644


def test_nothing_is_left_of_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "muted.json").mkdir()
    with pytest.raises(OSError):
        write_mutes(tmp_path / "muted.json", {"a": None})
    assert [path.name for path in tmp_path.iterdir()] == ["muted.json"]
