"""The dashboards in etc/grafana, as files: what Grafana takes, and what an operator reads."""

import json
import re

import pytest

from tests.test_layers import ROOT

FILES = sorted((ROOT / "etc/grafana").glob("*.json"))
UNITS = {"watt", "kwatth", "s", "bytes", "percentunit", "cps", "reqps", "none"}
KINDS = {"stat", "timeseries", "bargauge", "table", "state-timeline"}
WIDTH = 24  # columns


def dashboard(path):
    return json.loads(path.read_text("utf-8"))


def targets(panel):
    return [each["expr"] for each in panel["targets"]]


def places(panel):
    at = panel["gridPos"]
    return {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}


def test_there_are_dashboards_each_with_an_address_of_its_own():
    found = [dashboard(path) for path in FILES]
    assert {each["uid"] for each in found} == {"kwapi-fleet", "kwapi-site", "kwapi-wattmeter", "kwapi-kwapi"}
    assert all(each["schemaVersion"] == 36 and each["tags"] == ["kwapi"] and "id" not in each for each in found)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_panel_says_what_it_shows_in_a_unit(path):
    for panel in dashboard(path)["panels"]:
        assert panel["type"] in KINDS and panel["title"] and panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        assert targets(panel), panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            assert {each["value"] for each in override["properties"] if each["id"] == "unit"} <= UNITS


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(path):
    panels = dashboard(path)["panels"]
    taken = [place for panel in panels for place in places(panel)]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len(set(taken)) == len(taken) and all(x < WIDTH for x, _ in taken)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_data_source_is_chosen_by_the_reader_and_every_variable_is_there(path):
    shown = dashboard(path)
    variables = {each["name"] for each in shown["templating"]["list"]}
    for panel in shown["panels"]:
        sources = [panel["datasource"], *(each["datasource"] for each in panel["targets"])]
        assert all(each == {"type": "prometheus", "uid": "${datasource}"} for each in sources)
        used = {name for expr in targets(panel) for name in re.findall(r"\$(\w+)", expr)}
        assert {name for name in used if not name.startswith("__")} <= variables, panel["title"]
        assert {name for name in used if name.startswith("__")} <= {"__rate_interval", "__range"}, panel["title"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_ends_up_in_a_total_is_never_a_machine_or_an_inlet_with_its_outlets(path):
    for panel in dashboard(path)["panels"]:
        for expr in targets(panel):
            if re.search(r"\bsum\b", expr):
                assert not re.search(r"(?<!:)kwapi_(power_watts|energy_joules_total)", expr), expr
