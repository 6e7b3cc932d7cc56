"""Daemons that know of nothing but a real nats-server: what they tell of it, and that nothing else is opened."""

import os
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.daemons import Site
from tests.nats_server import NatsServer
from tests.ports import free_port
from tests.waiting import eventually

pytestmark = pytest.mark.integration
DRIVERS = "[lyon.pdu1]\ndriver = dummy\nprobes = web-1, web-2\ninterval = 0.2\n"


@pytest.fixture
def server(tmp_path):
    (tmp_path / "nats").mkdir()
    with NatsServer(tmp_path / "nats") as server:
        yield server


@pytest.fixture(params=[0, 2], ids=["one process", "workers"])
def site(request, server, tmp_path):
    with Site(tmp_path, "") as site:
        site.metrics_port = free_port()
        common = f"[DEFAULT]\nstate_dir = {tmp_path}/state\nprobes_endpoint = {server.endpoint}\nreplay_endpoint =\n"
        drivers = f"{common}metrics_port = {site.metrics_port}\nworkers = {request.param}\n{DRIVERS}"
        (tmp_path / "drivers.conf").write_text(drivers)
        (tmp_path / "api.conf").write_text(f"{common}port = {site.api_port}\nacl_enabled = false\n")
        site.start("drivers", "api")
        yield site


def told(site):
    """Return what kwapi-drivers tells Prometheus of NATS, {} while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{site.metrics_port}/metrics", timeout=5) as answer:  # noqa: S310
            families = text_string_to_metric_families(answer.read().decode())
    except OSError:
        return {}
    found = {sample.name: sample.value for family in families for sample in family.samples}
    return {name.removeprefix("kwapi_nats_"): value for name, value in found.items() if "nats" in name}


def listening(pid):
    """Return the TCP ports at which a process listens."""
    sockets = {os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir() if path.is_symlink()}
    lines = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return {
        int(place.split(":")[1], 16)
        for _, place, _, state, *_, inode in [[*line[:4], line[9]] for line in lines]
        if state == "0A" and f"socket:[{inode}]" in sockets
    }


def test_metrics_tell_of_a_server_that_is_there_away_and_back(site, server):
    eventually(lambda: len(site.probes()) == 2)
    eventually(lambda: told(site).get("published_total", 0) > 5)
    found = told(site)
    assert found.keys() == {
        "connected",
        "waiting",
        "waiting_bytes",
        "behind_wattmeters",
        "published_total",
        "drained_total",
        "refused_total",
        "dropped_total",
    }
    assert (found["connected"], found["dropped_total"], found["refused_total"]) == (1, 0, 0)
    assert listening(site.processes["drivers"].pid) == {site.metrics_port}
    server.kill()
    eventually(lambda: told(site)["connected"] == 0 and told(site)["waiting"] > 5)
    assert told(site)["waiting_bytes"] > 5 * 100
    before = told(site)["published_total"]
    server.start()
    eventually(lambda: told(site)["connected"] == 1 and told(site)["waiting"] < 5)
    assert told(site)["published_total"] > before + 5
    (probe, _) = (site.get("/v2/probes")["probes"][number] for number in range(2))
    assert probe["id"] == "web-1"


def test_what_comes_out_of_the_spool_is_counted(site, server):
    """It is there after a restart while no server was."""
    eventually(lambda: told(site).get("published_total", 0) > 5)
    server.kill()
    eventually(lambda: told(site)["waiting"] > 5)
    site.stop("drivers")
    site.start("drivers")
    eventually(lambda: told(site))
    server.start()
    eventually(lambda: told(site)["drained_total"] > 5 and told(site)["behind_wattmeters"] == 0)
