"""A small JSON file that is replaced as a whole; what is wrong with it is said once."""

import logging
import os
from pathlib import Path
from typing import Any

import msgspec

LOG = logging.getLogger(__name__)


class StateFile:
    """One value of a type that msgspec knows, in a file."""

    def __init__(self, path: Path, kind: Any) -> None:
        self.path = path
        self._decoder = msgspec.json.Decoder(kind)
        self._broken = False

    def load(self) -> Any:
        """Return what was saved, None if there is nothing that can be read."""
        try:
            return self._decoder.decode(self.path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeError) as error:
            LOG.warning("%s can't be read, and is made anew: %s", self.path, error)
            return None

    def save(self, value: Any) -> None:
        """Replace what was saved."""
        temporary = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(exist_ok=True)
            temporary.write_bytes(msgspec.json.encode(value))
            os.replace(temporary, self.path)
        except OSError as error:
            if not self._broken:
                LOG.warning("%s can't be written: %s", self.path, error)
            self._broken = True
        else:
            if self._broken:
                LOG.info("%s is written again", self.path)
            self._broken = False
