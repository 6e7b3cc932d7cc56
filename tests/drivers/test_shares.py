"""Shares are real processes here, on a bus of their own."""

import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from kwapi.bus import Subscriber
from kwapi.drivers.dummy import Dummy
from kwapi.drivers.manager import Changes
from kwapi.drivers.modbus.driver import Modbus
from kwapi.drivers.orders import Orders, Report
from kwapi.drivers.process import spawn
from kwapi.drivers.shares import Shares, new_endpoint, share_of
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.gate import Gate
from kwapi.proxy import Passage, Proxy
from kwapi.signing import KeyRing
from tests.messages import KEY
from tests.waiting import eventually

VALUES = {"driver": "dummy", "load": "steady", "watts": 42.0, "amplitude": 0.0, "period": 60.0, "volts": 230.0}


def meter(name):
    return Wattmeter(name, Dummy, {**VALUES, "seed": 1, "register": False, "probes": [f"{name}-1"]}, 0.1, 10.0)


class Bus:
    """What two shares publish, heard behind their proxy."""

    def __init__(self, directory):
        self.inner, self.outer = new_endpoint(), new_endpoint()
        self.messages, self.gate = [], Gate(KeyRing([KEY]))
        self._directory = directory
        self._stop = threading.Event()
        self._proxy = Proxy(Passage([self.inner], self.outer, bind_upstream=True))
        subscriber = Subscriber([self.outer], [""], self.gate)
        self._threads = [
            threading.Thread(target=self._proxy.run, args=(lambda: None,), daemon=True),
            threading.Thread(target=subscriber.run, args=(self._stop, self.messages.append), daemon=True),
        ]

    def orders(self, number):
        return Orders(f"share{number}", self.inner, KEY, 32, self._directory / "muted.json", self._directory / "boot")

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._proxy.stop()
        for thread in self._threads:
            thread.join(5)

    def heard(self, since=0):
        return {message.wattmeter for message in self.messages[since:]}


@pytest.fixture
def bus(tmp_path):
    with Bus(tmp_path) as bus:
        yield bus


METERS = [meter(f"pdu{number}") for number in range(8)]


def pids(shares):
    return [share._process._process.pid if share._process else None for share in shares._shares]


def until(shares, condition):
    eventually(lambda: shares.check() and condition())


def test_wattmeters_are_spread_over_the_shares_and_those_of_one_line_stay_together():
    assert {share_of(each, 2) for each in METERS} == {0, 1}
    meters = [
        Wattmeter(f"m{unit}", Modbus, {"driver": "modbus", "host": "gateway", "device": None}, 1.0, 10.0)
        for unit in range(20)
    ]
    assert len({share_of(each, 4) for each in meters}) == 1


def test_all_are_measured_and_told_of(bus):
    shares = Shares(METERS, bus.orders, 2)
    names = {each.name for each in METERS}
    until(shares, lambda: bus.heard() == names)
    until(shares, lambda: shares.counts() == {"up": 8})
    assert {health.wattmeter for health in shares.healths()} == names
    shares.stop()
    assert bus.gate.rejected == {}


def test_a_share_that_is_killed_is_started_again_and_the_other_misses_nothing(bus, caplog):
    shares = Shares(METERS, bus.orders, 2)
    until(shares, lambda: bus.heard() == {each.name for each in METERS})
    before = pids(shares)
    os.kill(before[0], signal.SIGKILL)
    until(shares, lambda: pids(shares)[0] not in (None, before[0]))
    assert "worker process 0 ended with status -9; it is started again" in caplog.text
    since = len(bus.messages)
    until(shares, lambda: bus.heard(since) == {each.name for each in METERS})
    assert pids(shares)[1] == before[1]
    shares.stop()
    for each in METERS:
        seqs = [message.seq for message in bus.messages if message.wattmeter == each.name]
        boots = {message.boot for message in bus.messages if message.wattmeter == each.name}
        if share_of(each, 2) == 1:
            assert (seqs, len(boots)) == (list(range(seqs[0], seqs[0] + len(seqs))), 1)
        else:
            assert len(boots) == 2


def test_a_share_that_is_silent_is_replaced(bus, caplog):
    now = [1000.0]
    shares = Shares(METERS, bus.orders, 2, clock=lambda: now[0])
    until(shares, lambda: None not in pids(shares) and shares.counts()["up"] == 8)
    before = pids(shares)
    os.kill(before[1], signal.SIGSTOP)
    now[0] += 20
    until(shares, lambda: shares._shares[0]._process.heard_at == now[0])
    assert pids(shares) == before
    now[0] += 20
    shares.check()
    assert "worker process 1 has been silent for 40 s" in caplog.text
    until(shares, lambda: pids(shares)[1] != before[1])
    shares.stop()


def test_a_share_in_which_too_much_hangs_goes_on_until_its_successor_is_ready(bus):
    shares = Shares(METERS, bus.orders, 2)
    until(shares, lambda: None not in pids(shares) and shares.counts() == {"up": 8})
    before = pids(shares)
    shares._shares[0]._take(Report(is_usable=False))
    since = len(bus.messages)
    eventually(lambda: bus.heard(since) == {each.name for each in METERS})
    assert pids(shares) == before
    until(shares, lambda: pids(shares)[0] != before[0])
    since = len(bus.messages)
    until(shares, lambda: bus.heard(since) == {each.name for each in METERS})
    assert pids(shares)[1] == before[1]
    shares.stop()


def test_a_reload_reaches_the_shares_it_concerns(bus):
    shares = Shares(METERS, bus.orders, 2)
    until(shares, lambda: bus.heard() == {each.name for each in METERS})
    before = pids(shares)
    new = [*METERS[1:7], replace(METERS[7], interval=0.2), meter("new")]
    assert shares.reload(new) == Changes(added=1, removed=1, changed=1, kept=6)
    until(shares, lambda: "new" in bus.heard())
    until(shares, lambda: any(m.wattmeter == "pdu7" and m.interval == 0.2 for m in bus.messages))
    since = len(bus.messages)
    until(shares, lambda: len(bus.messages) > since + 50)
    assert "pdu0" not in bus.heard(since)
    assert "pdu0" not in {health.wattmeter for health in shares.healths()}
    assert pids(shares) == before
    shares.stop()


def test_a_share_that_takes_no_orders_holds_up_nobody(bus):
    large = [
        replace(each, values={**each.values, "probes": [f"{each.name}-{n}" for n in range(5000)]}) for each in METERS
    ]
    shares = Shares(METERS, bus.orders, 1)
    until(shares, lambda: None not in pids(shares))
    os.kill(pids(shares)[0], signal.SIGSTOP)
    reload = threading.Thread(target=shares.reload, args=(large,), daemon=True)
    reload.start()
    reload.join(5)
    assert not reload.is_alive()
    shares.stop(deadline=0.1)


def test_a_share_that_ends_again_and_again_is_started_ever_later(bus, caplog):
    now, started = [1000.0], []

    def spawn(channel):
        started.append(now[0] - 1000)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])

    shares = Shares(METERS, bus.orders, 1, clock=lambda: now[0], spawn=spawn)
    for _ in range(90):
        if (successor := shares._shares[0]._successor) is not None:
            eventually(lambda successor=successor: successor.has_ended)
        shares.check()
        now[0] += 0.5
    assert started == [0, 0.5, 1.5, 4.5, 11.5, 21.5, 31.5, 41.5]
    assert "worker process 0 did not start" in caplog.text
    shares.stop()


def test_a_system_without_processes_left_ends_nothing(bus, caplog):
    now, refusing = [1000.0], True

    def sparing(channel):
        if refusing:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        return spawn(channel)

    shares = Shares(METERS, bus.orders, 1, clock=lambda: now[0], spawn=sparing)
    assert shares.check()
    assert "worker process 0 cannot be started: [Errno 11] Resource temporarily unavailable" in caplog.text
    refusing = False
    now[0] += 1
    until(shares, lambda: bus.heard() == {each.name for each in METERS})
    shares.stop()


def test_wattmeters_whose_process_has_told_nothing_are_starting(bus, caplog):
    shares = Shares(METERS, bus.orders, 2)
    assert shares.counts() == {"starting": 8}
    until(shares, lambda: shares.counts() == {"up": 8})
    os.kill(pids(shares)[0], signal.SIGKILL)
    until(shares, lambda: "ended with status -9" in caplog.text)
    assert shares.counts() == {"starting": 4, "up": 4}
    until(shares, lambda: shares.counts() == {"up": 8})
    shares.stop()


def test_what_is_told_of_a_wattmeter_after_it_was_removed_is_not_kept(bus):
    shares = Shares(METERS, bus.orders, 1)
    until(shares, lambda: shares.counts() == {"up": 8})
    late = Report(shares.healths())
    shares.reload(METERS[1:])
    shares._shares[0]._take(late)
    assert {health.wattmeter for health in shares.healths()} == {each.name for each in METERS[1:]}
    shares.stop()


def test_a_share_logs_as_its_daemon_does_also_after_a_reload(bus, capfd):
    def muted_line(name):
        return f"INFO kwapi.drivers.slot: {name} is muted"

    root = logging.getLogger()
    before = root.level
    muted = [replace(each, values={**each.values, "maintenance": True}) for each in METERS]
    try:
        root.setLevel("ERROR")
        shares = Shares(METERS, bus.orders, 1)
        shares.reload(muted[:1] + METERS[1:])
        until(shares, lambda: shares.counts() == {"muted": 1, "up": 7})
        root.setLevel("INFO")
        shares.reload(muted)
        until(shares, lambda: shares.counts() == {"muted": 8})
        shares.stop()
    finally:
        root.setLevel(before)
    logged = capfd.readouterr().err
    assert muted_line("pdu0") not in logged
    assert muted_line("pdu1") in logged


def test_shares_end_when_their_parent_is_gone(bus):
    shares = Shares(METERS, bus.orders, 2)
    until(shares, lambda: None not in pids(shares))
    for share in shares._shares:
        with socket.socket(fileno=os.dup(share._process._connection.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    for share in shares._shares:
        assert share._process._process.wait(10) == 0
    shares.stop()
