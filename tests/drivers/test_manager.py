import sys
import threading
from collections import Counter
from dataclasses import replace

import pytest
from oslo_config import cfg

from kwapi.drivers.manager import HEALTH_PERIOD, HEALTH_RATE, MAX_HUNG_OF_ONE, Changes, Manager, summary
from kwapi.drivers.mutes import Mutes, write_mutes
from kwapi.drivers.wattmeter import Wattmeter
from kwapi.drivers.worker import LONGEST_WAIT, Pace, Worker
from kwapi.errors import DeviceError
from tests.clock import Clock
from tests.drivers.scripted import GOOD, FakePublisher, Scripted, wattmeter
from tests.waiting import eventually


def managed(*meters, max_hung=32, mutes=None):
    clock, publisher = Clock(), FakePublisher()

    class Timed(Worker):
        """Waits in real time, and tells by the manager's clock, which is ours, since when it is busy."""

        @property
        def busy_since(self):
            return self._busy_since

        @busy_since.setter
        def busy_since(self, since):
            self._busy_since = None if since is None else clock.now

    def new_worker(slot, sender, shared, pace, names, *, clock):
        return Timed(slot, sender, shared, Pace(1000))

    manager = Manager(meters, publisher, clock=clock, max_hung=max_hung, mutes=mutes, new_worker=new_worker)
    return manager, clock, publisher


def pass_time(manager, clock, seconds):
    """Let whole seconds pass, in each of which the manager looks once."""
    for _ in range(seconds):
        clock.now += 1
        manager.check()


@pytest.mark.parametrize(("wattmeters", "seconds"), [(1, 0.005), (250, 0.005), (5_000, 0.1)])
def test_the_more_wattmeters_the_more_rarely_each_asks_for_pythons_lock(wattmeters, seconds):
    before = sys.getswitchinterval()
    try:
        managed(*(wattmeter(GOOD, name=f"pdu{number}") for number in range(wattmeters)))
        assert sys.getswitchinterval() == pytest.approx(seconds)
    finally:
        sys.setswitchinterval(before)


@pytest.mark.parametrize("kind", [DeviceError, ValueError])
def test_a_secret_that_an_error_shows_is_told_nowhere(caplog, kind):
    class Secretive(Scripted):
        options = (cfg.StrOpt("password", secret=True),)

    values = {
        "script": [kind("refused: b'user=a&password=5ecret'")],
        "opens": [],
        "probes": ["a"],
        "password": "5ecret",
    }
    manager, _, _ = managed(Wattmeter("pdu1", Secretive, values, 0.01, 10.0))
    manager.check()
    eventually(lambda: "password=***" in caplog.text)
    eventually(lambda: manager.healths()[0].reason.endswith("refused: b'user=a&password=***'"))
    assert "5ecret" not in caplog.text
    manager.stop()


def test_an_error_of_ours_ends_the_worker_and_the_manager_starts_another(caplog):
    manager, clock, publisher = managed(wattmeter(ZeroDivisionError("oops"), GOOD))
    manager.check()
    slot = manager.slots["pdu1"]
    eventually(lambda: not manager.workers.get("pdu1").is_alive())
    assert "ZeroDivisionError: oops" in caplog.text
    assert "Traceback" in caplog.text
    manager.check()
    assert manager.workers.get("pdu1") is None
    clock.now += 0.02
    manager.check()
    eventually(lambda: slot.state == "up")
    assert publisher.sent
    assert slot.restarts == 1
    manager.stop()


def test_a_hung_worker_is_replaced_and_what_it_brings_late_is_refused(caplog):
    hang = threading.Event()
    manager, clock, publisher = managed(wattmeter(hang, GOOD))
    manager.check()
    slot = manager.slots["pdu1"]
    first = manager.workers.get("pdu1")
    eventually(lambda: first.busy_since is not None)
    pass_time(manager, clock, 10)
    assert slot.state != "hung"
    clock.now += 0.1
    assert manager.check()
    assert (slot.state, manager.workers) == ("hung", {})
    assert manager.given_up == [first]
    assert "pdu1 is hung: a poll has not ended for 10 s" in caplog.text
    manager.check()
    eventually(lambda: slot.state == "up")
    hang.set()
    eventually(lambda: not first.is_alive())
    manager.check()
    assert manager.given_up == []
    assert publisher.sent
    assert ("pdu1", ["late"]) not in publisher.sent
    assert slot.state == "up"
    manager.stop()


def test_a_wattmeter_that_hangs_again_and_again_does_not_end_the_daemon():
    hang = threading.Event()
    manager, clock, _ = managed(wattmeter(hang))
    for _ in range(20):
        assert manager.check()
        if (worker := manager.workers.get("pdu1")) is not None:
            eventually(lambda worker=worker: worker.busy_since is not None)
        pass_time(manager, clock, 70)
    assert len(manager.given_up) == MAX_HUNG_OF_ONE
    hang.set()
    for worker in manager.given_up:
        worker.join(5)
    manager.check()
    assert manager.workers.get("pdu1") is not None
    manager.stop()


def test_one_whose_polls_do_not_end_is_hung_also_after_a_reload():
    hang = threading.Event()
    manager, clock, _ = managed(wattmeter(hang))
    for interval in (0.02, 0.03):
        manager.check()
        worker = manager.workers["pdu1"]
        eventually(lambda worker=worker: worker.busy_since is not None)
        manager.reload([wattmeter(hang, interval=interval)])
        clock.now += 10.1
        manager.check()
    assert len(manager.given_up) == MAX_HUNG_OF_ONE
    slot = manager.slots["pdu1"]
    assert (slot.state, slot.reason) == ("hung", "2 polls have not ended")
    hang.set()
    eventually(lambda: manager.check() and slot.state == "up")
    manager.stop()


class NoThread(Worker):
    def start(self):
        raise RuntimeError("can't start new thread")


def test_a_system_without_threads_left_costs_only_who_needs_one():
    clock, publisher = Clock(), FakePublisher()
    kinds = {"first": Worker, "second": NoThread}

    def new_worker(slot, *arguments, clock):
        return kinds[slot.wattmeter.name](slot, *arguments)

    meters = [wattmeter(GOOD, name=name) for name in kinds]
    manager = Manager(meters, publisher, clock=clock, new_worker=new_worker)
    assert manager.check()
    assert (manager.slots["second"].state, manager.slots["second"].reason) == ("down", "can't start new thread")
    eventually(lambda: manager.slots["first"].state == "up")
    kinds["second"] = Worker
    manager.check()
    assert manager.workers.keys() == {"first"}
    clock.now += LONGEST_WAIT
    manager.check()
    eventually(lambda: manager.slots["second"].state == "up")
    manager.stop()


def test_a_worker_that_waits_for_its_next_poll_does_not_hang():
    manager, clock, publisher = managed(wattmeter(GOOD, interval=100.0, hang_timeout=10.0))
    manager.slots["pdu1"].restarts = 1  # no spread
    manager.check()
    eventually(lambda: publisher.sent and manager.workers.get("pdu1").busy_since is None)
    pass_time(manager, clock, 99)
    manager.check()
    assert manager.given_up == []
    manager.stop()


def test_too_many_hung_workers_end_the_daemon(caplog):
    hangs = [threading.Event() for _ in range(3)]
    manager, clock, _ = managed(*(wattmeter(hang, name=f"pdu{i}") for i, hang in enumerate(hangs)), max_hung=2)
    manager.check()
    for slot in manager.slots.values():
        eventually(lambda slot=slot: manager.workers[slot.wattmeter.name].busy_since is not None)
    pass_time(manager, clock, 10)
    clock.now += 1
    assert not manager.check()
    assert "max_hung_workers" in caplog.text
    for hang in hangs:
        hang.set()
    manager.stop()


def test_one_device_that_fails_holds_up_nobody():
    manager, _, publisher = managed(wattmeter(DeviceError("off"), name="off"), wattmeter(GOOD, name="on"))
    manager.check()
    eventually(lambda: len(publisher.sent) > 3 and manager.slots["off"].reason == "off")
    assert {name for name, _ in publisher.sent} == {"on"}
    assert [slot.state for slot in manager.slots.values()] == ["down", "up"]
    assert manager.slots["off"].reason == "off"
    manager.stop()


def test_stopping_does_not_wait_for_a_hung_worker(caplog):
    hang = threading.Event()
    manager, _, _ = managed(wattmeter(hang))
    manager.check()
    eventually(lambda: manager.workers.get("pdu1").busy_since is not None)
    manager.stop(deadline=0.05)
    assert "did not stop in time: pdu1" in caplog.text
    hang.set()


def test_a_poll_does_not_hang_because_we_stood_still():
    hang = threading.Event()
    manager, clock, _ = managed(wattmeter(hang), max_hung=0)
    manager.check()
    worker, slot = manager.workers["pdu1"], manager.slots["pdu1"]
    eventually(lambda: worker.busy_since is not None)
    clock.now += 1000
    assert manager.check()
    pass_time(manager, clock, 10)
    assert (slot.state, manager.workers) == ("starting", {"pdu1": worker})
    clock.now += 0.1
    assert not manager.check()
    assert (slot.state, slot.reason) == ("hung", "a poll has not ended for 10 s")
    hang.set()
    manager.stop()


def test_a_wattmeter_is_not_stale_because_we_stood_still():
    manager, clock, _ = managed(wattmeter(GOOD, [], hang_timeout=3600.0))
    manager.check()
    slot = manager.slots["pdu1"]
    eventually(lambda: slot.state == "up")
    clock.now += 1000
    for _ in range(10):
        manager.check()
        assert slot.state == "up"
        clock.now += 1
    manager.check()
    clock.now += 1
    manager.check()
    assert slot.state == "stale"
    manager.stop()


def test_health_is_told_at_once_when_it_changes_and_else_now_and_then():
    meter = wattmeter([])  # as yet it has nothing to tell
    manager, clock, publisher = managed(meter)
    manager.check()
    assert [health.state for health in publisher.told] == ["starting"]
    meter.values["script"][0] = DeviceError("off")
    eventually(lambda: manager.slots["pdu1"].state == "down")
    manager.check()
    manager.check()
    assert [(health.state, health.reason) for health in publisher.told] == [("starting", ""), ("down", "off")]
    clock.now += HEALTH_PERIOD
    manager.check()
    assert len(publisher.told) == 3
    assert publisher.told[-1].next_within == HEALTH_PERIOD
    manager.stop()


def test_many_wattmeters_are_told_of_less_often():
    manager, _, _ = managed(*(wattmeter(GOOD, name=f"pdu{i}") for i in range(10 * HEALTH_RATE)))
    assert manager.healths()[0].next_within == 10
    manager.stop()


def test_a_reload_disturbs_only_what_has_changed():
    kept, gone, changed, new = (wattmeter(GOOD, name=name) for name in ("kept", "gone", "changed", "new"))
    manager, _, publisher = managed(kept, gone, changed)
    manager.check()
    eventually(lambda: len({name for name, _ in publisher.sent}) == 3)
    before = dict(manager.workers)
    other = replace(changed, interval=0.02)
    assert manager.reload([kept, other, new]) == Changes(added=1, removed=1, changed=1, kept=1)
    eventually(lambda: manager.check() and manager.workers.keys() == {"kept", "changed", "new"})
    assert manager.workers["kept"] is before["kept"]
    assert manager.workers["changed"] is not before["changed"]
    assert not before["changed"].is_alive()
    assert manager.slots["changed"].wattmeter is other
    eventually(lambda: not before["gone"].is_alive())
    sent = len(publisher.sent)
    eventually(lambda: len(publisher.sent) > sent + 5)
    assert "gone" not in {name for name, _ in publisher.sent[sent:]}
    manager.stop()


def test_a_changed_wattmeter_whose_worker_does_not_end_is_started_again_all_the_same():
    hang = threading.Event()
    old = wattmeter(hang)
    manager, clock, publisher = managed(old)
    manager.check()
    first = manager.workers["pdu1"]
    eventually(lambda: first.busy_since is not None)
    manager.reload([wattmeter(GOOD, interval=0.02)])
    manager.check()
    assert manager.workers == {}  # one conversation with a device at a time
    clock.now += 10.1
    manager.check()
    assert manager.given_up == [first]
    eventually(lambda: manager.check() and publisher.sent)
    hang.set()
    first.join(5)
    assert ("pdu1", ["late"]) not in publisher.sent
    manager.stop()


def test_what_drivers_of_a_class_share_is_closed_when_the_last_is_gone():
    manager, _, _ = managed(wattmeter(GOOD))
    manager.check()
    (did,) = manager._shared.values()
    manager.reload([])
    eventually(lambda: manager.check() and manager._shared == {})
    assert did[-1] == "shared closed"
    manager.reload([wattmeter(GOOD)])
    manager.check()
    eventually(lambda: manager.slots["pdu1"].state == "up")
    manager.stop()


def test_a_muted_wattmeter_is_not_polled(tmp_path):
    path = tmp_path / "muted.json"
    now = Clock()
    manager, _, publisher = managed(wattmeter(GOOD), mutes=Mutes(path, wall_clock=now))
    manager.check()
    eventually(lambda: publisher.sent)
    write_mutes(path, {"pdu1": now.now + 3600})
    manager.check()
    slot = manager.slots["pdu1"]
    assert (slot.state, manager.workers) == ("muted", {})
    assert slot.reason.startswith("by kwapi mute until 20")
    now.now += 3601
    eventually(lambda: manager.check() and slot.state == "up")
    manager.stop()


def test_maintenance_is_a_mute_that_stands_in_the_configuration():
    manager, _, publisher = managed(wattmeter(GOOD, maintenance=True))
    manager.check()
    assert (manager.slots["pdu1"].state, manager.slots["pdu1"].reason) == ("muted", "maintenance = true")
    assert (manager.workers, publisher.sent) == ({}, [])
    manager.stop()


def test_the_summary_counts_states():
    assert summary(Counter(up=10, down=2)) == "12 wattmeters: 10 up, 2 down"
    assert summary(Counter(hung=1)) == "1 wattmeter: 1 hung"
    assert summary(Counter()) == "0 wattmeters"
