"""How a daemon logs in at a NATS server: a file with who it is, and whose certificates it trusts.

The file is what ``nsc`` makes for a user (a JWT and its nkey), or has one line: USER:PASSWORD, or a token. It is read
at each connection, so that a new one needs no restart. None of it is ever logged.
"""

import ssl
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kwapi.credentials import is_credential
from kwapi.errors import ConfigError

JWT = "BEGIN NATS USER JWT"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True)
class Login:
    """Which stream of a server is used, and how its clients are let in; empty where nothing is needed."""

    stream: str = "kwapi"
    credentials_file: str = ""
    ca_file: str = ""

    def check(self) -> None:
        """Raise ConfigError if a file cannot be used."""
        self.credentials()
        self.tls()

    def credentials(self) -> dict[str, Any]:
        """Return the arguments of nats-py's connect() that say who we are."""
        if not self.credentials_file:
            return {}
        path = Path(self.credentials_file)
        try:
            if path.stat().st_mode & OTHERS and not is_credential(path):
                raise ConfigError(f"nats_credentials_file: others can read {path}; chmod 600 {path}")
            text = path.read_text("utf-8").strip()
        except OSError as error:
            raise ConfigError(f"nats_credentials_file: cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError as error:  # which holds what it could not decode
            raise ConfigError(f"nats_credentials_file: {path} is not UTF-8: byte {error.start}") from None
        if JWT in text:
            return {"user_credentials": str(path)}
        if not text or "\n" in text:
            raise ConfigError(f"nats_credentials_file: {path} is neither what nsc makes nor a line USER:PASSWORD")
        user, colon, password = text.partition(":")
        return {"user": user, "password": password} if colon else {"token": text}

    def tls(self) -> ssl.SSLContext:
        """Return what certificates are checked with."""
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise ConfigError(f"nats_ca_file: cannot use {self.ca_file}: {error}") from error
