"""Options in the environment: KWAPI_<OPTION> is one of [DEFAULT], KWAPI_<SECTION>__<OPTION> one of a section.

Both in upper case, with _ for every character that is neither a letter nor a digit.
"""

import os
import re
from collections.abc import Iterator, Mapping

from oslo_config import cfg

from kwapi.mistakes import nearest
from kwapi.options import OPTIONS

PREFIX = "KWAPI_"
DEFAULT_STATE_DIR = "KWAPI_DEFAULT_STATE_DIR"  # where state is kept if nothing says where: a checkout has its own place
TESTS = ("KWAPI_RECORDINGS", "KWAPI_DEB")  # what the tests of Kwapi take from there
SECTIONS = {"api": ("keystone_authtoken", "oslo_policy", "machine ")}  # that may be named, or how they begin
WATTMETERS = "drivers"  # the daemon whose sections may have any name


def variable(option: str, section: str | None = None) -> str:
    """Return the name of an option in the environment; of one of [DEFAULT] where no section is given."""
    return PREFIX + ("" if section is None else f"{_shout(section)}__") + _shout(option)


def unknown_variables(
    configurations: Mapping[str, cfg.ConfigOpts], environ: Mapping[str, str] = os.environ
) -> Iterator[str]:
    """Yield a line for each variable that is no option of these daemons, and can be none of the others."""
    known = {DEFAULT_STATE_DIR, *TESTS} | {variable(option.dest) for options in OPTIONS.values() for option in options}
    begins: tuple[str, ...] = ()  # those of sections that were read
    for daemon, conf in configurations.items():
        sections = {*conf.list_all_sections(), *SECTIONS.get(daemon, ())} - {"DEFAULT"}
        known |= {variable(option, section) for section in sections if section in conf for option in conf[section]}
        begins += tuple(variable("", section) for section in sections)
    others = tuple(
        f"{PREFIX}{_shout(section)}"
        for daemon in SECTIONS.keys() - configurations.keys()
        for section in SECTIONS[daemon]
    )
    for name in sorted(name for name in environ if name.startswith(PREFIX) and name not in known):
        may_be_a_wattmeter = "__" in name and WATTMETERS not in configurations and not name.startswith(begins)
        if not may_be_a_wattmeter and not name.startswith(others):
            yield f"{name} in the environment is no option{nearest(name, known)}"


def _shout(name: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", name.upper())
