"""What is told of requests: how many, by path and status, and how long they took."""

import pytest
from flask import Flask
from prometheus_client.parser import text_string_to_metric_families

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.durations import BEGUN, Durations
from kwapi.plugins.api.views import create_app
from tests.clock import Clock
from tests.messages import message


@pytest.fixture
def client():
    collector = Collector()
    collector.add(message(probes=["a", "b"], w=[1.0, 2.0]))
    return create_app(collector).test_client()


def told(client):
    families = {each.name: each for each in text_string_to_metric_families(client.get("/metrics").text)}
    return families["kwapi_http_request_seconds"].samples


def counts(samples):
    return {
        (each.labels["path"], each.labels["status"]): each.value
        for each in samples
        if each.name == "kwapi_http_request_seconds_count"
    }


def test_requests_are_counted_by_the_template_of_their_path_and_by_status(client):
    for path in ("/v1/probes/", "/v1/probes", "/v1/probes/a/", "/v1/probes/b/", "/v1/probes/c/", "/secret", "/nothing"):
        client.get(path)
    client.post("/v1/probes/")
    assert counts(told(client)) == {
        ("/v1/probes/", "200"): 2,
        ("/v1/probes/<probe>/", "200"): 2,
        ("/v1/probes/<probe>/", "404"): 1,
        ("none", "404"): 2,
        ("none", "405"): 1,
    }


def test_an_error_of_ours_is_counted_as_one():
    app, durations = Flask(__name__), Durations()
    app.add_url_rule("/", view_func=lambda: 1 / 0)
    durations.watch(app)
    assert app.test_client().get("/").status_code == 500
    (family,) = durations.metrics()
    assert counts(family.samples) == {("/", "500"): 1}


@pytest.mark.parametrize(
    ("ago", "buckets"),
    [(0.0, [1, 1, 1, 1, 1]), (0.05, [0, 1, 1, 1, 1]), (5.0, [0, 0, 0, 1, 1]), (60.0, [0, 0, 0, 0, 1])],
)
def test_how_long_a_request_takes_counts_from_when_a_thread_took_it(ago, buckets):
    app, durations = Flask(__name__), Durations(clock=Clock(1000.0))
    app.add_url_rule("/", view_func=lambda: "")
    durations.watch(app)
    app.test_client().get("/", environ_overrides={BEGUN: 1000.0 - ago})
    (family,) = durations.metrics()
    assert [each.value for each in family.samples if each.name.endswith("_bucket")] == buckets
    assert [each.labels["le"] for each in family.samples if "le" in each.labels] == [
        "0.01",
        "0.1",
        "1.0",
        "10.0",
        "+Inf",
    ]
    assert [each.value for each in family.samples if each.name.endswith("_sum")] == [pytest.approx(ago)]
