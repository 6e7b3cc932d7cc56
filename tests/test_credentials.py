"""A key that systemd hands to a daemon, in a file whose mode shows the mask of an ACL."""

import pytest

from kwapi.certificates import read_certificate
from kwapi.credentials import DIRECTORY, is_credential
from kwapi.errors import ConfigError
from kwapi.keys import KeyFile
from tests.certificates import Keys

SECRET = "0123456789abcdef0123456789"


@pytest.fixture
def curve_key(tmp_path):
    Keys(tmp_path).make("kwapi-api")
    path = tmp_path / "kwapi-api.key_secret"
    path.chmod(0o440)
    return path


@pytest.fixture
def signing_key(tmp_path):
    path = tmp_path / "signing.key"
    path.write_text(SECRET)
    path.chmod(0o440)
    return path


def test_a_credential_is_private_whatever_its_mode(curve_key, signing_key, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read_certificate(curve_key).name == "kwapi-api"
    KeyFile(signing_key)


def test_another_file_of_that_mode_is_not(curve_key, signing_key, tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "others"))
    with pytest.raises(ConfigError, match="can be read by others"):
        read_certificate(curve_key)
    with pytest.raises(ConfigError, match="can be read by others"):
        KeyFile(signing_key)


def test_credentials_of_a_daemon_that_runs_are_known_outside_it(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    assert is_credential(DIRECTORY / "kwapi-api.service" / "kwapi-api.key_secret")
    assert not is_credential(DIRECTORY.parent / "kwapi-api.key_secret")
