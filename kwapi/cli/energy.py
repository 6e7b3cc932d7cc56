"""What the commands about energy registers share: where these are."""

from pathlib import Path

from oslo_config import cfg

from kwapi.config import Reader
from kwapi.plugins.api.machines import read_machines
from kwapi.plugins.api.registers import DIRECTORY

ABOUT = "says where the energy registers are"


def read_api(path: Path) -> cfg.ConfigOpts:
    """Return the configuration of kwapi-api, with its machines; raise ConfigError with every mistake in these."""
    reader = Reader("api", [path])
    read_machines(reader)
    return reader.finish()


def directory_of(conf: cfg.ConfigOpts) -> Path:
    """Return the directory of the energy registers."""
    return Path(conf.state_dir) / DIRECTORY
