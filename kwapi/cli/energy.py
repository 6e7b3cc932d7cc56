"""What the commands about energy registers share: where these are."""

import argparse
from pathlib import Path

from oslo_config import cfg

from kwapi.config import PATHS, Reader
from kwapi.plugins.api.machines import read_machines
from kwapi.plugins.api.registers import DIRECTORY


def add_config_file(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says where the configuration of kwapi-api is."""
    parser.add_argument(
        "--config-file",
        type=Path,
        metavar="FILE",
        default=PATHS / "api.conf",
        help="the configuration of kwapi-api, which says where its energy registers are (%(default)s)",
    )


def read_api(path: Path) -> cfg.ConfigOpts:
    """Return the configuration of kwapi-api, with its machines; raise ConfigError with every mistake in these."""
    reader = Reader("api", [path])
    read_machines(reader)
    return reader.finish()


def directory_of(conf: cfg.ConfigOpts) -> Path:
    """Return the directory of the energy registers."""
    return Path(conf.state_dir) / DIRECTORY
