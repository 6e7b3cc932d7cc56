"""A real Prometheus scrapes a real kwapi-api, and promtool reads its page."""

import subprocess
import urllib.request

import pytest

from tests.integration.daemons import Site
from tests.integration.programs import needed_program
from tests.integration.prometheus import prometheus
from tests.waiting import eventually

pytestmark = pytest.mark.integration
DRIVERS = '[lyon.pdu1]\ndriver = dummy\nprobes = web-1, b "ü\ninterval = 0.2\n'
CONFIGURATION = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: kwapi
    static_configs: [{targets: ["127.0.0.1:%d"]}]
"""


@pytest.fixture
def site(tmp_path):
    with Site(tmp_path, DRIVERS) as site:
        site.start("drivers", "forwarder", "api")
        eventually(lambda: len(site.probes()) == 2)
        yield site


def test_prometheus_scrapes_power_and_energy(site, tmp_path):
    with prometheus(tmp_path, CONFIGURATION % site.api_port) as scraping:
        eventually(lambda: len(scraping.values("kwapi_power_watts")) == 2)
        eventually(lambda: all(joules > 0 for joules in scraping.values("kwapi_energy_joules_total").values()))
        assert scraping.values("kwapi_probe_up") == {"web-1": 1.0, 'b "ü': 1.0}
        (target,) = scraping.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
        power, joules = scraping.values("kwapi_power_watts"), scraping.values("kwapi_energy_joules_total")
        assert 0 < power["web-1"] < 10_000
        eventually(lambda: scraping.values("kwapi_energy_joules_total")["web-1"] > joules["web-1"])
        eventually(lambda: scraping.values("kwapi_bus_messages_total")[None] > 5)


def test_a_probe_that_is_no_longer_measured_has_no_power_in_prometheus(site, tmp_path):
    with prometheus(tmp_path, CONFIGURATION % site.api_port) as scraping:
        eventually(lambda: len(scraping.values("kwapi_power_watts")) == 2)
        site.stop("drivers")
        eventually(lambda: scraping.values("kwapi_probe_up") == {"web-1": 0.0, 'b "ü': 0.0})
        assert scraping.values("kwapi_power_watts") == scraping.values("kwapi_energy_joules_total") == {}


@pytest.mark.parametrize("when", ["measured", "stale"])
def test_promtool_finds_nothing_wrong(site, when):
    promtool = needed_program("promtool", "prometheus")
    if when == "stale":
        site.stop("drivers")
        eventually(lambda: b"kwapi_probe_up{" in page(site) and b"kwapi_power_watts{" not in page(site))
    checked = subprocess.run([promtool, "check", "metrics"], input=page(site), capture_output=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def page(site):
    with urllib.request.urlopen(f"http://127.0.0.1:{site.api_port}/metrics", timeout=5) as answer:  # noqa: S310
        return answer.read()
