"""A driver in a distribution of its own is found by its entry point, once it is installed."""

import os
import subprocess
import sys

import pytest

from tests.integration.daemons import Site

pytestmark = pytest.mark.integration

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "kwapi-driver-seven"
version = "1.0"
[project.entry-points."kwapi.drivers"]
seven = "kwapi_driver_seven:Seven"
[tool.setuptools]
py-modules = ["kwapi_driver_seven"]
"""
DRIVER = """
from kwapi.drivers.base import Driver
from kwapi.measurement import Measurement

class Seven(Driver):
    def read(self):
        return [Measurement(name, watts=7.0) for name in self.probe_names()]
"""


def test_a_driver_of_another_distribution_measures(tmp_path, monkeypatch):
    source, site_packages = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PYPROJECT)
    (source / "kwapi_driver_seven.py").write_text(DRIVER)
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-build-isolation", "--no-deps", "--no-index",
         "--target", str(site_packages), str(source)],
        check=True,
        timeout=120,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )  # fmt: skip
    monkeypatch.setenv("PYTHONPATH", str(site_packages))
    with Site(tmp_path, "[odd]\ndriver = seven\nprobes = a\n") as site:
        site.start("drivers", "forwarder", "api")
        site.await_new_values("a")
        assert site.probes()["a"]["w"] == 7.0
