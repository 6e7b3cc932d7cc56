"""What /v1 shows of all probes, as values and as JSON, whichever of them a message has."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.machines import Machine
from tests.clock import Clock
from tests.messages import message

NAMES = ("a", "b", 'c "\\ü')
ALONE = "of another"
SILENT = 300.0  # seconds


class Site:
    """A collector, and what it must show: the watts of each probe, and when it was measured."""

    def __init__(self, **options):
        self.clock = Clock(1000.0)
        self.collector = Collector(clock=self.clock, cleaning_interval=SILENT, **options)
        self.collector.add(message("another", timestamp=self.clock.now, probes=[ALONE], w=[0.5]))
        self.measured = {ALONE: (0.5, self.clock.now)}
        self.seq = 0

    def measure(self, *names, w=1.0):
        self.seq += 1
        timestamp = self.clock.now
        self.collector.add(
            message(seq=self.seq, timestamp=timestamp, monotonic=timestamp, probes=names, w=[w] * len(names))
        )
        self.measured |= dict.fromkeys(names, (w, timestamp))

    def shown(self):
        """Return the watts of each probe that is shown, the same in all three ways."""
        readings = self.collector.readings()
        members = json.loads(b"{%s}" % b",".join(self.collector.encoded_readings()))
        assert members == {name: msgspec.structs.asdict(reading) for name, reading in readings.items()}
        assert list(members) == list(readings)
        assert readings == {name: self.collector.reading(name) for name in readings}
        return {name: reading.w for name, reading in readings.items()}

    def is_right(self):
        live = {name: w for name, (w, at) in self.measured.items() if at >= self.clock.now - SILENT}
        return self.shown() == live and all(
            (self.collector.reading(name) is not None) == (name in live) for name in NAMES
        )


@given(
    st.lists(st.tuples(st.sets(st.sampled_from(NAMES), min_size=1), st.sampled_from([1.0, 140.0, 301.0])), max_size=8)
)
def test_each_probe_is_shown_until_it_is_silent_whatever_the_others_of_its_wattmeter_are(steps):
    site = Site()
    for watts, (names, seconds) in enumerate(steps):
        site.measure(*sorted(names), w=float(watts))
        assert site.is_right()
        site.clock.now += seconds
        assert site.is_right()


def test_a_probe_whose_wattmeter_goes_on_without_it_is_silent_by_itself():
    site = Site()
    site.measure("a", "b")
    for watts in range(5):
        site.clock.now += 100
        site.measure("a", w=float(watts))
    assert site.shown() == {"a": 4.0}


def test_what_is_renamed_or_forgotten_is_not_shown_any_more():
    site = Site()
    site.measure(*NAMES)
    site.clock.now += 20
    site.measure("a", w=2.0)
    site.collector.rename("b", "renamed")
    site.collector.forget(NAMES[2])
    assert site.shown() == {ALONE: 0.5, "a": 2.0, "renamed": 1.0}
    site.measure("a", w=3.0)
    assert site.shown() == {ALONE: 0.5, "a": 3.0, "renamed": 1.0}


def test_a_probe_that_another_wattmeter_takes_over_is_shown_once():
    site = Site()
    site.measure("a", "b")
    for second in range(0, 320, 10):
        site.clock.now += 10
        site.measure("a", w=2.0)
        site.collector.add(
            message("another", seq=second + 1, timestamp=site.clock.now, probes=[ALONE, "b"], w=[3.0, 4.0])
        )
    assert site.shown() == {"a": 2.0, ALONE: 3.0, "b": 4.0}
    site.measure("a", "b", w=5.0)
    assert site.shown() == {"a": 5.0, ALONE: 3.0, "b": 4.0}


@pytest.mark.parametrize(("seconds", "shown"), [(0, {"web": 1.5}), (301, {})])
def test_machines_come_after_the_probes(seconds, shown):
    site = Site(machines=[Machine("web", ("a", ALONE))])
    site.measure("a", "b")
    site.clock.now += seconds
    site.collector.add(message("another", seq=1, timestamp=site.clock.now, probes=[ALONE], w=[0.5]))
    probes = {ALONE: 0.5} if seconds else {ALONE: 0.5, "a": 1.0, "b": 1.0}
    assert list(site.shown().items()) == [*probes.items(), *shown.items()]


def test_nothing_is_shown_of_nothing():
    assert Collector().encoded_readings() == []
    collector = Collector()
    collector.add(message(w=[None], kwh=[1.0]))
    assert (collector.readings(), collector.encoded_readings()) == ({}, [])
