"""Secrets that stand in files of their own: password_file in place of password, whatever the driver."""

import pytest

from kwapi.config import Reader
from kwapi.drivers import BUILT_IN, find_driver
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.options import with_secret_files

HEAD = "[pdu]\ndriver = redfish\nhost = 127.0.0.1\nuser = kwapi\nprobes = a\n"


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "pdu.password"
    path.write_text("5ecret of $pdu\n")
    path.chmod(0o600)
    return path


def reader_of(tmp_path, text, environ=None):
    (tmp_path / "drivers.conf").write_text(text)
    return Reader("drivers", [tmp_path / "drivers.conf"], environ or {})


def mistakes(reader, tmp_path):
    read_wattmeters(reader)
    return [mistake.replace(f"{tmp_path}/", "") for mistake in reader.mistakes]


def test_a_driver_gets_the_secret_of_the_file(tmp_path, secret):
    reader = reader_of(tmp_path, f"{HEAD}password_file = {secret}\n")
    (wattmeter,) = read_wattmeters(reader)
    reader.finish()
    assert wattmeter.new_driver(None).password == "5ecret of $pdu"
    assert "password_file" not in wattmeter.values


def test_another_secret_in_the_file_is_another_wattmeter(tmp_path, secret):
    text = f"{HEAD}password_file = {secret}\n"
    before = read_wattmeters(reader_of(tmp_path, text))
    assert read_wattmeters(reader_of(tmp_path, text)) == before
    secret.write_text("another\n")
    assert read_wattmeters(reader_of(tmp_path, text)) != before


def test_a_relative_path_is_a_credential(tmp_path, secret, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    secret.chmod(0o444)  # systemd says who may read it
    (wattmeter,) = read_wattmeters(reader_of(tmp_path, f"{HEAD}password_file = {secret.name}\n"))
    assert wattmeter.values["password"] == "5ecret of $pdu"


def test_the_environment_names_the_file_or_overrides_it(tmp_path, secret):
    named = {"KWAPI_PDU__PASSWORD_FILE": str(secret)}
    (wattmeter,) = read_wattmeters(reader_of(tmp_path, HEAD, named))
    assert wattmeter.values["password"] == "5ecret of $pdu"
    (wattmeter,) = read_wattmeters(reader_of(tmp_path, HEAD, {**named, "KWAPI_PDU__PASSWORD": "other"}))
    assert wattmeter.values["password"] == "other"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("password_file = {}/none", "password_file: none cannot be read: No such file or directory"),
        ("password_file = {}/pdu.password\npassword = x", "password_file: password is given as well; have one of them"),
        ("password_file =", "password: is missing: Password of the user."),
        ("pasword_file = x", "pasword_file: unknown option; did you mean password_file?"),
        ("host_file = x", "host_file: unknown option"),
    ],
)
def test_what_is_wrong_is_told_at_its_line(tmp_path, secret, line, told):
    found = mistakes(reader_of(tmp_path, f"{HEAD}{line.format(tmp_path)}\n"), tmp_path)
    assert any(mistake.endswith(told) or f"{told};" in mistake for mistake in found)
    if told.startswith("password_file"):
        assert found == [f"drivers.conf:6: [pdu] {told}"]


def test_a_file_that_everybody_may_read_is_refused(tmp_path, secret):
    secret.chmod(0o644)
    (mistake,) = mistakes(reader_of(tmp_path, f"{HEAD}password_file = {secret}\n"), tmp_path)
    assert mistake.startswith(
        "drivers.conf:6: [pdu] password_file: pdu.password can be read by everybody (mode 0644); run"
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_driver_has_an_option_of_its_own_with_that_name(name):
    names = [option.dest for option in with_secret_files(find_driver(name).options)]
    assert len(names) == len(set(names))
