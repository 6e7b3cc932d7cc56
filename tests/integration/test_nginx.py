"""The examples for nginx, as they stand but for their ports and files, before real daemons."""

import base64
import grp
import http.client
import json
import os
import pwd
import re
import ssl
import subprocess
from contextlib import contextmanager

import pytest

from tests.drivers.certificates import make_certificate
from tests.integration.daemons import Site
from tests.integration.programs import needed_program
from tests.ports import free_port
from tests.test_layers import ROOT
from tests.waiting import eventually

pytestmark = pytest.mark.integration
EXAMPLES = ROOT / "etc" / "nginx"
AROUND = """
daemon off;
user {1} {2};
pid {0}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
    include {0}/example.conf;
}}
"""


def ourselves():
    """Return our user and our group: started by root, nginx would read the files of the test as nobody."""
    return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name


@contextmanager
def nginx(directory, example, daemon_port):
    """Run nginx with an example; give its port and the certificate that it shows."""
    program = needed_program("nginx", "nginx-light")
    (certificate, _), port = make_certificate(directory), free_port()
    example = re.sub(r"127\.0\.0\.1:\d+", f"127.0.0.1:{daemon_port}", (EXAMPLES / example).read_text())
    example = example.replace("/etc/nginx/kwapi.users", f"{directory}/users")
    example = example.replace("listen 443", f"listen 127.0.0.1:{port}")
    example = re.sub(r"(ssl_certificate(?:_key)?) [^;]+", rf"\1 {certificate}", example)
    (directory / "example.conf").write_text(example)
    (directory / "nginx.conf").write_text(AROUND.format(directory, *ourselves()))
    with (
        (directory / "nginx.log").open("wb") as log,
        subprocess.Popen(
            [program, "-c", f"{directory}/nginx.conf", "-p", str(directory)], stdout=log, stderr=log
        ) as process,
    ):
        try:
            yield port, certificate
        finally:
            process.terminate()


def test_the_api_is_read_through_nginx(tmp_path):
    with Site(tmp_path, "[lyon.pdu1]\ndriver = dummy\nprobes = web-1\ninterval = 0.2\n") as site:
        site.start("drivers", "forwarder", "api")
        eventually(lambda: site.probes())
        (tmp_path / "nginx").mkdir()
        with nginx(tmp_path / "nginx", "kwapi-api.conf", site.api_port) as (port, certificate):
            context = ssl.create_default_context(cafile=certificate)

            def ask(path):
                connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
                connection.request("GET", path)
                return connection, connection.getresponse()

            def read(path):
                try:
                    connection, answer = ask(path)
                except ConnectionRefusedError:
                    return 0, b""
                body = answer.read()
                connection.close()
                return answer.status, body

            eventually(lambda: read("/healthz")[0] == 200)
            assert list(json.loads(read("/v1/probes/")[1])["probes"]) == ["web-1"]
            assert json.loads(read("/v2/probes?limit=1")[1])["next"] is None
            for path in ("/metrics", "/metrics/", "//metrics", "/%6detrics", "/v1/../metrics/", "/metrics?a=b"):
                assert (read(path)[0], b"kwapi_" in read(path)[1]) == (404, False)
            connection, stream = ask("/v2/stream")
            lines = [line for line in (stream.readline() for _ in range(10)) if line.startswith(b"data: ")]
            assert json.loads(lines[0][6:])["measurements"][0]["id"] == "web-1"
            stream.close()
            connection.close()


def test_the_pages_are_seen_through_nginx_by_those_who_have_logged_in(tmp_path):
    with Site(tmp_path, "[lyon.pdu1]\ndriver = dummy\nprobes = web-1\ninterval = 0.2\n") as site:
        with (tmp_path / "rrd.conf").open("a") as conf:
            conf.write("login_header = X-Remote-User\n")
        site.start("drivers", "forwarder", "rrd")
        (tmp_path / "nginx").mkdir()
        (tmp_path / "nginx" / "users").write_text("alice:{PLAIN}tea\n")
        with nginx(tmp_path / "nginx", "kwapi-rrd.conf", site.rrd_port) as (port, certificate):
            context = ssl.create_default_context(cafile=certificate)

            def see(path, **headers):
                connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=10, context=context)
                connection.request("GET", path, headers=headers)
                answer = connection.getresponse()
                body = answer.read().decode()
                connection.close()
                return answer.status, body

            def is_there():
                try:
                    return "web-1" in see("/live?see=web-1", Authorization=alice)[1]
                except ConnectionRefusedError:
                    return False

            alice = f"Basic {base64.b64encode(b'alice:tea').decode()}"
            eventually(is_there)
            assert "web-1" in see("/last/minute/", Authorization=alice)[1]
            assert see("/last/minute/")[0] == 401
            assert see("/last/minute/", **{"X-Remote-User": "alice"})[0] == 401
            assert site.page("/last/minute/") == b""  # nobody passes by nginx
            assert b"ok" in site.page("/healthz")
