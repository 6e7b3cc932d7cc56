import re
from html import unescape
from urllib.parse import quote

import pytest

from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.views import create_app
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
    return create_app(store, title="Watts & more", refresh=7, clock=clock).test_client()


def add(store, timestamp=NOW - 1, probes=("taurus-1",), watts=100.0, **fields):
    store.add(message(probes=list(probes), w=[watts] * len(probes), timestamp=timestamp, **fields))


def links(answer):
    """Return every address that a page names."""
    return [unescape(link) for link in re.findall(r'(?:href|src|srcset)="([^"]*)"', answer.text)]


def test_the_root_leads_to_the_last_minutes(client):
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (302, "/last/minute/")


def test_an_empty_installation_says_what_to_do_next(client):
    answer = client.get("/last/minute/")
    assert answer.status_code == 200
    assert "No measurement yet" in answer.text and "drivers.conf" in answer.text


@pytest.mark.parametrize("period", PERIODS)
def test_a_period_shows_every_probe_with_its_graph(client, store, period):
    add(store, probes=["taurus-1", "taurus-10"], watts=118.23)
    answer = client.get(f"/last/{period}/")
    assert answer.text.count("118.2 W") == 2 and "236.5 W" in answer.text
    for address in (f"/graph/{period}/", f"/graph/{period}/taurus-1/", f"/graph/{period}/taurus-10/"):
        assert address in links(answer) and f"{address}?dark=1" in links(answer)
    assert 'aria-current="page">' + PERIODS[period] in answer.text
    assert "Watts &amp; more" in answer.text


def test_the_state_is_in_words(client, store, clock):
    clock.now = NOW - 60
    add(store, probes=["taurus-1"], timestamp=clock.now)
    clock.now = NOW
    store.add(message("pdu", probes=["feed", "plug"], w=[90.0, 80.0], level=["inlet", "outlet"], timestamp=NOW))
    page = client.get("/last/minute/").text
    assert "stale" in page and "last measured" in page
    assert "outlet of pdu, not part of the total" in page
    assert "90.00 W" in page and "now; 1 of 2 probes measured" in page
    assert "100.0 W" not in page


def test_a_page_loads_itself_again(client):
    assert '<meta http-equiv="refresh" content="7">' in client.get("/last/minute/").text
    assert '<meta http-equiv="refresh" content="60">' in client.get("/last/year/").text


@pytest.mark.parametrize("name", NASTY)
def test_every_name_has_its_page_and_graphs(client, store, name):
    add(store, probes=[name])
    page = client.get("/last/minute/")
    address = f"/probe/{quote(name)}/"
    assert client.get(address).status_code == 200
    own = [link for link in links(page) + links(client.get(address)) if "/probe/" in link or "/graph/" in link]
    assert len(own) > 14
    for link in set(own):
        assert client.get(link).status_code == 200, link
    assert "<b>" not in page.text


def test_a_probe_has_all_periods(client, store):
    add(store)
    page = client.get("/probe/taurus-1/")
    for period, words in PERIODS.items():
        assert f"/graph/{period}/taurus-1/" in links(page) and f"Last {words}" in page.text


def test_nothing_comes_from_another_host(client, store):
    add(store)
    for address in ("/last/day/", "/probe/taurus-1/", "/nothing"):
        answer = client.get(address)
        assert answer.headers["Content-Security-Policy"] == "default-src 'self'"
        assert all(link.startswith("/") for link in links(answer))
        assert "<script" not in answer.text and "style=" not in answer.text
    style = client.get("/static/style.css")
    assert "prefers-color-scheme: dark" in style.text and "url(" not in style.text
    style.close()


def test_a_graph_may_be_kept_until_its_next_row(client, store, clock):
    add(store)
    answer = client.get("/graph/day/")
    assert answer.content_type == "image/png"
    assert 0 < answer.cache_control.max_age <= 900
    again = client.get("/graph/day/", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get("/graph/minute/taurus-1/").cache_control.max_age <= 1
    assert client.get("/graph/day/?dark=1").data != answer.data


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/last/decade/", "There is no period decade. There are minute, hour, day, week, month, year."),
        ("/graph/decade/", "There is no period decade."),
        ("/graph/decade/taurus-1/", "There is no period decade."),
        ("/probe/%3Cnobody%3E/", "There is no probe &lt;nobody&gt;."),
        ("/graph/minute/nobody/", "There is no probe nobody."),
        ("/nothing", "There is no such page."),
        ("/probe/%ff%fe/", "There is no probe"),
    ],
)
def test_a_wrong_address_is_a_page_in_plain_words(client, address, words):
    answer = client.get(address)
    assert (answer.status_code, answer.content_type) == (404, "text/html; charset=utf-8")
    assert words in answer.text


def test_another_method_is_refused(client):
    answer = client.post("/last/minute/")
    assert answer.status_code == 405
    assert {"GET", "HEAD"} <= set(answer.headers["Allow"].replace(",", " ").split())


def test_the_missing_slash_is_added(client):
    assert client.get("/last/hour").location.endswith("/last/hour/")


def test_an_error_of_ours_is_logged_and_not_shown(store, caplog):
    store.probes = None  # nothing of it can be shown
    answer = create_app(store).test_client().get("/last/minute/")
    assert answer.status_code == 500
    assert "Something went wrong here" in answer.text and "NoneType" not in answer.text
    assert "NoneType" in caplog.text


def test_healthz(client):
    assert client.get("/healthz").json == {"status": "ok", "conflicts": {}}
