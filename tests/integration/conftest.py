"""Fixtures that start real servers."""

import socket
import subprocess

import pytest

from tests.integration.browser import chromium
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


@pytest.fixture(scope="module")
def browser():
    with chromium() as running:
        yield running


@pytest.fixture
def open_page(browser, site):
    """Open a page in a window of its own; nothing may go wrong in it, and it may ask nobody else."""
    contexts, problems = [], []

    def open_at(path="/last/minute/", *, width=1400, height=900, served_by=site, **options):
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: problems.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None if request.url.startswith((served_by.address, "blob:")) else problems.append(request.url)
            ),
        )
        page.problems = problems
        page.goto(served_by.address + path)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert problems == []
