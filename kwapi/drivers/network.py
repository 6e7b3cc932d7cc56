"""What drivers of devices on a network have in common: whom they trust, and how little their libraries log."""

import logging
import ssl

from kwapi.errors import DeviceError


def tls_context(ca_file: str | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """Return what checks a server by these certificates, or by the system's; or not at all."""
    if not verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context
    try:
        return ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:  # which does not say of which file
        raise DeviceError(f"ca_file {ca_file}: {error.strerror or error}") from error


def silence_http() -> None:
    """Keep httpx and httpcore from logging every request, and passwords or tokens with it when debugging."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
