"""Recordings of real devices, for tests of what a driver makes of them.

They belong to others and are not part of the project: $KWAPI_RECORDINGS, or ../shared/recordings, is where they are.
"""

import os
from pathlib import Path

import pytest


def recordings_root() -> Path:
    """Return the directory of the recordings; skip the test if it is not there, fail if it was promised."""
    promised = os.environ.get("KWAPI_RECORDINGS")
    root = Path(promised or Path(__file__).parents[3] / "shared" / "recordings")
    if not root.is_dir():
        (pytest.fail if promised else pytest.skip)(f"no recordings in {root}; set KWAPI_RECORDINGS to try them")
    return root
