"""The web server of the tests of http_json."""

import pytest

from tests.drivers.json.web_server import Device, serving


@pytest.fixture
def device():
    with serving(Device()) as device:
        yield device
