"""A certificate of 127.0.0.1 for servers in tests, made anew each time."""

from pathlib import Path

from kwapi.simulator import certificate

NAME = "device.test"  # which a test has to lead to 127.0.0.1


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Return the files of a certificate of 127.0.0.1 and NAME, and of its key: one file has both."""
    file = directory / "certificate.pem"
    certificate.make_certificate(file, "127.0.0.1", NAME)
    return file, file
