import os
import stat
import time

import pytest
from zmq.auth import load_certificate

from kwapi.cli.keygen import TIME_TO_COPY, next_steps
from kwapi.cli.main import main
from kwapi.keys import read
from kwapi.signing import written
from tests.messages import KEY


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "signing.key"


def test_the_first_key_of_a_file_signs_at_once(path, capsys):
    assert main(["keygen", "--signing", str(path)]) == 0
    (key,) = read(path).keys
    assert (key.begins, key.ends, key.prefixes) == (float("-inf"), float("inf"), ())
    assert mode(path) == 0o600
    said = capsys.readouterr().out
    assert f"{path}: added the signing key {key.id.hex()}\nCopy signing.key, mode 0600, to where " in said
    assert key.secret.decode() not in said


def test_a_key_that_is_added_leaves_time_to_copy_the_file(path, capsys):
    main(["keygen", "--signing", str(path)])
    capsys.readouterr()
    began = time.time()
    assert main(["keygen", "--signing", str(path)]) == 0
    first, second = read(path).keys
    assert began + TIME_TO_COPY <= second.begins <= time.time() + TIME_TO_COPY + 60
    assert second.begins % 60 == 0
    said = capsys.readouterr().out
    assert f"added the signing key {second.id.hex()}, beside 1 older one\n" in said
    assert f"It signs from {written(second.begins)} on." in said
    assert said.index("kwapi-api and kwapi-rrd") < said.index("kwapi-drivers")
    assert mode(path) == 0o600
    assert not [secret for secret in (first.secret, second.secret) if secret.decode() in said]


def test_a_file_that_cannot_be_read_gets_no_key(path, capsys):
    path.parent.mkdir()
    path.touch(0o600)
    path.write_text("short\n")
    assert main(["keygen", "--signing", str(path)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"{path}:1: the secret is shorter than 16 bytes",
        f"{path}: no key was added; mend the file first, or move it away",
    ]
    assert path.read_text() == "short\n"


def test_limits_are_those_of_the_file(path):
    limits = ["--from", "2027-01-15T09:00:00+01:00", "--until", "2028-01-01T00:00:00Z", "--wattmeters", "lyon.,paris"]
    assert main(["keygen", "--signing", str(path), *limits]) == 0
    (key,) = read(path).keys
    assert (written(key.begins), written(key.ends)) == ("2027-01-15T08:00:00Z", "2028-01-01T00:00:00Z")
    assert key.prefixes == (b"lyon.", b"paris.")


def test_a_key_that_signs_at_once_is_to_be_copied_now(path):
    assert "at once" in next_steps(path, KEY, 1, time.time())[0]


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["--signing", "{path}", "--from", "noon"], 1, "from= is no time with its zone"),
        (["--signing", "{path}", "--wattmeters", "a b"], 1, "a word after the secret begins with none of"),
        (["--signing", "{path}", "--wattmeters", "a,,b"], 1, "wattmeters= is no list of names"),
        (["--signing", "{path}", "--wattmeters", "a #"], 1, "a word after the secret begins with none of"),
        (["--signing", "{path}", "{path}", "name"], 1, "either --signing FILE"),
        (["{path}"], 1, "either --signing FILE"),
        (["{path}", "name", "--until", "2028-01-01T00:00:00Z"], 1, "either --signing FILE"),
        (["{path}", "../name"], 1, "the name '../name' contains '/'"),
        ([], 1, "either --signing FILE"),
    ],
)
def test_what_makes_no_sense_makes_nothing(path, capsys, arguments, status, complaint):
    assert main(["keygen", *(argument.format(path=path) for argument in arguments)]) == status
    assert complaint in capsys.readouterr().err
    assert not path.parent.exists()


def test_a_file_that_is_wrong_is_left_as_it_is(path, capsys):
    path.parent.mkdir()
    path.write_text("0123456789abcdef in=vain\n")
    path.chmod(0o600)
    assert main(["keygen", "--signing", str(path)]) == 2
    assert f"{path}:1: " in capsys.readouterr().err
    assert path.read_text() == "0123456789abcdef in=vain\n"


def test_a_pair_is_made_private_and_replaces_none(tmp_path, capsys):
    directory = tmp_path / "curve"
    before = os.umask(0)
    try:
        assert main(["keygen", str(directory), "drivers"]) == 0
    finally:
        os.umask(before)
    public, secret = directory / "drivers.key", directory / "drivers.key_secret"
    assert sorted(os.listdir(directory)) == ["drivers.key", "drivers.key_secret"]
    assert (mode(public), mode(secret)) == (0o644, 0o600)
    assert load_certificate(public) == (load_certificate(secret)[0], None)
    made = secret.read_bytes()
    said = capsys.readouterr().out
    assert load_certificate(secret)[1].decode() not in said
    assert main(["keygen", str(directory), "drivers"]) == 2
    assert f"{secret}: is there already" in capsys.readouterr().err
    assert secret.read_bytes() == made
    secret.rename(directory / "kept")
    assert main(["keygen", str(directory), "drivers"]) == 2
    assert f"{public}: is there already" in capsys.readouterr().err
