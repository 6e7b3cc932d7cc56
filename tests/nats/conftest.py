import pytest

from tests.nats_server import NatsServer


@pytest.fixture
def server(tmp_path):
    with NatsServer(tmp_path) as server:
        yield server
