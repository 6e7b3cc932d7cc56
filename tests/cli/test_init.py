import os
import pwd
import stat

import pytest

from kwapi.cli.init import sets_nothing, write_file
from kwapi.cli.main import main
from kwapi.cli.ownership import user_of_daemons
from kwapi.errors import ConfigError
from kwapi.keys import read
from tests.integration.daemons import DAEMONS

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes for another user")


@pytest.fixture
def narrow_umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "a $ign" / "kwapi"


def test_a_first_configuration_passes_the_check(directory, capsys):
    assert main(["init", "--directory", str(directory)]) == 0
    said = capsys.readouterr().out
    assert all(f"{directory}/{daemon}.conf: written\n" in said for daemon in DAEMONS)
    assert f"    kwapi check --config-dir '{directory}'\n" in said
    assert main(["check", "--config-dir", str(directory)]) == 0


def test_the_key_is_new_private_and_not_shown(directory, capsys):
    main(["init", "--directory", str(directory)])
    path = directory / "state" / "signing.key"
    (key,) = read(path).keys
    assert mode(path) == 0o600
    said = capsys.readouterr().out
    assert f"{path}: a new signing key, mode 0600\n" in said
    assert key.secret.decode() not in said
    other = directory.with_name("other")
    main(["init", "--directory", str(other)])
    assert read(other / "state" / "signing.key").keys[0].secret != key.secret


def test_what_may_hold_passwords_is_closed_to_others(directory):
    main(["init", "--directory", str(directory)])
    assert not any(mode(directory / f"{daemon}.conf") & 0o007 for daemon in ("drivers", "api"))


def test_nothing_that_is_there_is_overwritten(directory, capsys):
    main(["init", "--directory", str(directory)])
    (directory / "api.conf").write_text("[DEFAULT]\nport = 5001\n")
    before = {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    capsys.readouterr()
    assert main(["init", "--directory", str(directory)]) == 0
    assert {path: path.read_bytes() for path in directory.rglob("*") if path.is_file()} == before
    said = capsys.readouterr().out
    assert said.count(": is there already, and stays as it is\n") == 5


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("", "[DEFAULT]\na = 1\n\n[x]\n"),
        ("# as a package brings it\n[DEFAULT]\n", "# as a package brings it\n[DEFAULT]\na = 1\n\n[x]\n"),
        ("[DEFAULT]", "[DEFAULT]\na = 1\n\n[x]\n"),
        ("#a = 2", "#a = 2\n[DEFAULT]\na = 1\n\n[x]\n"),
        ("[DEFAULT]\nb = 2\n", "[DEFAULT]\nb = 2\n"),
        ("[pdu]\n", "[pdu]\n"),
    ],
)
def test_a_file_that_sets_nothing_is_added_to(tmp_path, text, after):
    path = tmp_path / "a.conf"
    path.write_text(text)
    assert sets_nothing(text) == (text != after)
    write_file(path, "a = 1\n", "[x]\n", 0o600)
    assert path.read_text() == after


def test_a_directory_that_cannot_be_made_is_told(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["init", "--directory", str(tmp_path / "file" / "kwapi")]) == 1
    assert f"kwapi: {tmp_path}/file" in capsys.readouterr().err


@pytest.mark.parametrize(("before", "after"), [(0o644, 0o640), (0o600, 0o600)])
def test_a_file_that_is_added_to_is_closed_to_others_too(tmp_path, before, after):
    path = tmp_path / "drivers.conf"
    path.write_text("[DEFAULT]\n")
    path.chmod(before)
    write_file(path, "password = 5ecret\n", "", 0o640)
    assert mode(path) == after


def test_a_file_that_is_no_text_is_told(tmp_path, capsys):
    (tmp_path / "api.conf").write_bytes(b"# caf\xe9\n")
    assert main(["init", "--directory", str(tmp_path)]) == 2
    assert f"{tmp_path}/api.conf: is not UTF-8: byte 5\n" in capsys.readouterr().err


@needs_root
def test_what_root_writes_is_read_by_the_daemons_whatever_the_umask(directory, narrow_umask):
    assert main(["init", "--directory", str(directory)]) == 0
    assert [mode(directory / f"{daemon}.conf") for daemon in DAEMONS] == [0o640, 0o644, 0o640, 0o644]
    assert mode(directory) == mode(directory.parent) == 0o755
    assert mode(directory / "state") == 0o700


@needs_root
@pytest.mark.parametrize(("before", "access"), [(None, 0), ("[DEFAULT]\n", 0o644), ("", 0o600)])
def test_a_file_that_is_closed_to_others_is_of_the_group_of_the_daemons(tmp_path, narrow_umask, before, access):
    path, nobody = tmp_path / "api.conf", pwd.getpwnam("nobody")
    if before is not None:
        path.write_text(before)
        path.chmod(access)
    write_file(path, "acl_enabled = false\n", "", 0o640, nobody)
    assert (mode(path), path.stat().st_uid, path.stat().st_gid) == (0o640, 0, nobody.pw_gid)


@needs_root
@pytest.mark.parametrize(("access", "of", "after"), [(0o600, 0, 0o640), (0o644, 0, 0o644), (0o600, "nobody", 0o600)])
def test_what_is_added_to_can_be_read_by_the_daemons_and_else_stays_as_it_is(tmp_path, access, of, after):
    path, nobody = tmp_path / "rrd.conf", pwd.getpwnam("nobody")
    path.touch(access)
    if of:
        os.chown(path, nobody.pw_uid, 0)
    write_file(path, "a = 1\n", "", 0o644, nobody)
    assert (mode(path), path.stat().st_gid) == (after, nobody.pw_gid if after == 0o640 else 0)


def test_a_user_that_is_not_there_is_told():
    with pytest.raises(ConfigError, match="there is no user kwapi-nobody.*systemd-sysusers"):
        user_of_daemons("kwapi-nobody")
