"""A real rrdcached writes the files: what it takes, what it refuses, and what happens while it is away."""

import logging
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import pytest
import rrdtool

from kwapi.plugins.rrd.rrdcached import Rrdcached
from kwapi.plugins.rrd.store import Store
from tests.clock import Clock
from tests.integration.daemons import Site
from tests.integration.programs import needed_program
from tests.messages import message
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.integration
NOW = 1_800_000_000.0


@pytest.fixture
def directory():
    with tempfile.TemporaryDirectory(prefix="kwapi rrd") as name:  # a Unix socket's path is short
        yield Path(name)


@contextmanager
def rrdcached(directory, address=None):
    """Run an rrdcached that keeps values for five minutes."""
    program = needed_program("rrdcached", "rrdcached")
    (directory / "journal").mkdir(exist_ok=True)
    files = ["-b", str(directory), "-B", "-j", f"{directory}/journal", "-p", f"{directory}/pid"]
    address = address or f"unix:{directory}/socket"
    process = subprocess.Popen(
        [program, "-g", "-l", address, *files, "-w", "300", "-z", "30"], stderr=subprocess.DEVNULL
    )
    try:
        eventually(lambda: is_there(address) or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.wait()


def is_there(address):
    try:
        return Rrdcached(address).update([]) == {} and Rrdcached(address).settle([Path("/nothing")]) is None
    except OSError:
        return False


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(directory, clock):
    updater = Rrdcached(f"unix:{directory}/socket")
    return Store(directory / "rrd", updater=updater, clock=clock, steady_clock=clock)


def measure(store, clock, seconds, *probes):
    for _ in range(seconds):
        clock.now += 1
        for probe in probes:
            store.add(message(probe, probes=[probe], w=[clock.now - NOW], timestamp=clock.now))


def written(store, probe):
    """Return the seconds, from the test's begin, that the file itself knows; each has its own number as its watts."""
    begin = ["-r", "1", "-s", str(int(NOW)), "-e", str(int(NOW) + 280)]
    _, _, rows = rrdtool.fetch(str(store.path(probe)), "AVERAGE", *begin)
    found = [second for second, row in enumerate(rows, start=1) if row[0] is not None]
    assert all(rows[second - 1][0] == second + 0 for second in found)
    return found


def warnings(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_values_go_through_rrdcached_and_are_there_for_a_graph(directory, store, clock):
    with rrdcached(directory):
        measure(store, clock, 10, "a", "b c\\d")
        store.flush()
        measure(store, clock, 10, "a", "b c\\d")
        store.flush()
        assert written(store, "a") == []
        store.flush(["a", "b c\\d"])
        assert written(store, "a") == written(store, "b c\\d") == list(range(2, 21))
        assert not any(probe.broken for probe in store.probes())


def test_a_tcp_address_works_too(directory, clock):
    address = f"127.0.0.1:{free_port()}"
    with rrdcached(directory, address):
        store = Store(directory / "rrd", updater=Rrdcached(address), clock=clock, steady_clock=clock)
        measure(store, clock, 10, "a")
        store.flush(["a"])
        assert written(store, "a") == list(range(2, 11))


def test_what_comes_while_it_is_down_is_kept_and_said_once(directory, store, clock, caplog):
    for _ in range(3):
        measure(store, clock, 10, "a", "b")
        store.flush()
        store.flush(["a"])
    assert len(warnings(caplog)) == 1
    assert "rrdcached at unix:" in warnings(caplog)[0] and "No such file" in warnings(caplog)[0]
    with rrdcached(directory), caplog.at_level(logging.INFO):
        measure(store, clock, 10, "a", "b")
        store.flush()
        store.flush(["a"])
        assert written(store, "a") == list(range(2, 41))
    assert "what was kept is passed on again" in caplog.text
    measure(store, clock, 10, "a", "b")
    store.flush()
    assert len(warnings(caplog)) == 2


def test_no_more_is_kept_than_there_is_room_for(store, clock):
    for _ in range(70):
        measure(store, clock, 10, "a")
        store.flush()
    assert len(store._series["a"].times) == 300


def test_what_it_was_given_is_in_its_journal(directory, store, clock):
    with rrdcached(directory) as process:
        measure(store, clock, 10, "a")
        store.flush()
        process.terminate()
        process.wait(10)
        assert written(store, "a") == []
        measure(store, clock, 10, "a")
        store.flush()
    with rrdcached(directory):
        measure(store, clock, 10, "a")
        store.flush()
        store.flush(["a"])
        assert written(store, "a") == list(range(2, 31))


def test_a_restart_of_ours_loses_nothing_and_repeats_nothing(directory, store, clock):
    with rrdcached(directory):
        for _ in range(3):
            measure(store, clock, 10, "a")
            store.flush()
            updater = Rrdcached(f"unix:{directory}/socket")
            store = Store(directory / "rrd", updater=updater, clock=clock, steady_clock=clock)
        assert store.probe("a").timestamp == clock.now
        store.flush(["a"])
        assert written(store, "a") == list(range(2, 31))


def test_a_file_that_it_can_not_write_is_said_and_the_others_are_written(directory, store, clock, caplog):
    with rrdcached(directory):
        measure(store, clock, 10, "a", "b")
        store.flush(["a", "b"])
        content = store.path("a").read_bytes()
        store.path("a").unlink()
        store.path("a").mkdir()
        for _ in range(2):
            measure(store, clock, 5, "a", "b")
            store.flush()
            store.flush(["a", "b"])
        assert len(warnings(caplog)) == 1 and "a.rrd" in warnings(caplog)[0]
        assert [probe.broken for probe in store.probes()] == [True, False]
        assert written(store, "b") == list(range(2, 21))
        store.path("a").rmdir()
        store.path("a").write_bytes(content)
        measure(store, clock, 5, "a", "b")
        store.flush(["a", "b"])
        assert not store.probe("a").broken
        assert rrdtool.last(str(store.path("a"))) == clock.now


def test_a_file_that_it_does_not_want_is_said(directory, clock, caplog):
    with rrdcached(directory), tempfile.TemporaryDirectory() as elsewhere:
        updater = Rrdcached(f"unix:{directory}/socket")
        store = Store(elsewhere, updater=updater, clock=clock, steady_clock=clock)
        for _ in range(2):
            measure(store, clock, 10, "a", "b")
            store.flush()
        assert len(warnings(caplog)) == 1
        assert "a.rrd: Permission denied" in warnings(caplog)[0] and "b.rrd" in warnings(caplog)[0]


@pytest.mark.parametrize("answer", [b"", b"0 Go ahead.\n", b"-1 no\n", b"0 Go ahead.\n2 errors\n1 x\n", b"\xff\n"])
def test_who_does_not_speak_its_protocol_is_as_good_as_down(answer):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1000):
                pass
            connection.close()

        thread = Thread(target=serve)
        thread.start()
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ConnectionError, match=f"rrdcached at {address}"):
            Rrdcached(address, timeout=2.0).update([(Path("/a"), ["1:2:1"])])
        thread.join()


def test_kwapi_rrd_writes_through_it(tmp_path, directory):
    with Site(tmp_path, "[lab.meter]\ndriver = dummy\nprobes = a, b\n") as site, rrdcached(directory):
        with (tmp_path / "rrd.conf").open("a") as file:
            file.write(f"rrd_dir = {directory}/rrd\nrrdcached_address = unix:{directory}/socket\n")
        site.start("drivers", "forwarder", "rrd")
        eventually(lambda: site.page("/graph/minute/a/").startswith(b"\x89PNG"))
        eventually(lambda: rrdtool.lastupdate(f"{directory}/rrd/a.rrd")["ds"]["w"] or not site.page("/graph/minute/a/"))
        assert site.stop("rrd") == 0
        assert "rrdcached" not in site.log("rrd")
