"""Signing keys of running daemons are replaced with ``kwapi keygen``, and nothing is lost or refused."""

import os
import signal
import time
from pathlib import Path

import pytest
import zmq

from kwapi.bus import Subscriber
from kwapi.cli.main import main
from kwapi.gate import Gate
from kwapi.keys import KeyFile, read
from kwapi.signing import split, written
from tests.integration.daemons import Site
from tests.integration.listener import Listener
from tests.waiting import eventually

pytestmark = pytest.mark.integration

NAMES = ("a", "b", "c", "d")
SECTIONS = "".join(f"[{name}]\ndriver = dummy\nload = steady\ninterval = 0.1\nprobes = {name}-1\n" for name in NAMES)


class Signatures:
    """Which wattmeters were heard by which key, unverified."""

    def __init__(self, endpoint):
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.subscribe(b"")
        self._socket.connect(endpoint)
        self.heard = set()

    def look(self):
        while self._socket.poll(0):
            topic, key_id, _ = split(self._socket.recv())
            self.heard.add((topic, key_id))
        return self.heard

    def close(self):
        self._socket.close(linger=0)
        self._context.term()


def all_by(key, prefix=""):
    return {(f"{prefix}{name}.".encode(), key.id) for name in NAMES}


@pytest.fixture(params=[0, 2], ids=["in one process", "in workers"])
def site(request, tmp_path):
    with Site(tmp_path, f"workers = {request.param}\n{SECTIONS}") as site:
        site.start("drivers", "forwarder", "api", "rrd")
        yield site


@pytest.fixture
def signatures(site):
    signatures = Signatures(site.forwarded)
    yield signatures
    signatures.close()


def test_a_rotation_loses_nothing_and_a_worker_that_is_started_later_has_the_new_key(site, signatures):
    path = site.directory / "state" / "signing.key"
    (old,) = read(path).keys
    eventually(lambda: len(site.probes()) == len(NAMES) and site.page("/healthz"))  # all have read their keys
    with Listener(Subscriber([site.forwarded], [""], gate := Gate(KeyFile(path), health=True))) as bus:
        eventually(lambda: bus.wattmeters() == set(NAMES) and all_by(old) <= signatures.look())
        assert main(["keygen", "--signing", str(path), "--from", written(time.time() + 2)]) == 0
        new = read(path).keys[1]
        eventually(lambda: all_by(new) | all_by(new, "kwapi.health.") <= signatures.look())
        count = len(bus.messages)
        eventually(lambda: bus.wattmeters(count) == set(NAMES))
        for daemon in ("drivers", "api", "rrd"):  # each looks once a second, and may miss a file that is soon replaced
            eventually(lambda daemon=daemon: "was read again; signing keys: " in site.log(daemon))
        new_line = path.read_text().splitlines()[1]
        path.with_suffix(".new").write_text(new_line)
        path.with_suffix(".new").chmod(0o600)
        path.with_suffix(".new").replace(path)
        for daemon in ("drivers", "api", "rrd"):
            eventually(lambda daemon=daemon: site.log(daemon).count("was read again; signing keys: ") > 1)
        count = len(bus.messages)
        eventually(lambda: bus.wattmeters(count) == set(NAMES))
        assert (gate.rejected, gate.lost) == ({}, 0)
    site.await_new_values(*(f"{name}-1" for name in NAMES))
    health = site.get("/healthz")
    assert (health["rejected"], health["lost"]) == ({}, 0)

    path.rename(path.with_suffix(".away"))
    drivers = site.processes["drivers"].pid
    for worker in Path(f"/proc/{drivers}/task/{drivers}/children").read_text().split():
        os.kill(int(worker), signal.SIGKILL)
    site.await_new_values(*(f"{name}-1" for name in NAMES))
    assert site.get("/healthz")["rejected"] == {}
