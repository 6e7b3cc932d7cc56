import threading
from contextlib import ExitStack

from kwapi.plugins.api.turns import Turns
from tests.clock import Clock


def wanting(turns):
    """Return a thread that wants its turn, and an event for when it has it."""
    has_turn = threading.Event()

    def work():
        with turns.turn():
            has_turn.set()

    thread = threading.Thread(target=work)
    thread.start()
    return thread, has_turn


def test_threads_work_one_after_the_other():
    turns = Turns(patience=0.001, clock=Clock())  # by this clock no turn is long
    with turns.turn():
        waiting = [wanting(turns) for _ in range(3)]
        assert not any(has_turn.wait(0.02) for _, has_turn in waiting)
    for thread, has_turn in waiting:
        assert has_turn.wait(5)
        thread.join(5)


def test_threads_that_wait_for_something_else_hold_up_nobody():
    turns = Turns()
    with ExitStack() as long:
        for _ in range(3):
            long.enter_context(turns.turn())
            for thread, has_turn in [wanting(turns) for _ in range(5)]:
                assert has_turn.wait(5)
                thread.join(5)
    thread, has_turn = wanting(turns)
    assert has_turn.wait(5)
    thread.join(5)
