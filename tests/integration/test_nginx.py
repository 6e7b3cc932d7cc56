"""The example for nginx, as it stands but for its ports and files, before a real kwapi-api."""

import http.client
import json
import re
import ssl
import subprocess
from contextlib import contextmanager

import pytest

from tests.drivers.certificates import make_certificate
from tests.integration.daemons import Site, free_port
from tests.integration.programs import needed_program
from tests.test_layers import ROOT
from tests.waiting import eventually

pytestmark = pytest.mark.integration
EXAMPLE = ROOT / "etc" / "nginx" / "kwapi-api.conf"
AROUND = """
daemon off;
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


@contextmanager
def nginx(directory, api_port):
    """Run nginx with the example; give its port and the certificate that it shows."""
    program = needed_program("nginx", "nginx-light")
    (certificate, _), port = make_certificate(directory), free_port()
    example = EXAMPLE.read_text().replace("127.0.0.1:5000", f"127.0.0.1:{api_port}")
    example = example.replace("listen 443", f"listen 127.0.0.1:{port}")
    example = re.sub(r"(ssl_certificate(?:_key)?) [^;]+", rf"\1 {certificate}", example)
    (directory / "example.conf").write_text(example)
    (directory / "nginx.conf").write_text(AROUND.format(directory))
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
        with nginx(tmp_path / "nginx", site.api_port) as (port, certificate):
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
