import gzip
import re
from html import unescape
from urllib.parse import quote, urljoin

import pytest

from kwapi.plugins.rrd.graph import Graphs
from kwapi.plugins.rrd.pages import Settings
from kwapi.plugins.rrd.rows import PERIODS
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.views import create_app, moment
from kwapi.tariff import Tariff
from tests.clock import Clock
from tests.messages import health, message
from tests.test_layers import ROOT

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
    return app_of(store, clock).test_client()


def app_of(store, clock, **counts):
    settings = Settings("Watts & more", 7, ("tcp://127.0.0.1:5556",), lambda: counts)
    graphs = Graphs(store, tariff=Tariff([(0, 0.25)]), currency="€", clock=clock)
    return create_app(store, graphs=graphs, settings=settings, clock=clock)


def add(store, timestamp=NOW - 1, probes=("taurus-1",), watts=100.0, **fields):
    store.add(message(probes=list(probes), w=[watts] * len(probes), timestamp=timestamp, **fields))


def links(answer):
    """Return every address that a page names, in full."""
    found = [unescape(link) for link in re.findall(r'(?:href|src|srcset)="([^"#]+)"', answer.text)]
    sets = [re.sub(r" [12]x$", "", one) for link in found for one in re.split(r"(?<= [12]x), ", link)]
    return [urljoin(answer.request.path, link) for link in sets]


def test_the_root_leads_to_the_last_minutes(client):
    answer = client.get("/")
    assert (answer.status_code, answer.location) == (302, "/last/minute/")


def test_an_empty_installation_says_what_to_do_next(client, store, clock):
    answer = client.get("/last/minute/")
    assert answer.status_code == 200
    assert "No measurement yet" in answer.text and "drivers.conf" in answer.text
    assert "Nothing has come from tcp://127.0.0.1:5556 so far." in answer.text
    dropping = app_of(store, clock, accepted=0, rejected={"unknown key": 12}).test_client()
    assert "12 messages have come and were dropped: unknown key." in dropping.get("/last/day/").text
    other = app_of(store, clock, accepted=3, rejected={}).test_client()
    assert "3 messages have come, and none of them had watts." in other.get("/last/day/").text
    single = app_of(store, clock, accepted=1, rejected={}).test_client()
    assert "1 message has come, and it had no watts." in single.get("/last/day/").text


@pytest.mark.parametrize("period", PERIODS)
def test_a_period_shows_every_probe_with_its_graph(client, store, period):
    add(store, probes=["taurus-1", "taurus-10"], watts=118.23)
    answer = client.get(f"/last/{period}/")
    assert answer.text.count("118.2 W") == 2 and "236.5 W" in answer.text
    for address in (f"/graph/{period}.png", f"/graph/{period}/taurus-1.png", f"/graph/{period}/taurus-10.png"):
        size = "428&height=180" if address.endswith(f"{period}.png") else "428&height=124"
        for look in ("", "&dark=1", "&zoom=2", "&dark=1&zoom=2"):
            assert f"{address}?bare=1&width={size}{look}" in links(answer)
    assert 'aria-current="page">' + PERIODS[period] in answer.text
    assert "Watts &amp; more" in answer.text


def test_the_state_is_in_words(client, store, clock):
    clock.now = NOW - 60
    add(store, probes=["taurus-1"], timestamp=clock.now)
    clock.now = NOW
    store.add(message("pdu", probes=["feed", "plug"], w=[90.0, 80.0], level=["inlet", "outlet"], timestamp=NOW))
    page = client.get("/last/minute/").text
    assert ">stale<" in page and "last measured" in page
    assert "outlet of pdu, not part of the total" in page
    assert "90.00 W" in page and "1 of 2 probes measured" in page
    assert "100.0 W" not in page


@pytest.mark.parametrize("address", ["/last/minute/", "/last/minute/?view=table", "/last/day/?state=down", "/probe/a/"])
def test_a_wattmeter_that_is_down_says_why(client, store, clock, address):
    clock.now = NOW - 60
    add(store, probes=["a"], timestamp=clock.now)
    clock.now = NOW
    store.add_health(
        health(wattmeter="lyon.pdu1", state="down", reason="no answer from <pdu1>", since=NOW - 50, timestamp=NOW)
    )
    page = client.get(address).text
    assert ">down<" in page and 'title="no answer from &lt;pdu1&gt;"' in page
    assert "no answer from &lt;pdu1&gt;; last measured" in page
    assert client.get("/live?see=a").json["probes"]["a"]["reason"] == "no answer from <pdu1>"


def test_a_table_shows_the_same(client, store):
    for step in range(11):
        add(store, timestamp=NOW - 10 + step, probes=["a", "b/c".replace("/", " ")], watts=3600.0)
    store.flush()
    page = client.get("/last/minute/?view=table")
    assert page.text.count("3.600 kW") == 2 and page.text.count(">0.01000<") == 2
    for address in ("/data/minute/a.csv", "/data/minute/a.json", "/rrd/a", "/data/minute/b%20c.csv", "/probe/b%20c/"):
        assert address in links(page)
        assert client.get(address).status_code == 200


def test_a_sum_has_energy_and_cost(client, store):
    for step in range(61):
        add(store, timestamp=NOW - 60 + step, probes=["a", "b"], watts=36_000.0)
    store.flush()
    page = client.get("/last/minute/?probe=a&probe=b").text
    assert "72.00 kW" in page and "1.200 kWh" in page and "0.3000 €" in page
    assert "probe=a&amp;probe=b" in page and "Chosen probes" in page
    assert '"/data/minute.csv?probe=a&amp;probe=b"' in page
    found = client.get("/last/minute/?q=a").text
    assert "Found probes" in found and "0.6000 kWh" in found and "€" not in found


def test_more_probes_than_a_graph_adds_up_have_none_together(client, store):
    names = [f"p{number}" for number in range(41)]
    add(store, probes=names)
    query = "&".join(f"probe={name}" for name in names)
    page = client.get(f"/last/minute/?{query}").text
    assert "4.100 kW" in page and "/graph/minute.png" not in page
    assert "A graph is of 40 probes at most." in page and client.get(f"/graph/minute.png?{query}").status_code == 400
    assert "/graph/minute.png" in client.get(f"/last/minute/?{query[:-10]}").text


def test_a_page_loads_itself_again_without_a_script(client, store):
    add(store)
    assert '<noscript><meta http-equiv="refresh" content="60"></noscript>' in client.get("/last/minute/").text
    assert '<noscript><meta http-equiv="refresh" content="7"></noscript>' in client.get("/probe/taurus-1/").text


@pytest.mark.parametrize("name", NASTY)
def test_every_name_has_its_page_and_graphs(client, store, name):
    add(store, probes=[name])
    pages = [client.get("/last/minute/"), client.get(f"/probe/{quote(name)}/")]
    assert pages[1].status_code == 200
    own = [link for page in pages for link in links(page) if quote(name, safe="") in link]
    assert len(own) > 20
    for link in set(own):
        assert client.get(link).status_code == 200, link
    for page in pages:
        assert "<b>" not in page.text.replace("<b data-state", "")
        assert client.get("/live?see=" + quote(name)).json["probes"][name]["watts"] == 100.0


def test_a_probe_has_all_periods_with_their_figures(client, store):
    for step in range(61):
        add(store, timestamp=NOW - 60 + step, watts=36_000.0)
    page = client.get("/probe/taurus-1/")
    for period, words in PERIODS.items():
        assert (
            f"/graph/{period}/taurus-1.png?bare=1&width=428&height=150" in links(page) and f"Last {words}" in page.text
        )
    figures = re.sub(r"<[^>]*>|\s+", " ", re.search(r"<dl .*?</dl>", page.text, re.DOTALL).group())
    assert figures.split() == (
        "Minimum 36.00 kW Average 36.00 kW Maximum 36.00 kW Energy 0.6000 kWh Cost 0.1500 €".split()
    )


def test_nothing_comes_from_another_host(client, store):
    add(store)
    for address in ("/last/day/", "/last/day/?view=table", "/probe/taurus-1/", "/nothing", "/static/page.js", "/live"):
        answer = client.get(address)
        policy = dict(rule.split(" ", 1) for rule in answer.headers["Content-Security-Policy"].split("; "))
        assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
        assert all(link.startswith("/") for link in links(answer))
        assert (
            re.findall(r"<script(?! type=.application/json. id)(?![^>]* src=)|<style|style=|\son[a-z]+=", answer.text)
            == []
        )
        answer.close()
    for path in (ROOT / "kwapi/plugins/rrd/static").iterdir():
        assert not re.search(r"https?://(?!www\.w3\.org/)|url\(", path.read_text("utf-8")), path


def test_long_pages_are_packed_for_those_who_can_unpack_them(client, store):
    add(store, probes=[f"p{number}" for number in range(100)])
    plain = client.get("/last/minute/")
    packed = client.get("/last/minute/", headers={"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip" and "Content-Encoding" not in plain.headers
    assert gzip.decompress(packed.data) == plain.data and len(packed.data) < len(plain.data) / 5
    assert "Accept-Encoding" in plain.vary


def test_pages_behind_a_proxy_have_its_path_in_their_addresses(client, store):
    add(store)
    page = client.get("/last/minute/", environ_overrides={"SCRIPT_NAME": "/power"})
    own = [link for link in re.findall(r'(?:href|src)="(/[^"]*)"', page.text)]
    assert len(own) > 10 and all(link.startswith("/power/") for link in own)


def test_figures_of_what_is_measured_no_more_say_until_when_they_are(client, store, clock):
    clock.now = NOW - 7200
    for second in range(60):
        clock.now += 1
        add(store, clock.now, wattmeter="nancy.old", probes=("old-1",), seq=second)
    ended = moment(clock.now).isoformat()
    clock.now = NOW
    parts = {
        "/probe/old-1/": r'<h2 id="last-minute" data-part>.*?</h2>',
        "/last/minute/": r'<p class="facts">.*?</p>',
        "/last/minute/?site=nancy": r'<p class="facts">.*?</p>',
    }
    found = {path: re.search(part, client.get(path).text, re.DOTALL).group() for path, part in parts.items()}
    assert all(f'until <time datetime="{ended}">' in text for text in found.values())
    for second in range(60):
        clock.now += 1
        add(store, clock.now, wattmeter="nancy.new", probes=("new-1",), seq=second)
    texts = {path: re.search(part, client.get(path).text, re.DOTALL).group() for path, part in parts.items()}
    assert {path for path, text in texts.items() if "until" in text} == {"/probe/old-1/"}


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


def test_a_size_that_no_graph_can_have_is_refused_in_plain_words(client, store):
    add(store)
    answer = client.get("/graph/minute.png?width=5")
    assert answer.status_code == 400 and "width is 200 to 2000, not 5." in answer.text


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
    assert client.get("/healthz").json == {"status": "ok", "skew": 0.0, "conflicts": 0}


def test_healthz_needs_no_login_and_so_names_nobody(store):
    store.conflicts.note("taurus-1", "%s")
    settings = Settings(counts=lambda: {"lost": 7, "skew": {"lyon.pdu1": 0.2, "lyon.pdu2": -3.0}})
    answer = create_app(store, settings=settings).test_client().get("/healthz")
    assert answer.json == {"status": "ok", "lost": 7, "skew": -3.0, "conflicts": 1}
