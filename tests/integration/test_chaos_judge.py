"""The judge of chaos finds what is wrong: a record made up for it, of two boots with ten messages each."""

import pytest

from tests.integration.chaos_judge import Life, Name, Record, judge
from tests.messages import message

TOPIC, PID, LATER_PID = b"lyon.pdu1.", 1, 2
MS = 1_000_000
KILLED_AT = 9 * 200 * MS + 5 * MS  # of the first boot, 5 ms after its last message
ALL = [Name(boot, seq) for boot in (0, 1) for seq in range(10)]


def judged(tmp_path, *lives, lost=()):
    """Return the verdict over lives of one plugin, each the messages that it was given."""
    record = Record(tmp_path, ("api",))
    for place, (boot, seq) in enumerate(ALL):
        pid = (PID, LATER_PID)[boot]
        record.streams[TOPIC].add(place * 200 * MS, pid, message(boot=boot + 5, seq=seq, timestamp=1000.0 + place))
    for number, names in enumerate(lives):
        record.lives["api"][number] = life = Life()
        life.given[TOPIC] = list(names)
        life.lost[TOPIC] = list(lost)
    return judge(record, "api", {PID: KILLED_AT})


def without(*names):
    return [name for name in ALL if name not in names]


def test_all_in_order_is_right_whoever_was_killed(tmp_path):
    verdict = judged(tmp_path, ALL[:12], ALL[7:])
    assert (verdict.wrong, verdict.signed, verdict.delivered, verdict.again) == ([], 20, 20, 5)


def test_the_last_of_a_boot_that_was_killed_may_be_missing_and_is_counted(tmp_path):
    unlisted = judged(tmp_path, without(Name(0, 9)))
    assert (unlisted.tails, len(unlisted.wrong)) == (1, 1)
    assert "neither lost" in unlisted.wrong[0]
    verdict = judged(tmp_path, without(Name(0, 9)), lost=[(Name(0, 9), -1)])
    assert (verdict.tails, verdict.listed, verdict.wrong) == (1, 1, [])


@pytest.mark.parametrize(
    ("lives", "words"),
    [
        ([without(Name(0, 4))], "is missing"),
        ([without(Name(0, 8), Name(0, 9))], "is missing"),
        ([without(Name(1, 8))], "is missing"),
        ([without(Name(0, 4)), ALL], "passed over"),
        ([[*ALL[:5], ALL[4], *ALL[5:]]], "was given after"),
        ([[*ALL[:4], ALL[5], ALL[4], *ALL[6:]]], "was given after"),
        ([[*ALL, Name(1, 10)]], "never signed"),
        ([[]], "nothing was given"),
    ],
)
def test_a_hole_another_order_a_double_and_a_forgery_are_wrong(tmp_path, lives, words):
    assert words in "\n".join(judged(tmp_path, *lives).wrong)


@pytest.mark.parametrize(("claim", "words"), [((Name(0, 3), 4), "was given"), ((Name(1, 9), 12), "never signed")])
def test_what_is_told_to_be_lost_and_is_not_is_wrong(tmp_path, claim, words):
    assert words in "\n".join(judged(tmp_path, ALL, lost=[claim]).wrong)
