import pytest

from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.cors import allow_origins
from kwapi.plugins.api.views import create_app

OURS, OTHERS = "https://example.org", "https://example.com"


def client(*origins):
    app = create_app(Collector())
    app.wsgi_app = allow_origins(app.wsgi_app, origins)
    return app.test_client()


def cors_headers(answer):
    return {name for name, _ in answer.headers if name.startswith("Access-Control")}


@pytest.mark.parametrize("origins", [(), (OURS,)])
def test_no_page_of_an_origin_that_is_not_listed_may_read(origins):
    answer = client(*origins).get("/v2/probes", headers={"Origin": OTHERS})
    assert (answer.status_code, cors_headers(answer)) == (200, set())
    asked = client(*origins).options("/v2/probes", headers={"Origin": OTHERS, "Access-Control-Request-Method": "GET"})
    assert cors_headers(asked) == set()


def test_a_page_of_a_listed_origin_may_read_also_errors():
    for path in ("/v2/probes", "/v2/nothing"):
        answer = client(OURS).get(path, headers={"Origin": OURS})
        assert answer.headers["Access-Control-Allow-Origin"] == OURS
        assert "Origin" in answer.headers.getlist("Vary")


def test_a_browser_that_asks_beforehand_may_send_a_token():
    asked = client(OURS).options("/v2/probes", headers={"Origin": OURS, "Access-Control-Request-Method": "GET"})
    assert (asked.status_code, asked.data) == (204, b"")
    assert "X-Auth-Token" in asked.headers["Access-Control-Allow-Headers"]
    assert asked.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
