"""The daemons as processes, with keys: all the way from wattmeters to the API, and the commands beside."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.certificates import Keys
from tests.integration.daemons import Site
from tests.waiting import eventually

pytestmark = pytest.mark.integration

SECTIONS = "[meter]\ndriver = dummy\nload = steady\nwatts = 3600\ninterval = 0.1\nprobes = taurus-1\n"


@pytest.fixture(params=[0, 2], ids=["in one process", "in workers"])
def site(tmp_path, request):
    """A site whose daemons have a key each, and the directories of keys in common; kwapi-api is not let in yet."""
    with Site(tmp_path, f"workers = {request.param}\n{SECTIONS}") as site:
        site.keys = Keys(tmp_path)
        for name in ("drivers", "forwarder", "api"):
            site.keys.make(name)
            path = tmp_path / f"{name}.conf"
            lines = f"curve_key_file = {tmp_path}/{name}.key_secret\n"
            if name != "api":
                lines += f"curve_clients_dir = {tmp_path}/clients\n"
            if name != "drivers":
                lines += f"curve_servers_dir = {tmp_path}/servers\n"
            path.write_text(path.read_text().replace("[DEFAULT]\n", f"[DEFAULT]\n{lines}"))
        site.keys.allow("forwarder")
        for endpoint, name in (
            (site.published, "drivers"),
            (site.forwarded, "forwarder"),
            (site.replayed, "drivers"),
        ):
            site.keys.trust(endpoint, name)
        site.start("drivers", "forwarder", "api")
        yield site


def kwapi(site, command, daemon, *arguments):
    path = site.directory / f"{daemon}.conf"
    line = [Path(sys.executable).with_name("kwapi"), command, "--config-file", path, *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)


def test_who_is_let_in_while_all_run_hears_and_repairs(site):
    eventually(lambda: "it refuses our key; copy api.key" in site.log("api"))
    assert site.probes() == {}
    site.keys.allow("api")
    eventually(lambda: site.probes().get("taurus-1", {}).get("kwh", 0) > 0.001)
    site.kill("forwarder")
    site.start("forwarder")
    site.await_new_values("taurus-1")
    (probe,) = site.get("/v2/probes?id=taurus-1")["probes"]
    assert probe["unknown_seconds"] == 0
    status = kwapi(site, "status", "drivers")
    assert (status.returncode, status.stderr) == (0, "")
    assert "KWAPI OK - 1 up" in status.stdout
    watched = kwapi(site, "watch", "api", "--count", "3")
    assert (watched.returncode, watched.stderr) == (0, "")
    assert "taurus-1" in watched.stdout
    for name in ("drivers", "forwarder", "api"):
        secret = site.keys.make(name).secret.decode()
        assert not any(secret in site.log(each) for each in ("drivers", "forwarder", "api"))
