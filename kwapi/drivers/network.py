"""What drivers of devices on a network have in common: whom they trust, and how little their libraries log."""

import logging
import ssl

from kwapi.errors import DeviceError

UNKNOWN_ISSUER = range(18, 22)  # X509_V_ERR of OpenSSL: self-signed, or by a CA that is not among ours
NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE")


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


def tls_problem(error: BaseException | None) -> str:
    """Return what went wrong with TLS in words, "" if an error comes of something else."""
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__  # httpx and httpcore wrap it, each in one of its own
    if isinstance(error, ssl.SSLCertVerificationError):
        message = error.verify_message.rstrip(".")
        if error.verify_code in UNKNOWN_ISSUER:
            ways = "give ca_file, or verify = false; to kwapi discover --ca-file or --no-verify"
            return f"its certificate is not trusted ({message}): {ways}"
        return f"its certificate is refused: {message}"
    if error is None:
        return ""
    if error.reason in NOT_TLS:
        return "it does not speak TLS on this port"
    return f"TLS failed: {(error.reason or str(error)).replace('_', ' ').lower()}"


def silence_http() -> None:
    """Keep httpx and httpcore from logging every request, and passwords or tokens with it when debugging."""
    for name in ("httpx", "httpcore"):
        logging.getLogger(name).setLevel(logging.WARNING)
