from dataclasses import replace
from urllib.parse import parse_qsl

import pytest
from werkzeug.datastructures import MultiDict

from kwapi.plugins.rrd.selection import MOST, PAGE, SEARCHED, Selection, show
from kwapi.plugins.rrd.store import Probe


def probe(name, wattmeter="lyon.pdu1", watts=100.0, state="up", counted=True):
    site = wattmeter.partition(".")[0] if "." in wattmeter else ""
    return Probe(name, 0, wattmeter, site, "outlet", 1.0, watts, 1.0, 0.0, state, "", counted, False)


PROBES = [
    probe("db-1", watts=300.0),
    probe("db-2", "nancy.pdu1", 50.0),
    probe("feed", "lyon.pdu1", 400.0, counted=False),
    probe("lab", "meter", 7.0, state="stale"),
    probe("web-1", "nancy.pdu2", None),
]
ENERGIES = {"db-1": 1.0, "db-2": 3.0, "lab": 2.0}


def of(query=""):
    return Selection.of(MultiDict([pair.split("=", 1) for pair in query.split("&") if pair]))


def names(query, probes=PROBES):
    shown = show(of(query), probes, ENERGIES)
    return [[probe.name for probe in group.probes] for group in shown.groups]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ["db-1", "db-2", "feed", "lab", "web-1"]),
        ("q=DB", ["db-1", "db-2"]),
        ("q=pdu1 db", ["db-1", "db-2"]),
        ("q=nothing", []),
        ("site=nancy", ["db-2", "web-1"]),
        ("site=.", ["lab"]),
        ("wattmeter=lyon.pdu1", ["db-1", "feed"]),
        ("state=stale", ["lab"]),
        ("sort=watts", ["feed", "db-1", "db-2", "lab", "web-1"]),
        ("sort=kwh", ["db-2", "lab", "db-1", "feed", "web-1"]),
        ("probe=web-1&probe=db-1&probe=gone", ["db-1", "web-1"]),
        ("probe=web-1&choosing=1", ["db-1", "db-2", "feed", "lab", "web-1"]),
        ("first=3", ["lab", "web-1"]),
        ("count=2", ["db-1", "db-2"]),
        ("first=2&count=2&sort=kwh", ["db-1", "feed"]),
    ],
)
def test_an_address_says_which_probes_are_shown_and_in_which_order(query, expected):
    assert sum(names(query), []) == expected


def test_groups_come_by_name_and_each_has_its_sum():
    shown = show(of("group=site"), PROBES, ENERGIES)
    found = [(group.name, group.number, group.sum.watts, group.sum.kwh) for group in shown.groups]
    assert found == [("", 1, None, 2.0), ("lyon", 2, 300.0, 1.0), ("nancy", 2, 50.0, 3.0)]
    assert names("group=wattmeter") == [["db-1", "feed"], ["lab"], ["db-2"], ["web-1"]]


def test_a_page_can_end_within_a_group():
    probes = [probe(f"p{number}", f"s{number // 3}.m") for number in range(9)]
    assert names("group=site&count=4", probes) == [["p0", "p1", "p2"], ["p3"]]
    assert names("group=site&count=4&first=4", probes) == [["p4", "p5"], ["p6", "p7"]]
    assert show(of("group=site&count=4&first=4"), probes, {}).groups[0].number == 3


def test_the_sum_is_of_the_outermost_level_or_of_what_was_chosen():
    assert show(of(), PROBES, ENERGIES).sum.watts == 350.0
    whole = show(of(), PROBES, ENERGIES).sum
    assert (whole.measured, whole.counted, whole.kwh) == (2, 4, 6.0)
    assert show(of("probe=feed&probe=db-1"), PROBES, ENERGIES).sum.watts == 700.0
    assert show(of("probe=lab"), PROBES, ENERGIES).sum.watts is None


def test_states_are_counted_before_one_of_them_is_picked():
    expected = {"up": 4, "stale": 1, "down": 0, "muted": 0}
    assert show(of(), PROBES, {}).states == show(of("state=down"), PROBES, {}).states == expected
    assert show(of("q=lab"), PROBES, {}).states["up"] == 0


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?q=a+b&site=.&wattmeter=x.y&state=down&group=site&sort=kwh&view=table&first=200&count=50",
        "?probe=%C3%9Cn%C3%AF+%26&probe=b&choosing=1",
    ],
)
def test_a_query_says_the_same_again(query):
    selection = Selection.of(MultiDict(parse_qsl(query[1:])))
    assert selection.query(first=selection.first) == query


def test_a_change_begins_with_the_first_probe_again():
    assert of("first=100&sort=kwh").query(group="site") == "?group=site&sort=kwh"
    assert replace(of("site=lyon"), site=None).query() == ""


def test_what_is_not_known_counts_as_not_said():
    selection = of("sort=colour&group=planet&view=3d&state=tired&first=-5&count=999999&site=")
    assert selection == Selection(count=MOST)
    assert of("first=x&count=y").count == PAGE


def test_an_address_that_asks_for_too_much_is_cut():
    selection = Selection.of(MultiDict([("q", "n " * 100_000), *(("probe", f"x{number}") for number in range(20_000))]))
    assert len(selection.search) <= SEARCHED
    assert len(selection.chosen) == MOST
