"""kwapi export, rename and forget beside a kwapi-api that runs."""

import csv
import io

import pytest

from kwapi.cli.main import main
from tests.integration.daemons import Site
from tests.waiting import eventually

pytestmark = pytest.mark.integration

DUMMY = (
    "[lab.meter]\ndriver = dummy\nload = steady\nwatts = 3600\nregister = true\ninterval = 0.1\nprobes = old, gone, b\n"
)


def test_probes_are_renamed_and_forgotten_while_the_daemon_runs(tmp_path, capsys):
    def kwapi(*argv):
        return main([*argv, "--config-file", str(tmp_path / "api.conf")])

    def exported():
        assert kwapi("export") == 0
        return {row["probe"]: float(row["kwh"]) for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}

    with Site(tmp_path, DUMMY) as site:
        conf = tmp_path / "api.conf"
        conf.write_text(f"{conf.read_text()}[machine both]\nprobes = old, b\n")
        site.start("drivers", "forwarder", "api")
        eventually(lambda: site.probes().get("both", {"kwh": 0})["kwh"] > 0.0001)
        assert kwapi("rename", "old", "new") == 1
        assert "'old' was measured by lab.meter a moment ago" in capsys.readouterr().err

        site.stop("drivers")
        config = tmp_path / "drivers.conf"
        config.write_text(config.read_text().replace("old, gone, b", "new, , b"))
        site.start("drivers")
        site.await_new_values("new", "b")
        old = exported()["old"]
        eventually(lambda: kwapi("rename", "old", "new") == 0)
        assert kwapi("forget", "gone") == 0
        said = capsys.readouterr().out
        assert said == "old is called new from now on, which has its energy\ngone is forgotten, and its energy\n"
        assert exported().keys() == {"new", "b"}
        assert site.probes()["new"]["kwh"] > old
        assert set(site.probes()) == {"new", "b"}

        site.kill("api")
        site.start("api")
        site.await_new_values("new", "b")
        assert set(site.probes()) == {"new", "b"}
        assert site.stop("api") == 0
        kwh = exported()
        assert old < kwh["new"] <= kwh["b"]  # which counted while kwapi-drivers was stopped too
        assert kwapi("forget", "nobody") == 1
        assert "Traceback" not in site.log("api")
