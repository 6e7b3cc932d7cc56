"""Endpoints at which nothing is heard are told of."""

import pytest

from kwapi.silence import SILENT, Silence
from tests.clock import Clock

ENDPOINT = "tcp://127.0.0.1:5565"


@pytest.fixture
def clock():
    return Clock()


def pass_by(silence, clock, seconds, *, was_heard=False):
    for _ in range(seconds):
        clock.now += 1
        silence.look(was_heard=was_heard)


def test_a_bus_on_which_nobody_speaks_is_told_once_and_its_end_too(clock, caplog):
    caplog.set_level("INFO")
    silence = Silence([ENDPOINT], clock)
    pass_by(silence, clock, 200)
    pass_by(silence, clock, 200, was_heard=True)
    pass_by(silence, clock, int(SILENT) - 1)
    assert caplog.messages == [
        f"{ENDPOINT}: nothing is heard since 61 s; does kwapi-drivers or kwapi-forwarder run there?",
        f"{ENDPOINT}: something is heard again",
    ]


def test_who_listens_nowhere_misses_nothing(clock, caplog):
    pass_by(Silence([], clock), clock, 200)
    assert caplog.messages == []
