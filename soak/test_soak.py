"""Ten minutes of a farm of 200 wattmeters of which half misbehave: ``tox -e soak``. Here times are judged too.

SOAK_SECONDS and SOAK_WATTMETERS make it longer, shorter, larger or smaller.
"""

import os
import statistics

import pytest

from tests.integration.claims import (
    back_in_time,
    energy_is_true,
    healthy_wattmeters_miss_no_poll,
    nothing_is_left_over,
    numbers_have_no_hole,
)
from tests.integration.misbehaving import run

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
WATTMETERS = int(os.environ.get("SOAK_WATTMETERS", "200"))


@pytest.mark.parametrize("workers", [0, 2])
def test_half_of_a_large_farm_misbehaves_for_long(tmp_path, workers):
    seconds = SECONDS if not workers else SECONDS / 4
    result = run(tmp_path, wattmeters=WATTMETERS, seconds=seconds, interval=1.0, longest=90, seed=7, workers=workers)
    delays = back_in_time(result)
    kinds = sorted({episode.kind for episode in result.episodes})
    print(f"\n{len(result.wattmeters(''))} wattmeters, {len(result.episodes)} faults of {len(kinds)} kinds")
    print(f"back after a fault of fewer than 5 polls: {words(delays['short'])}; of more: {words(delays['long'])}")
    print(f"threads, descriptors, KiB before, each minute, after: {result.resources}")
    healthy_wattmeters_miss_no_poll(result)
    numbers_have_no_hole(result)
    energy_is_true(result)
    if not workers:
        nothing_is_left_over(result)


def words(delays: list[float]) -> str:
    return (
        f"median {statistics.median(delays):.2f} s, longest {max(delays):.2f} s of {len(delays)}" if delays else "none"
    )
