"""Who is let in at a real nats-server, and which server is believed."""

import logging
import socket
import threading
from pathlib import Path

import pytest

from kwapi.bus import Subscriber
from kwapi.errors import ConfigError
from kwapi.gate import Gate
from kwapi.nats.login import Login
from kwapi.nats.uplink import Uplink
from kwapi.signing import KeyRing
from kwapi.simulator.certificate import make_certificate
from kwapi.streams import Streams
from kwapi.transport import Transport
from tests.messages import KEY, frame
from tests.nats.jwt import Issuer
from tests.nats_server import NatsServer
from tests.threads import running
from tests.waiting import eventually

ROOT = Path(__file__).parent.parent.parent
PASSWORD = "a password of the tests"


@pytest.fixture(autouse=True)
def nothing_secret_is_logged(caplog):
    caplog.set_level(logging.DEBUG)
    yield
    assert PASSWORD not in caplog.text
    assert "SEED" not in caplog.text


def secret(directory, text, name="nats.secret"):
    path = directory / name
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def stores(server, login, endpoint=None, seq=0):
    """Fail unless a message is stored."""
    link = Uplink(endpoint or server.endpoint, login)
    link.send(frame(seq=seq))
    link.close(10_000)
    assert link.waiting == 0


def refused(caplog, endpoint, login, reason):
    """Fail unless nothing is stored, for a reason that is logged."""
    transport = Transport()
    link = Uplink(endpoint, login, failures=transport.failures)
    link.send(frame())
    eventually(lambda: reason in caplog.text and transport.failures["failed handshake"])
    link.close(0)
    assert link.waiting > 0


def test_a_user_with_his_password(tmp_path, caplog):
    options = f'authorization {{ user: "kwapi", password: "{PASSWORD}" }}'
    with NatsServer(tmp_path, options=options, stream=False) as server:
        server.login = {"user": "kwapi", "password": PASSWORD}
        server.make_stream()
        stores(server, Login(credentials_file=secret(tmp_path, f"kwapi:{PASSWORD}\n")))
        refused(caplog, server.endpoint, Login(credentials_file=secret(tmp_path, "kwapi:guessed")), "uthorization")
        refused(caplog, server.endpoint, Login(), "uthorization")


def test_a_token(tmp_path, caplog):
    with NatsServer(tmp_path, options=f'authorization {{ token: "{PASSWORD}" }}', stream=False) as server:
        server.login = {"token": PASSWORD}
        server.make_stream()
        stores(server, Login(credentials_file=secret(tmp_path, PASSWORD)))
        refused(caplog, server.endpoint, Login(credentials_file=secret(tmp_path, "guessed")), "uthorization")


def test_what_nsc_makes_for_a_user(tmp_path, caplog):
    issuer, path = Issuer(), tmp_path / "kwapi.creds"
    issuer.write_credentials(path)
    with NatsServer(tmp_path, options=issuer.server_options(), stream=False) as server:
        server.login = {"user_credentials": str(path)}
        server.make_stream()
        stores(server, Login(credentials_file=str(path)))
        Issuer().write_credentials(path)
        refused(caplog, server.endpoint, Login(credentials_file=str(path)), "uthorization")


def test_a_new_password_needs_no_restart(tmp_path, caplog):
    options = f'authorization {{ user: "kwapi", password: "{PASSWORD}" }}'
    with NatsServer(tmp_path, options=options, stream=False) as server:
        server.login = {"user": "kwapi", "password": PASSWORD}
        server.make_stream()
        path = Path(secret(tmp_path, "kwapi:old"))
        link = Uplink(server.endpoint, Login(credentials_file=str(path)))
        link.send(frame())
        eventually(lambda: "uthorization" in caplog.text)
        path.unlink()  # for a moment there is none
        eventually(lambda: "cannot read" in caplog.text)
        secret(tmp_path, f"kwapi:{PASSWORD}")
        link.close(10_000)
        assert link.waiting == 0


@pytest.mark.parametrize(
    ("text", "mode", "mistake"),
    [
        ("kwapi:secret", 0o640, "can be read by others"),
        ("", 0o600, "neither what nsc makes"),
        ("kwapi:secret\nmore\n", 0o600, "neither what nsc makes"),
        (None, 0o600, "cannot read"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_mistake(tmp_path, text, mode, mistake):
    path = tmp_path / "nats.secret"
    if text is not None:
        path.write_text(text)
        path.chmod(mode)
    with pytest.raises(ConfigError, match=f"nats_credentials_file: .*{mistake}"):
        Login(credentials_file=str(path)).check()
    with pytest.raises(ConfigError, match="nats_ca_file: cannot use"):
        Login(ca_file=str(tmp_path / "none.pem")).check()


def test_a_server_is_believed_by_its_certificate(tmp_path, caplog):
    certificate = tmp_path / "server.pem"
    make_certificate(certificate)
    other = tmp_path / "other.pem"
    make_certificate(other)
    options = f'tls {{ cert_file: "{certificate}", key_file: "{certificate}" }}'
    with NatsServer(tmp_path, options=options, stream=False) as server:
        server.login = {"tls": Login(ca_file=str(certificate)).tls()}
        server.make_stream()
        encrypted = server.endpoint.replace("nats://", "tls://")
        stores(server, Login(ca_file=str(certificate)), encrypted)
        refused(caplog, encrypted, Login(ca_file=str(other)), "certificate verify failed")


def parts(directory, certificate):
    """Return the files of a certificate and of its key, which stand in one."""
    text = certificate.read_text()
    begin = text.index("-----BEGIN PRIVATE KEY")
    shown = directory / f"{certificate.stem}.crt"
    shown.write_text(text[:begin])
    return {"certificate_file": str(shown), "key_file": secret(directory, text[begin:], f"{certificate.stem}.key")}


def test_a_server_may_want_a_certificate_of_ours(tmp_path, caplog):
    server_file, ours, other = (tmp_path / f"{name}.pem" for name in ("server", "ours", "other"))
    for path in (server_file, ours, other):
        make_certificate(path)
    files = f'cert_file: "{server_file}", key_file: "{server_file}", ca_file: "{ours}"'
    with NatsServer(tmp_path, options=f"tls {{ {files}, verify: true }}", stream=False) as server:
        one_file = Login(ca_file=str(server_file), certificate_file=str(ours))
        server.login = {"tls": one_file.tls()}
        server.make_stream()
        encrypted = server.endpoint.replace("nats://", "tls://")
        stores(server, one_file, encrypted)
        stores(server, Login(ca_file=str(server_file), **parts(tmp_path, ours)), encrypted, seq=1)
        assert len(server.stored()) == 2
        refused(caplog, encrypted, Login(ca_file=str(server_file)), "does not serve us")
        refused(caplog, encrypted, Login(ca_file=str(server_file), certificate_file=str(other)), "does not serve us")


def test_a_certificate_that_cannot_be_used_is_a_mistake(tmp_path):
    ours, other = tmp_path / "ours.pem", tmp_path / "other.pem"
    for path in (ours, other):
        make_certificate(path)
    of_ours, of_other = parts(tmp_path, ours), parts(tmp_path, other)
    mixed = of_ours | {"key_file": of_other["key_file"]}
    with pytest.raises(ConfigError, match=r"nats_certificate_file: cannot use .*ours.crt with .*other.key: .*mismatch"):
        Login(**mixed).check()
    with pytest.raises(ConfigError, match="nats_key_file: without nats_certificate_file"):
        Login(key_file=of_ours["key_file"]).check()
    Path(of_ours["key_file"]).chmod(0o644)
    with pytest.raises(ConfigError, match="nats_key_file: .* can be read by others"):
        Login(**of_ours).check()
    ours.chmod(0o644)
    with pytest.raises(ConfigError, match="nats_certificate_file: .* can be read by others"):
        Login(certificate_file=str(ours)).check()


def test_nobody_on_the_way_has_a_password_sent_unencrypted(tmp_path, caplog):
    """He says that the server does not encrypt; what comes after that he would read."""
    heard, done = bytearray(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pretend():
            caller, _ = listener.accept()
            with caller:
                caller.sendall(b'INFO {"version": "2.9.10", "headers": true, "max_payload": 1048576}\r\n')
                while some := caller.recv(4096):
                    heard.extend(some)
            done.set()

        threading.Thread(target=pretend, daemon=True).start()
        endpoint = f"tls://127.0.0.1:{listener.getsockname()[1]}"
        refused(caplog, endpoint, Login(credentials_file=secret(tmp_path, f"kwapi:{PASSWORD}")), "it does not encrypt")
        assert done.wait(10)
    assert heard == b""


def test_what_the_documentation_allows_is_enough(tmp_path):
    text = (ROOT / "docs" / "scaling.md").read_text("utf-8").partition("```text\n")[2].partition("```")[0]
    accounts = text.replace('"..."', f'"{PASSWORD}"')
    with NatsServer(tmp_path, options=accounts, stream=False) as server:
        server.login = {"user": "admin", "password": PASSWORD}
        server.make_stream()
        drivers, plugins = (
            Login(credentials_file=secret(tmp_path, f"{who}:{PASSWORD}", who)) for who in ("drivers", "plugins")
        )
        for place, (consumer, made) in enumerate({"": "", "plugin": "plugin-kwapi"}.items()):
            heard = []
            gate = Gate(KeyRing([KEY]), streams=Streams(resumes=True))
            subscriber = Subscriber([server.endpoint], [], gate, transport=Transport(nats=plugins))
            subscriber.reading.resume(consumer, {})
            for again in range(2):  # the second time there is a consumer to be deleted
                with running(lambda stop: subscriber.run(stop, heard.append)):  # noqa: B023
                    eventually(lambda: any(made in name for name in server.consumers()))  # noqa: B023
                    stores(server, drivers, seq=10 * place + again)
                    eventually(lambda: len(heard) == again + 1)  # noqa: B023
