"""``tox -e genconfig``: writes etc/kwapi/*, each option with its help, type and default, from the options."""

import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path

from oslo_config import cfg

from kwapi.drivers import BUILT_IN, find_driver
from kwapi.options import OPTIONS, with_secret_files
from kwapi.plugins.api import access, policy
from kwapi.section_options import DRIVER, MACHINE, WATTMETER

WIDTH = 100
WATTMETER_SECTIONS = """
# One section for each wattmeter, named as the wattmeter shall be called in the whole installation; the parts before
# a dot group it: [lyon.pdu1] is the wattmeter pdu1 in Lyon. Every wattmeter has these options:
"""
MACHINE_SECTIONS = """
# One section for each machine that several probes feed. It is shown wherever probes are, with the sum
# of their power and energy, and is never added to a total.
#[machine web-1]

"""


def describe(option: cfg.Opt) -> str:
    """Return the lines of one option, commented out."""
    value = option.default
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    elif isinstance(value, bool):
        value = str(value).lower()
    about = "\n".join(f"# {line}" for line in textwrap.wrap(option.help or "", WIDTH))
    kind = f"# ({option.type}{', required' if option.required else ''})"
    return f"{about}\n{kind}\n#{option.name} = {'' if value is None else value}\n"


def section(heading: str, options: Iterable[cfg.Opt]) -> str:
    """Return a section with all its options."""
    return f"[{heading}]\n\n" + "\n".join(describe(option) for option in with_secret_files(options))


def sample(daemon: str) -> str:
    """Return the sample file of a daemon."""
    text = f"# Configuration of kwapi-{daemon}. What is commented out is the default.\n\n"
    text += section("DEFAULT", OPTIONS[daemon])
    if daemon == "api":
        text += "".join("\n" + section(heading, options) for heading, options in access.SAMPLE.items())
        text += MACHINE_SECTIONS + "\n".join(describe(option) for option in MACHINE)
    if daemon != "drivers":
        return text
    common = [option for option in WATTMETER if option is not DRIVER]
    text += WATTMETER_SECTIONS + "#\n" + "\n".join(describe(option) for option in common)
    for name in BUILT_IN:
        driver = find_driver(name)
        about = (sys.modules[driver.__module__].__doc__ or "").strip().splitlines()[0]
        text += f"\n# {about}\n#[a.{name}]\n#driver = {name}\n\n"
        text += "\n".join(describe(option) for option in with_secret_files(driver.options))
    return text


def main(argv: Sequence[str] | None = None) -> int:
    """Write the sample files into a directory; return the exit status."""
    directory = Path((sys.argv[1:] if argv is None else argv)[0])
    for daemon in OPTIONS:
        (directory / f"{daemon}.conf").write_text(sample(daemon), encoding="utf-8")
    (directory / "policy.yaml").write_text(policy.sample(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
