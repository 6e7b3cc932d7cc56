"""kwapi-rrd killed fifty times under load: ``tox -e soak``."""

import os

from tests.integration.rrd_kills import run

KILLS = int(os.environ.get("SOAK_KILLS", "50"))


def test_fifty_kills_take_no_file_no_probe_and_no_value_older_than_one_flush(tmp_path):
    rows = run(tmp_path, kills=KILLS, seed=9)
    print(f"\n{KILLS} kills, {rows} seconds of probes compared")
    assert rows > KILLS * 100
