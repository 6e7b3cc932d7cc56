import gc
import threading

import pytest

from kwapi.energy import Span
from kwapi.measurement import decode, encode
from kwapi.plugins.api.collector import Collector, Event, ProbeState, Reading
from kwapi.plugins.api.stream import Ring
from tests.clock import Clock
from tests.messages import message


def collected(*messages, **options):
    collector = Collector(clock=Clock(), **options)
    for each in messages:
        collector.add(each)
    return collector


def test_a_probe_has_watts_their_time_and_energy():
    collector = collected(
        message(seq=0, timestamp=1000.0, monotonic=0.0, w=[3600.0]),
        message(seq=1, timestamp=1010.0, monotonic=10.0, w=[7200.0]),
    )
    assert collector.reading("taurus-1") == Reading(1010.0, 7200.0, pytest.approx(0.02))
    assert list(collector.readings()) == ["taurus-1"]


def test_a_probe_appears_once_its_watts_are_known():
    collector = collected(message(seq=0, w=[None], v=[230.0]), message(seq=1, kwh=[5.0]))
    assert collector.readings() == {}
    collector.add(message(seq=2, w=[1.0], kwh=[5.5], timestamp=7.0))
    assert collector.readings()["taurus-1"] == Reading(7.0, 1.0, pytest.approx(0.5))


def test_a_null_keeps_the_last_watts_with_their_own_time():
    collector = collected(
        message(seq=0, timestamp=1000.0, w=[50.0], kwh=[5.0]),
        message(seq=1, timestamp=1001.0, w=[None], kwh=[5.25]),
    )
    assert collector.reading("taurus-1") == Reading(1000.0, 50.0, pytest.approx(0.25))


def test_a_message_may_hold_some_of_the_probes():
    collector = collected(
        message(seq=0, probes=["a", "b"], w=[1.0, 2.0]),
        message(seq=1, probes=["b"], w=[3.0]),
    )
    assert {name: each.w for name, each in collector.readings().items()} == {"a": 1.0, "b": 3.0}


def test_a_silent_probe_leaves_the_list_and_its_energy_goes_on_when_it_returns():
    collector = collected(
        message(seq=0, monotonic=0.0, w=[3600.0]), message(seq=1, monotonic=10.0, w=[3600.0]), cleaning_interval=300.0
    )
    collector._clock.now += 301
    assert collector.readings() == {}
    assert collector.reading("taurus-1") is None
    collector.add(message(seq=2, monotonic=400.0, w=[3600.0]))
    assert collector.reading("taurus-1").kwh == pytest.approx(0.01)


def test_the_gap_limit_follows_a_slow_wattmeter():
    collector = collected(
        message(seq=0, monotonic=0.0, interval=100.0, w=[3600.0]),
        message(seq=1, monotonic=250.0, interval=100.0, w=[3600.0]),
        message(seq=2, monotonic=501.0, interval=100.0, w=[3600.0]),
    )
    assert collector.reading("taurus-1").kwh == pytest.approx(0.25)


def test_a_probe_of_two_wattmeters_belongs_to_the_first_until_that_is_silent(caplog):
    collector = collected(message("one", w=[1.0]), message("two", w=[2.0]), message("two", seq=1, w=[2.0]))
    assert collector.reading("taurus-1").w == 1.0
    assert collector.conflicts.counts == {"taurus-1": 2}
    assert caplog.text.count("taurus-1") == 1
    collector._clock.now += 311
    collector.add(message("two", seq=2, w=[2.0], kwh=[77.0]))
    reading = collector.reading("taurus-1")
    assert (reading.w, reading.kwh) == (2.0, pytest.approx(0, abs=0.001))


def test_a_second_publisher_changes_nothing():
    collector = collected(
        message(boot=1, seq=0, timestamp=1000.0, w=[3600.0]),
        message(boot=2, seq=0, timestamp=1000.5, w=[7.0]),
        message(boot=1, seq=1, timestamp=1001.0, monotonic=1.0, w=[3600.0]),
        message(boot=2, seq=1, timestamp=1001.5, w=[7.0]),
    )
    assert collector.reading("taurus-1").w == 3600.0
    assert collector.conflicts.counts == {"lyon.pdu1": 2}


def test_a_register_that_is_reset_is_logged(caplog):
    collector = collected(message(seq=0, kwh=[50.0], w=[1.0]), message(seq=1, kwh=[0.0], w=[1.0]))
    assert "reset, 50.000 to 0.000 kWh" in caplog.text
    assert collector.reading("taurus-1").kwh == pytest.approx(1 / 3.6e6)


def states(collector, seconds=1.0):
    """Return the states by id of a snapshot taken so much later."""
    collector._clock.now += seconds
    return {state.id: state for state in collector.snapshot().probes}


def test_a_snapshot_has_every_value_and_the_parts_of_the_energy():
    collector = collected(
        message(timestamp=1000.0, monotonic=0.0, probes=["b", "a"], w=[3600.0, None], v=[230.0, None]),
        message(seq=1, timestamp=1010.0, monotonic=10.0, probes=["b"], w=[7200.0], a=[31.5], va=[7250.0], v=[229.5]),
    )
    assert list(states(collector)) == ["a", "b"]
    assert states(collector)["b"] == ProbeState(
        id="b",
        wattmeter="lyon.pdu1",
        level="device",
        timestamp=1010.0,
        w=7200.0,
        v=229.5,
        a=31.5,
        va=7250.0,
        kwh=pytest.approx(0.02),
        kwh_since=1000.0,
        measured_seconds=10.0,
        unknown_seconds=0.0,
        coverage=1.0,
        interval=1.0,
        state="up",
    )


def test_a_probe_without_watts_is_in_the_snapshot_and_not_among_the_readings():
    collector = collected(message(kwh=[5.0], level=["inlet"]))
    assert collector.readings() == {}
    state = states(collector)["taurus-1"]
    assert (state.w, state.v, state.level, state.coverage) == (None, None, "inlet", None)


@pytest.mark.parametrize(("interval", "silent", "expected"), [(1, 9.9, 9.0), (1, 10.1, None), (20, 60.1, None)])
def test_a_stale_probe_has_no_values_but_its_energy_and_the_time_of_its_last(interval, silent, expected):
    collector = collected(message(timestamp=1000.0, interval=interval, w=[9.0], v=[230.0], kwh=[5.0]))
    state = states(collector, silent)["taurus-1"]
    assert (state.w, state.timestamp, state.kwh) == (expected, 1000.0, 0.0)
    assert (state.state, state.v) == (("up", 230.0) if expected else ("stale", None))
    assert collector.reading("taurus-1").w == 9.0


def test_a_stale_probe_that_is_measured_again_is_up():
    collector = collected(message(w=[9.0]))
    assert states(collector, 11)["taurus-1"].state == "stale"
    collector.add(message(seq=1, w=[10.0]))
    assert states(collector)["taurus-1"].w == 10.0


def test_watts_that_later_messages_do_not_repeat_are_soon_unknown():
    collector = collected(message(timestamp=1000.0, w=[9.0]), message(seq=1, timestamp=1009.0, v=[230.0], w=[None]))
    state = states(collector)["taurus-1"]
    assert (state.timestamp, state.w, state.v) == (1000.0, 9.0, 230.0)
    collector.add(message(seq=2, timestamp=1010.5, v=[231.0], w=[None]))
    state = states(collector)["taurus-1"]
    assert (state.timestamp, state.w, state.v, state.state) == (1010.5, None, 231.0, "up")


def test_a_silent_probe_is_in_no_snapshot():
    collector = collected(message(), cleaning_interval=300.0)
    assert list(states(collector, 300)) == ["taurus-1"]
    assert states(collector, 1) == {}


def test_a_snapshot_serves_a_tenth_of_a_second_and_is_numbered():
    collector = collected(message(w=[1.0]))
    first = collector.snapshot()
    collector.add(message(seq=1, w=[2.0]))
    collector._clock.now += 0.09
    assert collector.snapshot() is first
    collector._clock.now += 0.02
    second = collector.snapshot()
    assert (second.generation, second.probes[0].w) == (first.generation + 1, 2.0)


def test_what_has_not_changed_is_not_made_anew():
    collector = collected(message(probes=["a", "b"], w=[1.0, 1.0]))
    before = states(collector)
    collector.add(message(seq=1, probes=["b"], w=[2.0]))
    after = states(collector)
    assert after["a"] is before["a"]
    assert after["b"].w == 2.0


def test_events_of_the_register_are_kept_with_their_values():
    collector = collected(
        message(seq=0, kwh=[50.0], timestamp=1.0),
        message(seq=1, kwh=[1.0], timestamp=2.0),
        message(seq=2, kwh=[1000.0], timestamp=3.0),
    )
    assert collector.events("taurus-1") == [Event(2.0, "reset", 50.0, 1.0), Event(3.0, "jump", 1.0, 1000.0)]
    assert collector.events("taurus-2") == []


def test_another_wattmeter_of_a_probe_is_an_event():
    collector = collected(message("one", kwh=[50.0]))
    collector._clock.now += 311
    collector.add(message("two", kwh=[7.0], timestamp=9.0))
    assert collector.events("taurus-1") == [Event(9.0, "replaced", 50.0, None)]


def test_a_listener_hears_what_is_taken_and_nothing_else():
    collector, heard = collected(), []
    collector.subscribe(heard.append)
    first = message(boot=2, seq=0, timestamp=1000.0)
    collector.add(first)
    collector.add(message(boot=1, seq=0, timestamp=999.0))
    assert heard == [first]


def test_states_are_whole_while_measurements_come():
    """Watts and timestamp of a probe are told apart from each other in no snapshot."""
    collector, stop, torn = Collector(), threading.Event(), []

    def read():
        while not stop.is_set():
            collector._taken_at = float("-inf")
            torn.extend(state for state in collector.snapshot().probes if state.w != state.timestamp)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for seq in range(3000):
        names = [f"p{seq // 300}.{number}" for number in range(10)]
        collector.add(message(seq=seq, timestamp=float(seq), probes=names, w=[float(seq)] * 10))
    stop.set()
    for reader in readers:
        reader.join()
    assert torn == []
    assert len(collector.readings()) == 100


class Interrupting(Clock):
    """A clock that, at one of the times it is asked, lets something else happen first."""

    countdown = 0

    def __call__(self):
        self.countdown -= 1
        if self.countdown == 0:
            self.interrupt()
        return self.now


@pytest.mark.parametrize("moment", [1, 2, 3, 4])
@pytest.mark.parametrize(("order", "left"), [(("forget", "a"), ["b"]), (("rename", "a", "c"), ["b", "c"])])
def test_a_probe_may_go_while_a_snapshot_is_taken(moment, order, left):
    clock = Interrupting()
    collector = Collector(clock=clock, wall_clock=Clock())
    collector.add(message(probes=["a", "b"]))
    assert [state.id for state in collector.snapshot().probes] == ["a", "b"]
    clock.now += 60
    clock.interrupt = lambda: getattr(collector, order[0])(*order[1:])
    clock.countdown = moment
    collector.snapshot()
    assert clock.countdown < 0
    assert list(states(collector)) == left


def test_what_is_measured_leaves_the_garbage_collector_nothing_to_walk():
    collector, names = Collector(), [f"p{number}" for number in range(50)]
    Ring.of(collector)
    found = []
    for second in range(40):
        measured = message(seq=second, probes=names, w=[1.0] * 50, v=[2.0] * 50, kwh=[second / 100] * 50)
        collector.add(decode(encode(measured)))
        if second in (19, 39):
            gc.collect()
            found.append(len(gc.get_objects()))
    assert found[1] - found[0] < 20, "objects for each message"
    assert not {Reading, Span} & set(map(type, gc.get_objects())), "objects for each measurement"


def catching_up():
    """Return a collector that heard of one message, and missed some of the ten minutes since then."""
    clock = Clock()
    collector = Collector(clock=Clock(), wall_clock=clock)
    collector.add(message(seq=0, timestamp=clock.now, monotonic=0.0, w=[3600.0]))
    collector._clock.now += 600.0
    clock.now += 600.0
    return collector, clock.now - 600.0


def late(collector, began, seq, **fields):
    collector.add_late(message(seq=seq, timestamp=began + 10.0 * seq, monotonic=10.0 * seq, **fields))


def test_what_was_measured_long_ago_is_not_shown_as_if_it_were_now():
    collector, began = catching_up()
    late(collector, began, 1, w=[1000.0])
    collector._clock.now += 1.0
    assert collector.snapshot().probes == ()
    late(collector, began, 57, w=[1000.0])  # half a minute ago
    collector._clock.now += 1.0
    (probe,) = collector.snapshot().probes
    assert (probe.state, probe.w) == ("stale", None)


def test_what_comes_live_is_shown_at_once_and_counted_in_its_turn():
    collector, began = catching_up()
    late(collector, began, 1, w=[3600.0])
    collector.show(message(seq=3, timestamp=began + 600.0, monotonic=600.0, w=[7.0], v=[230.0]))
    late(collector, began, 2, w=[9000.0], v=[10.0])
    collector._clock.now += 1.0
    (probe,) = collector.snapshot().probes
    assert (probe.state, probe.w, probe.v, probe.kwh) == ("up", 7.0, 230.0, pytest.approx(0.035))
    assert collector.readings() == {}  # of ten minutes ago, as its energy is
    late(collector, began, 3, w=[1800.0])
    collector.add(message(seq=4, timestamp=began + 601.0, monotonic=31.0, w=[3600.0]))
    collector._clock.now += 1.0
    (probe,) = collector.snapshot().probes
    assert (probe.w, probe.kwh) == (3600.0, pytest.approx(0.041))


@pytest.mark.parametrize(("seconds", "watts", "volts"), [(2.0, 5.0, 230.0), (600.0, None, None)])
def test_what_a_message_that_is_shown_has_not_anew_is_shown_as_long_as_it_is_current(seconds, watts, volts):
    collector = collected(message(seq=0, timestamp=1000.0, monotonic=0.0, w=[5.0], v=[230.0]))
    collector.show(message(seq=9, timestamp=1000.0 + seconds, monotonic=seconds, w=[None], v=None))
    (probe,) = collector.snapshot().probes
    assert (probe.state, probe.w, probe.v) == ("up", watts, volts)


def test_every_probe_is_shown_ahead_of_its_turn_in_however_many_messages_they_come():
    names = [f"outlet-{number}" for number in range(10, 30)]
    counted = (message(seq=seq, timestamp=1000.0, probes=[name], w=[1.0]) for seq, name in enumerate(names))
    collector = collected(*counted)
    for seq, name in enumerate(names, 100):
        collector.show(message(seq=seq, timestamp=1100.0, monotonic=100.0, probes=[name], w=[5.0]))
    assert [each.w for each in collector.snapshot().probes] == [5.0] * 20


def test_what_is_shown_is_never_older_than_what_was_shown_or_counted_before():
    collector = collected(message(seq=0, timestamp=1000.0, monotonic=0.0, w=[1.0]), wall_clock=Clock(1000.0))
    for seq in (5, 3):
        collector.show(message(seq=seq, timestamp=1000.0 + seq, monotonic=float(seq), w=[float(seq)]))
    assert [each.w for each in collector.snapshot().probes] == [5.0]
    collector._clock.now += 1.0
    for seq in range(1, 9):
        late(collector, 1000.0, seq, w=[10.0 * seq])
    assert [each.w for each in collector.snapshot().probes] == [80.0]


def test_what_was_shown_and_never_came_in_its_turn_is_forgotten():
    collector, began = catching_up()
    collector.show(message(seq=9, timestamp=began + 600.0, monotonic=600.0, w=[7.0]))
    collector.add(message(seq=11, timestamp=began + 602.0, monotonic=602.0, w=[9.0]))
    assert collector.reading("taurus-1").w == 9.0


def test_what_was_shown_is_forgotten_of_every_probe_though_a_message_may_hold_some():
    began = 1000.0
    collector = collected(message(seq=0, timestamp=began, monotonic=0.0, probes=["a", "b"], w=[1.0, 2.0]))
    collector.show(message(seq=8, timestamp=began + 8.0, monotonic=8.0, probes=["a", "b"], w=[3.0, 4.0]))
    collector.show(message(seq=9, timestamp=began + 9.0, monotonic=9.0, probes=["b"], w=[5.0]))
    collector.add(message(seq=10, timestamp=began + 10.0, monotonic=10.0, probes=["a", "b"], w=[6.0, 7.0]))
    assert [(each.w, each.timestamp) for each in collector.snapshot().probes] == [(6.0, 1010.0), (7.0, 1010.0)]


def test_what_was_shown_is_forgotten_of_a_probe_that_another_wattmeter_has_taken_over():
    collector = collected(message(seq=0, timestamp=1000.0, monotonic=0.0, w=[1.0]), cleaning_interval=300.0)
    collector.show(message(seq=9, timestamp=1009.0, monotonic=9.0, w=[5.0]))
    collector._clock.now += 1000.0
    collector.add(message(wattmeter="paris.pdu2", boot=2, timestamp=2000.0, w=[6.0]))
    (probe,) = collector.snapshot().probes
    assert (probe.wattmeter, probe.w, probe.state) == ("paris.pdu2", 6.0, "up")


def test_nothing_is_shown_of_probes_that_are_another_wattmeters():
    collector, began = catching_up()
    collector.show(message(wattmeter="paris.pdu2", seq=3, probes=["taurus-1", "new"], w=[7.0, 8.0]))
    assert collector.reading("taurus-1") is None
    assert collector.reading("new") is None
