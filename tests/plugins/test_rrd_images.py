from urllib.parse import quote

import pytest
import rrdtool

from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.views import create_app
from kwapi.tariff import Tariff
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0
NASTY = ["a:b", "50%", "q?x=1#y", "back\\slash", "<b>\"bold'", "Ünï 机", "two words"]


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    return Store(tmp_path, clock=clock, steady_clock=clock)


@pytest.fixture
def client(store, clock):
    graphs = Graphs(store, tariff=Tariff([(0, 0.25)]), currency="€", clock=clock)
    return create_app(store, graphs=graphs, clock=clock).test_client()


def add(store, timestamp=NOW - 1, probes=("taurus-1",), watts=100.0, **fields):
    store.add(message(probes=list(probes), w=[watts] * len(probes), timestamp=timestamp, **fields))


@pytest.mark.parametrize(
    ("address", "accept", "kind"),
    [
        ("/graph/day/", "*/*", "image/png"),
        ("/graph/day/", "image/avif,image/webp,*/*;q=0.8", "image/png"),
        ("/graph/day/", "image/svg+xml", "image/svg+xml"),
        ("/graph/day.png", "image/svg+xml", "image/png"),
        ("/graph/day.svg", "*/*", "image/svg+xml"),
        ("/graph/day/x.svg", "*/*", "image/svg+xml"),
        ("/graph/day/x.svg/", "*/*", "image/png"),
        ("/graph/day/x.svg.png", "image/svg+xml", "image/png"),
        ("/graph/day/x.svg.svg", "*/*", "image/svg+xml"),
        ("/graph/day.svg?probe=x&probe=x.svg&zoom=2&dark=1", "*/*", "image/svg+xml"),
    ],
)
def test_a_graph_has_the_format_of_its_suffix_or_one_that_is_accepted(client, store, address, accept, kind):
    add(store, probes=["x", "x.svg"])
    answer = client.get(address, headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (200, kind)
    assert answer.data.startswith(b"\x89PNG" if kind == "image/png" else b"<?xml")


@pytest.mark.parametrize("query", ["width=199", "width=2001", "height=59", "height=x", "zoom=3", "zoom=", "width=²"])
def test_a_size_out_of_bounds_is_refused(client, store, query):
    add(store)
    answer = client.get(f"/graph/day/taurus-1/?{query}")
    assert answer.status_code == 400 and query.partition("=")[0] in answer.text


def test_a_graph_is_as_wide_as_asked(client, store):
    add(store)
    sizes = {query: client.get(f"/graph/day.png?{query}").data[16:24] for query in ("", "width=320", "zoom=2")}
    assert len(set(sizes.values())) == 3


def test_sites_and_chosen_probes_have_graphs(client, store):
    store.add(message("lyon.pdu", probes=["a"], timestamp=NOW - 1))
    store.add(message("pdu", probes=["b"], timestamp=NOW - 1))
    for query in ("site=lyon", "site=", "probe=a&probe=b"):
        assert client.get(f"/graph/day/?{query}").status_code == 200
    assert "There is no site nice." in client.get("/graph/day/?site=nice").text
    assert client.get(f"/graph/day/?site={'n' * 300}").status_code == 404
    assert "There is no probe c." in client.get("/graph/day/?probe=a&probe=c").text
    assert client.get(f"/graph/day/?{'&'.join(f'probe={n}' for n in range(41))}").status_code == 400


def test_a_graph_says_when_it_was_drawn(client, store, clock):
    add(store)
    answer = client.get("/graph/day/taurus-1/")
    assert answer.last_modified.timestamp() == int(clock.now)
    assert answer.cache_control.private and "Accept" in answer.vary


def test_the_numbers_of_a_graph_are_there_as_json_and_as_csv(client, store):
    for step in range(100):
        add(store, timestamp=NOW - 99 + step, watts=100.0 + step)
    answer = client.get("/data/minute/taurus-1/")
    assert answer.content_type == "application/json; charset=utf-8"
    found = answer.json
    assert {key: found[key] for key in ("probe", "period", "step", "unit", "end", "plot")} == {
        "probe": "taurus-1", "period": "minute", "step": 1, "unit": "W", "end": NOW, "plot": None,
    }  # fmt: skip
    assert found["columns"] == ["timestamp", "watts", "minimum", "maximum", "known"]
    assert found["rows"][-1] == [NOW, 199.0, 199.0, 199.0, 1.0]
    assert found["rows"][0] == [found["start"] + 1, None, None, None, 0.0]
    kwh = sum(100 + step for step in range(1, 100)) / 3.6e6
    assert found["figures"] == pytest.approx({
        "minimum": 101.0, "average": 150.0, "maximum": 199.0, "last": 199.0,
        "kwh": kwh, "cost": kwh * 0.25, "currency": "€",
    })  # fmt: skip
    for address, accept in (("/data/minute/taurus-1.csv", "*/*"), ("/data/minute/taurus-1/", "text/csv")):
        table = client.get(address, headers={"Accept": accept})
        assert table.content_type == "text/csv; charset=utf-8"
        lines = table.text.splitlines()
        assert lines[0] == "timestamp,watts,minimum,maximum,known"
        assert lines[-1] == f"{NOW:.0f},199.0,199.0,199.0,1.0" and len(lines) == 296
        assert lines[1] == f"{NOW - 294:.0f},,,,0.0"


def test_the_numbers_say_where_the_plot_is(client, store):
    add(store, timestamp=NOW - 50)
    add(store, timestamp=NOW)
    found = client.get("/data/minute/taurus-1.json?width=428&height=120&bare=1").json["plot"]
    assert found["left"] + found["width"] < 428 and found["top"] + found["height"] < 120
    assert (found["end"], found["lower"], found["upper"]) == (NOW, 0.0, 100.0)
    assert client.get("/data/year/taurus-1.json?width=428").json["plot"] is None


def test_the_numbers_of_a_summary_have_those_of_its_probes(client, store):
    for step in range(60):
        store.add(message("lyon.pdu", probes=["a", "b"], w=[100.0, 200.0], timestamp=NOW - 59 + step))
    chosen, site, everything = (
        client.get(f"/data/minute/{query}").json for query in ("?probe=b&probe=a", "?site=lyon", "")
    )
    assert (chosen["probes"], site["site"], "site" in everything) == (["b", "a"], "lyon", False)
    for found in (chosen, site, everything):
        assert found["rows"][-1] == [NOW, 300.0, 300.0, 300.0, 1.0]
        assert found["figures"]["kwh"] == pytest.approx(sum(band["kwh"] for band in found["bands"]))
        assert {band["probe"]: band["colour"] for band in found["bands"]} == {"a": "#e69f00", "b": "#56b4e9"}
    assert client.get("/data/minute.csv").text.splitlines()[-1] == f"{NOW:.0f},300.0,300.0,300.0,1.0"


def test_the_numbers_may_be_kept_as_long_as_the_graph(client, store):
    add(store)
    answer = client.get("/data/day/")
    assert 0 < answer.cache_control.max_age <= 900
    again = client.get("/data/day/", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


@pytest.mark.parametrize("name", NASTY)
def test_the_file_of_a_probe_has_what_was_just_measured(client, store, tmp_path, name):
    add(store, timestamp=NOW - 10, probes=[name])
    add(store, timestamp=NOW, probes=[name], watts=123.0)
    answer = client.get(f"/rrd/{quote(name)}")
    assert answer.content_type == "application/octet-stream" and "attachment" in answer.headers["Content-Disposition"]
    copy = tmp_path / "copy.rrd"
    copy.write_bytes(answer.data)
    assert rrdtool.last(str(copy)) == NOW and rrdtool.lastupdate(str(copy))["ds"]["w"] == 123.0
    assert client.get(f"/rrd/{quote(name)}", headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_a_file_that_is_not_there_is_not_found(client, store):
    store.add(message(probes=["a"], w=[1.0], timestamp=NOW))
    store.flush()
    store.path("a").unlink()
    for address in ("/rrd/a", "/rrd/nobody", "/data/minute/nobody/", "/data/decade/", "/data/minute/?site=nowhere"):
        assert client.get(address).status_code == 404
