"""What ``kwapi init`` has written is enough for all four daemons; ports of the test's own come from the environment."""

import pytest

from kwapi.cli.main import main
from tests.integration.daemons import DAEMONS, Site
from tests.waiting import eventually

pytestmark = pytest.mark.integration


def test_the_daemons_start_with_a_first_configuration(tmp_path):
    with Site(tmp_path, "") as site:
        for daemon in DAEMONS:
            (tmp_path / f"{daemon}.conf").unlink()
        assert main(["init", "--directory", str(tmp_path)]) == 0
        published, replayed = {"KWAPI_PROBES_ENDPOINT": site.published}, {"KWAPI_REPLAY_ENDPOINT": site.replayed}
        taken = {"KWAPI_PROBES_ENDPOINT": site.forwarded, **replayed}
        site.start("drivers", environ={**published, **replayed})
        site.start("forwarder", environ={**published, "KWAPI_FORWARDER_ENDPOINT": site.forwarded})
        site.start("api", environ={**taken, "KWAPI_PORT": str(site.api_port)})
        site.start("rrd", environ={**taken, "KWAPI_PORT": str(site.rrd_port)})
        eventually(lambda: set(site.probes()) == {"web-1", "web-2"}, timeout=60)
        eventually(lambda: b"web-1" in site.page("/"), timeout=60)
