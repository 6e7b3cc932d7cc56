import logging
import ssl

import pytest

from kwapi.drivers.network import silence_http, tls_context
from kwapi.errors import DeviceError


def test_a_server_is_checked_unless_told_otherwise():
    context = tls_context()
    assert context.check_hostname and context.verify_mode == ssl.CERT_REQUIRED
    assert tls_context(verify=False).verify_mode == ssl.CERT_NONE


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_without_certificates_is_told_by_its_name(tmp_path, content):
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DeviceError, match=f"ca_file {file}: "):
        tls_context(str(file))


def test_requests_are_not_logged(caplog):
    for name in ("httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, name)
    silence_http()
    logging.getLogger("httpx").info("GET http://plug/?password=secret")
    logging.getLogger("httpcore.http11").debug("X-Auth-Token")
    assert caplog.records == []
