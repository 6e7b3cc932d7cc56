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


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"a": "soon"}', b'{"a": true}', b"\xff"])
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
