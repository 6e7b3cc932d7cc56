import json
import os
import socket
import threading

import pytest

from kwapi.errors import ConfigError
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.orders import SOCKET, Orders, give
from kwapi.plugins.api.registers import Registers
from tests.clock import Clock
from tests.messages import message

BEFORE = 1000.0  # a timestamp long ago, so that the probe is not measured any more


@pytest.fixture
def directory(tmp_path):
    """A register file in a directory whose name is longer than the address of a socket may be."""
    path = tmp_path / ("d" * 100) / "energy"
    registers = Registers(path)
    feed(Collector(registers, wall_clock=Clock(BEFORE)), "old", (0, 50.0), (10, 50.5), (20, 0.25))
    registers.close()
    return path


def feed(collector, probe, *rows, start=BEFORE, **fields):
    for second, kwh in rows:
        columns = {"timestamp": start + second, "monotonic": second, "probes": [probe], "w": [3600.0], "kwh": [kwh]}
        collector.add(message(f"of.{probe}", second, **columns, **fields))


def kwhs(directory):
    registers = Registers(directory)
    collector = Collector(registers, wall_clock=Clock(BEFORE + 30))
    kinds = {name: [event.kind for event in collector.events(name)] for name in collector.readings()}
    found = {name: (reading.kwh, kinds[name]) for name, reading in collector.readings().items()}
    registers.close()
    return found


RENAME = {"do": "rename", "old": "old", "new": "new"}
FORGET = {"do": "forget", "probe": "old"}
OLD = (pytest.approx(0.51), ["reset"])


def test_while_no_daemon_runs_orders_are_carried_out_on_the_files(directory):
    assert kwhs(directory) == {"old": OLD}
    give(directory, RENAME)
    assert kwhs(directory) == {"new": OLD}
    give(directory, {"do": "forget", "probe": "new"})
    assert kwhs(directory) == {}


@pytest.fixture
def running(directory):
    registers = Registers(directory)
    collector = Collector(registers)
    orders = Orders(directory, collector)
    stop = threading.Event()
    thread = threading.Thread(target=orders.run, args=[stop])
    thread.start()
    yield collector
    stop.set()
    thread.join()
    registers.close()
    assert not (directory / SOCKET).exists()


def test_a_running_daemon_carries_them_out(directory, running):
    give(directory, RENAME)
    assert list(running._probes) == ["new"]
    give(directory, {"do": "forget", "probe": "new"})
    assert running._probes == {}


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (RENAME | {"old": "nobody"}, "there is no probe 'nobody'"),
        (RENAME | {"new": "a/b"}, "the new name 'a/b' contains '/'"),
        (RENAME | {"new": "old"}, "'old' cannot be called 'old'"),
        (RENAME | {"new": "old@export"}, "'old' cannot be called 'old@export'"),
        (FORGET | {"probe": "nobody"}, "there is no probe 'nobody'"),
        (FORGET | {"do": "away"}, "no order: "),
        ({"do": "rename", "old": "old"}, "no order: "),
        ({"do": "forget", "probe": 3}, "no order: "),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why_and_changes_nothing(directory, running, order, why):
    with pytest.raises(ValueError, match=why):
        give(directory, order)
    assert list(running._probes) == ["old"]


@pytest.mark.parametrize("packet", [b"", b"rubbish", b"[" * 4000, b"[]", b"\xff"])
def test_rubbish_does_not_end_the_daemon(directory, running, packet):
    place = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(f"/proc/self/fd/{place}/{SOCKET}")
        connection.send(packet)
        assert "error" in json.loads(connection.recv(4096))
    os.close(place)
    give(directory, RENAME)


def test_a_client_that_leaves_does_not_end_the_daemon(directory, running):
    place = os.open(directory, os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as connection:
        connection.connect(f"/proc/self/fd/{place}/{SOCKET}")
    os.close(place)
    give(directory, RENAME)


def test_the_socket_is_for_its_owner_alone(directory, running):
    assert (directory / SOCKET).stat().st_mode & 0o777 == 0o600


def test_a_socket_that_a_killed_daemon_left_is_no_obstacle(directory):
    left = Orders(directory, Collector())
    left._socket.close()
    assert (directory / SOCKET).exists()
    give(directory, RENAME)
    assert kwhs(directory) == {"new": OLD}
    again = Orders(directory, Collector())
    again._socket.close()


def test_orders_where_there_is_nothing_are_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="there are no energy registers in"):
        give(tmp_path / "nowhere", RENAME)


def test_a_daemon_that_holds_the_files_and_takes_no_orders_keeps_them(directory):
    registers = Registers(directory)
    with pytest.raises(ConfigError, match="another process, such as a kwapi-api, uses"):
        give(directory, RENAME)
    registers.close()


def collected(**machines):
    return Collector(clock=Clock(), wall_clock=Clock(), **machines)


def test_what_is_measured_now_is_neither_renamed_nor_forgotten():
    collector = collected()
    feed(collector, "old", (0, 5.0))
    for order in (lambda: collector.rename("old", "new"), lambda: collector.forget("old")):
        with pytest.raises(ValueError, match=r"'old' was measured by of\.old a moment ago; .*, ask again in 10 s"):
            order()
    collector._clock.now += 10.5
    collector.forget("old")
    assert collector.readings() == {}


def test_a_renamed_probe_goes_on_under_its_new_name():
    """The section in drivers.conf is changed while kwapi-drivers is stopped; the same device, the same register."""
    collector = collected()
    collector.add(message(seq=0, timestamp=BEFORE, probes=["old"], kwh=[50.0], w=[9.0]))
    collector.add(message(seq=1, timestamp=BEFORE + 1, probes=["old"], kwh=[50.5], w=[9.0]))
    collector._clock.now += 20
    collector.rename("old", "new")
    assert list(collector.readings()) == ["new"]
    collector.add(message(boot=2, timestamp=BEFORE + 20, probes=["new"], kwh=[51.0], w=[9.0]))
    (state,) = collector.snapshot().probes
    assert (state.id, state.kwh, state.kwh_since, state.unknown_seconds) == ("new", pytest.approx(1.0), BEFORE, 0.0)


def test_a_probe_that_counted_under_both_names_has_the_energy_of_both():
    collector = collected()
    feed(collector, "old", (0, 50.0), (10, 50.5), (15, 3.0))
    collector._clock.now += 100
    feed(collector, "new", (100, 7.0), (110, 7.25), (120, 7.5))
    collector.rename("old", "new")
    (state,) = collector.snapshot().probes
    assert (state.id, state.w, state.kwh) == ("new", 3600.0, pytest.approx(1.0 + 0.005))
    assert (state.kwh_since, state.measured_seconds, state.unknown_seconds) == (BEFORE, 35.0, 85.0)
    assert [event.kind for event in collector.events("new")] == ["reset"]
    assert collector.events("old") == []
    feed(collector, "new", (130, 7.75))
    assert collector.reading("new").kwh == pytest.approx(1.255)


def test_a_snapshot_taken_before_has_the_new_name_in_its_place():
    collector = collected()
    collector.add(message(probes=["a", "m", "z"]))
    assert [state.id for state in collector.snapshot().probes] == ["a", "m", "z"]
    collector._clock.now += 20
    collector.rename("z", "b")
    collector.forget("m")
    assert [state.id for state in collector.snapshot().probes] == ["a", "b"]


class CutShort(Registers):
    """Registers of a process that is killed before the slot of the other name is free."""

    def free(self, slot):
        pass


@pytest.mark.parametrize("kind", [Registers, CutShort])
def test_the_energy_of_both_names_is_on_file_in_one_stroke(tmp_path, kind):
    registers = kind(tmp_path)
    collector = Collector(registers, clock=Clock(), wall_clock=Clock(BEFORE))
    feed(collector, "new", (100, 7.0), (110, 7.5))
    feed(collector, "old", (0, 50.0), (10, 50.5))
    collector._clock.now += 20
    collector.rename("old", "new")
    registers._slots.close()
    registers.events.close()
    os.close(registers._lock)
    assert kwhs(tmp_path) == {"new": (pytest.approx(1.0), [])}
