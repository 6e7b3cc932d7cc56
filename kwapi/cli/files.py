"""Which file of the daemons a command reads: ``--config-file FILE``, or as with the daemons ``--config-dir DIR``."""

import argparse
from pathlib import Path

from kwapi.config import PATHS
from kwapi.options import OPTIONS


def add_file_arguments(parser: argparse.ArgumentParser, daemon: str, about: str) -> None:
    """Add both; ``config_file`` is the path of the daemon's file either way."""
    name = f"{daemon}.conf"

    def file(path: str) -> Path:
        of = Path(path).stem
        if of != daemon and of in OPTIONS:
            raise argparse.ArgumentTypeError(f"{path} is the file of kwapi-{of}; this command reads {name}")
        return Path(path)

    def inside(directory: str) -> Path:
        return Path(directory) / name

    either = parser.add_mutually_exclusive_group()
    either.add_argument("--config-file", type=file, metavar="FILE", default=PATHS / name, help=f"{about} (%(default)s)")
    either.add_argument(
        "--config-dir",
        type=inside,
        dest="config_file",
        metavar="DIR",
        default=argparse.SUPPRESS,
        help=f"directory of {name}",
    )
