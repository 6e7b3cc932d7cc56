"""A minute of chaos, judged by counts; soak/ has ten minutes of it, over NATS servers too (``tox -e chaos``)."""

import pytest

from tests.integration.chaos import SHOWN, Storm, run

pytestmark = pytest.mark.integration

STORM = Storm(seconds=45, between=1.0, away=4.0, cut=6.0, stopped=3.0)


def test_a_minute_of_chaos_loses_nothing_and_counts_nothing_twice(tmp_path):
    outcome = run(tmp_path, STORM, seed=11)
    assert not outcome.wrong, "\n".join([str(outcome), *outcome.wrong[:SHOWN]])
    assert all(verdict.delivered > 500 for verdict in outcome.verdicts.values())
    assert outcome.energies and outcome.accounts and outcome.truths and outcome.rows
