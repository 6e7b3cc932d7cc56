"""A certificate of 127.0.0.1 for servers in tests, made anew each time."""

from pathlib import Path

from kwapi.simulator import certificate


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Return the files of a certificate of 127.0.0.1 that vouches for itself, and of its key: one file has both."""
    file = directory / "certificate.pem"
    certificate.make_certificate(file)
    return file, file
