import os

import pytest

from kwapi.config import load
from kwapi.plugins.api.access import access_problems, read_sections
from kwapi.plugins.api.policy import READ, Policy
from tests.plugins.test_api_access import SOUND, section, written


@pytest.fixture
def policy(tmp_path):
    return Policy(load("api", [written(tmp_path, section(**SOUND))], access_problems, read_sections))


@pytest.mark.parametrize(
    ("roles", "may_read"),
    [
        (["admin"], True),
        (["service"], True),
        (["member", "reader"], True),
        (["Reader"], True),
        (["member"], False),
        (["readers", "x,admin", "administrator"], False),
        ([], False),
    ],
)
def test_admins_services_and_readers_may_read(policy, roles, may_read):
    assert policy.allows(READ, {"roles": roles}) is may_read


def test_a_file_beside_the_configuration_takes_the_place_of_the_rules(policy, tmp_path):
    (tmp_path / "policy.yaml").write_text('"energy:read": "role:reader and project_id:lyon"\n')
    assert policy.allows(READ, {"roles": ["reader"], "project_id": "lyon"})
    assert not policy.allows(READ, {"roles": ["reader"], "project_id": "paris"})
    assert not policy.allows(READ, {"roles": ["admin"], "project_id": None})


@pytest.mark.parametrize("broken", [b'"energy:read" "role:', b"42", b'"energy:read": 5'])
def test_a_file_that_is_broken_later_changes_nothing_and_is_told_once(policy, tmp_path, caplog, broken):
    path = tmp_path / "policy.yaml"
    path.write_text('"energy:read": "role:auditor"\n')
    assert policy.allows(READ, {"roles": ["auditor"]})
    path.write_bytes(broken)
    os.utime(path, (0, path.stat().st_mtime + 10))
    for _ in range(2):
        assert policy.allows(READ, {"roles": ["auditor"]})
        assert not policy.allows(READ, {"roles": ["reader"]})
    assert caplog.text.count("cannot be read again") == 1


def test_a_file_in_the_home_directory_is_not_read(policy, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "policy.yaml").write_text('"energy:read": "@"\n')
    assert not policy.allows(READ, {"roles": []})
