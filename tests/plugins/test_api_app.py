import socket

import pytest

from kwapi.errors import ConfigError
from kwapi.plugins.api.app import tasks_of
from kwapi.plugins.api.collector import Collector
from kwapi.plugins.api.registers import DIRECTORY, Registers
from tests.messages import message
from tests.plugins.test_api_serving import configuration


@pytest.fixture
def busy():
    """Return a port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def state_of(directory):
    """Make the state of a kwapi-api that has counted a probe and was stopped; return the options that name it."""
    (directory / "signing.key").write_text("5f0c9b7ae1d24386" * 4)
    (directory / "signing.key").chmod(0o600)
    registers = Registers(directory / DIRECTORY, boot_id="the first")
    Collector(registers).add(message())
    registers.close()
    return {"state_dir": directory}


def test_a_start_that_is_refused_is_no_loss_of_power(tmp_path, busy, caplog):
    with pytest.raises(ConfigError, match="cannot listen"):
        tasks_of(configuration(tmp_path, port=busy, **state_of(tmp_path)))
    registers = Registers(tmp_path / DIRECTORY, boot_id="the second")
    assert Collector(registers).events("taurus-1") == []
    assert "stopped without warning" not in caplog.text
    registers.close()


def test_a_place_for_orders_that_cannot_be_had_is_a_mistake(tmp_path):
    conf = configuration(tmp_path, **state_of(tmp_path))
    (tmp_path / DIRECTORY / "orders").mkdir()
    with pytest.raises(ConfigError, match="orders: Is a directory"):
        tasks_of(conf)
