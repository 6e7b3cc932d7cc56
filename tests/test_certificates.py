import logging

import pytest
import zmq
from zmq.auth import load_certificate

from kwapi.certificates import LOOK, QUICK_LOOK, Clients, read_certificate, read_public_key
from kwapi.errors import ConfigError
from tests.certificates import Keys
from tests.clock import Clock


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


def test_a_certificate_of_zmq_auth_is_read(keys):
    made = keys.make("drivers")
    assert (made.public, made.secret) == load_certificate(keys.directory / "drivers.key_secret")
    assert made.public == read_public_key(keys.directory / "drivers.key") == zmq.curve_public(made.secret)
    assert made.name == "drivers"
    assert made.secret.decode() not in repr(made)


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (lambda path: path.chmod(0o640), r"can be read by others \(mode 0640\); run chmod 600"),
        (lambda path: path.unlink(), "cannot read"),
        (lambda path: path.write_text("nonsense"), "has no public-key and secret-key"),
        (lambda path: path.write_text(path.read_text()[:-10]), "has no public-key and secret-key"),
        (lambda path: path.write_bytes(path.with_suffix(".key").read_bytes()), "has no public-key and secret-key"),
        (lambda path: path.write_text(f'public-key = "{"a" * 40}"\nsecret-key = "{"~" * 40}"\n'), "do not belong"),
        (lambda path: path.write_text(path.read_text().replace('public-key = "', 'public-key = "x')), "has no public"),
    ],
)
def test_a_file_that_is_no_private_certificate_is_refused(keys, change, mistake):
    keys.make("drivers")
    path = keys.directory / "drivers.key_secret"
    change(path)
    with pytest.raises(ConfigError, match=mistake):
        read_certificate(path)


def test_keys_of_two_certificates_do_not_belong_together(keys):
    one, other = (keys.make(name) for name in ("one", "other"))
    path = keys.directory / "one.key_secret"
    path.write_text(path.read_text().replace(one.public.decode(), other.public.decode()))
    with pytest.raises(ConfigError, match="do not belong together"):
        read_certificate(path)


def test_a_directory_is_read_again_when_it_has_changed(keys, caplog):
    caplog.set_level(logging.INFO)
    one, other = (keys.make(name) for name in ("one", "other"))
    keys.allow("one")
    clock = Clock()
    clients = Clients(keys.directory / "clients", clock=clock)
    keys.allow("other")
    assert (clients.name_of(one.public), clients.name_of(other.public)) == ("one", None)
    clock.now += 2 * QUICK_LOOK
    assert clients.name_of(other.public) == "other"
    keys.refuse("one")
    assert clients.name_of(one.public) == "one"
    clock.now += LOOK
    clients.look()
    assert (clients.name_of(one.public), clients.name_of(other.public), clients.removals) == (None, "other", 1)
    assert "1 may connect, 1 no more" in caplog.text
    clock.now += LOOK
    clients.look()
    assert caplog.text.count("has changed") == 2


def test_a_damaged_file_lets_nobody_in_and_disturbs_no_other(keys, caplog):
    one, other = (keys.make(name) for name in ("one", "other"))
    keys.allow("one")
    keys.allow("other")
    clock, directory = Clock(), keys.directory / "clients"
    clients = Clients(directory, clock=clock)
    text = (directory / "one.key").read_text()
    (directory / "one.key").write_text(text[:-20])
    (directory / "link.key").symlink_to("nowhere")
    (directory / "below.key").mkdir()
    (directory / "notes.txt").write_text(text)
    for _ in range(3):
        clock.now += LOOK
        clients.look()
    assert (clients.name_of(one.public), clients.name_of(other.public), clients.removals) == (None, "other", 1)
    assert caplog.text.count("one.key lets nobody in: it has no public-key") == 1
    (directory / "one.key").write_text(text)
    clock.now += LOOK
    assert clients.name_of(one.public) == "one"


def test_a_directory_that_is_away_changes_nothing_and_is_told_once(keys, caplog):
    one = keys.make("one")
    keys.allow("one")
    clock, directory = Clock(), keys.directory / "clients"
    clients = Clients(directory, clock=clock)
    directory.rename(keys.directory / "elsewhere")
    for _ in range(3):
        clock.now += LOOK
        assert clients.name_of(one.public) == "one"
    assert caplog.text.count("cannot be read again") == 1
    (keys.directory / "elsewhere").rename(directory)
    keys.refuse("one")
    clock.now += LOOK
    assert clients.name_of(one.public) is None


def test_a_directory_that_is_not_there_is_a_mistake(tmp_path):
    with pytest.raises(ConfigError, match="curve_clients_dir: cannot read .*nowhere: No such file"):
        Clients(tmp_path / "nowhere")
