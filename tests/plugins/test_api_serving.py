"""kwapi-api as it listens: a real server on loopback, with the collector in the test's hands."""

import gzip
import http.client
import json
import shutil
import socket
import ssl
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from kwapi import service
from kwapi.config import load
from kwapi.errors import ConfigError
from kwapi.plugins.api.app import problems
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.serving import serving_tasks
from kwapi.plugins.api.stream import Ring, Streams
from kwapi.plugins.api.views import create_app
from kwapi.tls import Front
from tests.drivers.certificates import make_certificate
from tests.messages import message
from tests.ports import free_port
from tests.waiting import eventually


def configuration(directory, **options):
    path = directory / "api.conf"
    lines = [f"{name} = {value}" for name, value in {"acl_enabled": "false", **options}.items()]
    path.write_text("\n".join(["[DEFAULT]", *lines, ""]))
    return load("api", [path], problems)


class Served:
    """The API of a configuration, answering."""

    def __init__(self, directory, **options):
        self.conf = configuration(directory, port=free_port(), **options)
        self.collector = Collector()
        self.streams = Streams(Ring.of(self.collector), self.conf.streams, self.conf.stream_seconds)
        self.tasks = serving_tasks(self.conf, create_app(self.collector, streams=self.streams), directory)
        for task in self.tasks:
            task.start()

    def close(self):
        self.streams.stop()
        service.stop(self.tasks)

    def ask(self, path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.conf.port, timeout=10)
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        return connection, connection.getresponse()

    def get(self, path, **headers):
        connection, answer = self.ask(path, **headers)
        body = answer.read()
        connection.close()
        return answer, body


@pytest.fixture
def served(tmp_path):
    served = Served(tmp_path)
    yield served
    served.close()


@contextmanager
def serving(directory, **options):
    served = Served(directory, **options)
    try:
        yield served
    finally:
        served.close()


def next_event(stream):
    """Return the data of the next event of a stream."""
    while not (line := stream.readline()).startswith(b"data: "):
        assert line, "the stream has ended"
    return json.loads(line.removeprefix(b"data: "))


def test_measurements_are_streamed_as_they_come(served):
    connection, stream = served.ask("/v2/stream?wattmeter=lyon")
    assert stream.readline() == b"retry: 2000\n"
    for second in range(3):
        served.collector.add(message("nancy", seq=second, probes=["other"]))
        served.collector.add(message(seq=second, w=[float(second)]))
        event = next_event(stream)
        assert (event["wattmeter"], event["measurements"][0]["w"]) == ("lyon.pdu1", second)
    stream.close()
    connection.close()


def test_a_reader_that_was_cut_off_goes_on_where_it_was(served):
    connection, stream = served.ask("/v2/stream")
    stream.readline()
    served.collector.add(message(seq=0, w=[0.0]))
    served.collector.add(message(seq=1, w=[1.0]))
    lines = iter(stream.readline, b"")
    name = next(line for line in lines if line.startswith(b"id: ")).split()[1].decode()
    stream.close()
    connection.close()
    connection, stream = served.ask("/v2/stream", Last_Event_ID=name)
    assert next_event(stream)["measurements"][0]["w"] == 1.0
    stream.close()
    connection.close()


def test_streams_leave_threads_for_everybody_else_and_their_place_to_others(served):
    opened = [served.ask("/v2/stream") for _ in range(16)]
    assert [answer.status for _, answer in opened] == [200] * 16
    refused, body = served.get("/v2/stream")
    assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
    assert json.loads(body)["title"] == "Service Unavailable"
    assert served.get("/v1/probes/")[0].status == 200
    for connection, answer in opened[:1]:
        answer.close()
        connection.close()

    def is_taken():
        connection, answer = served.ask("/v2/stream")
        opened.append((connection, answer))
        return answer.status == 200

    eventually(is_taken)
    for connection, answer in opened[1:]:
        answer.close()
        connection.close()


def test_a_slow_reader_gets_the_newest_and_holds_up_nobody(served):
    names = [f"server-{number}" for number in range(200)]
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(10)
        reader.connect(("127.0.0.1", served.conf.port))
        reader.sendall(b"GET /v2/stream HTTP/1.0\r\n\r\n")
        stream = reader.makefile("rb")
        while stream.readline() != b"retry: 2000\n":
            pass
        sent, end = 0, time.monotonic() + 2.5
        while time.monotonic() < end:  # more than the buffers of the kernel hold
            for _ in range(20):
                served.collector.add(message(seq=sent, probes=names, w=[float(sent)] * 200))
                sent += 1
            time.sleep(0.02)
        assert served.get("/v1/probes/")[0].status == 200
        missed, got, newest = 0, 0, -1.0
        while newest < sent - 1:
            event = next_event(stream)
            if "missed" in event:
                missed += event["missed"]
            else:
                got, newest = got + 1, event["measurements"][0]["w"]
        assert missed > 0
        assert got + missed == sent


def test_a_daemon_that_stops_ends_its_streams_at_once(tmp_path, caplog):
    served = Served(tmp_path)
    connections = [served.ask("/v2/stream") for _ in range(3)]
    served.close()
    assert [answer.read() for _, answer in connections] == [b"retry: 2000\n\n"] * 3
    assert "still running" not in caplog.text
    assert "did not stop" not in caplog.text
    for connection, _ in connections:
        connection.close()


def test_a_stream_ends_in_time_for_its_token_to_be_checked_again(tmp_path):
    with serving(tmp_path, stream_seconds=1) as served:
        connection, stream = served.ask("/v2/stream")
        assert stream.read() == b"retry: 2000\n\n"
        connection.close()


@pytest.mark.parametrize(
    ("request_", "status", "detail"),
    [
        (b"GET /v2/probes?after=%s HTTP/1.0\r\n\r\n" % (b"x" * 8200), 414, "longer than 8192 bytes"),
        (b"GET /v2/probes HTTP/1.0\r\nX-Auth-Token: %s\r\n\r\n" % (b"x" * 40_000), 431, "exceeds max_header of 32768"),
        (b"POST /v2/probes HTTP/1.0\r\nContent-Length: 100000\r\n\r\n", 413, "exceeds max_body of 65536"),
        (b"nonsense\r\n\r\n", 400, "Start line is invalid"),
        (b"GET /v2/probes HTTP/1.1\r\nno header\r\n\r\n", 400, "Invalid header"),
        (b"POST /v2/probes HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding"),
    ],
)
def test_what_is_too_big_or_no_request_is_refused_with_problem_details(served, request_, status, detail):
    with socket.create_connection(("127.0.0.1", served.conf.port), timeout=10) as client:
        client.sendall(request_)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        said = json.loads(answer.read())
    assert (answer.status, answer.headers["Content-Type"]) == (status, "application/problem+json")
    assert (said["type"], said["status"]) == ("about:blank", status)
    assert said["title"]
    assert detail in said["detail"]


def test_a_page_is_compressed_and_not_sent_twice(served):
    served.collector.add(message(probes=[f"server-{number}" for number in range(100)]))
    plain, body = served.get("/v2/probes")
    packed, compressed = served.get("/v2/probes", Accept_Encoding="gzip")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(compressed))["probes"]) == len(json.loads(body)["probes"]) == 100
    known, nothing = served.get(
        "/v2/probes/server-1", If_None_Match=served.get("/v2/probes/server-1")[0].headers["ETag"]
    )
    assert (known.status, nothing) == (304, b"")
    assert plain.headers["ETag"].startswith("W/")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_the_address_to_listen_on_is_configurable(tmp_path, host):
    with serving(tmp_path, host=host) as served:
        with socket.create_connection((host, served.conf.port), timeout=10) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert b" 200 " in client.makefile("rb").readline()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": 8}, "16 streams would hold all 8 threads"),
        ({"tls_certificate_file": "/nowhere.pem"}, "both, or neither"),
        ({"tls_key_file": "/nowhere.pem"}, "both, or neither"),
        ({"port": 70_000}, "port"),
        ({"cors_origins": "*"}, "'\\*' is no origin"),
        ({"cors_origins": "https://example.org, https://example.org/"}, "'https://example.org/' is no origin"),
        ({"cors_origins": "example.org"}, "'example.org' is no origin"),
        ({"cors_origins": "https://Example.org"}, "is no origin"),
    ],
)
def test_what_cannot_work_is_refused_at_the_start(tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        configuration(tmp_path, **options)


def test_origins_that_browsers_send_are_taken(tmp_path):
    origins = ["https://example.org", "http://localhost:8080", "http://[::1]:3000", "moz-extension://0af-1"]
    assert configuration(tmp_path, cors_origins=", ".join(origins)).cors_origins == origins


def make_pair(directory):
    """Return the files of a certificate and of its key."""
    directory.mkdir()
    certificate, _ = make_certificate(directory)
    return certificate, Path(shutil.copy(certificate, directory / "key.pem"))


@pytest.fixture
def secured(tmp_path):
    certificate, key = make_pair(tmp_path / "first")
    directory = tmp_path / ("of a long name, " * 8)
    directory.mkdir()
    with serving(directory, tls_certificate_file=certificate, tls_key_file=key) as served:
        served.context = ssl.create_default_context(cafile=certificate)
        yield served


def get_securely(served, path, context=None):
    connection = http.client.HTTPSConnection(
        "127.0.0.1", served.conf.port, timeout=10, context=context or served.context
    )
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, body


def test_https_is_spoken_where_there_is_a_certificate(secured):
    names = [f"server-{number}" for number in range(10_000)]
    secured.collector.add(message(probes=names))
    status, body = get_securely(secured, "/v1/probes/")
    assert (status, list(json.loads(body)["probes"])) == (200, names)


def test_clients_that_say_nothing_or_no_tls_hold_up_nobody(secured):
    silent = [socket.create_connection(("127.0.0.1", secured.conf.port), timeout=10) for _ in range(50)]
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        secured.get("/healthz")
    assert get_securely(secured, "/healthz")[0] == 200
    for client in silent:
        client.close()


def test_measurements_are_streamed_over_https(secured):
    connection = http.client.HTTPSConnection("127.0.0.1", secured.conf.port, timeout=10, context=secured.context)
    connection.request("GET", "/v2/stream")
    stream = connection.getresponse()
    assert stream.readline() == b"retry: 2000\n"
    secured.collector.add(message())
    assert next_event(stream)["wattmeter"] == "lyon.pdu1"
    stream.close()
    connection.close()


def test_a_new_certificate_is_used_without_a_restart(secured, tmp_path, caplog):
    caplog.set_level("INFO")
    certificate, key = make_pair(tmp_path / "second")
    certificate.replace(secured.conf.tls_certificate_file)
    eventually(lambda: "cannot be read again" in caplog.text)  # its key is still the one before
    assert get_securely(secured, "/healthz")[0] == 200
    key.replace(secured.conf.tls_key_file)
    eventually(lambda: "was read again" in caplog.text)
    assert (
        get_securely(secured, "/healthz", ssl.create_default_context(cafile=secured.conf.tls_certificate_file))[0]
        == 200
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        get_securely(secured, "/healthz")


def encrypted(key):
    """Return the file of a key, now with a password."""
    secret = serialization.load_pem_private_key(key.read_bytes(), None)
    encoding = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8)
    key.write_bytes(secret.private_bytes(*encoding, serialization.BestAvailableEncryption(b"secret")))
    return key


def test_a_certificate_that_cannot_be_used_is_refused_at_the_start(tmp_path):
    (certificate, key), (_, another) = make_pair(tmp_path / "first"), make_pair(tmp_path / "second")
    for wrong in ((certificate, another), (tmp_path / "none", key), (certificate, encrypted(key))):
        with pytest.raises(ConfigError, match="cannot use"):
            Front("127.0.0.1", 0, *map(str, wrong), behind=tmp_path / "http")
