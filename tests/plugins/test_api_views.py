import msgspec
import pytest

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.views import create_app
from tests.messages import message

NAMES = ["taurus-1", "web 1.example.org", "Ünï-机", "50% [a]:b?#&"]


@pytest.fixture
def client():
    collector = Collector()
    collector.add(message(probes=NAMES, w=[1.5, 2.0, 3.0, 4.0], timestamp=1_800_000_000.25))
    return create_app(collector).test_client()


def test_the_version(client):
    answer = client.get("/v1/")
    assert answer.content_type == "application/json"
    assert answer.json["version"]["id"] == "v1.0"
    assert [version["id"] for version in client.get("/").json["versions"]] == ["v1.0", "v2.0"]


def test_all_probes(client):
    assert client.get("/v1/probe-ids/").json == {"probe_ids": NAMES}
    probes = client.get("/v1/probes/").json["probes"]
    assert list(probes) == NAMES
    assert probes["taurus-1"] == {"timestamp": 1_800_000_000.25, "w": 1.5, "kwh": 0.0}


def test_all_probes_are_the_bytes_they_always_were():
    collector = Collector()
    names = [f"probe {number}" for number in reversed(range(1234))]
    collector.add(message(probes=names, w=[number / 7 for number in range(1234)], timestamp=1_800_000_000.0))
    expected = {name: msgspec.structs.asdict(reading) for name, reading in collector.readings().items()}
    answer = create_app(collector).test_client().get("/v1/probes/")
    assert answer.data == msgspec.json.encode({"probes": expected})
    assert {name for name, _ in answer.headers} == {"Content-Type", "Content-Length"}


def test_an_old_client_reads_a_dict_of_dicts(client):
    # The class of Ceilometer 4: for id, values of probes, with kwh, w and timestamp each.
    read = {
        name: (values["kwh"], values["w"], values["timestamp"])
        for name, values in client.get("/v1/probes/").json["probes"].items()
    }
    assert read["taurus-1"] == (0.0, 1.5, 1_800_000_000.25)
    assert len(read) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_one_probe(client, name):
    from urllib.parse import quote

    path = f"/v1/probes/{quote(name)}/"
    assert set(client.get(path).json[name]) == {"timestamp", "w", "kwh"}
    assert client.get(path + "kwh/").json == {name: {"kwh": 0.0}}
    assert client.get(path.rstrip("/")).json == client.get(path).json


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/probes/nobody/", 404),
        ("/v1/probes/nobody/w/", 404),
        ("/v1/probes/taurus-1/colour/", 404),
        ("/v1/nothing", 404),
        ("/v1/probes/a/b/c/", 404),
        ("/v1/probes/%ff%fe/", 404),
    ],
)
def test_a_bad_address_is_a_404_in_json(client, path, code):
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (code, "application/json")
    assert answer.json["error"]["code"] == code
    assert answer.json["error"]["message"]


@pytest.mark.parametrize("path", ["/v3/", "/nothing", "/v2x", "/v1x", "/v2//probes", "/metrics//"])
def test_a_bad_address_outside_of_version_1_is_a_problem(client, path):
    answer = client.get(path)
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")


def test_nobody_is_sent_to_another_address(client):
    answer = client.get("/v1//probes/", headers={"Host": "evil.example.org"})
    assert (answer.status_code, answer.content_type) == (404, "application/json")
    assert "Location" not in answer.headers


def test_health_shows_what_the_bus_counts_and_no_name():
    collector = Collector()
    for wattmeter in ("one", "two", "two"):
        collector.add(message(wattmeter))
    counts = {"accepted": 7, "rejected": {"too old": 1}, "skew": {"one": 0.5, "two": -3.0}}
    expected = {"status": "ok", "accepted": 7, "rejected": {"too old": 1}, "skew": -3.0, "conflicts": 2}
    assert create_app(collector, lambda: counts).test_client().get("/healthz").json == expected
    assert create_app(Collector()).test_client().get("/healthz").json == {"status": "ok", "skew": 0.0, "conflicts": 0}


def test_another_method_is_refused_in_json(client):
    answer = client.post("/v1/probes/")
    assert answer.status_code == 405
    assert answer.json["error"]["code"] == 405
    assert "GET" in answer.headers["Allow"]


def test_an_error_of_ours_shows_nothing_of_itself(caplog):
    class Broken(Collector):
        def encoded_readings(self):
            raise ZeroDivisionError("a secret detail")

    answer = create_app(Broken()).test_client().get("/v1/probes/")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "a secret detail" in caplog.text
