"""Ten minutes of chaos, over ZeroMQ alone and over a cluster of three NATS servers: ``tox -e chaos``.

CHAOS_SECONDS and CHAOS_SEED make it longer or shorter, and another one.
"""

import os
import secrets

import pytest

from tests.integration.chaos import Storm, run_apart

SECONDS = float(os.environ.get("CHAOS_SECONDS", "600"))


@pytest.mark.parametrize("servers", [0, 3], ids=["zeromq", "nats"])
def test_ten_minutes_of_chaos_lose_nothing_and_count_nothing_twice(tmp_path, servers):
    seed = int(os.environ.get("CHAOS_SEED", str(secrets.randbelow(10**6))))
    print(f"\nCHAOS_SEED={seed}")
    storm = Storm(seconds=SECONDS, between=2.5, away=20.0, cut=120.0, stopped=10.0, repair_wait=300.0, servers=servers)
    print(run_apart(tmp_path, storm, seed))
