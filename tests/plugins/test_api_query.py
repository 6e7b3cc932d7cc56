import pytest
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import BadRequest

from kwapi.plugins.api.query import Cursor, Filter, read_cursor, read_filter, refuse_others


def test_without_a_query_everything_is_asked_for():
    wanted = read_filter(MultiDict())
    assert wanted == Filter()
    assert wanted.takes_wattmeter("lyon.pdu1")
    assert wanted.takes_probe("taurus-1")
    assert wanted.takes_state("stale")
    assert read_cursor(MultiDict()) == Cursor(1000, "")


@pytest.mark.parametrize(
    ("prefix", "name", "taken"),
    [
        ("lyon", "lyon.pdu1", True),
        ("lyon.pdu1", "lyon.pdu1", True),
        ("lyon.pdu1", "lyon.pdu10", False),
        ("lyon", "lyonel.pdu1", False),
        ("lyon", "lyon", True),
        ("pdu1", "lyon.pdu1", False),
    ],
)
def test_a_wattmeter_is_taken_by_the_first_parts_of_its_name(prefix, name, taken):
    assert read_filter(MultiDict({"wattmeter": prefix})).takes_wattmeter(name) is taken


def test_ids_may_be_several():
    wanted = read_filter(MultiDict([("id", "a"), ("id", "b")]))
    assert [wanted.takes_probe(name) for name in "abc"] == [True, True, False]


def test_a_page_is_read():
    assert read_cursor(MultiDict({"limit": "10000", "after": "a b"})) == Cursor(10_000, "a b")


@pytest.mark.parametrize("limit", ["0", "-1", "10001", "ten", "", "1e3", "1_0", " 5", "٣", "9" * 5000])
def test_a_limit_that_cannot_be_is_refused(limit):
    with pytest.raises(BadRequest, match="limit"):
        read_cursor(MultiDict({"limit": limit}))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([("state", "down")], "state is 'down'"),
        ([("state", "")], "state is ''"),
        ([("state", "up"), ("state", "up")], "2 times"),
        ([("wattmeter", "a"), ("wattmeter", "b")], "2 times"),
    ],
)
def test_a_filter_that_cannot_be_is_refused(arguments, words):
    with pytest.raises(BadRequest, match=words):
        read_filter(MultiDict(arguments))


def test_a_parameter_that_is_not_known_is_refused():
    refuse_others(MultiDict({"id": "a"}), ("id", "state"))
    with pytest.raises(BadRequest, match="no parameter 'ids'; there are id, state"):
        refuse_others(MultiDict({"ids": "a"}), ("id", "state"))
