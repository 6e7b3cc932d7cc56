"""kwapi-api as a process asks a real Keystone: who may read, who may not, and what happens when it does not tell."""

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from tests.integration.daemons import Site
from tests.integration.keystone import PASSWORDS, PROJECT
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DUMMY = "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 42\nprobes = a, b\ninterval = 0.1\n"
PROBES = "/v1/probes/"
PATIENCE = 20  # seconds; far beyond every deadline


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site"), DUMMY) as site:
        site.start("drivers", "forwarder")
        yield site


class Api:
    """kwapi-api, its clients, and the tokens that they used."""

    def __init__(self, site):
        self.site = site
        self.tokens = set()

    def ask(self, path=PROBES, token=None, method="GET", **headers):
        """Return status, headers and what the JSON says."""
        if token:
            headers["X-Auth-Token"] = token
            self.tokens.add(token)
        connection = http.client.HTTPConnection("127.0.0.1", self.site.api_port, timeout=PATIENCE)
        try:
            connection.request(method, path, headers=headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if method == "HEAD":
            return answer.status, answer.headers, None
        is_problem = answer.status >= 400 and not path.lstrip("/").startswith("v1")
        assert answer.headers["Content-Type"] == ("application/problem+json" if is_problem else "application/json")
        return answer.status, answer.headers, json.loads(content)

    def status(self, *arguments, **named):
        """Return the status of an answer; one that refuses says why and tells nothing else."""
        status, headers, said = self.ask(*arguments, **named)
        if headers["Content-Type"] == "application/problem+json":
            assert (said["status"], set(said) - {"type", "title", "status", "detail", "instance"}) == (status, set())
        elif status != 200:
            assert set(said) == {"error"}
            assert set(said["error"]) == {"code", "message"}
            assert said["error"]["code"] == status
            assert said["error"]["message"]
        return status

    def has_heard(self):
        """Return whether it has something to tell, and answers."""
        assert self.site.processes["api"].poll() is None, self.site.log("api")[-2000:]
        try:
            return self.ask("/healthz")[2]["accepted"] > 0
        except OSError:
            return False


@pytest.fixture
def api(site, keystone):
    """Start kwapi-api with options of [keystone_authtoken] replaced; its log, also for debugging, has no secrets."""

    @contextmanager
    def start(**replaced):
        options = {
            "auth_url": keystone.url,
            "username": "kwapi",
            "password": PASSWORDS["kwapi"],
            "user_domain_name": "Default",
            "project_name": PROJECT,
            "project_domain_name": "Default",
            **replaced,
        }
        common = f"[DEFAULT]\nstate_dir = {site.directory}/state\nlog_level = debug\nport = {site.api_port}\n"
        text = f"{common}probes_endpoint = {site.forwarded}\nreplay_endpoint =\n[keystone_authtoken]\n"
        text += "".join(f"{name} = {value}\n" for name, value in options.items())
        (site.directory / "api.conf").write_text(text)
        (site.directory / "api.log").write_text("")
        site.start("api")
        started = Api(site)
        try:
            eventually(started.has_heard)
            yield started
            log = site.log("api")
            assert "error of ours" not in log
            assert not [secret for secret in (*started.tokens, *PASSWORDS.values()) if secret in log]
        finally:
            assert site.stop("api") == 0

    return start


def test_who_has_a_token_with_the_role_reads(api, keystone):
    with api() as started:
        for user in ("ceilometer", "kwapi", "admin"):
            status, _, said = started.ask(token=keystone.token(user))
            assert (status, said["probes"]["a"]["w"]) == (200, 42.0)


def test_a_token_without_the_role_is_forbidden_whatever_the_headers_say(api, keystone):
    with api() as started:
        token = keystone.token("visitor")
        assert started.status(token=token) == 403
        assert (
            started.status(token=token, **{"X-Roles": "admin", "X-Role": "admin", "OpenStack-System-Scope": "all"})
            == 403
        )
        assert started.status(token=token, **{"X-Service-Token": keystone.token("kwapi")}) == 403


def test_without_a_valid_token_nothing_is_told(api, keystone):
    with api() as started:
        for path in (
            PROBES,
            "/v1/",
            "//v1/probes/",
            "/v1/probe-ids/",
            "/v1/probes/a/kwh/",
            "/v1/nothing",
            "/v2/probes",
            "/metrics",
        ):
            assert started.status(path) == 401
        for method in ("HEAD", "POST", "OPTIONS", "NONSENSE"):
            assert started.ask(method=method)[0] == 401
        spoofed = {"X-Roles": "admin", "X-Identity-Status": "Confirmed", "X-User-Id": "1"}
        for token in (None, "garbage", "gAAAAA" + 180 * "x", keystone.token("ceilometer")[:-1]):
            status, headers, _ = started.ask(token=token, **spoofed)
            assert status == 401
            assert headers["WWW-Authenticate"] == f'Keystone uri="{keystone.url}"'
        assert started.status(**{"X-Service-Token": keystone.token("kwapi")}) == 401
        assert started.status("/") == started.status("/healthz") == 200


def test_a_token_that_expires_is_refused_though_it_is_remembered(api, keystone):
    with api(token_cache_time=3600) as started:
        tokens = (keystone.brief_token("ceilometer", seconds) for seconds in (3, 10, 30))  # on a machine that is busy
        token = next(token for token in tokens if started.status(token=token) == 200)
        eventually(lambda: started.status(token=token) == 401, timeout=60)


def test_a_revoked_token_may_read_as_long_as_it_is_remembered(api, keystone):
    with api(token_cache_time=3600) as started:
        token, other = keystone.token("ceilometer"), keystone.token("ceilometer")
        assert started.status(token=token) == 200
        keystone.revoke(token)
        keystone.revoke(other)
        assert started.status(token=token) == 200
        assert started.status(token=other) == 401
    with api(token_cache_time=1) as started:
        token = keystone.token("ceilometer")
        assert started.status(token=token) == 200
        keystone.revoke(token)
        eventually(lambda: started.status(token=token) == 401)


def test_a_remembered_token_costs_keystone_nothing(api, keystone):
    with api() as started, ThreadPoolExecutor(8) as clients:
        token = keystone.token("ceilometer")
        assert started.status(token=token) == 200
        asked = len(keystone.requests())
        assert set(clients.map(lambda _: started.status(token=token), range(64))) == {200}
        assert len(keystone.requests()) == asked
    with api(token_cache_time=-1) as started:
        assert started.status(token=token) == 200
        asked = len(keystone.requests())
        assert started.status(token=token) == 200
        assert keystone.requests()[asked:] == ["GET /v3/auth/tokens"]


def test_the_rules_of_an_application_credential_hold(api, keystone):
    keystone.register("energy", "http://127.0.0.1:5000/v1")
    rule = {"service": "energy", "method": "GET", "path": "/v1/probe-ids/"}
    token = keystone.narrow_token("ceilometer", access_rules=[rule])
    with api() as started:
        assert started.status("/v1/probe-ids/", token) == 200
        assert started.status(PROBES, token) == 401


def test_without_keystone_nobody_reads_who_is_not_remembered(api, keystone):
    known, new = keystone.token("ceilometer"), keystone.token("ceilometer")
    with api() as started:
        assert started.status(token=known) == 200
        keystone.stop()
        try:
            status, headers, _ = started.ask(token=new)
            assert (status, headers["Retry-After"]) == (503, "2")
            assert started.status(token="garbage") == 503
            assert started.status() == 401
            assert started.status(token=known) == started.status("/healthz") == 200
        finally:
            keystone.start()
        assert started.status(token=new) == 200
        log = started.site.log("api")
        assert (log.count("nobody may read"), log.count("can be checked again")) == (1, 1)


def test_kwapi_starts_before_keystone(api, keystone):
    token = keystone.token("ceilometer")
    keystone.stop()
    try:
        with api() as started:
            assert started.status(token=token) == 503
            assert started.status() == 401
            keystone.start()
            assert started.status(token=token) == 200
    finally:
        keystone.stop()
        keystone.start()


@pytest.mark.parametrize(
    "options",
    [
        {"password": "not that one, but long"},
        {"username": "nobody"},
        {"username": "visitor", "password": PASSWORDS["visitor"]},
        {"username": "ceilometer", "password": PASSWORDS["ceilometer"]},
        {"project_name": "admin"},
    ],
)
def test_where_our_own_user_may_not_ask_nobody_reads(api, keystone, options):
    with api(**options) as started:
        for user in {"admin", "kwapi", "ceilometer"} - {options.get("username")}:  # anybody may ask of his own token
            assert started.status(token=keystone.token(user)) == 503
        assert started.status(token="garbage") in (401, 503)
        assert "not that one" not in started.site.log("api")
        assert started.site.log("api").count("nobody may read") == 1


@pytest.mark.parametrize("is_known", [False, True])
def test_a_keystone_that_hangs_holds_up_nobody_beyond_the_deadline(api, keystone, is_known):
    known, *new = [keystone.token("ceilometer") for _ in range(13)]
    with api(http_connect_timeout=1) as started, ThreadPoolExecutor(12) as clients:
        if is_known:  # so that kwapi-api has a token of its own already
            assert started.status(token=known) == 200
        with keystone.frozen():
            waiting = [clients.submit(started.status, token=token) for token in new]
            assert started.status("/healthz") == 200
            if is_known:
                assert started.status(token=known) == 200
            assert {each.result(PATIENCE) for each in waiting} == {503}
        eventually(lambda: started.status(token=known) == 200)


def test_another_policy_is_taken_while_the_daemon_runs(api, keystone):
    with api() as started:
        visitor, reader = keystone.token("visitor"), keystone.token("ceilometer")
        path = started.site.directory / "policy.yaml"
        path.write_text('"energy:read": "role:visitor"\n')
        try:
            assert (started.status(token=visitor), started.status(token=reader)) == (200, 403)
        finally:
            path.unlink()
