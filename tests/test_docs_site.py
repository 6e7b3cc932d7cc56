"""The site and the manual pages are made of the documents without a warning, and have all that there is."""

import html
import os
import re
import subprocess
import sys
from importlib.util import find_spec

import pytest

from kwapi.cli.main import COMMANDS
from kwapi.drivers import BUILT_IN, find_driver
from kwapi.options import OPTIONS, with_secret_files
from kwapi.plugins.api.openapi import document
from kwapi.section_options import MACHINE, WATTMETER
from tests.documents import DOCUMENTS
from tests.integration.programs import needed, needed_program
from tests.test_layers import ROOT

LIBRARIES = ("sphinx", "myst_parser", "furo")
MAN_PAGES = {
    *("kwapi.1", "kwapi-simulator.1", "kwapi-drivers.8", "kwapi-forwarder.8", "kwapi-api.8", "kwapi-rrd.8"),
    *(f"kwapi-{daemon}.conf.5" for daemon in OPTIONS),
}


def built(builder, directory):
    """Return where Sphinx has made its output, with every warning an error."""
    for name in LIBRARIES:
        needed(f"the library {name} (kwapi[docs])", find_spec(name))
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", builder, "-d", directory / "doctrees"]
    made = subprocess.run(
        [*command, ROOT / "docs", directory / builder],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (made.returncode, made.stderr) == (0, "")
    return directory / builder


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    return built("html", tmp_path_factory.mktemp("site"))


@pytest.fixture(scope="module")
def manual(tmp_path_factory):
    return built("man", tmp_path_factory.mktemp("manual"))


def text_of(page):
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text("utf-8")))


def test_every_document_is_a_page(site):
    pages = {
        path.relative_to(ROOT / "docs").with_suffix(".html") for path in DOCUMENTS if path.is_relative_to(ROOT / "docs")
    }
    assert {path for path in pages if not (site / path).exists()} == set()


def test_no_link_of_the_site_leads_nowhere(site):
    """Also those that are made by the build: to files beside the documents, and to headings of pages of the code."""
    for page in site.rglob("*.html"):
        for link in re.findall(r'(?:href|src)="([^"]+)"', page.read_text("utf-8")):
            target, _, place = html.unescape(link).partition("#")
            if re.match(r"https?:|mailto:|data:", target):
                continue
            there = (page.parent / target.partition("?")[0]).resolve() if target else page
            assert there.exists(), f"{page.name}: {link}"
            if place and there.suffix == ".html":
                assert f'id="{place}"' in there.read_text("utf-8"), f"{page.name}: {link}"


def test_every_option_is_shown_with_its_help(site):
    for daemon, options in OPTIONS.items():
        page = text_of(site / "options" / f"{daemon}.html")
        further = {"drivers": WATTMETER, "api": MACHINE}.get(daemon, ())
        for option in (*options, *further):
            assert re.search(rf"^{option.name}\s*{re.escape(option.help)}$", page, re.MULTILINE), option.name
    parts = text_of(site / "options" / "drivers.html").split("driver = ")
    for name in BUILT_IN:
        helps = [option.help for option in with_secret_files(find_driver(name).options)]
        assert any(part.startswith(name) and all(text in part for text in helps) for part in parts), name


def test_every_driver_command_and_path_is_shown(site):
    devices, command, api = (text_of(site / f"{name}.html") for name in ("devices", "commands/kwapi", "api"))
    assert all(name in devices for name in BUILT_IN)
    assert all(f"usage: kwapi {name}" in command for name in COMMANDS)
    assert all(f"GET {path}" in api for path in document(has_keystone=True)["paths"])


def test_the_reference_has_what_drivers_and_plugins_are_made_of(site):
    page = text_of(site / "reference.html")
    for name in ("Measurement(", "Driver(", "DeviceError", "Subscriber(", "Publisher(", "Gate(", "EnergyRegister("):
        assert f".{name}" in page, name
    assert "Return what the device measures now; [] when it has nothing new." in page


def test_the_manual_pages_are_there_and_can_be_shown(manual):
    assert {path.name for path in manual.iterdir()} == MAN_PAGES
    program = needed_program("man", "man-db")
    for path in manual.iterdir():
        shown = subprocess.run(
            [program, "--warnings", "--local-file", path],
            env={**os.environ, "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "MANWIDTH": "100"},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (shown.returncode, shown.stderr) == (0, ""), path.name
        assert re.search(r"^NAME\n +\S+ - \S", shown.stdout, re.MULTILINE), path.name
        assert "SEE ALSO" in shown.stdout
