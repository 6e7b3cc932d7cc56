"""What is to be closed after a test."""

import pytest

from tests.plugins.collecting import killed, open_collector


@pytest.fixture
def collector_of():
    """Return what opens a collector; what a test leaves open is closed after it."""
    opened = []

    def collector_of(*arguments, **given):
        opened.append(open_collector(*arguments, **given))
        return opened[-1]

    yield collector_of
    for collector in opened:
        if collector._registers.events._file is not None:
            killed(collector)
