import threading

import pytest

from kwapi.plugins.api.collector import Event
from kwapi.plugins.api.registers import Registers
from tests.clock import Clock
from tests.plugins.collecting import PROBES, feed, killed, kwhs


def test_after_kill_9_everything_that_was_served_is_there(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 7200.0))
    killed(before)
    after = collector_of(tmp_path)
    assert after.readings() == before.readings()
    assert [state.id for state in after.snapshot().probes] == sorted(PROBES)
    assert after.snapshot().probes == before.snapshot().probes


@pytest.mark.parametrize(("down", "kwh", "unknown"), [(60, 0.06 + 0.01, 0), (61, 0.01, 61)])
def test_the_time_between_is_integrated_if_it_is_short_and_else_unknown(collector_of, tmp_path, down, kwh, unknown):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0))
    killed(before)
    after = collector_of(tmp_path)
    feed(after, (10 + down, 3600.0))
    assert kwhs(after) == dict.fromkeys(PROBES, pytest.approx(kwh))
    assert {state.unknown_seconds for state in after.snapshot().probes} == {unknown}


def test_a_register_bridges_the_time_between_exactly(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0, 50.0), (10, 3600.0, 50.5))
    killed(before)
    after = collector_of(tmp_path)
    feed(after, (36010, 3600.0, 57.25))
    assert kwhs(after) == dict.fromkeys(PROBES, 7.25)
    assert after.events("a") == []


def test_what_a_restart_interrupts_goes_on_as_without_it(collector_of, tmp_path):
    """Every state that a register can be in: after a step back, with watts pending, ahead of a silent register."""
    rows = [(0, 100.0, 8000.0), (1, 100.0, 8000.5), (2, 100.0, 8000.2), (9, 100.0), (80, 100.0), (90, 100.0)]
    rows += [(95, 100.0, 8000.6), (100, 100.0, 3.0), (105, 100.0, 3.1), (110, 100.0, 8000.8), (300, 50.0), (301, 50.0)]
    whole = collector_of(tmp_path / "whole")
    feed(whole, *rows)
    for cut in range(1, len(rows)):
        first = collector_of(tmp_path / str(cut))
        feed(first, *rows[:cut])
        killed(first)
        second = collector_of(tmp_path / str(cut))
        feed(second, *rows[cut:])
        assert second.readings() == whole.readings()
        assert second.events("a") == whole.events("a")
        assert [energy(second), kwhs(second)] == [energy(whole), kwhs(whole)]


def energy(collector):
    return {name: probe.energy for name, probe in collector._probes.items()}


def test_what_was_counted_before_the_restart_is_not_counted_again(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0), (20, 3600.0))
    killed(before)
    after = collector_of(tmp_path)
    feed(after, (10, 3600.0), (20, 3600.0))
    assert kwhs(after) == kwhs(before)
    feed(after, (30, 3600.0), (40, 3600.0))
    assert kwhs(after) == dict.fromkeys(PROBES, pytest.approx(0.04))


def test_what_two_boots_counted_before_the_restart_is_not_counted_again(collector_of, tmp_path):
    """Positions are saved every few seconds: a spool is asked from the boot on that was the publisher's then."""
    before = collector_of(tmp_path)
    both = [((0, 3600.0), (10, 3600.0)), ((12, 3600.0), (20, 3600.0))]
    for boot, rows in enumerate(both, 1):
        feed(before, *rows, boot=boot)
    killed(before)
    after = collector_of(tmp_path, wall_clock=Clock(1080.0))
    for boot, rows in enumerate(both, 1):
        feed(after, *rows, boot=boot)
    feed(after, (80, 3600.0), boot=2)
    assert kwhs(after) == dict.fromkeys(PROBES, pytest.approx(0.08))


def test_a_restart_of_both_with_the_clock_set_back_loses_nothing_and_counts_nothing_twice(collector_of, tmp_path):
    """Boot 1 had its clock half a minute ahead; the spool is asked from there on."""
    before = collector_of(tmp_path)
    early, late = [((30, 3600.0), (40, 3600.0)), ((12, 3600.0), (20, 3600.0))], [((21, 3600.0), (31, 3600.0))]
    for boot, rows in enumerate(early, 1):
        feed(before, *rows, boot=boot)
    killed(before)
    after = collector_of(tmp_path)
    for boot, rows in enumerate(early + late, 1):
        feed(after, *rows, boot=boot)
    assert kwhs(after) == dict.fromkeys(PROBES, pytest.approx(0.010 + 0.008 + 0.001 + 0.010))


class Killed(Exception):
    """Comes in the midst of a message."""


class Dying(Registers):
    """Registers that write so many more records of probes, and then no more."""

    left = 0

    def write(self, probe):
        self.left -= 1
        if self.left < 0:
            raise Killed
        super().write(probe)


@pytest.mark.parametrize("left", range(6))
def test_a_kill_in_the_midst_of_a_message_costs_none_of_its_probes_anything(collector_of, tmp_path, left):
    """The last message is not like those before it: each record is written as it was in step, and then once more."""
    before = collector_of(tmp_path, of=Dying)
    before._registers.left = len(PROBES) + left
    feed(before, (0, 3600.0), (10, 3600.0), (20, 3600.0))
    with pytest.raises(Killed):
        feed(before, (30, 7200.0), probes=PROBES[::-1])
    killed(before)
    after = collector_of(tmp_path)
    feed(after, (20, 3600.0), (30, 7200.0), (40, 3600.0))
    assert kwhs(after) == dict.fromkeys(PROBES, pytest.approx(0.01 + 0.01 + 0.02 + 0.01))


def test_a_boot_that_is_lower_is_taken_once_its_clock_is_ahead(collector_of, tmp_path):
    """kwapi-drivers was moved to a machine whose clock is behind, while kwapi-api was away."""
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0), boot=5)
    killed(before)
    after = collector_of(tmp_path)
    feed(after, (69, 3600.0), (70, 3600.0), (71, 3600.0), boot=4)
    assert kwhs(after) == dict.fromkeys(PROBES, pytest.approx(0.07 + 0.001))


def test_a_replay_of_an_earlier_boot_does_not_take_over_after_a_restart(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (20, 3600.0), boot=2)
    killed(before)
    after = collector_of(tmp_path)
    feed(after, (10, 9.0), boot=1)
    assert after.reading("a").w == 3600.0
    feed(after, (25, 3600.0), boot=2)
    feed(after, (15, 9.0), boot=1)
    assert after.reading("a").w == 3600.0
    assert after.conflicts.counts == {"lyon.pdu1": 1}


def test_a_probe_silent_since_long_is_known_but_not_listed_and_its_energy_goes_on(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0, 5.0), (10, 3600.0, 5.5))
    before._registers.close()
    after = collector_of(tmp_path, wall_clock=Clock(1011.0 + 300.0))
    assert after.readings() == {}
    assert after.snapshot().probes == ()
    feed(after, (400, 3600.0, 6.0))
    assert kwhs(after) == dict.fromkeys(PROBES, 1.0)


def test_a_power_loss_of_the_machine_is_an_event_of_every_probe(collector_of, tmp_path, caplog):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0))
    killed(before)
    after = collector_of(tmp_path, boot_id="boot two")
    assert after.events("b") == [Event(1010.0, "power loss", None, pytest.approx(0.01))]
    assert "the machine stopped without warning" in caplog.text


@pytest.mark.parametrize(("closed", "boot_id"), [(True, "boot two"), (False, "boot one")])
def test_a_proper_stop_or_a_kill_alone_is_no_power_loss(collector_of, tmp_path, closed, boot_id):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0))
    if closed:
        before._registers.close()
    else:
        killed(before)
    assert collector_of(tmp_path, boot_id=boot_id).events("a") == []


def test_what_a_power_loss_took_a_register_gives_back(collector_of, tmp_path):
    """The disk has the file as it was at the last sync."""
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0, 50.0), (10, 3600.0, 50.5))
    synced = (tmp_path / "registers").read_bytes()
    feed(before, (19, 3600.0, 50.75))
    killed(before)
    (tmp_path / "registers").write_bytes(synced)
    after = collector_of(tmp_path, boot_id="boot two")
    assert kwhs(after) == dict.fromkeys(PROBES, 0.5)
    assert [event.kind for event in after.events("a")] == ["power loss"]
    feed(after, (19, 3600.0, 50.75), (200, 3600.0, 51.0), boot=2)
    assert kwhs(after) == dict.fromkeys(PROBES, 1.0)


def test_a_stopped_task_leaves_the_files_as_a_whole(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0))
    stop = threading.Event()
    stop.set()
    before._registers.run(stop)
    after = collector_of(tmp_path, boot_id="boot two")
    assert list(after.readings()) == PROBES
    assert after.events("a") == []


def test_a_rename_that_was_cut_short_leaves_the_energy_of_both_once(collector_of, tmp_path):
    before = collector_of(tmp_path)
    feed(before, (0, 3600.0), (10, 3600.0), probes=["old", "new"])
    before._probes["old"].name, before._probes["old"].identity = "new", b""
    before._probes["old"].energy.total.kwh = 5.0
    before._registers.write(before._probes["old"])
    killed(before)
    after = collector_of(tmp_path)
    assert kwhs(after) == {"new": 5.0}
    killed(after)
    assert kwhs(collector_of(tmp_path)) == {"new": 5.0}
