"""Up to where messages are in the files, and what is asked for and taken after a kill."""

import pytest
import rrdtool

from kwapi.plugins.positions import Positions, Taken
from kwapi.plugins.rrd.store import Store
from kwapi.stream import MAX_BOOTS, Account, Boots, Mark, Place, Position, Verdict
from kwapi.streams import Standing, Streams
from tests.clock import Clock
from tests.messages import message
from tests.plugins.storing import NOW, add


@pytest.fixture
def clock():
    return Clock()


def standing(position, older):
    return Standing({b"m.": Place(position, Account(), Boots(older))}, {})


def test_of_each_boot_the_later_position_is_saved():
    """What another publisher of the name sends is dealt with by the subscriber alone, and is not noted here."""
    taken = Taken(None)
    for boot, seq in ((1, 4), (2, 0), (3, 0)):
        taken.note(b"m.", boot, seq)
    (boots,) = taken.copy().boots(standing(Position(2, 999), {1: 3})).values()
    assert boots.older == {1: 5, 2: 999}
    assert taken.positions == {b"m.": Position(3, 1)}


def test_boots_that_are_saved_are_bounded(tmp_path, clock):
    positions = Positions(tmp_path / "positions.json", clock=clock)
    for run in range(5):
        taken = Taken(positions.load())
        for boot in range(100 * run, 100 * run + 40):
            taken.note(b"m.", boot, 0)
        seen = standing(Position(100 * run + 90, 1), {100 * run + 50 + number: 1 for number in range(30)})
        positions.save(taken.positions, boots=taken.boots(seen))
        assert len(positions.load().boots[b"m."].older) == MAX_BOOTS


@pytest.mark.parametrize("interval", [0.25, 0.5, 1.0])
def test_what_the_bus_sends_again_after_a_kill_is_taken_where_it_is_missing(tmp_path, clock, interval):
    def opened(name):
        directory = tmp_path / name
        positions = Positions(directory / "positions.json", clock=clock)
        store = Store(directory, positions=positions, clock=clock, steady_clock=clock)
        saved = positions.load()
        return store, saved and saved.positions

    sent = [
        message("m", probes=["a", "b"], w=[7.0 * step, 5.0], timestamp=NOW + 0.3 + step * interval, seq=step)
        for step in range(80)
    ]
    for name in ("killed", "undisturbed"):
        store, positions = opened(name)
        assert positions is None
        for step, one in enumerate(sent):
            clock.now = one.timestamp
            store.add(one)
            if step == 19:
                store.flush()
            if step == 29 and name == "killed":
                store.flush(["a"])
                store.flush_totals()
                store, positions = opened(name)
                assert positions == {b"m.": (1, 20)}
                for again in sent[20:30]:
                    store.add(again)
        store.flush()
    for path in sorted((tmp_path / "killed").rglob("*.rrd")):
        window = ["AVERAGE", "-r", "1", "-s", str(int(NOW)), "-e", str(int(NOW + 80 * interval) - 2)]
        other = tmp_path / "undisturbed" / path.relative_to(tmp_path / "killed")
        rows, others = (rrdtool.fetch(str(one), *window)[2] for one in (path, other))
        assert [value for row in rows for value in row] == pytest.approx([value for row in others for value in row])


def test_a_run_that_is_read_again_after_a_kill_counts_once(tmp_path, clock):
    """What came since the marks were told, by a thread that had no time to tell newer ones, comes once more."""

    def told():
        return Standing({b"m.": Place(Position(1, 10), Account())}, {"0 kwapi.>": Mark("", 10, NOW)})

    def opened(name):
        positions = Positions(tmp_path / name / "positions.json", clock=clock)
        positions.standing = told
        return Store(tmp_path / name, positions=positions, clock=clock, steady_clock=clock), positions.load()

    sent = [
        message("m", probes=["a"], w=[7.0 * step], timestamp=NOW + 0.3 + step, boot=1 + step // 30, seq=step % 30)
        for step in range(60)
    ]
    for name in ("killed", "undisturbed"):
        store, _ = opened(name)
        for step, one in enumerate(sent):
            clock.now = one.timestamp
            store.add(one)
            if step == 40:
                store.flush()
            if step == 50 and name == "killed":
                store, saved = opened(name)
                streams = Streams(saved.positions, boots=saved.boots, resumes=True)
                stored = sent[10:20] + sent[25:51]  # a spool had the others
                again = [each for each in stored if streams.meet(b"m.", each.boot, each.seq) is Verdict.TAKE]
                assert again == sent[41:51]
                assert streams.account(b"m.").lost == 0
                for each in again:
                    store.add(each)
        store.flush()
    for path in sorted((tmp_path / "killed").rglob("*.rrd")):
        window = ["AVERAGE", "-r", "1", "-s", str(int(NOW)), "-e", str(int(NOW + 58))]
        other = tmp_path / "undisturbed" / path.relative_to(tmp_path / "killed")
        rows, others = (rrdtool.fetch(str(one), *window)[2] for one in (path, other))
        assert rows == others


def test_what_is_dropped_does_not_come_again(tmp_path, clock):
    positions = Positions(tmp_path / "positions.json", clock=clock)
    store = Store(tmp_path, positions=positions, clock=clock, steady_clock=clock)
    add(store, NOW)
    clock.now += 1
    store.add(message("of.the.future", probes=["f"], w=[1.0], timestamp=NOW + 1e4, boot=5, seq=6))
    store.add(message("without.watts", probes=["r"], kwh=[1.0], timestamp=NOW, boot=7, seq=8))
    store.flush()
    saved = positions.load().positions
    assert saved[b"of.the.future."] == (5, 7) and saved[b"without.watts."] == (7, 9)


def test_no_position_is_saved_without_a_spool_that_answers(tmp_path, clock):
    positions = Positions(tmp_path / "positions.json", clock=clock)
    store = Store(tmp_path, positions=positions, can_resume=lambda: False, clock=clock, steady_clock=clock)
    add(store, NOW)
    store.flush()
    assert positions.load() is None
