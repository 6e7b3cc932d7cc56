"""Half a minute of chaos, judged by counts; soak/ has ten minutes, and three NATS servers (``tox -e chaos``)."""

from dataclasses import replace

import pytest

from tests.integration.chaos import SHOWN, Storm, run

pytestmark = pytest.mark.integration

STORM = Storm(seconds=30, between=0.8, away=4.0, cut=6.0, stopped=3.0)


@pytest.mark.parametrize("servers", [0, 1], ids=["zeromq", "nats"])
def test_half_a_minute_of_chaos_loses_nothing_and_counts_nothing_twice(tmp_path, servers):
    outcome = run(tmp_path, replace(STORM, servers=servers), seed=11)
    assert not outcome.wrong, "\n".join([str(outcome), *outcome.wrong[:SHOWN]])
    assert all(verdict.delivered > 500 for verdict in outcome.verdicts.values())
    assert outcome.energies and outcome.accounts and outcome.truths and outcome.rows
