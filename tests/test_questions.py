"""How much a spool answers at once."""

import pytest

from kwapi.questions import LAST, PAGE_RUNS, Runs, encode, page_of
from kwapi.sockets import MAX_FRAME
from kwapi.upstream import Answer


def runs(letter, count, boots=1):
    """Return runs that are as large as they may be."""
    return [
        (f"{letter * 74}{number:06}.".encode(), LAST - boot, LAST) for number in range(count) for boot in range(boots)
    ]


def test_a_page_has_all_of_a_topic_and_the_next_one_goes_on_after_it():
    every = sorted(runs("a", PAGE_RUNS, boots=3))
    page = page_of(every)
    assert page.runs == [run for run in every if run[0] <= page.last]
    assert page_of(run for run in every if run[0] > page.last).runs[0] == every[len(page.runs)]


@pytest.mark.parametrize("count", [0, 1, PAGE_RUNS])
def test_what_fits_is_a_page(count):
    assert page_of(runs("a", count)) == Runs(sorted(runs("a", count)))


def test_no_list_is_too_large_to_be_sent():
    """Who made up many runs under one name in a forwarder's spool would keep all others from being told of."""
    page = page_of([*runs("a", 1, boots=20_000), *runs("b", 2)])
    assert len(encode(page)) < MAX_FRAME
    assert page.last == runs("a", 1)[0][0]
    answer = Answer(b"client", b"number", page_of(runs("a", PAGE_RUNS)), [])
    for letter in "bcd":
        answer.learn(page_of(runs(letter, PAGE_RUNS)), [])
    assert len(encode(answer.said)) < MAX_FRAME
    assert answer.said.last is not None
