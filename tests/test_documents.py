"""What the documents show is tried."""

import re
import tomllib
from urllib.parse import parse_qsl

import yaml
from werkzeug.datastructures import MultiDict

from kwapi import config
from kwapi.config import Reader
from kwapi.drivers.snmp.profile import load
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.keys import parse_keys
from kwapi.plugins.api.app import problems, read_all_sections
from kwapi.plugins.rrd.selection import Selection
from kwapi.simulator.description import CHECKS, FAULTS, KINDS, read_description
from kwapi.simulator.load import LOADS
from tests.documents import code_blocks
from tests.drivers.snmp.walks import read_walk
from tests.test_layers import ROOT


def test_the_wattmeter_of_the_readme_is_sound(tmp_path):
    readme = (ROOT / "README.md").read_text("utf-8")
    section = re.search(r"^    \[lyon\.pdu1\]\n(?:    .*\n)+", readme, re.MULTILINE)
    path = tmp_path / "drivers.conf"
    path.write_text(section.group().replace("    ", ""))
    reader = Reader("drivers", [path])
    (wattmeter,) = read_wattmeters(reader)
    reader.finish()
    assert wattmeter.new_driver(None).probe_names() == ["taurus-1", "taurus-2", "taurus-4", "rack7"]


def test_the_farm_of_the_simulators_document_has_everything(tmp_path):
    (text,) = code_blocks("docs/simulator.md", "toml")
    path = tmp_path / "farm.toml"
    path.write_text(text)
    assert {plan.kind for plan in read_description(path)} == set(KINDS)
    entries = tomllib.loads(text)["wattmeter"]
    assert {key for entry in entries for key in entry} == set(CHECKS)
    rows = set(re.findall(r"^\| `(.+?)` \|", (ROOT / "docs/simulator.md").read_text("utf-8"), re.MULTILINE))
    assert rows == {*KINDS, *LOADS, *FAULTS}


def test_the_file_of_the_keys_document_is_one_and_its_reasons_are_those_of_the_gate():
    (text,) = code_blocks("docs/keys.md", "")
    keys = parse_keys(re.sub(r"SECRET(\d)", r"a-secret-with-the-number-\1", text), "docs/keys.md")
    assert [(key.begins > 0, key.ends < 1e11, len(key.prefixes)) for key in keys] == [
        (False, True, 0),
        (True, False, 0),
        (True, True, 2),
    ]
    table = (ROOT / "docs/keys.md").read_text("utf-8").partition("## What is refused")[2]
    reasons = {each for row in re.findall(r"^\| ([a-z ,]+) \|", table, re.MULTILINE) for each in row.split(", ")}
    code = "".join((ROOT / "kwapi" / f"{name}.py").read_text("utf-8") for name in ("admission", "gate", "signing"))
    assert len(reasons) == 9 and all(f'"{reason}"' in code for reason in reasons - {"reason"})


def test_the_profile_of_a_pdu_fits_its_fixture(tmp_path):
    _, profile, fixture = code_blocks("docs/writing-a-driver.md", "toml")
    (tmp_path / "snmp").mkdir()
    (tmp_path / "snmp" / "acme.toml").write_text(profile)
    known = load(tmp_path)
    entry = tomllib.loads(fixture)
    assert read_walk(entry["walk"], known) == (entry["profile"], entry["expected"])
    assert {column.quantity for table in known["acme"].tables for column in table.columns} == {"w", "a", "kwh"}


def test_the_openstack_document_fits_the_files_for_ceilometer():
    text = (ROOT / "docs/openstack.md").read_text("utf-8")
    polling, pipeline = (yaml.safe_load(block) for block in code_blocks("docs/openstack.md", "yaml"))
    pollsters = [yaml.safe_load(path.read_text("utf-8")) for path in (ROOT / "etc/ceilometer/pollsters.d").iterdir()]
    (kept,) = yaml.safe_load((ROOT / "etc/ceilometer/gnocchi_resources.yaml").read_text("utf-8"))["resources"]
    meters = polling["sources"][0]["meters"]
    assert pipeline["sources"][0]["meters"] == list(kept["metrics"]) == meters
    assert [[pollster["name"] for pollster in each] for each in pollsters] == [meters, meters]
    command = re.search(r"resource-type create (\w+) \\\n(.*)", text)
    assert (command[1], re.findall(r"--attribute (\w+):", command[2])) == (kept["resource_type"], [*kept["attributes"]])
    for source in re.findall(r"^install -D -m 644 (\S+)", text, re.MULTILINE):
        assert (ROOT / source).is_file()


def test_the_openstack_document_has_a_sound_api_conf(tmp_path):
    path = tmp_path / "api.conf"
    text = code_blocks("docs/openstack.md", "ini")[0].replace("PASSWORD", "a password of 32 letters and more")
    path.write_text(text.replace("[DEFAULT]\n", "[DEFAULT]\nprobes_endpoint = tcp://127.0.0.1:5556\n"))
    conf = config.load("api", [path], problems, read_all_sections)
    assert (conf.host, conf.keystone_authtoken.username) == ("192.0.2.5", "kwapi")


def test_the_arguments_of_a_view_are_those_of_the_pages_document():
    text = (ROOT / "docs/graphs.md").read_text("utf-8")
    shown = re.findall(r"`([a-z]+=[^`]*)`", text.partition("## For programs")[0])
    assert len(shown) > 9
    for query in shown:
        selection = Selection.of(MultiDict(parse_qsl(query)))
        assert selection != Selection() and parse_qsl(selection.query(first=selection.first)[1:]) == parse_qsl(query)


def test_the_prometheus_document_explains_every_alert_and_has_the_files_that_it_installs():
    text = (ROOT / "docs/prometheus.md").read_text("utf-8")
    rules = (ROOT / "etc/prometheus/kwapi-alerts.yml").read_text("utf-8")
    assert re.findall(r"^\| (Kwapi\w+) \|", text, re.MULTILINE) == re.findall(r"alert: (\w+)", rules)
    totals = (ROOT / "etc/prometheus/kwapi-recording.yml").read_text("utf-8")
    assert set(re.findall(r"`((?:site|wattmeter):\w+:\w+)`", text)) == set(re.findall(r"record: (\S+)", totals))
    for file in re.findall(r"(?<!/)(etc/(?:prometheus|grafana)/[\w/.*-]+\.\w+)", text):
        assert list(ROOT.glob(file)), file


def test_the_jobs_of_the_prometheus_document_are_those_of_the_example():
    jobs, alertmanager = (yaml.safe_load(block) for block in code_blocks("docs/prometheus.md", "yaml"))
    example = yaml.safe_load((ROOT / "etc/prometheus/prometheus.yml").read_text("utf-8"))
    assert jobs["rule_files"] == example["rule_files"]
    names = [[each["job_name"] for each in one["scrape_configs"]] for one in (jobs, example)]
    assert names[0] == names[1] and len(names[0]) == 4
    alerts = (ROOT / "etc/prometheus/kwapi-alerts.yml").read_text("utf-8")
    (rule,) = alertmanager["inhibit_rules"]
    inhibited = [each.partition(" = ")[2] for each in rule["source_matchers"] + rule["target_matchers"]]
    assert len(inhibited) == 2 and all(f"alert: {name}\n" in alerts for name in inhibited)
