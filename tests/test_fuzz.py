"""Whatever is changed in a message, a question or an answer: nothing of it is believed, and nothing ends."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.targets import Answers, Frames, Questions, mutate

EXAMPLES = {"frames": 1200, "questions": 400, "answers": 400}
MUTATIONS = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 2**16), st.integers(0, 2**16)), min_size=1, max_size=6)


def many(name):
    return settings(
        max_examples=EXAMPLES[name], derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def frames():
    return Frames()


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    target = Questions(tmp_path_factory.mktemp("spool"))
    yield target
    target.close()


@pytest.fixture(scope="module")
def answers():
    return Answers()


@many("frames")
@given(st.integers(0, 2**16), MUTATIONS)
def test_a_message_that_was_changed_is_never_believed(frames, which, mutations):
    original = frames.originals[which % len(frames.originals)]
    frames.judge(mutate(original, mutations, frames.originals))


@many("questions")
@given(st.integers(0, 2**16), MUTATIONS)
def test_a_question_that_was_changed_is_answered_or_refused(questions, which, mutations):
    questions.judge(mutate(questions.originals[which % len(questions.originals)], mutations, questions.originals))


@many("answers")
@given(st.integers(0, 2**16), MUTATIONS)
def test_an_answer_that_was_changed_gives_nothing_that_was_not_signed(answers, which, mutations):
    answers.judge(mutate(answers.originals[which % len(answers.originals)], mutations, answers.originals))
