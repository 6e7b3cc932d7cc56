import pytest

from kwapi.measurement import Measurement
from kwapi.plausibility import implausibilities


def outlet(probe="a", **values):
    return Measurement(probe, level="outlet", **values)


@pytest.mark.parametrize(
    "measurements",
    [
        [outlet(watts=100.0, volt_amperes=110.0, volts=230.0, amps=0.48)],
        [outlet(watts=100.0)],
        [outlet(watts=10.0, volt_amperes=0.0)],  # counted in steps of 10
        [outlet(volts=230.0, amps=0.0, watts=3.0)],
        [Measurement("in", level="inlet", watts=1584.0), outlet("a", watts=800.0), outlet("b", watts=768.0)],
        [Measurement("in", level="inlet", watts=1665.0), outlet("a", watts=1671.0)],
        [Measurement("in", level="inlet", watts=1665.0), outlet("a", watts=20.0)],  # the others are not named
        [],
    ],
)
def test_what_can_be_is_not_complained_of(measurements):
    assert list(implausibilities(measurements)) == []


@pytest.mark.parametrize(
    ("measurements", "words"),
    [
        ([outlet(watts=1000.0, volt_amperes=110.0)], ["a: 1000 W", "110 VA"]),
        ([outlet(volts=2302.0, amps=2.0, volt_amperes=460.0)], ["2302 V x 2 A", "4604 VA", "460 VA"]),
        ([outlet(watts=460.0, volts=23.0, amps=2.0)], ["460 W", "46 VA"]),
        ([Measurement("in", level="inlet", watts=100.0), outlet("a", watts=600.0), outlet("b", watts=400.0)],
         ["the 2 probes of level outlet draw 1000 W", "the 100 W of level inlet"]),
    ],
)  # fmt: skip
def test_a_wrong_scale_is_told_with_both_values(measurements, words):
    (sentence,) = implausibilities(measurements)
    assert all(word in sentence for word in words)
