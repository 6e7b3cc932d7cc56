"""Fixtures that start real servers."""

import socket
import subprocess

import pytest

from tests.integration.daemons import program
from tests.integration.keystone import serve_keystone
from tests.ports import free_port


class SimulatedPdu:
    """The simulator's PDU as a process; killed and started again it keeps its port."""

    def __init__(self):
        self.port = free_port(socket.SOCK_DGRAM)
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen([program("simulator"), "--port", str(self.port)], stdout=subprocess.PIPE)
        assert b"answers SNMP" in self.process.stdout.readline()

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


@pytest.fixture
def pdu():
    simulated = SimulatedPdu()
    yield simulated
    simulated.kill()


@pytest.fixture(scope="session")
def keystone(tmp_path_factory):
    with serve_keystone(tmp_path_factory.mktemp("keystone")) as server:
        yield server
