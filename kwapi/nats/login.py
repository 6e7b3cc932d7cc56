"""How a daemon logs in at a NATS server: a file with who it is, its certificate, and whose certificates it trusts.

The file is what ``nsc`` makes for a user (a JWT and its nkey), or has one line: USER:PASSWORD, or a token. All are read
at each connection, so that a new one needs no restart. None of it is ever logged.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oslo_config import cfg

from kwapi.credentials import exposure, read_private
from kwapi.errors import ConfigError

JWT = "BEGIN NATS USER JWT"
MAX_BYTES = 1 << 16  # a JWT may list many subjects
KEY = b"PRIVATE KEY-----"


@dataclass(frozen=True, slots=True)
class Login:
    """Which stream of a server is used, and how its clients are let in; empty where nothing is needed."""

    stream: str = "kwapi"
    credentials_file: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""

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
            text = read_private(path, most=MAX_BYTES).text.strip()
        except OSError as error:
            raise ConfigError(f"nats_credentials_file: cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise ConfigError(f"nats_credentials_file: {error}") from None
        if JWT in text:
            return {"user_credentials": str(path)}
        if not text or "\n" in text:
            raise ConfigError(f"nats_credentials_file: {path} is neither what nsc makes nor a line USER:PASSWORD")
        user, colon, password = text.partition(":")
        return {"user": user, "password": password} if colon else {"token": text}

    def tls(self) -> ssl.SSLContext:
        """Return what servers' certificates are checked with, and with what they check us."""
        context = self.trusted()
        self.certified(context)
        return context

    def trusted(self) -> ssl.SSLContext:
        """Return what servers' certificates are checked with."""
        try:
            return ssl.create_default_context(cafile=self.ca_file or None)
        except OSError as error:
            raise ConfigError(f"nats_ca_file: cannot use {self.ca_file}: {error}") from error

    def certified(self, context: ssl.SSLContext | None = None) -> None:
        """Have our certificate shown to servers that want one."""
        if not self.certificate_file:
            if self.key_file:
                raise ConfigError("nats_key_file: without nats_certificate_file it is of no use")
            return
        key = Path(self.key_file or self.certificate_file)
        option = "nats_key_file" if self.key_file else "nats_certificate_file"
        try:
            if not self.key_file and KEY not in key.read_bytes():
                raise ConfigError(f"nats_certificate_file: {key} has no key; nats_key_file names the file that has it")
            if problem := exposure(key, key.stat().st_mode):
                raise ConfigError(f"{option}: {problem}")
            context = context or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_cert_chain(self.certificate_file, key, password=lambda: "")  # or a terminal is asked for it
        except OSError as error:
            raise ConfigError(
                f"nats_certificate_file: cannot use {self.certificate_file} with {key}: {error}"
            ) from error


def login_of(conf: cfg.ConfigOpts) -> Login:
    """Return the login of a daemon's configuration."""
    files = conf.nats_credentials_file, conf.nats_ca_file, conf.nats_certificate_file, conf.nats_key_file
    return Login(conf.nats_stream, *files)
