"""A farm in which half of the wattmeters misbehave: the others do not notice, and no energy is invented or lost.

Here order and counts are judged; ``tox -e soak`` runs it longer, and judges times.
"""

import pytest

from tests.integration.claims import (
    energy_is_true,
    healthy_wattmeters_miss_no_poll,
    nothing_is_left_over,
    numbers_have_no_hole,
)
from tests.integration.misbehaving import run

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("workers", [0, 2])
def test_half_of_a_farm_misbehaves(tmp_path, workers):
    result = run(tmp_path, wattmeters=40, seconds=20, interval=2.0, longest=8, seed=workers, workers=workers)
    assert len({episode.kind for episode in result.episodes}) > 5
    healthy_wattmeters_miss_no_poll(result)
    numbers_have_no_hole(result)
    energy_is_true(result)
    if not workers:
        nothing_is_left_over(result)
