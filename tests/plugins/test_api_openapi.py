"""The OpenAPI document: it is what the application does, says schemathesis, and people can read it."""

import re

import pytest
import schemathesis
from hypothesis import settings

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.openapi import document
from kwapi.plugins.api.stream import Ring, Streams
from kwapi.plugins.api.views import create_app
from tests.messages import message


def application(**given):
    collector = Collector()
    streams = Streams(Ring.of(collector), seconds=0.05)
    collector.add(message(probes=["a", "b"], w=[1.0, None], v=[230.0, None], interval=3600.0))
    return create_app(collector, streams=streams, **given)


schema = schemathesis.openapi.from_wsgi("/v2/openapi.json", application())


@schema.parametrize()
@settings(max_examples=25, deadline=None, derandomize=True)
def test_the_application_does_what_the_document_says(case):
    case.call_and_validate()


def test_every_route_of_version_2_is_in_the_document():
    app = application()
    routes = {re.sub("<(.*)>", r"{\1}", rule.rule) for rule in app.url_map.iter_rules()}
    described = set(document(has_keystone=False)["paths"])
    assert {route for route in routes if not route.startswith("/v1/")} - {"/", "/v2/", "/docs"} == described


@pytest.mark.parametrize(("metrics_public", "others"), [(False, {"/metrics"}), (True, set())])
def test_a_token_is_asked_for_where_keystone_is(metrics_public, others):
    described = application(keystone=lambda: True, metrics_public=metrics_public).test_client().get("/v2/openapi.json")
    paths = described.json["paths"]
    guarded = {path for path, item in paths.items() if item["get"].get("security") == [{"token": []}]}
    assert guarded == {path for path in paths if path.startswith("/v2/")} | others
    assert {"401", "403", "503"} <= set(paths["/v2/probes"]["get"]["responses"])


@pytest.mark.parametrize("keystone", [None, lambda: True])
def test_people_find_every_path_and_field_on_a_page_that_loads_nothing(keystone):
    client = application(keystone=keystone).test_client()
    page, described = client.get("/docs"), client.get("/v2/openapi.json").json
    assert page.content_type == "text/html; charset=utf-8"
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    for path, item in described["paths"].items():
        assert f"GET {path}<" in page.text
        assert all(f">{parameter['name']}<" in page.text for parameter in item["get"]["parameters"])
    for schema in described["components"]["schemas"].values():
        assert all(f">{name}<" in page.text for name in schema["properties"])
    assert not re.findall(r"<(?:script|img|link|iframe)|url\(|@import", page.text)
    assert ("X-Auth-Token" in page.text) is (keystone is not None)


@pytest.mark.parametrize(
    ("hears", "keystone", "status", "told"),
    [
        (True, None, 200, {"ready": True, "bus": True}),
        (False, None, 503, {"ready": False, "bus": False}),
        (True, lambda: True, 200, {"ready": True, "bus": True, "keystone": True}),
        (True, lambda: False, 503, {"ready": False, "bus": True, "keystone": False}),
    ],
)
def test_it_is_ready_when_the_bus_is_heard_and_keystone_is_configured(hears, keystone, status, told):
    collector = Collector()
    client = create_app(collector, keystone=keystone).test_client()
    if hears:
        collector.add(message())
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json) == (status, told)
    assert client.get("/healthz").json["status"] == "ok"
