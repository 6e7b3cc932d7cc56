import pytest

from kwapi.cli.samples import main, sample
from kwapi.config import OPTIONS, Reader
from kwapi.drivers.wattmeter import read_wattmeters
from tests.test_layers import ROOT


@pytest.mark.parametrize("daemon", OPTIONS)
def test_the_samples_are_those_of_the_options(daemon):
    """When this fails, an option was changed: run tox -e genconfig."""
    assert (ROOT / "etc" / "kwapi" / f"{daemon}.conf").read_text("utf-8") == sample(daemon)


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
