import pytest

from kwapi.plugins.api.collector import Collector
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
    assert collector.reading("taurus-1")._asdict() == {"timestamp": 1010.0, "w": 7200.0, "kwh": pytest.approx(0.02)}
    assert list(collector.readings()) == ["taurus-1"]


def test_a_probe_appears_once_its_watts_are_known():
    collector = collected(message(seq=0, w=[None], v=[230.0]), message(seq=1, kwh=[5.0]))
    assert collector.readings() == {}
    collector.add(message(seq=2, w=[1.0], kwh=[5.5], timestamp=7.0))
    assert collector.readings()["taurus-1"] == (7.0, 1.0, pytest.approx(0.5))


def test_a_null_keeps_the_last_watts_with_their_own_time():
    collector = collected(
        message(seq=0, timestamp=1000.0, w=[50.0], kwh=[5.0]),
        message(seq=1, timestamp=1001.0, w=[None], kwh=[5.25]),
    )
    assert collector.reading("taurus-1") == (1000.0, 50.0, pytest.approx(0.25))


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
    assert collector.reading("taurus-1")[1:] == (2.0, pytest.approx(0, abs=0.001))


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
