"""Where the recordings of real devices are; they belong to others and are not part of the project."""

import os
from pathlib import Path

import pytest


def recordings_directory() -> Path:
    """Return $KWAPI_RECORDINGS or ../shared/recordings; skip the test if it is not there, fail if it was promised."""
    promised = os.environ.get("KWAPI_RECORDINGS")
    root = Path(__file__).parent.parent.parent
    directory = Path(promised) if promised else root.parent / "shared" / "recordings"
    if directory.is_dir():
        return directory
    if promised:
        pytest.fail(f"KWAPI_RECORDINGS={promised} is no directory")
    pytest.skip(f"no recordings of real devices in {directory}; set KWAPI_RECORDINGS to try them")
