"""The store while it runs: what is written when, and by whom."""

import threading
import time

import pytest
import rrdtool

from kwapi.plugins.rrd.store import Store
from tests.clock import Clock
from tests.plugins.storing import NOW, add, fetch
from tests.waiting import eventually


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path / "rrd", clock=clock, steady_clock=clock)


@pytest.fixture
def running(tmp_path):
    """A store that flushes hourly, and its thread."""
    store, stop = Store(tmp_path, flush_every=3600.0), threading.Event()
    thread = threading.Thread(target=store.run, args=[stop])
    thread.start()
    yield store
    stop.set()
    thread.join()


def test_a_new_probe_has_its_file_soon(running):
    add(running, time.time())
    eventually(lambda: (running.directory / "probes.json").exists())
    assert running.path("taurus-1").exists()


def test_sixty_values_are_written_before_the_next_flush(running):
    begin = time.time() - 30
    add(running, begin)
    eventually(running.path("taurus-1").exists)
    eventually(lambda: rrdtool.last(str(running.path("taurus-1"))) >= int(begin))
    for step in range(1, 70):
        add(running, begin + step / 4, interval=0.25)
    eventually(lambda: rrdtool.last(str(running.path("taurus-1"))) >= int(begin + 14))


def test_what_is_added_while_others_flush_is_all_written(store):
    done = threading.Event()

    def flush_for_graphs():
        while not done.is_set():
            if store.probes():
                store.flush(["taurus-1"])

    others = [threading.Thread(target=flush_for_graphs) for _ in range(3)]
    for thread in others:
        thread.start()
    for step in range(200):
        add(store, NOW - 200 + step, float(step))
    done.set()
    for thread in others:
        thread.join()
    store.run(done)
    rows = fetch(store, start=NOW - 250, end=NOW)
    assert rows == {NOW - 200 + step: float(step) for step in range(1, 200)}
