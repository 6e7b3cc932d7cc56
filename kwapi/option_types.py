"""What the value of an option may be, beside the types of oslo.config."""

import re
from pathlib import Path

from oslo_config import types

ENDPOINT = re.compile(r"tcp://[^/\s]+:(\d{1,5})")


class ReadableFile(types.String):
    """The path of a file that can be read; or empty."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        try:
            if text:
                Path(text).open("rb").close()
        except OSError as error:
            raise ValueError(f"{text} cannot be read: {error.strerror}") from error
        return text


class Endpoint(types.String):
    """The address of a ZeroMQ socket: tcp://HOST:PORT or ipc://PATH."""

    def __call__(self, value: object) -> str:
        text: str = super().__call__(value)
        tcp = ENDPOINT.fullmatch(text)
        if not (text.startswith("ipc://") and len(text) > 6) and not (tcp and int(tcp[1]) <= 65535):
            raise ValueError(f"{text!r} is no endpoint such as tcp://127.0.0.1:5555 or ipc:///run/kwapi/drivers")
        return text
