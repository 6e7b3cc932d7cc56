import pytest

from kwapi.plugins.ownership import Conflicts, Publishers, has_lapsed
from tests.messages import message

CLEANING = 300.0


def admitted(*rows):
    """Return which rows of (boot, our time, timestamp) are admitted, and the number of conflicts."""
    conflicts = Conflicts()
    publishers = Publishers(CLEANING, conflicts)
    taken = [publishers.admit(message(boot=boot, timestamp=timestamp), now) for boot, now, timestamp in rows]
    return taken, conflicts.counts["lyon.pdu1"]


def test_one_publisher_is_admitted():
    assert admitted((1, 0, 1000), (1, 1, 1001), (1, 500, 1500)) == ([True] * 3, 0)


def test_a_restart_is_followed_at_once():
    assert admitted((1, 0, 1000), (2, 1, 1001), (2, 2, 1002), (3, 3, 1003)) == ([True] * 4, 0)


def test_what_the_old_boot_sent_before_its_end_may_still_come_and_changes_nothing():
    assert admitted((1, 0, 1000), (2, 1, 1002), (1, 1, 1001), (2, 2, 1003)) == ([True, True, False, True], 1)


def test_the_first_of_two_publishers_keeps_the_name():
    rows = [(1, 0, 1000), (2, 0.5, 1000.5)]
    rows += [
        row for second in range(1, 100) for row in ((1, second, 1000 + second), (2, second + 0.5, 1000.5 + second))
    ]
    taken, conflicts = admitted(*rows)
    assert taken == [True, True] + [True, False] * 99
    assert conflicts == 100


def test_the_other_takes_over_when_the_first_has_been_stale_for_long():
    rows = [(1, 0, 1000), (2, 0.5, 1000.5), (1, 1, 1001), (2, 312 - 1.5, 1310), (2, 312, 1312), (2, 313, 1313)]
    assert admitted(*rows)[0] == [True, True, True, False, True, True]


@pytest.mark.parametrize("age", [1, 299])
def test_a_replayed_frame_of_an_earlier_boot_locks_nobody_out(age):
    rows = [(5, 0, 1000), (4, 1, 1000 - age), (5, 2, 1002)]
    assert admitted(*rows) == ([True, False, True], 1)
    late = [(4, 0, 1000 - age), (5, 1, 1001), (5, 2, 1002)]  # the replay was there first
    assert admitted(*late) == ([True] * 3, 0)


def test_a_restart_with_the_clock_set_back_is_followed_at_once():
    assert admitted((1, 0, 5000), (2, 1, 1400), (2, 2, 1401)) == ([True] * 3, 0)


def test_a_second_publisher_whose_clock_is_behind_costs_a_message():
    rows = [(1, 0, 5000), (2, 1, 1400), (1, 1, 5001), (2, 2, 1401), (1, 2, 5002)]
    assert admitted(*rows) == ([True, True, True, False, True], 2)


def test_a_boot_neither_higher_nor_newer_is_followed_once_the_other_is_stale():
    rows = [(2, 0, 5000), (1, 1, 1400), (1, 9, 1408), (1, 11, 1410), (1, 12, 1411)]
    assert admitted(*rows)[0] == [True, False, False, True, True]


def test_names_lapse_after_the_cleaning_interval_of_being_stale():
    assert not has_lapsed(310, 1.0, 300)
    assert has_lapsed(311, 1.0, 300)
    assert not has_lapsed(475, 60.0, 300)
