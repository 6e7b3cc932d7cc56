import pytest

from kwapi.plugins.health import Healths
from tests.messages import health

SAID = 1_800_000_000.0  # as tests.messages has it


@pytest.mark.parametrize(
    ("state", "away"),
    [
        ("up", None),
        ("starting", None),
        ("stale", None),
        ("down", ("down", "no answer")),
        ("hung", ("down", "no answer")),
        ("muted", ("muted", "")),
    ],
)
def test_why_a_probe_is_not_measured(state, away):
    healths = Healths()
    healths.add(health(state=state, reason="no answer"), now=100.0)
    assert healths.away("lyon.pdu1", SAID - 1, now=101.0) == away
    assert healths.away("lyon.pdu2", SAID - 1, now=101.0) is None


def test_a_measurement_made_since_counts_more():
    healths = Healths()
    healths.add(health(state="down"), now=100.0)
    assert healths.away("lyon.pdu1", SAID + 0.1, now=101.0) is None


def test_what_is_not_repeated_is_no_longer_believed():
    healths = Healths()
    healths.add(health(state="down", next_within=5.0), now=100.0)
    assert healths.of("lyon.pdu1", now=115.0) is not None
    assert healths.of("lyon.pdu1", now=115.1) is None
