"""Every expression of dashboards and rules is asked of a real Prometheus that scrapes the real daemons."""

import re
import subprocess
import urllib.request

import pytest

from tests.integration.daemons import DAEMONS, Site
from tests.integration.programs import needed_program
from tests.integration.prometheus import prometheus
from tests.nats_server import NatsServer
from tests.ports import free_port
from tests.test_dashboards import FILES, dashboard, targets
from tests.test_layers import ROOT
from tests.waiting import eventually

pytestmark = pytest.mark.integration
STORED = "stored"
ETC = ROOT / "etc/prometheus"
DRIVERS = "[lyon.pdu1]\ndriver = dummy\nprobes = web-1, web-2\nregister = true\ninterval = 0.2\n"
VALUES = {"$__rate_interval": "10s", "$__range": "1m", "$site": "lyon", "$wattmeter": "lyon.pdu1"}
OF_PROMETHEUS = {"up", "scrape_duration_seconds", "ALERTS"}
KEYWORDS = {"and", "or", "unless", "offset", "bool"}
CLAUSE = r"\b(by|without|on|ignoring|group_left|group_right)\s*\([^)]*\)"
SAMPLES = {"histogram": ("_bucket", "_sum", "_count")}


def names_in(expr):
    """Return the names of metrics in an expression."""
    bare = re.sub(r'"[^"]*"', "", expr)
    for part in (r"\{[^}]*\}", r"\[[^]]*\]", CLAUSE):
        bare = re.sub(part, "", bare)
    return set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*\b(?!\s*\()", bare)) - KEYWORDS


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ('sum by (site) (rate(a_total{x="b{"}[5m])) / 3.6e6', {"a_total"}),
        ("a * on (b) group_left () (time() - c offset 1h) > 1", {"a", "c"}),
        ("topk(10, site:a:sum) or vector(0) unless b == 1", {"site:a:sum", "b"}),
    ],
)
def test_names_are_found_in_an_expression(expr, names):
    assert names_in(expr) == names


def filled(expr):
    for name, value in VALUES.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


def panels():
    return [
        (f"{path.stem}: {panel['title']}", filled(expr))
        for path in FILES
        for panel in dashboard(path)["panels"]
        for expr in targets(panel)
    ]


def rule_names():
    return set(re.findall(r"record: (\S+)", (ETC / "kwapi-recording.yml").read_text()))


class Watched:
    """The four daemons of a site, and kwapi-drivers of another with a NATS server; a Prometheus scrapes them."""

    def __init__(self, directory, server):
        self.site = Site(directory, DRIVERS)
        self.ports = {name: free_port() for name in (*DAEMONS, STORED)} | {"api": self.site.api_port}
        (directory / STORED).mkdir()
        self.stored = Site(directory / STORED, DRIVERS)
        path = self.stored.directory / "drivers.conf"
        path.write_text(path.read_text().replace(self.stored.published, server.endpoint))

    def start(self):
        for name in DAEMONS:
            environ = {} if name == "api" else {"KWAPI_METRICS_PORT": str(self.ports[name])}
            if name == "forwarder":
                environ["KWAPI_SPOOL_DIR"] = str(self.site.directory / "passed")
                environ["KWAPI_REPLAY_ENDPOINT"] = f"ipc://{self.site.directory}/replay"
            self.site.start(name, environ=environ)
        self.stored.start("drivers", environ={"KWAPI_METRICS_PORT": str(self.ports[STORED])})
        eventually(self.stored_tells)

    def stored_tells(self):
        try:
            return self.page(STORED)
        except OSError:
            return ""

    def configuration(self, directory):
        """Return the example's text, with these ports; it is in no hurry to become a test that takes hours."""
        (directory / "kwapi-alerts.yml").write_text((ETC / "kwapi-alerts.yml").read_text())
        recording = (ETC / "kwapi-recording.yml").read_text().replace("interval: 4m", "interval: 1s")
        (directory / "kwapi-recording.yml").write_text(recording)
        text = (ETC / "prometheus.yml").read_text().replace("15s", "1s")
        for name, written in zip(DAEMONS, (9881, 9882, 5000, 9883), strict=True):
            job, port = f"job_name: kwapi-{name}\n", f"127.0.0.1:{written}"
            assert text.partition(job)[2].count(port) == 1, name
            text = text.replace(port, f"127.0.0.1:{self.ports[name]}")
        one, other = (f"127.0.0.1:{self.ports[name]}" for name in ("drivers", STORED))
        return text.replace(one, f'{one}", "{other}')

    def page(self, name):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=5) as answer:  # noqa: S310
            return answer.read().decode()

    def types(self):
        """Return the types of all that daemons can tell, by name; and what of it has a value now."""
        told, there = {}, set()
        for daemon in (*DAEMONS, STORED):
            page = self.page(daemon)
            for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", page, re.MULTILINE):
                told |= dict.fromkeys((name + end for end in SAMPLES.get(kind, ("",))), kind)
            there |= set(re.findall(r"^([a-zA-Z_:][\w:]*)[{ ]", page, re.MULTILINE))
        return told, there


@pytest.fixture(scope="module")
def watched(tmp_path_factory):
    directory = tmp_path_factory.mktemp("watched")
    with NatsServer(directory) as server, (watched := Watched(directory, server)).site, watched.stored:
        watched.start()
        with prometheus(directory, watched.configuration(directory)) as scraping:
            eventually(lambda: len(results(scraping, "up == 1")) == len(DAEMONS) + 1, timeout=60)
            yield watched, scraping


def results(scraping, expr):
    found = scraping.ask("query", query=expr)
    return found["result"] if found else []


@pytest.mark.parametrize("name", DAEMONS)
def test_promtool_finds_nothing_wrong_with_the_page_of_a_daemon(watched, name):
    command = [needed_program("promtool", "prometheus"), "check", "metrics"]
    checked = subprocess.run(command, input=watched[0].page(name), capture_output=True, text=True, timeout=30)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_panel_names_what_some_daemon_can_tell(watched):
    told, _ = watched[0].types()
    known = set(told) | rule_names() | OF_PROMETHEUS
    assert len(panels()) > 60
    for title, expr in panels():
        assert names_in(expr) and names_in(expr) <= known, title


def test_the_document_has_all_that_daemons_tell_and_nothing_else(watched):
    told, _ = watched[0].types()
    names = {name.removesuffix("_bucket") for name in told if not name.endswith(("_sum", "_count"))}
    text = (ROOT / "docs/prometheus.md").read_text("utf-8").partition("## What is told")[2]
    rows = re.findall(r"^\| (`kwapi_.+?`) \|", text, re.MULTILINE)
    shown = {name for row in rows for name in re.findall(r"kwapi_\w+", row)} | {"kwapi_bus_connections_failed_total"}
    assert shown == {name for name in names if name.startswith("kwapi_")}


def test_every_panel_shows_something_unless_it_is_about_trouble(watched):
    site, scraping = watched[0].site, watched[1]
    _, there = watched[0].types()
    there |= rule_names() | OF_PROMETHEUS
    quiet = [expr for _, expr in panels() if names_in(expr) - there or "ALERTS" in expr or 'state!="up"' in expr]
    assert len(quiet) < 7

    def empty():
        site.get("/v1/probes/nobody/")  # an answer other than 200
        return [each for each in panels() if not results(scraping, each[1]) and each[1] not in quiet]

    eventually(lambda: empty() == [], timeout=60)
    for expr in quiet:
        results(scraping, expr)  # it is a question all the same


def test_every_variable_has_values(watched):
    shown = [each for path in FILES for each in dashboard(path)["templating"]["list"] if each["type"] == "query"]
    for variable in shown:
        series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
        question = {"match[]": series}
        value = VALUES[f"${variable['name']}"]
        eventually(lambda q=question, of=label, one=value: one in watched[1].ask(f"label/{of}/values", **q))
    assert len(shown) == 2


def test_every_rule_is_evaluated_and_names_what_some_daemon_can_tell(watched):
    told, _ = watched[0].types()
    known = set(told) | rule_names() | OF_PROMETHEUS

    def rules():
        return [rule for group in watched[1].ask("rules")["groups"] for rule in group["rules"]]

    eventually(lambda: all(rule["health"] != "unknown" for rule in rules()))
    assert len(rules()) > 20
    for rule in rules():
        assert (rule["health"], rule.get("lastError", "")) == ("ok", ""), rule["name"]
        assert names_in(rule["query"]) and names_in(rule["query"]) <= known, rule["name"]


def test_totals_are_those_of_the_probes(watched):
    def both():
        answer = watched[0].site.get("/v1/probes/")["probes"]
        return sum(each["w"] for each in answer.values()), results(watched[1], "site:kwapi_power_watts:sum")

    eventually(lambda: both()[1])
    watts, (total,) = both()
    assert total["metric"]["site"] == "lyon"
    assert float(total["value"][1]) == pytest.approx(watts, rel=0.5)


def test_a_wattmeter_that_is_gone_is_seen_in_the_dashboard_of_the_fleet(watched):
    (table,) = [expr for title, expr in panels() if title == "fleet: Wattmeters that are not up"]
    site, scraping = watched[0].site, watched[1]
    assert results(scraping, table) == []
    path = site.directory / "drivers.conf"
    path.write_text(path.read_text() + "[lyon.pdu2]\ndriver = snmp\nhost = 127.0.0.1\nport = 9\nprobes = web-3\n")
    site.processes["drivers"].send_signal(1)
    eventually(lambda: [each["metric"]["wattmeter"] for each in results(scraping, table)] == ["lyon.pdu2"], timeout=60)
