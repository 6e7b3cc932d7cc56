"""kill -9 of kwapi-api at random moments, under load; soak/ has more of them."""

import pytest

from tests.integration.kills import energy_is_the_register, energy_never_decreases, energy_never_jumps, run

pytestmark = pytest.mark.integration


def test_no_kill_takes_energy_or_invents_any(tmp_path):
    result = run(tmp_path, kills=10, seed=5)
    assert result.lives_that_answered > 3
    energy_never_decreases(result)
    energy_never_jumps(result)
    energy_is_the_register(result)
