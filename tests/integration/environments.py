"""Servers of others that bin/test keeps in virtual environments of their own, outside the checkout."""

import hashlib
import os
from pathlib import Path

from tests.integration.programs import needed

REQUIREMENTS = Path(__file__).parent / "requirements"


def environment_of(name: str) -> Path:
    """Return where bin/setup.sh puts the environment of requirements/NAME.txt; another content, another place."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256((REQUIREMENTS / f"{name}.txt").read_bytes()).hexdigest()
    return cache / "kwapi" / "venvs" / f"{name}-{digest[:16]}"


def needed_environment(name: str) -> Path:
    """Return the environment of a server; where it was not set up skip the test, and fail in CI."""
    environment = environment_of(name)
    ready = (environment / "complete").exists()
    needed(f"{name} in {environment}, which bin/test sets up", str(environment) if ready else None)
    return environment
