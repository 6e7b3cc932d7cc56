import pytest

from kwapi.cli import devices
from kwapi.cli.samples import main, sample
from kwapi.config import Reader
from kwapi.drivers import BUILT_IN
from kwapi.drivers.wattmeter import read_wattmeters
from kwapi.options import OPTIONS
from kwapi.plugins.api import policy
from tests.test_layers import ROOT


@pytest.mark.parametrize("daemon", OPTIONS)
def test_the_samples_are_those_of_the_options(daemon):
    """When this fails, an option was changed: run tox -e genconfig."""
    assert (ROOT / "etc" / "kwapi" / f"{daemon}.conf").read_text("utf-8") == sample(daemon)


def test_the_sample_of_the_policy_is_that_of_the_rules():
    """When this fails, a rule was changed: run tox -e genconfig."""
    assert (ROOT / "etc" / "kwapi" / "policy.yaml").read_text("utf-8") == policy.sample()


def test_the_page_of_devices_is_that_of_the_drivers_and_profiles(tmp_path):
    """When this fails, a driver or a profile was changed: run tox -e genconfig."""
    devices.main([str(tmp_path / "devices.md")])
    page = (tmp_path / "devices.md").read_text("utf-8")
    assert (ROOT / "docs" / "devices.md").read_text("utf-8") == page
    assert all(f"| `{name}` |" in page for name in (*BUILT_IN, "eaton-g3", "sdm630", "shelly2", "zigbee2mqtt"))


@pytest.mark.parametrize("daemon", OPTIONS)
def test_a_sample_says_nothing_but_defaults(tmp_path, daemon):
    main([str(tmp_path)])
    Reader(daemon, [tmp_path / f"{daemon}.conf"]).finish()


def test_the_demonstration_is_sound():
    reader = Reader("drivers", [ROOT / "etc" / "demo" / "drivers.conf"])
    assert len(read_wattmeters(reader)) == 3
    reader.finish()
    for daemon in ("forwarder", "api", "rrd"):
        Reader(daemon, [ROOT / "etc" / "demo" / f"{daemon}.conf"]).finish()
