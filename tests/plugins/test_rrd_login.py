import base64
import hashlib
import os
import subprocess
import sys

import pytest
from flask import Flask

from kwapi.cli.main import main
from kwapi.config import load
from kwapi.errors import ConfigError
from kwapi.plugins.rrd.login import Login, Passwords, login_of, login_problems, password_line, read_passwords

# RFC 7914, section 12: scrypt ("pleaseletmein", "SodiumChloride", N = 16384, r = 8, p = 1, 64 bytes)
VECTOR = (
    "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
)


def in_base64(content):
    return base64.b64encode(content).decode().rstrip("=")


@pytest.fixture(scope="module")
def line():
    return password_line("alice", "correct horse: battery")


@pytest.fixture
def passwords(tmp_path, line):
    path = tmp_path / "users"
    path.write_text(f"# who may look\n\n{line}\n")
    return Passwords(path)


def client(login):
    app = Flask(__name__)
    app.add_url_rule("/page", "page", lambda: "a page")
    app.add_url_rule("/healthz", "healthz", lambda: "ok")
    app.before_request(login.check)
    return app.test_client()


def test_a_password_opens_the_page_and_nothing_else_does(passwords):
    pages = client(Login(passwords))
    refused = pages.get("/page")
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == 'Basic realm="Kwapi", charset="UTF-8"'
    assert pages.get("/page", auth=("alice", "correct horse: battery")).text == "a page"
    assert pages.get("/page", auth=("alice", "correct horse: battery")).text == "a page"
    for auth in (("alice", "correct horse"), ("alice", ""), ("bob", "correct horse: battery"), ("", "")):
        assert pages.get("/page", auth=auth).status_code == 401
    for header in ("Basic", "Basic !", "Bearer x", "Basic " + in_base64(b"\xff\xfe:x"), "Basic " + in_base64(b"alice")):
        assert pages.get("/page", headers={"Authorization": header}).status_code == 401
    assert pages.get("/nothing").status_code == 401
    assert pages.get("/healthz").text == "ok"


def test_a_line_is_scrypt_as_the_rfc_has_it(tmp_path):
    path = tmp_path / "users"
    key = in_base64(bytes.fromhex(VECTOR))
    path.write_text(f"nobody:$scrypt$ln=14,r=8,p=1${in_base64(b'SodiumChloride')}${key}\n")
    assert Passwords(path).accept("nobody", "pleaseletmein")
    assert not Passwords(path).accept("nobody", "pleaseletmeout")


def test_a_line_says_nothing_of_the_password_and_is_another_each_time(line):
    assert "horse" not in line
    assert line != password_line("alice", "correct horse: battery")
    salt, key = line.split("$")[-2:]
    made = hashlib.scrypt(
        b"correct horse: battery", salt=base64.b64decode(salt + "=="), n=1 << 14, r=8, p=1, maxmem=1 << 26, dklen=32
    )
    assert key == in_base64(made)


def test_the_file_is_read_again_when_it_changes(passwords, tmp_path, line, caplog):
    assert passwords.accept("alice", "correct horse: battery")
    path = tmp_path / "users"
    path.write_text("nonsense\n")
    assert passwords.accept("alice", "correct horse: battery")
    assert passwords.accept("alice", "correct horse: battery")
    assert caplog.text.count("the users stay as they were") == 1 and ":1: is no line" in caplog.text
    path.unlink()
    assert passwords.accept("alice", "correct horse: battery")
    path.write_text(password_line("carol", "tea") + "\n")
    assert not passwords.accept("alice", "correct horse: battery")
    assert passwords.accept("carol", "tea")


@pytest.mark.parametrize(
    ("content", "mistake"),
    [
        ("", "has no user; kwapi password NAME makes a line for one"),
        ("alice:secret\n", "users:1: is no line that kwapi password has made"),
        ("#x\nalice:$scrypt$ln=60,r=8,p=1$AAAA$AAAA\n", "users:2: is no line"),
        ("alice:$apr1$AAAA$AAAA\n", "users:1: is no line"),
        (b"\xff\n", "is not UTF-8"),
    ],
)
def test_what_is_wrong_with_a_password_file_is_said_without_what_stands_there(tmp_path, content, mistake):
    path = tmp_path / "users"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match="users") as raised:
        read_passwords(path)
    assert mistake in str(raised.value) and "secret" not in str(raised.value)


def test_a_proxy_says_who_asks_and_counts_only_from_here():
    pages = client(Login(header="X-Remote-User"))
    alice = {"X-Remote-User": "alice"}
    assert pages.get("/page").status_code == 403
    assert pages.get("/page", headers={"X-Remote-User": ""}).status_code == 403
    assert pages.get("/page", headers=alice).text == "a page"
    for address, status in (("127.0.0.9", 200), ("::1", 200), ("192.0.2.1", 403), ("", 403)):
        answer = pages.get("/page", headers=alice, environ_base={"REMOTE_ADDR": address})
        assert answer.status_code == status
    assert pages.get("/healthz").text == "ok"


@pytest.mark.parametrize(
    ("options", "mistake"),
    [
        ("", None),
        ("host = ::1\n", None),
        ("host = 0.0.0.0\n", "host: without password_file anybody could look on 0.0.0.0"),
        ("host = 0.0.0.0\nanybody_may_read = true\n", None),
        ("host = 0.0.0.0\npassword_file = {users}\n", None),
        ("password_file = {users}\nlogin_header = X-User\n", "not by both"),
        ("login_header = X-User\n", None),
        ("login_header = X-User: alice\n", "'X-User: alice' is no name of a header, such as X-Remote-User"),
        ("host = kwapi.example.org\nlogin_header = X-User\n", "listen on 127.0.0.1, not on kwapi.example.org"),
        ("password_file = /nowhere/users\n", "password_file: /nowhere/users: cannot be read"),
    ],
)
def test_pages_that_anybody_could_read_are_refused(tmp_path, line, options, mistake):
    users, path = tmp_path / "users", tmp_path / "rrd.conf"
    users.write_text(line)
    path.write_text("[DEFAULT]\n" + options.format(users=users))
    if mistake is None:
        conf = load("rrd", [path], login_problems)
        assert (login_of(conf) is None) == ("password_file" not in options and "login_header" not in options)
        return
    with pytest.raises(ConfigError) as raised:
        load("rrd", [path], login_problems)
    assert mistake in str(raised.value)


def test_kwapi_password_makes_a_line_from_what_is_piped_into_it(tmp_path):
    made = subprocess.run(
        [sys.executable, "-c", "from kwapi.cli.main import main; raise SystemExit(main())", "password", "Zoë"],
        input="tea & milk\n",
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PYTHONUTF8": "1"},
    )
    assert made.stderr == "" and made.returncode == 0
    path = tmp_path / "users"
    path.write_text(made.stdout)
    assert Passwords(path).accept("Zoë", "tea & milk")


@pytest.mark.parametrize("name", ["a:b", "", " a", "#a"])
def test_kwapi_password_refuses_names_that_cannot_be_one(name, monkeypatch, capsys, tmp_path):
    (tmp_path / "in").write_text("tea\n")
    with (tmp_path / "in").open() as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert main(["password", name]) == 1
    assert "cannot be a name here" in capsys.readouterr().err
