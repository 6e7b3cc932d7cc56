"""Up to where a plugin got, on disk."""

import logging
import threading

import pytest

from kwapi.plugins.positions import Positions, Saved
from kwapi.stream import Account, Boots, Mark, Place, Position
from kwapi.streams import Standing
from tests.clock import Clock


@pytest.fixture
def path(tmp_path):
    return tmp_path / "positions.json"


def test_what_was_saved_is_loaded(path):
    positions = Positions(path, clock=Clock(1000.0))
    held = {b"lyon.pdu1.": Position(7, 42), "zürich.".encode(): Position(8, 0)}
    accounts = {b"lyon.pdu1.": Account(delivered=40, lost=2, unknown_ends=1)}
    positions.save(held, accounts)
    assert positions.load() == Saved(1000.0, held, accounts)
    positions.save(held)
    assert positions.load() == Saved(1000.0, held, {})


def test_what_was_saved_before_the_clock_was_set_back_holds_now(path):
    """Or a publisher that is new would be refused as older than that, until the clock is there again."""
    Positions(path, clock=Clock(90_000.0)).save({b"lyon.pdu1.": Position(7, 42)})
    assert Positions(path, clock=Clock(3_600.0)).load().at == 3_600.0


def test_without_positions_there_is_nothing_to_go_on_from(path):
    Positions(path).save({})
    assert Positions(path).load() is None


@pytest.mark.parametrize(
    "damage", [b"", b"\xff", b"[]", b"{}", b'{"format": 2, "at": 1, "positions": {}}', b'{"format": 1, "at": 1}']
)
def test_a_damaged_file_is_told_and_nothing_is_asked_for(path, caplog, damage):
    path.write_bytes(damage)
    assert Positions(path).load() is None
    assert "what was missed is not asked for" in caplog.text


def test_what_stands_in_a_damaged_file_is_not_logged(path, caplog):
    path.write_bytes(b"\xff" + b"5ecret" * 1000)
    assert Positions(path).load() is None
    assert "5ecret" not in caplog.text


def test_a_directory_that_is_gone_is_told_once_and_when_it_is_back(path, caplog):
    caplog.set_level(logging.INFO)
    positions = Positions(path.parent / "gone" / "positions.json")
    positions.save({})
    positions.save({})
    assert len(caplog.records) == 1
    positions.path.parent.mkdir()
    positions.save({})
    positions.save({})
    assert [record.getMessage() for record in caplog.records[1:]] == [f"{positions.path} is saved again"]


def test_positions_are_saved_a_last_time_when_stopped(path):
    stop = threading.Event()
    stop.set()
    place = Place(Position(7, 41), Account(delivered=9), Boots({6: 3}, (6,)))
    mark = Mark("2026-11-22", 9, 900.0)
    Positions(path).run(stop, lambda: Standing({b"lyon.pdu1.": place}, {"0 a": mark}))
    saved = Positions(path).load()
    assert saved.marks == {"0 a": mark}
    assert saved.positions == {b"lyon.pdu1.": Position(7, 41)}
    assert saved.accounts == {b"lyon.pdu1.": Account(delivered=9)}
    assert saved.boots == {b"lyon.pdu1.": Boots({6: 3, 7: 41}, (6,))}
