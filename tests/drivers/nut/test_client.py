"""The connection to upsd: its language, faults, credentials and TLS."""

import socket
from dataclasses import replace

import pytest

from kwapi.drivers.nut import client
from kwapi.drivers.nut.client import Target, parse_items, quote
from kwapi.errors import CredentialsRefused, DeviceError
from tests.drivers.certificates import make_certificate
from tests.drivers.nut.upsd import BEGIN, RESET, WHOLE, Cut, Upsd, make, read


def test_quotes_and_backslashes_travel_both_ways():
    assert parse_items(['VAR rack ups.mfr "A \\"quoted\\" \\\\ name"', 'UPS b ""']) == {
        "ups.mfr": 'A "quoted" \\ name',
        "b": "",
    }
    assert quote('se"cr\\et') == '"se\\"cr\\\\et"'


@pytest.mark.parametrize(
    "line", ["", "VAR rack ups.load", 'VAR rack ups.load "1', 'TYPE rack a "b"', 'VAR rack a "b" c']
)
def test_a_malformed_line_is_an_error(line):
    with pytest.raises(DeviceError, match="malformed line"):
        parse_items([line])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "LIST VAR rack: no whole answer within 0.1 s"),
        (BEGIN, "LIST VAR rack: no whole answer within 0.1 s"),
        (BEGIN + b'VAR rack ups.realpower "1', "no whole answer"),
        (b"", "LIST VAR rack: the server closed the connection"),
        (Cut(BEGIN + b'VAR rack ups.realpower "5'), "LIST VAR rack: the server closed the connection"),
        (RESET, "LIST VAR rack: .*reset"),
        (b"ERR DATA-STALE\n", "LIST VAR rack: DATA-STALE"),
        (b"ERR DRIVER-NOT-CONNECTED\n", "DRIVER-NOT-CONNECTED"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "answered 'HTTP/1.1 400 Bad Request'"),
        (BEGIN + b"\xff\xfe\nEND LIST VAR rack\n", "malformed line"),
        (BEGIN + b"x" * 70000, "a line without end"),
        (BEGIN + b'VAR rack a "b"\n' * 10_001, "an answer without end"),
        (BEGIN + b"END LIST VAR rack\n", "tells no watts; it has nothing"),
    ],
)
def test_an_unusable_answer_is_an_error_and_the_next_connection_goes_on(answer, message):
    with Upsd() as server:
        driver = make(server.port)
        driver.open()
        if "no whole answer" in message:  # else it comes, however busy the machine is
            driver._upsd.target = replace(driver._upsd.target, timeout=0.1)
        server.answers["LIST VAR rack"] = answer
        with pytest.raises(DeviceError, match=message):
            driver.read()
        driver.close()
        server.answers.clear()
        driver.open()
        assert driver.read() == [WHOLE]
        driver.close()


def test_the_deadline_is_that_of_the_whole_answer():
    times = iter([0.0, 0.0, 0.0, 1.9, 2.1])  # of connecting, asking, sending, before the first line, and after it came
    target = Target("127.0.0.1", 0, user="", password="", tls=False, ca_file="", timeout=2.0)
    with Upsd() as server:
        server.answers["LIST VAR rack"] = BEGIN
        upsd = client.Upsd(replace(target, port=server.port), clock=lambda: next(times))
        with pytest.raises(DeviceError, match="no whole answer within 2 s"):
            upsd.variables("rack")
        upsd.close()


def test_a_server_that_is_not_there_is_named():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DeviceError, match=rf"127.0.0.1:{port}: .*refused"):
        make(port).open()


def test_user_and_password_are_told_and_login_only_where_wanted():
    with Upsd() as server:
        read(server, user="kwapi", password='se"cret', ups="rack")
        assert server.requests[:3] == ['USERNAME "kwapi"', 'PASSWORD "se\\"cret"', "LIST VAR rack"]
        read(server, user="kwapi", password="x", ups="rack", login=True)
        assert "LOGIN rack" in server.requests


def test_an_answer_that_is_none_is_told():
    with Upsd() as server:
        server.answers["LOGIN"] = b"WELL\n"
        with pytest.raises(DeviceError, match="LOGIN rack: answered 'WELL'"):
            read(server, user="kwapi", password="x", login=True)


@pytest.mark.parametrize(("request_", "error"), [("LOGIN", b"ACCESS-DENIED"), ("PASSWORD", b"INVALID-PASSWORD")])
def test_refused_credentials_are_told_apart_and_not_shown(request_, error):
    with Upsd() as server:
        server.answers[request_] = b"ERR " + error + b"\n"
        with pytest.raises(CredentialsRefused, match=error.decode()) as raised:
            read(server, user="kwapi", password="hunter2", login=True)
    assert "hunter2" not in str(raised.value)


@pytest.fixture
def certificate(tmp_path):
    """Return the path of a certificate for 127.0.0.1 and its key, in one file."""
    path = tmp_path / "upsd.pem"
    path.write_bytes(b"".join(file.read_bytes() for file in make_certificate(tmp_path)))
    return str(path)


def test_tls_is_used_and_the_certificate_is_checked(certificate):
    with Upsd(certificate=certificate) as server:
        assert read(server, tls=True, ca_file=certificate, user="kwapi") == [WHOLE]
        assert server.requests[:2] == ["STARTTLS", 'USERNAME "kwapi"']
        with pytest.raises(DeviceError, match="TLS: .*certificate verify failed"):
            read(server, tls=True)
        with pytest.raises(DeviceError, match="TLS: .*No such file"):
            read(server, tls=True, ca_file="/nonexistent.pem")
    with Upsd() as server, pytest.raises(DeviceError, match="STARTTLS: FEATURE-NOT-CONFIGURED"):
        read(server, tls=True)
    assert server.requests == ["STARTTLS"], "nothing follows in the clear"


def test_what_comes_in_the_clear_is_not_taken_for_an_encrypted_answer(certificate):
    with Upsd(certificate=certificate) as server:
        server.answers["STARTTLS"] = b"OK STARTTLS\n" + BEGIN + b'VAR rack ups.realpower "666"\nEND LIST VAR rack\n'
        with pytest.raises(DeviceError, match="STARTTLS: more than an answer came in the clear"):
            read(server, tls=True, ca_file=certificate, ups="rack")


def test_connecting_ends_in_time_however_many_answers_it_takes():
    target = Target("127.0.0.1", 0, user="kwapi", password="x", tls=False, ca_file="", timeout=2.0)
    now = [0.0]

    def clock():
        now[0] += 0.4  # between any two looks at it
        return now[0]

    with Upsd() as server:
        with pytest.raises(DeviceError, match="LIST VAR rack: connecting took longer than 3 s"):
            upsd = client.Upsd(replace(target, port=server.port), clock=clock)
            try:
                upsd.variables("rack")
            finally:
                upsd.close()
        assert server.requests == ['USERNAME "kwapi"', 'PASSWORD "x"']
        upsd = client.Upsd(replace(target, port=server.port), clock=clock)
        upsd.ready()
        assert upsd.variables("rack")
        upsd.close()


def test_a_password_is_not_shown():
    target = Target("127.0.0.1", 0, user="kwapi", password="hunter2", tls=False, ca_file="", timeout=2.0)
    assert "hunter2" not in repr(target)
