import json

import pytest

from kwapi.drivers.json.channel import (
    MISSING,
    find_channels,
    look_up,
    measure,
    parse_document,
    parse_line,
    parse_path,
    parse_table,
)
from kwapi.errors import DeviceError
from kwapi.measurement import Measurement


@pytest.mark.parametrize(
    "path, parts",
    [
        (".", ()),
        ("power", ("power",)),
        ("switch:0.aenergy.total", ("switch:0", "aenergy", "total")),
        ("meters[1].power", ("meters", "1", "power")),
        ("[0][2].w", ("0", "2", "w")),
        ("ENERGY.Power[+]", ("ENERGY", "Power", "+")),
        ("[a.b].c", ("a.b", "c")),
    ],
)
def test_a_path_has_parts(path, parts):
    assert parse_path(path) == parts


@pytest.mark.parametrize("path", ["", "..", "a..b", ".a", "a.", "a[", "a[]", "a]b", "a.[0]"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="is no path"):
        parse_path(path)


DOCUMENT = {"a": {"b": [1, {"c": 2.5}, None]}, "n": "7", "list": [1, "2.5", 3], "bad": [1, None], "empty": []}


@pytest.mark.parametrize(
    "path, found",
    [
        (".", DOCUMENT),
        ("a.b[0]", 1),
        ("a.b[1].c", 2.5),
        ("a.b[2]", None),
        ("a.b[3]", MISSING),
        ("a.b.c", MISSING),
        ("a.b[1].c.d", MISSING),
        ("nothing", MISSING),
        ("list[+]", 6.5),
        ("n[+]", 7.0),
        ("bad[+]", None),
        ("empty[+]", MISSING),
        ("nothing[+]", MISSING),
        ("a.b[+].c", None),
    ],
)
def test_what_stands_at_a_path(path, found):
    value = look_up(DOCUMENT, parse_path(path))
    assert value is found if found in (None, MISSING) else value == found


@pytest.mark.parametrize(
    "quantity, line, raw, value",
    [
        ("w", "x W", 12.5, 12.5),
        ("w", "x mW", 61753, 61.753),
        ("w", "x 0.1 W", "1234", 123.4),
        ("w", "x W", -5, -5),
        ("kwh", "x Wh", 46791.262, 46.791262),
        ("kwh", "x kWh", 235.645, 235.645),
        ("kwh", "x 0.1 kWh", 17, 1.7),
        ("kwh", "x Wmin", 60_000, 1),
        ("kwh", "x J", 3_600_000, 1),
        ("export_kwh", "x Wh", 500, 0.5),
        ("kwh", "x Wh", -1, None),
        ("a", "x mA", 451, 0.451),
        ("pf", "x 0.01", 98, 0.98),
        ("hz", "x Hz", 50, 50),
        ("w", "x W", None, None),
        ("w", "x W", True, None),
        ("w", "x W", "n/a", None),
        ("w", "x W", "nan", None),
        ("w", "x W", float("inf"), None),
        ("w", "x kW", 1e308, None),
        ("w", "x W", 10**400, None),
        ("w", "x W", [1], None),
        ("w", "x W", {"x": 1}, None),
    ],
)
def test_a_line_says_what_a_number_means(quantity, line, raw, value):
    assert parse_line(quantity, line).value({"x": raw}) == (None if value is None else pytest.approx(value))


@pytest.mark.parametrize(
    "quantity, line, problem",
    [
        ("w", "power", "is not a path and a unit"),
        ("w", "", "is not a path and a unit"),
        ("w", "power VA", "no unit of w"),
        ("w", "power Wmin", "no unit of w"),
        ("export_kwh", "power W", "no unit of kwh"),
        ("kwh", "total 0 Wh", "no unit of kwh"),
        ("w", "a..b W", "is no path"),
    ],
)
def test_a_line_that_says_nothing_is_refused(quantity, line, problem):
    with pytest.raises(ValueError, match=problem):
        parse_line(quantity, line)


@pytest.mark.parametrize(
    "table, problem", [({"level": "outlet"}, "has none of"), ({"w": "x W", "level": "rack"}, "level")]
)
def test_a_table_that_says_nothing_is_refused(table, problem):
    with pytest.raises(ValueError, match=problem):
        parse_table(table)


def test_names_may_have_blanks():
    assert parse_line("w", "active power 0.1 W").value({"active power": 30}) == pytest.approx(3)


def test_channels_are_those_that_have_their_first_quantity():
    tables = [{"w": "s:*.w W"}, {"w": "sum W"}, {"w": "*_w W"}, {"w": "list W"}, {"w": "nested.w[*] W"}]
    document = {"s:3": {"w": None}, "s:0": {"w": 1}, "s:1": {}, "b_w": 2, "list": [1], "nested": {"w": [4, 5]}}
    paths = [channel.readings[0].path for channel in find_channels(tables, document)]
    assert paths == [("s:0", "w"), ("s:3", "w"), ("b_w",), ("nested", "w", "0"), ("nested", "w", "1")]


METER = parse_table(
    {"w": "w W", "v": "v V", "kwh": "in Wh", "export_kwh": "out Wh", "valid": "ok", "level": "phase"},
)


@pytest.mark.parametrize(
    "document, measurements",
    [
        ({"w": 5, "v": 230}, [Measurement("p", watts=5, volts=230, level="phase")]),
        ({"w": 0, "ok": True}, [Measurement("p", watts=0, level="phase")]),
        ({"w": 5, "ok": False}, []),
        ({"w": None}, []),
        ({}, []),
        (
            {"w": 5, "in": 2000, "out": 0},
            [
                Measurement("p", watts=5, kwh=2, level="phase"),
                Measurement("p@export", watts=0, kwh=0, level="phase"),
            ],
        ),
        (
            {"w": -620.34, "in": 1000, "out": 3000},
            [
                Measurement("p", watts=0, kwh=1, level="phase"),
                Measurement("p@export", watts=620.34, kwh=3, level="phase"),
            ],
        ),
        (
            {"w": -7},
            [Measurement("p", watts=0, level="phase"), Measurement("p@export", watts=7, level="phase")],
        ),
        ({"out": 1000}, [Measurement("p@export", kwh=1, level="phase")]),
        ([], []),
        (3, []),
        (None, []),
    ],
)
def test_what_a_document_says_of_a_probe(document, measurements):
    assert measure("p", METER, document) == measurements


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"w": 1', b"\xff\xfe\x00", b"[" * 100_000])
def test_what_is_no_json_is_the_devices_failure(body):
    with pytest.raises(DeviceError, match="plug1 sends no JSON but"):
        parse_document(body, "plug1")


def test_json_may_be_a_bare_number():
    assert parse_table({"w": ". W"}).readings[0].value(parse_document(b"23.45", "topic")) == 23.45
    assert json.loads(b"NaN") != 0  # Python reads it, and no value comes of it
    assert parse_table({"w": ". W"}).readings[0].value(parse_document(b"NaN", "topic")) is None
