"""What a spool says that nobody can read for a while, or for ever. No server."""

import time

import pytest

from kwapi.nats.backlog import Backlog
from kwapi.spool.store import Spool
from kwapi.stream import Position
from tests.messages import frame
from tests.threads import running
from tests.waiting import eventually

TOPIC = b"lyon.pdu1."


@pytest.fixture
def spool(tmp_path):
    spool = Spool(tmp_path / "spool", max_bytes=64 << 20, max_age=3600.0)
    with running(spool.run):
        assert spool.opened.wait(10)
        yield spool


@pytest.fixture
def unreadable(spool):
    """A segment that cannot be opened, as one that is root's: so it is for root too."""
    path = spool.directory / "000000000000.spool"
    path.mkdir()
    return path


def backlog(spool, patience):
    backlog = Backlog(spool, patience=patience)
    spool.hand(frame(timestamp=time.time()))
    eventually(lambda: spool.kept == 1)
    return backlog


def test_what_is_not_stored_is_told_as_soon_as_the_spool_can_be_read(spool, unreadable, caplog):
    reader, looks = backlog(spool, 30.0), []

    def is_over():
        looks.append(True)
        if len(looks) == 2:
            unreadable.rmdir()
        return False

    assert reader.unstored(is_over) == {TOPIC: Position(1, 0)}
    assert not caplog.records
    reader.close()


def test_a_segment_that_stays_unreadable_is_told_once_and_waited_for_no_more(spool, unreadable, caplog):
    reader = backlog(spool, 0.0)
    assert reader.unstored(lambda: False) == {}
    assert reader.page(TOPIC, None) == []
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(spool.directory) in record.getMessage()
    unreadable.rmdir()
    eventually(lambda: reader.page(TOPIC, None))  # the directory is looked at twice a second
    reader.close()


def test_nobody_can_say_at_once_whether_a_spool_stays_unreadable(spool, unreadable):
    reader = backlog(spool, 30.0)
    assert reader.page(TOPIC, None) is None
    reader.close()
