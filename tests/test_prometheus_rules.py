"""The rules in etc/prometheus, by Prometheus' own tool."""

import re
import subprocess

import pytest
import yaml

from tests.integration.programs import needed_program
from tests.test_layers import ROOT

RULES = sorted((ROOT / "etc/prometheus").glob("kwapi-*.yml"))
TESTS = sorted((ROOT / "tests/rules").glob("*.yml"))


def promtool(*arguments):
    command = [needed_program("promtool", "prometheus"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_example_configuration_and_its_rules_are_sound():
    checked = promtool("check", "config", ROOT / "etc/prometheus/prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert all(str(path) in checked.stdout for path in RULES) and len(RULES) == 2


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_they_shall(path):
    tested = promtool("test", "rules", path)
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_every_alert_is_seen_to_fire_and_every_total_to_be_right():
    shown = "".join(re.findall(r"labels: '(.+)'", "".join(path.read_text("utf-8") for path in TESTS)))
    asked = "".join(re.findall(r"expr: (.+)", "".join(path.read_text("utf-8") for path in TESTS)))
    rules = [rule for path in RULES for group in yaml.safe_load(path.read_text())["groups"] for rule in group["rules"]]
    assert len(rules) > 20
    for rule in rules:
        assert f'alertname="{rule["alert"]}"' in shown if "alert" in rule else rule["record"] in asked, rule


def test_every_alert_says_how_bad_it_is_and_what_it_is():
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule
                    assert rule["annotations"]["summary"], rule
