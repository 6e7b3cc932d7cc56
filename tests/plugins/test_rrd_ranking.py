import pytest

from kwapi.plugins.rrd.ranking import NAMED, WANTED, Largest, Ranking
from kwapi.plugins.rrd.store import Store
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0


class CountingStore(Store):
    asked = 0

    def probes(self):
        self.asked += 1
        return super().probes()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return CountingStore(tmp_path, clock=clock, steady_clock=clock)


def add(store, watts, wattmeter="lyon.pdu1", seconds=100, end=NOW):
    for step in range(seconds):
        probes, values = list(watts), list(watts.values())
        store.add(message(wattmeter, probes=probes, w=values, timestamp=end - seconds + 1 + step))
    store.flush()


def test_the_energy_of_every_probe_is_known_by_period(store, clock):
    add(store, {"a": 360.0, "b": 36.0, "sun": -50.0})
    store.add(message("other", probes=["silent"], w=[None], timestamp=NOW))
    ranking = Ranking(store, clock=clock)
    energies = ranking.energies("minute")
    assert energies == pytest.approx({"a": 360 * 99 / 3.6e6, "b": 36 * 99 / 3.6e6, "sun": 0.0})
    assert ranking.energies("year") == {}


def test_the_largest_are_those_of_the_site_that_count(store, clock):
    add(store, {f"n{number}": float(number) for number in range(30)})
    add(store, {"x": 5.0, "y": 6.0}, "pdu")
    for step in range(100):
        fields = {"probes": ["feed", "plug"], "w": [900.0, 800.0], "level": ["inlet", "outlet"]}
        store.add(message("nice.pdu", timestamp=NOW - 99 + step, **fields))
    store.flush()
    ranking = Ranking(store, clock=clock)
    lyon = ranking.largest("minute", "lyon")
    assert lyon == Largest(tuple(f"n{number}" for number in range(10, 30)), 30, 30) and len(lyon.names) == NAMED
    assert ranking.largest("minute", "nice") == Largest(("feed",), 1, 1)
    assert ranking.largest("minute", "") == Largest(("x", "y"), 2, 2)
    assert ranking.largest("minute", None).names == ("feed", *(f"n{number}" for number in range(11, 30)))
    assert ranking.largest("minute", "nowhere") == Largest()


def test_a_file_that_cannot_be_used_has_no_energy(store, clock):
    add(store, {"sound": 10.0, "cut": 20.0})
    store.path("cut").write_bytes(b"RRD")
    ranking = Ranking(store, clock=clock)
    assert list(ranking.energies("minute")) == ["sound"]
    assert ranking.largest("minute", None) == Largest(("sound",), 2, 1)


def test_a_probe_whose_clock_is_ahead_counts_too(store, clock):
    add(store, {"ahead": 100.0}, seconds=400, end=NOW + 50)
    assert Ranking(store, clock=clock).energies("minute")["ahead"] > 0


def test_files_are_read_again_ahead_of_requests_and_as_often_as_a_hundredth_of_a_core_allows(store, clock):
    cpu = iter(number * 0.35 for number in range(100))
    ranking = Ranking(store, clock=clock, cpu_clock=lambda: next(cpu))
    ranking.energies("minute")
    for _ in range(34):
        clock.now += 1
        ranking.renew()
    assert store.asked == 1
    clock.now += 1
    ranking.renew()
    assert store.asked == 2
    ranking.energies("minute")
    clock.now += 69
    ranking.energies("minute")
    assert store.asked == 2
    clock.now += 1
    ranking.energies("minute")  # nobody renewed it
    assert store.asked == 3


def test_what_nobody_asks_for_is_not_read(store, clock):
    ranking = Ranking(store, clock=clock, cpu_clock=lambda: 0.0)
    ranking.energies("hour")
    clock.now += WANTED + 1
    ranking.renew()
    assert store.asked == 1


def test_where_nothing_is_measured_any_more_the_period_is_the_one_before_that(store, clock):
    add(store, {"a": 360.0, "b": 36.0})
    clock.now += 7 * 3600
    assert Ranking(store, clock=clock).energies("minute") == pytest.approx(
        {"a": 360 * 99 / 3.6e6, "b": 36 * 99 / 3.6e6}
    )
