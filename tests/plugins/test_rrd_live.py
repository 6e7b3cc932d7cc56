import pytest

from kwapi.plugins.rrd.live import Present
from kwapi.plugins.rrd.store import Store
from kwapi.plugins.rrd.views import create_app
from tests.clock import Clock
from tests.messages import message

NOW = 1_800_000_000.0


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(tmp_path, clock):
    store = Store(tmp_path, clock=clock, steady_clock=clock)
    store.add(message("lyon.a", probes=["feed", "plug"], w=[90.0, 80.0], level=["inlet", "outlet"], timestamp=NOW - 60))
    clock.now = NOW + 20
    store.add(message("nancy.b", probes=["web-1", "web-2"], w=[10.5, None], timestamp=NOW + 20))
    return store


@pytest.fixture
def client(store, clock):
    return create_app(store, clock=clock).test_client()


def test_what_is_live_is_that_of_the_view_and_of_the_probes_that_are_seen(client):
    answer = client.get("/live?see=web-1&see=feed&see=nobody")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.json == {
        "time": NOW + 20,
        "watts": 10.5,
        "measured": 1,
        "counted": 2,
        "number": 3,
        "states": {"up": 1, "stale": 2, "down": 0, "muted": 0},
        "probes": {
            "web-1": {"watts": 10.5, "state": "up", "timestamp": NOW + 20, "reason": ""},
            "feed": {"watts": None, "state": "stale", "timestamp": NOW - 60, "reason": ""},
        },
    }


@pytest.mark.parametrize(
    ("query", "number", "watts"),
    [("site=lyon", 2, None), ("q=web", 1, 10.5), ("state=stale", 2, None), ("probe=feed&probe=web-1", 2, 10.5)],
)
def test_a_view_has_its_own_sum(client, query, number, watts):
    answer = client.get(f"/live?{query}").json
    assert (answer["number"], answer["watts"], answer["probes"]) == (number, watts, {})


def test_an_empty_installation_is_live_too(tmp_path):
    answer = create_app(Store(tmp_path)).test_client().get("/live").json
    assert (answer["number"], answer["watts"], answer["counted"]) == (0, None, 0)


def test_requests_of_one_second_see_the_same_probes(store, clock):
    present = Present(store, 1.0, clock)
    made = []

    def make():
        made.append(len(present.probes()))
        return b"made"

    assert present.made("key", make) == present.made("key", make) == b"made"
    store.add(message("nancy.b", seq=1, probes=["web-3"], timestamp=NOW + 20))
    assert made == [3] and "web-3" not in present.by_name()
    clock.now += 1
    assert present.by_name()["web-3"].watts == 100.0
    present.made("key", make)
    assert made == [3, 4]
