"""Files that systemd hands to one daemon alone, by LoadCredential=."""

import os
from pathlib import Path

DIRECTORY = Path("/run/credentials")


def is_credential(path: Path) -> bool:
    """Return whether systemd says who may read a file; where it does so by an ACL the mode seems to let a group."""
    own = os.environ.get("CREDENTIALS_DIRECTORY")
    return path.is_relative_to(DIRECTORY) or (own is not None and path.is_relative_to(own))
