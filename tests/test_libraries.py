import configparser
import shlex
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from kwapi.drivers import EXTRAS
from kwapi.libraries import how_to_install
from tests.test_layers import ROOT


@pytest.mark.parametrize("quote", ["'", '"'])
def test_the_libraries_of_an_extra_are_installed_into_this_python(quote):
    stated = [
        "pyzmq>=26.0",
        f"pymodbus<4,>=3.13; extra == {quote}modbus{quote}",
        f"httpx>=0.27 ; extra == {quote}http{quote}",
        f"httpcore>=1.0 ; extra == {quote}http{quote}",
    ]
    assert shlex.split(how_to_install("modbus", stated)) == [
        sys.executable,
        "-m",
        "pip",
        "install",
        "pymodbus<4,>=3.13",
    ]
    assert shlex.split(how_to_install("http", stated))[4:] == ["httpx>=0.27", "httpcore>=1.0"]


def test_what_this_installation_states_is_understood():
    for extra in EXTRAS.values():
        for library in shlex.split(how_to_install(extra))[4:]:
            Requirement(library)


def test_every_extra_has_a_name_that_no_pip_reads_in_another_way():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    assert extras == {canonicalize_name(extra) for extra in extras}
    assert set(EXTRAS.values()) < extras
