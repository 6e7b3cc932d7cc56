"""A key that systemd hands to a daemon, in a file whose mode shows the mask of an ACL."""

from pathlib import Path

import pytest

from kwapi.certificates import read_certificate
from kwapi.credentials import DIRECTORY, is_credential, located, read_secret, without_secrets
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


def test_a_relative_path_is_a_credential(tmp_path, monkeypatch):
    stores = (tmp_path / "empty", tmp_path)
    (tmp_path / "pdu.password").write_text("")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/kwapi-drivers.service")
    assert located(Path("pdu.password"), stores) == Path("/run/credentials/kwapi-drivers.service/pdu.password")
    assert located(Path("/etc/pdu.password"), stores) == Path("/etc/pdu.password")


def test_outside_the_daemon_a_credential_is_where_systemd_takes_it_from(tmp_path, monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    stores = (tmp_path / "empty", tmp_path)
    (tmp_path / "pdu.password").write_text("")
    assert located(Path("pdu.password"), stores) == tmp_path / "pdu.password"
    assert located(DIRECTORY / "kwapi-none.service" / "pdu.password", stores) == tmp_path / "pdu.password"
    assert located(Path("other"), stores) == Path("other")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"", 0o600, "has to hold one line"),
        (b"\n", 0o600, "has to hold one line"),
        (b"5ecret\nsecond\n", 0o600, "has to hold one line"),
        (b"5ecret\n", 0o644, "can be read by everybody"),
        (b"5ecret\xff\n", 0o600, "is not UTF-8: byte 6"),
        (b"5ecret" * 1000, 0o600, "is larger than 4096 bytes"),
    ],
)
def test_a_file_that_is_no_secret_is_refused_without_showing_it(tmp_path, content, mode, said):
    path = tmp_path / "password"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ValueError, match=said) as refused:
        read_secret(path)
    assert "5ecret" not in str(refused.value)


@pytest.mark.parametrize("content", ["a $ecret ", "a $ecret \n", "a $ecret \r\n"])
def test_a_secret_is_all_of_its_line(tmp_path, content):
    path = tmp_path / "password"
    path.write_text(content)
    path.chmod(0o640)
    assert read_secret(path) == "a $ecret "


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /?password=a%20%24ecret&x", "GET /?password=***&x"),
        ("GET /?password=a+%24ecret", "GET /?password=***"),
        ("b'a $ecret'", "b'***'"),
        ("nothing of it", "nothing of it"),
    ],
)
def test_a_secret_is_taken_out_however_it_is_written(text, shown):
    assert without_secrets(text, ["a $ecret", "it"]) == shown


def test_of_a_secret_that_has_another_in_it_nothing_shows():
    assert without_secrets("priv=5ecret99 auth=5ecret", ["5ecret", "5ecret99", "ecret99"]) == "priv=*** auth=***"
