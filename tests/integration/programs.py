"""Real programs that a test needs: where there is none it is skipped, and fails in CI, where all tests must run."""

import os
import shutil

import pytest


def needed(what: str, found: str | None) -> str:
    """Return what was found."""
    if found is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"there is no {what}")
    return str(found)


def needed_program(name: str, package: str) -> str:
    """Return the path of a program of a Debian package."""
    path = f"{os.environ['PATH']}:/usr/sbin"  # not in everybody's
    return needed(f"{name}; apt-get install {package}", shutil.which(name, path=path))
