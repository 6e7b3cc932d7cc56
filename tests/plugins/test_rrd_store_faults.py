"""What goes wrong with the files of the store: lost, damaged, not ours, on a disk that fails."""

import logging

import pytest
import rrdtool

from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.tool import Tool
from tests.clock import Clock
from tests.messages import message
from tests.plugins.storing import NOW, add, fetch, warnings


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path / "rrd", clock=clock, steady_clock=clock)


def test_a_damaged_list_is_reported_and_made_anew(tmp_path, clock, caplog):
    (tmp_path / "probes.json").write_text('{"taurus-1": ')
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    assert "probes.json can't be read" in warnings(caplog)[0]
    add(store, NOW)
    store.flush()
    assert [probe.name for probe in Store(tmp_path, clock=clock, steady_clock=clock).probes()] == ["taurus-1"]


class Stumbling(Tool):
    """Fails to update a file once."""

    has_failed = False

    def calls(self, calls):
        if self.has_failed or "update" not in {name for name, *_ in calls}:
            return super().calls(calls)
        self.has_failed = True
        return [rrdtool.OperationalError("somebody else has it")] * len(calls)


def test_what_comes_late_is_not_lost_to_a_fault_that_passes(tmp_path, clock):
    """Ten minutes of a spool wait to be written."""
    store = Store(tmp_path / "rrd", tool=Stumbling(), clock=clock, steady_clock=clock)
    for second in range(600):
        store.add_late(message(seq=second, timestamp=NOW - 600 + second, w=[float(second)]))
    store.flush()
    assert [probe.broken for probe in store.probes()] == [True]
    store.flush()
    assert [probe.broken for probe in store.probes()] == [False]
    means = list(fetch(store, start=NOW - 600, resolution=10).values())
    assert means[:59] == [pytest.approx(10 * row + 5.5) for row in range(59)]


def test_a_list_that_is_lost_loses_no_probe(tmp_path, clock):
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    for name in ("ü %/".rstrip("/"), "b@export"):
        for second in range(5):
            add(store, NOW - 100 + second, 7.0, name)
    store.flush()
    (tmp_path / "probes.json").unlink()
    (tmp_path / "not ours.rrd").write_bytes(b"")
    again = Store(tmp_path, clock=clock, steady_clock=clock)
    found = {probe.name: (probe.watts, probe.timestamp, probe.wattmeter) for probe in again.probes()}
    assert found == dict.fromkeys(("ü %", "b@export"), (7.0, NOW - 95, ""))
    assert [probe.first_seen for probe in again.probes()] == [pytest.approx(NOW - 100, abs=1)] * 2
    add(again, NOW, 8.0, "ü %")
    assert again.probe("ü %").wattmeter == "lyon.pdu1"


def test_a_disk_error_is_logged_once_spares_the_others_and_heals(store, caplog):
    obstacle = store.path("broken")
    obstacle.mkdir()
    for step in range(4):
        add(store, NOW - 9 + step, probe="broken")
        add(store, NOW - 9 + step, probe="sound")
        store.flush()
    assert len(warnings(caplog)) == 1 and str(obstacle) in warnings(caplog)[0]
    assert {probe.name: probe.broken for probe in store.probes()} == {"broken": True, "sound": False}
    assert len(fetch(store, "sound")) == 3
    obstacle.rmdir()
    with caplog.at_level(logging.INFO):
        for step in range(4):
            add(store, NOW - 5 + step, probe="broken")
            store.flush()
    assert "written again" in caplog.text
    assert not any(probe.broken for probe in store.probes())
    assert len(fetch(store, "broken")) == 7


@pytest.mark.parametrize("content", [b"", b"not an RRD file", None])
def test_a_file_that_is_none_of_ours_is_reported_and_kept(tmp_path, clock, caplog, content):
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    add(store, NOW - 1)
    store.flush()
    path = store.path("taurus-1")
    path.write_bytes(path.read_bytes()[:9000] if content is None else content)
    kept = path.read_bytes()
    again = Store(tmp_path, clock=clock, steady_clock=clock)
    add(again, NOW)
    again.flush()
    assert path.read_bytes() == kept
    assert [probe.broken for probe in again.probes()] == [True]
    assert not again.readable("taurus-1")
    assert len(warnings(caplog)) == 1 and str(path) in warnings(caplog)[0]


def test_an_unwritable_list_is_reported_once_and_heals(store, caplog):
    obstacle = store.directory / "probes.new"
    obstacle.mkdir()
    add(store, NOW)
    store.flush()
    store.flush()
    assert len(warnings(caplog)) == 1
    obstacle.rmdir()
    store.flush()
    assert store.directory.joinpath("probes.json").exists()
