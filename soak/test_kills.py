"""kwapi-api killed fifty times under load: ``tox -e soak``."""

import os

from tests.integration.kills import energy_is_the_register, energy_never_decreases, energy_never_jumps, run

KILLS = int(os.environ.get("SOAK_KILLS", "50"))


def test_fifty_kills_take_no_energy_and_invent_none(tmp_path):
    result = run(tmp_path, kills=KILLS, seed=9)
    values = sum(map(len, result.said.values()))
    print(
        f"\n{KILLS} kills, {result.lives_that_answered} lives that answered, {result.answers} answers, {values} values"
    )
    energy_never_decreases(result)
    energy_never_jumps(result)
    energy_is_the_register(result)
