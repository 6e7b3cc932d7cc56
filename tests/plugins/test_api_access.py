import pytest
from flask import Flask

from kwapi.config import load
from kwapi.errors import ConfigError
from kwapi.plugins.api.access import SAMPLE, access_problems, read_sections
from kwapi.plugins.api.auth import guard

SOUND = {
    "auth_url": "http://127.0.0.1:5000",
    "username": "kwapi",
    "password": "long and secret",
    "user_domain_name": "Default",
    "project_name": "service",
    "project_domain_name": "Default",
}


def written(tmp_path, text):
    path = tmp_path / "api.conf"
    path.write_text(text)
    return path


def section(name="keystone_authtoken", **options):
    return f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in options.items() if value is not None)


def loaded(tmp_path, text):
    return load("api", [written(tmp_path, text)], access_problems, read_sections)


def mistakes_of(tmp_path, text):
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    return [mistake.replace(f"{tmp_path}/", "") for mistake in caught.value.mistakes]


def test_the_libraries_options_have_our_defaults(tmp_path):
    conf = loaded(tmp_path, section(**SOUND)).keystone_authtoken
    assert (conf.http_connect_timeout, conf.http_request_max_retries, conf.token_cache_time) == (2, 0, 60)
    assert (conf.auth_type, conf.delay_auth_decision, conf.www_authenticate_uri) == (
        "password",
        False,
        "http://127.0.0.1:5000",
    )
    assert loaded(tmp_path, section(**SOUND, token_cache_time=5)).keystone_authtoken.token_cache_time == 5


def test_what_the_sample_says_are_options_of_the_libraries_with_these_defaults(tmp_path):
    conf = loaded(tmp_path, section(**SOUND))
    given = {**SOUND, "www_authenticate_uri": SOUND["auth_url"], "policy_file": str(tmp_path / "policy.yaml")}
    for name, options in SAMPLE.items():
        for option in options:
            assert (conf[name][option.name] or "") == given.get(option.name, option.default)


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ({"auth_url": None}, "api.conf:1: [keystone_authtoken] auth_url: is missing"),
        ({"auth_url": "keystone:5000"}, "api.conf:2: [keystone_authtoken] auth_url: 'keystone:5000' does not begin"),
        ({"username": None}, "api.conf:1: [keystone_authtoken] username: is missing"),
        ({"password": None}, "api.conf:1: [keystone_authtoken] password: is missing"),
        ({"password": "change me"}, "api.conf:4: [keystone_authtoken] password: is missing or a placeholder"),
        ({"password": "a$b"}, "api.conf:4: [keystone_authtoken] password: has a $ that refers to no option"),
        ({"user_domain_name": None}, "api.conf:1: [keystone_authtoken] user_domain_name: is missing"),
        ({"project_name": None}, "api.conf:1: [keystone_authtoken] project_name: is missing"),
        ({"project_domain_name": None}, "api.conf:1: [keystone_authtoken] project_domain_name: is missing"),
        ({"usernam": "a"}, "api.conf:8: [keystone_authtoken] usernam: unknown option; did you mean username?"),
        ({"token_cache_time": "long"}, "api.conf:8: [keystone_authtoken] token_cache_time: "),
        ({"http_connect_timeout": 0}, "api.conf:8: [keystone_authtoken] http_connect_timeout: must be 1 or more"),
        ({"delay_auth_decision": "true"}, "api.conf:8: [keystone_authtoken] delay_auth_decision: must be false"),
        ({"auth_type": "pasword"}, "api.conf:8: [keystone_authtoken] auth_type: there is no 'pasword'"),
    ],
)
def test_a_mistake_has_its_place_and_shows_no_password(tmp_path, options, mistake):
    found = mistakes_of(tmp_path, section(**{**SOUND, **options}))
    assert len(found) == 1
    assert found[0].startswith(mistake)
    assert "change me" not in found[0]
    assert "a$b" not in found[0]


def test_who_says_nothing_of_a_keystone_is_told_how_to_do_without(tmp_path):
    hint = "is true, so the Keystone of [keystone_authtoken] is asked; where there is none, write acl_enabled = false"
    assert f"api.conf:1: [DEFAULT] acl_enabled: {hint}" in mistakes_of(tmp_path, "[DEFAULT]\n")


def test_an_application_credential_will_do(tmp_path):
    credential = {"auth_type": "v3applicationcredential", "auth_url": "http://a", "application_credential_id": "1"}
    assert "application_credential_secret: is missing" in mistakes_of(tmp_path, section(**credential))[0]
    conf = loaded(tmp_path, section(**credential, application_credential_secret="long and secret"))
    assert conf.keystone_authtoken.application_credential_id == "1"


def test_the_user_may_have_a_section_of_its_own(tmp_path):
    named = section(auth_section="service_user")
    conf = loaded(tmp_path, named + section("service_user", **SOUND))
    assert (conf.service_user.auth_type, conf.service_user.username) == ("password", "kwapi")
    found = mistakes_of(tmp_path, named + section("service_user", **{**SOUND, "password": None}) + section("other"))
    assert [each.partition(": is")[0] for each in found] == [
        "api.conf:3: [service_user] password",
        "api.conf:9: [other]: unknown section; kwapi-api has [DEFAULT], [keystone_authtoken], [oslo_policy], "
        "[service_user] only",
    ]


def test_the_environment_gives_the_password(tmp_path, monkeypatch):
    monkeypatch.setenv("KWAPI_KEYSTONE_AUTHTOKEN__PASSWORD", "from the environment")
    conf = loaded(tmp_path, section(**{**SOUND, "password": None}))
    assert conf.keystone_authtoken.password == "from the environment"


def test_without_acl_nothing_is_missing_but_typos_are_mistakes(tmp_path):
    off = "[DEFAULT]\nacl_enabled = false\n"
    assert not loaded(tmp_path, off + section() + "[oslo_policy]\n").acl_enabled
    assert mistakes_of(tmp_path, off + section(auth_ulr="http://a") + "[oslo_policy]\npolicy_fil = a\n") == [
        "api.conf:4: [keystone_authtoken] auth_ulr: unknown option; did you mean auth_url?",
        "api.conf:6: [oslo_policy] policy_fil: unknown option; did you mean policy_file?",
    ]


def test_only_loopback_is_open_to_anybody_unless_that_is_meant(tmp_path):
    off = "[DEFAULT]\nacl_enabled = false\nhost = 0.0.0.0\n"
    assert mistakes_of(tmp_path, off)[0].startswith("api.conf:3: [DEFAULT] host: without acl_enabled anybody could")
    assert loaded(tmp_path, off + "anybody_may_read = true\n").anybody_may_read
    for host in ("127.0.0.2", "::1", "localhost"):
        loaded(tmp_path, f"[DEFAULT]\nacl_enabled = false\nhost = {host}\n")


def test_the_log_tells_who_may_read(tmp_path, caplog):
    app = Flask("test")
    off = "[DEFAULT]\nacl_enabled = false\n"
    assert guard(app, loaded(tmp_path, off)) is app
    guard(app, loaded(tmp_path, off + "host = 0.0.0.0\nanybody_may_read = true\n"))
    assert [record.getMessage() for record in caplog.records] == [
        "acl_enabled is false: anybody on this machine may read",
        "acl_enabled is false: anybody who reaches 0.0.0.0 may read",
    ]


@pytest.mark.parametrize(
    ("rules", "mistake"),
    [
        ('"energy:raed": "role:auditor"\n', "there is no rule energy:raed, but energy:read"),
        ('"energy:read": "role:auditor or"\n', "the rule energy:read cannot be understood: 'role:auditor or'"),
        ('"energy:read": "rule:auditor"\n', "there are rules that refer to one that is missing"),
        ('"energy:read" "role:auditor\n', "while scanning a quoted scalar"),
    ],
)
def test_a_policy_that_means_nothing_is_a_mistake(tmp_path, rules, mistake):
    (tmp_path / "policy.yaml").write_text(rules)
    found = mistakes_of(tmp_path, section(**SOUND))
    assert [each for each in found if each.startswith(f"api.conf: [oslo_policy] policy_file: {mistake}")]


def test_a_policy_file_that_is_named_is_there(tmp_path):
    text = section(**SOUND) + section("oslo_policy", policy_file="other.yaml")
    assert mistakes_of(tmp_path, text) == ["api.conf:9: [oslo_policy] policy_file: there is no other.yaml"]
    (tmp_path / "other.yaml").write_text('"energy:read": "role:auditor"\n')
    loaded(tmp_path, text)
    text = section(**SOUND) + section("oslo_policy", policy_file=tmp_path)
    assert mistakes_of(tmp_path, text)[0].endswith(" is no file")
