"""How the library of a driver is installed where it is missing."""

import re
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import requires


def how_to_install(extra: str, requirements: Sequence[str] | None = None) -> str:
    """Return the command that gives this Python what an extra of Kwapi stands for.

    It names the libraries themselves, since an index need not know of Kwapi, which may run from a checkout.
    """
    stated = requires("kwapi") or () if requirements is None else requirements
    of_extra = re.compile(rf"""(.*?)\s*;\s*extra == ["']{extra}["']""")
    found = [match[1] for match in map(of_extra.fullmatch, stated) if match]
    return shlex.join([sys.executable, "-m", "pip", "install", *(found or [f"kwapi[{extra}]"])])
