from collections import Counter

import pytest

from kwapi.fairness import ALL_WAITING, WAITING, Turns
from tests.clock import Clock


@pytest.fixture
def clock():
    return Clock(0.0)


@pytest.fixture
def turns(clock):
    return Turns(clock=clock)


def serve(turns, clock, seconds, costs):
    """Answer for so many seconds; return how many answers each client got, and the seconds it took."""
    answers, spent = Counter(), Counter()
    end = clock.now + seconds
    while clock.now < end:
        if (turn := turns.next()) is None:
            clock.now += max(turns.pause(1.0), 1e-6)
            continue
        client, _ = turn
        clock.now += costs[client]
        turns.charge(client, costs[client])
        answers[client] += 1
        spent[client] += costs[client]
        turns.add(client, "again")
    return answers, spent


def test_questions_of_one_client_are_answered_in_order(turns, clock):
    for question in "abc":
        turns.add(1, question)
    assert [turns.next() for _ in range(4)] == [(1, "a"), (1, "b"), (1, "c"), None]


def test_a_greedy_client_gets_half_at_most(turns, clock):
    for number in range(WAITING):
        turns.add("greedy", number)
    _, spent = serve(turns, clock, 10.0, {"greedy": 0.01})
    assert spent["greedy"] == pytest.approx(5.0, rel=0.01)


def test_who_asks_seldom_does_not_wait_for_who_asks_much(turns, clock):
    for number in range(WAITING):
        turns.add("greedy", number)
    serve(turns, clock, 10.0, {"greedy": 0.01})
    turns.add("modest", "one")
    clock.now += turns.pause(1.0)
    assert turns.next() == ("modest", "one")


def test_two_that_ask_without_rest_both_get_their_answers_whatever_those_cost(turns, clock):
    turns.add("small", 0)
    turns.add("large", 0)
    answers, spent = serve(turns, clock, 60.0, {"small": 0.001, "large": 0.05})
    assert spent["large"] <= 30.1
    assert spent["small"] > 15
    assert answers["small"] > 20 * answers["large"]


def test_so_many_wait_and_no_more(turns):
    assert all(turns.add("greedy", number) for number in range(WAITING))
    assert not turns.add("greedy", "one more")
    assert turns.add("other", "first")
    while turns.add(object(), "of many connections"):
        pass
    assert sum(1 for _ in iter(turns.next, None)) == ALL_WAITING
    assert turns.add("greedy", "again")


def test_who_has_asked_nothing_for_a_while_is_forgotten(turns, clock):
    for number in range(100):
        turns.add(number, "question")
        turns.next()
        turns.charge(number, 1.0)
    clock.now += 2.0
    assert turns.next() is None
    assert turns._clients == {}
    turns.charge("unknown", 1.0)
    assert turns.pause(0.2) == 0.2
