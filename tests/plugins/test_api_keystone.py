import threading

import pytest

from kwapi.plugins.api.keystone import Memory, Outage, Questions, TooManyQuestions
from tests.clock import Clock
from tests.waiting import eventually


def test_what_is_kept_is_forgotten_in_time():
    clock = Clock()
    memory = Memory(clock=clock)
    memory.set("a", b"1", time=60)
    memory.set("b", b"2", time=-1)
    clock.now += 59
    assert (memory.get("a"), memory.get("b"), memory.get("c")) == (b"1", None, None)
    clock.now += 1
    assert memory.get("a") is None


def test_a_full_memory_forgets_the_oldest():
    memory = Memory(most=2, clock=Clock())
    for key in ("a", "b", "a", "c"):
        memory.set(key, key.encode(), time=60)
    assert [memory.get(key) for key in "abc"] == [b"a", None, b"c"]


def test_an_answer_or_an_error_comes_back():
    questions = Questions(1, deadline=30)
    assert questions.ask(lambda: 42) == 42
    eventually(lambda: "keystone" not in {thread.name for thread in threading.enumerate()})
    with pytest.raises(ZeroDivisionError):
        questions.ask(lambda: 1 // 0)


def test_nobody_waits_for_an_answer_that_does_not_come():
    released = threading.Event()
    questions = Questions(2, deadline=0.5)
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError, match=r"no answer in 0\.5 s"):
                questions.ask(released.wait)
        with pytest.raises(TooManyQuestions):  # the two still hang
            questions.ask(lambda: 42)
    finally:
        released.set()

    def answers():
        try:
            return questions.ask(lambda: 42) == 42
        except (TooManyQuestions, TimeoutError):
            return False

    eventually(answers)


def test_an_outage_is_told_once_and_its_end_too(caplog):
    caplog.set_level("INFO")
    clock = Clock()
    outage = Outage(clock)
    outage.end()
    for reason in ("refused", "refused", "no answer"):
        outage.begin(TimeoutError(reason))
    clock.now += 90
    outage.end()
    outage.end()
    assert [record.getMessage() for record in caplog.records] == [
        "tokens cannot be checked, so nobody may read: refused",
        "tokens can be checked again, after 90 s",
    ]
