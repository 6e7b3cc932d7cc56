"""What ``kwapi migrate`` has taken over is read: a page of JSON by the driver, the history of a probe by kwapi-rrd."""

import csv
import io
import json
import time

import pytest

from kwapi.cli.main import main
from kwapi.cli.migrate.history import old_name
from tests.cli.migrate.test_history import make_old
from tests.drivers.json.web_server import Device, answer_json, serving
from tests.integration.daemons import Site
from tests.waiting import eventually

pytestmark = pytest.mark.integration
PAGE = {"taurus-1": {"timestamp": 1385000000, "watt": 118.5}, "taurus-2": {"timestamp": 1385000000, "watt": 97}}


def migrated(tmp_path, *arguments, **texts):
    old = tmp_path / "old"
    old.mkdir()
    for name, text in texts.items():
        (old / f"{name}.conf").write_text(text)
    assert main(["migrate", str(old), str(tmp_path / "new"), *map(str, arguments)]) == 0
    return tmp_path / "new"


def test_a_page_of_2013_is_read(tmp_path, capsys):
    with serving(Device()) as device:
        device.behave = answer_json(PAGE)
        section = "[DEFAULT]\n[lyon]\ndriver = Json_url\nprobes = ['lyon.taurus-1', 'lyon.taurus-2']\n"
        new = migrated(tmp_path, drivers=f"{section}parameters = {{'url': '{device.url}/power.json'}}\n")
        capsys.readouterr()
        for name in ("lyon.1", "lyon.2"):
            assert main(["read", name, "--json", "--config-dir", str(new)]) == 0
    read = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {each["probe"]: each["watts"] for each in read} == {"lyon.taurus-1": 118.5, "lyon.taurus-2": 97.0}


def test_kwapi_rrd_shows_the_history_that_was_taken_over(tmp_path):
    last = int(time.time()) - 100
    (tmp_path / "rrd").mkdir()
    make_old(tmp_path / "rrd" / old_name("taurus-1"), last=last)
    drivers = "[DEFAULT]\n[made-up]\ndriver = Dummy\nprobes = ['taurus-1']\n"
    new = migrated(tmp_path, "--rrd", tmp_path / "rrd", drivers=drivers, rrd="[DEFAULT]\n")
    with Site(tmp_path, "") as site:
        site.directory = new
        site.start("rrd", environ={"KWAPI_PORT": str(site.rrd_port), "KWAPI_PROBES_ENDPOINT": site.published})
        eventually(lambda: b"taurus-1" in site.page("/"), timeout=60)
        for period, least in (("day", 80), ("month", 100), ("year", 45)):
            rows = list(csv.reader(io.StringIO(site.page(f"/data/{period}/taurus-1.csv").decode())))
            values = [row for row in rows[1:] if row[1]]
            assert len(values) >= least, rows[:3]
            assert all(60 < float(row[1]) < 240 for row in values)
        assert site.page("/graph/year/taurus-1.png").startswith(b"\x89PNG")
