"""kill -9 of kwapi-rrd at random moments, under load; soak/ has more of them."""

import pytest

from tests.integration.rrd_kills import PROBES, WATTMETERS, run

pytestmark = pytest.mark.integration


def test_no_kill_takes_a_file_a_probe_or_a_value_older_than_one_flush(tmp_path):
    assert run(tmp_path, kills=4, seed=6) > 2 * WATTMETERS * PROBES
