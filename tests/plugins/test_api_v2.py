from urllib.parse import quote

import pytest

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.views import create_app
from kwapi.stream import Account
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0
NAMES = ["taurus-1", "web 1.example.org", "Ünï-机", "50% [a]:b?#&"]
FIELDS = "id wattmeter level timestamp w v a va kwh kwh_since unknown_seconds coverage state".split()


@pytest.fixture
def clock():
    return Clock(NOW)


@pytest.fixture
def collector(clock):
    return Collector(clock=clock, wall_clock=clock)


@pytest.fixture
def client(collector):
    return create_app(collector).test_client()


def fill(collector, count=25, wattmeter="lyon.pdu1", prefix="p", **fields):
    names = [f"{prefix}{number:02}" for number in reversed(range(count))]
    collector.add(message(wattmeter, probes=names, timestamp=NOW, **fields))


def ids(answer):
    return [probe["id"] for probe in answer.json["probes"]]


def test_a_page_tells_what_became_of_the_messages_of_its_wattmeters(collector):
    accounts = {"lyon.pdu1": Account(7, 1, 2, 3, 4, 5, 6), "paris.pdu2": Account(), "elsewhere": Account()}
    client = create_app(collector, account_of=accounts.get).test_client()
    fill(collector, 3)
    fill(collector, 1, wattmeter="nothing.was.heard", prefix="q")
    page = client.get("/v2/probes").json
    assert page["messages"] == {
        "lyon.pdu1": {
            "produced": 13,
            "delivered": 7,
            "rejected": 1,
            "lost": 2,
            "awaited": 3,
            "duplicates": 4,
            "repaired": 5,
            "unknown_ends": 6,
        }
    }
    assert client.get("/v2/probes?wattmeter=paris").json["messages"] == {}


def test_a_probe_has_exactly_the_fields_that_were_promised(client, collector):
    for second in (0, 10):
        collector.add(
            message(
                seq=second,
                timestamp=NOW + second,
                level=["outlet"],
                w=[360.0],
                v=[230.5],
                a=[1.6],
                va=[368.8],
                interval=10.0,
            )
        )
    (probe,) = client.get("/v2/probes").json["probes"]
    assert list(probe) == FIELDS
    assert probe == {
        "id": "taurus-1",
        "wattmeter": "lyon.pdu1",
        "level": "outlet",
        "timestamp": NOW + 10,
        "w": 360.0,
        "v": 230.5,
        "a": 1.6,
        "va": 368.8,
        "kwh": pytest.approx(0.001),
        "kwh_since": NOW,
        "unknown_seconds": 0.0,
        "coverage": 1.0,
        "state": "up",
    }
    assert client.get("/v2/probes/taurus-1").json == probe


def test_a_stale_probe_has_no_power_rather_than_an_old_one(client, collector, clock):
    fill(collector, 1, v=[230.0], w=[100.0])
    clock.now += 11
    (probe,) = client.get("/v2/probes").json["probes"]
    assert (probe["state"], probe["w"], probe["v"]) == ("stale", None, None)
    assert probe["kwh"] == 0.0
    assert ids(client.get("/v2/probes?state=up")) == []
    assert ids(client.get("/v2/probes?state=stale")) == ["p00"]


def test_pages_lead_through_all_probes_in_order(client, collector):
    fill(collector)
    path, seen, pages = "/v2/probes?limit=10", [], 0
    while path:
        page = client.get(path)
        seen += ids(page)
        path, pages = page.json["next"], pages + 1
    assert seen == [f"p{number:02}" for number in range(25)]
    assert pages == 3


def test_a_page_that_ends_with_the_last_probe_has_no_next_one(client, collector):
    fill(collector, 10)
    assert client.get("/v2/probes?limit=10").json["next"] is None
    assert client.get("/v2/probes?limit=9").json["next"] is not None


def test_pages_keep_their_filter(client, collector):
    fill(collector, 5, "lyon.pdu1", "a & b ")
    fill(collector, 5, "lyonel", "c")
    first = client.get("/v2/probes?wattmeter=lyon&limit=3&state=up")
    second = client.get(first.json["next"])
    assert ids(first) + ids(second) == [f"a & b 0{number}" for number in range(5)]
    assert second.json["next"] is None


def test_a_cursor_whose_probe_has_gone_still_leads_on(client, collector):
    fill(collector, 5)
    assert ids(client.get("/v2/probes?after=p01z")) == ["p02", "p03", "p04"]


def test_probes_are_found_by_their_ids(client, collector):
    fill(collector)
    assert ids(client.get("/v2/probes?id=p07&id=nobody&id=p03")) == ["p03", "p07"]
    first = client.get("/v2/probes?id=p07&id=p03&limit=1")
    assert ids(first) == ["p03"]
    assert ids(client.get(first.json["next"])) == ["p07"]


@pytest.mark.parametrize("name", NAMES)
def test_one_probe(client, collector, name):
    collector.add(message(probes=NAMES))
    assert client.get(f"/v2/probes/{quote(name)}").json["id"] == name
    assert client.get(f"/v2/probes/{quote(name)}/events").json == {"events": []}
    assert ids(client.get(f"/v2/probes?id={quote(name)}")) == [name]


def test_what_a_register_did_is_told_with_its_time_and_values(client, collector):
    for seq, kwh in enumerate([100.0, 0.25]):
        collector.add(message(seq=seq, timestamp=NOW + seq, w=None, kwh=[kwh]))
    (event,) = client.get("/v2/probes/taurus-1/events").json["events"]
    assert event == {"timestamp": NOW + 1, "kind": "reset", "before": 100.0, "after": 0.25}


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/v2/probes/nobody", 404, "no probe 'nobody'"),
        ("/v2/probes/nobody/events", 404, "no probe 'nobody'"),
        ("/v2/nothing", 404, ""),
        ("/v2/probes?limit=0", 400, "from 1 to 10000"),
        ("/v2/probes?wattmetr=lyon", 400, "no parameter 'wattmetr'"),
        ("/v2/probes/nobody?limit=1", 400, "no parameter 'limit'"),
        ("/v2/stream?limit=5", 400, "no parameter 'limit'"),
        ("/v2/probes?after=" + "x" * 8192, 414, "8192"),
    ],
)
def test_what_is_wrong_is_told_as_problem_details(client, path, status, words):
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert list(answer.json) == ["type", "title", "status", "detail"]
    assert (answer.json["type"], answer.json["status"]) == ("about:blank", status)
    assert words in answer.json["detail"]


def test_another_method_is_a_problem_that_says_which_are_allowed(client):
    answer = client.delete("/v2/probes")
    assert (answer.status_code, answer.content_type) == (405, "application/problem+json")
    assert "GET" in answer.headers["Allow"]


def test_an_error_of_ours_is_a_problem_that_shows_nothing_of_itself(caplog):
    class Broken(Collector):
        def snapshot(self):
            raise ZeroDivisionError("a secret detail")

    answer = create_app(Broken()).test_client().get("/v2/probes")
    assert (answer.status_code, answer.content_type) == (500, "application/problem+json")
    assert "secret" not in answer.text
    assert "a secret detail" in caplog.text


def test_an_answer_of_another_moment_is_another(client, collector, clock):
    fill(collector, 1)
    first = client.get("/v2/probes")
    assert client.get("/v2/probes", headers={"If-None-Match": first.headers["ETag"]}).status_code == 304
    clock.now += 1
    collector.add(message(seq=1, probes=["p00"], w=[7.0], timestamp=NOW + 1))
    second = client.get("/v2/probes", headers={"If-None-Match": first.headers["ETag"]})
    assert (second.status_code, second.json["probes"][0]["w"]) == (200, 7.0)
